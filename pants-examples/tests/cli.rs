//! pants-echo's flags that show something and exit, and which of flags, environment and file beats which.

mod support;

use crate::support::*;

fn printed(ended: Ended) -> Vec<String> {
    assert_eq!((ended.code, &ended.errors), (Some(0), &Vec::new()));
    ended.output
}

#[test]
fn help_names_every_flag_the_environment_and_the_exit_statuses() {
    let help = printed(run(&["--help"])).join("\n");
    for flag in [
        "--listen <ADDR>",
        "--shards <N|auto>",
        "--cpus <LIST>",
        "--no-pin",
        "--share-port",
        "--idle-timeout <TIME|off>",
        "--balance <POLICY>",
        "--handover <PATH|off>",
        "--admin <ADDR|off>",
        "--config <FILE>",
        "--check",
        "--print-config",
        "--help",
        "--version",
    ] {
        assert!(help.contains(flag), "{flag} is not in\n{help}");
    }
    assert!(help.contains("127.0.0.1:4040") && help.contains("PANTS_SHARDS") && help.contains("Exit status: 0"));
}

#[test]
fn version_is_the_package_s() {
    assert_eq!(printed(run(&["--version"])), [format!("pants-echo {}", env!("CARGO_PKG_VERSION"))]);
}

#[test]
fn check_approves_of_what_is_valid_and_starts_nothing() {
    let file = ScratchFile::new("check.toml", "listener.listen = 1\nruntime.shards = 2\n");
    assert_eq!(printed(run(&["--check"])), ["the configuration is valid"]);
    // As one who may not listen there: port 1 is privileged, if anything tried.
    assert_eq!(printed(run(&["--check", "--config", file.path()])), ["the configuration is valid"]);
}

#[test]
fn check_fails_like_a_start() {
    assert_eq!(run(&["--check", "--shards", "0"]), run(&["--shards", "0"]));
    assert_eq!(run(&["--check", "--shards", "0"]).code, Some(2));
}

#[test]
fn print_config_shows_every_value_and_where_it_comes_from() {
    let lines = printed(run(&["--print-config", "--shards", "2", "--no-pin", "--handover", "/run/x"]));
    let keys = lines.iter().filter(|line| line.contains(" = ") && !line.starts_with('#')).count();
    let explained = lines.iter().filter(|line| line.starts_with("# ")).count();
    assert_eq!((keys, explained), (27, 27), "{lines:?}");
    for line in [
        "[runtime]",
        "[admin]",
        "shards = 2  # --shards",
        "pin = false  # --no-pin",
        "handover = \"/run/x\"  # --handover",
        "listen = [\"127.0.0.1:4040\"]  # default",
    ] {
        assert!(lines.iter().any(|printed| printed == line), "{line} is not in {lines:?}");
    }
}

/// A configuration without the comments that say where it comes from.
fn values(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| line.split("  # ").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_printed_configuration_is_a_file_of_the_same_one() {
    let odd = "[timeouts]\nidle = \"1500ms\"\nwrite_stall = \"off\"\n[limits]\nwrite_cap = \"1GiB\"\n\
               write_high_water = 300001\nmax_connections = 77\n[listener]\nbacklog = 9\nnodelay = false\n\
               balance = \"cpu\"\n[runtime]\ndrain_timeout = \"0s\"\n[balance]\nmax_skew = 2\n[admin]\nlisten = 4041\n";
    let first = ScratchFile::new("first.toml", odd);
    let arguments = ["--print-config", "--config", first.path()];
    let flags = ["--listen", "127.0.0.1:1", "--listen", "[::1]:2", "--listen", "3", "--shards", "7", "--share-port"];
    let printed_first = printed(run(&[&arguments[..], &flags[..]].concat()));
    let second = ScratchFile::new("second.toml", &(printed_first.join("\n") + "\n"));
    let printed_second = printed(run(&["--print-config", "--config", second.path()]));
    assert_eq!(values(&printed_second), values(&printed_first));
    let defaults = values(&printed(run(&["--print-config"])));
    assert!(values(&printed_first).iter().filter(|line| !defaults.contains(line)).count() >= 14, "{printed_first:?}");
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_the_defaults() {
    let file = ScratchFile::new("layers.toml", "runtime.shards = 3\n[listener]\nbacklog = 30\nnodelay = false\n");
    let variables = [("PANTS_CONFIG", file.path()), ("PANTS_SHARDS", "4"), ("PANTS_BACKLOG", "40")];
    let lines = printed(run_with(&["--print-config", "--shards", "5"], &variables));
    for line in [
        "shards = 5  # --shards".to_owned(),
        "backlog = 40  # PANTS_BACKLOG".to_owned(),
        format!("nodelay = false  # {}:4:11", file.path()),
        "share_port = false  # default".to_owned(),
    ] {
        assert!(lines.contains(&line), "{line} is not in {lines:?}");
    }
}
