//! What pants-echo says when it cannot start: one line that names the place and the key, and exit status 2.

mod support;

use std::net::TcpListener;

use crate::support::*;

/// Expects that it ends with status 2 and nothing but this line on standard error.
fn assert_refused(arguments: &[&str], line: &str) {
    let expected = Ended { code: Some(2), output: Vec::new(), errors: vec![format!("pants-echo: {line}")] };
    assert_eq!(run(arguments), expected);
}

/// Expects the same of a file; the line is about this file.
fn assert_file_refused(name: &str, text: &str, line: &str) {
    let file = ScratchFile::new(name, text);
    assert_refused(&["--config", file.path()], &format!("{}:{line}", file.path()));
}

/// The CPUs that this process may use, as the kernel writes them.
fn own_cpus() -> String {
    status_field("/proc/self", "Cpus_allowed_list")
}

#[test]
fn no_shards_are_too_few() {
    assert_refused(&["--shards", "0"], "--shards: must be at least 1 or \"auto\", not 0");
    assert_refused(&["--shards", "1025"], "--shards: must be at most 1024 or \"auto\", not 1025");
    assert_refused(&["--shards", "two"], "--shards: must be \"auto\" or a number from 1 to 1024, not \"two\"");
}

#[test]
fn a_cpu_that_there_is_not_is_refused() {
    // The second would be past the end of the C library's set of CPUs.
    for cpu in ["99", "5000"] {
        let line = format!("--cpus: CPU {cpu} is not available to this process, which may use {}", own_cpus());
        assert_refused(&["--cpus", cpu], &line);
    }
}

#[test]
fn cpus_are_no_use_without_pinning() {
    let what = "a list of CPUs has no effect while pinning is off; drop the list or turn pinning on";
    assert_refused(&["--cpus", "0", "--no-pin"], &format!("--cpus: {what} (pin = false comes from --no-pin)"));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_what_was_meant() {
    assert_file_refused(
        "unknown.toml",
        "# Mine.\n[runtime]\nshard = 2\n",
        "3:1: runtime.shard: unknown key; did you mean \"shards\"?",
    );
}

#[test]
fn a_key_outside_its_section_is_told_where_it_belongs() {
    assert_file_refused("top.toml", "shards = 2\n", "1:1: shards: that key belongs in [runtime]");
    assert_file_refused(
        "section.toml",
        "[listener]\nidle_timeout = 2\n",
        "2:1: listener.idle_timeout: that key belongs in [timeouts], as \"idle\"",
    );
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_line_and_key() {
    assert_file_refused(
        "type.toml",
        "[runtime]\n\nshards = [2]\n",
        "3:10: runtime.shards: expected \"auto\" or an integer, found an array",
    );
}

#[test]
fn a_value_out_of_range_is_named_with_its_line_and_key() {
    assert_file_refused("range.toml", "[listener]\nbacklog = 0\n", "2:11: listener.backlog: must be 1 to 65535, not 0");
}

#[test]
fn broken_syntax_is_named_with_its_line_and_quoted() {
    let file = ScratchFile::new("syntax.toml", "pin = true\nshards = \n");
    let ended = run(&["--config", file.path()]);
    assert_eq!((ended.code, ended.errors.len()), (Some(2), 1));
    // The rest of the line is the parser's.
    let line = &ended.errors[0];
    assert!(line.starts_with(&format!("pants-echo: {}:2:10: syntax: ", file.path())), "{line}");
    assert!(line.ends_with(", in `shards =`"), "{line}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let path = scratch("missing.toml");
    let path = path.to_str().unwrap();
    let line = format!("{path}: cannot be read: No such file or directory");
    assert_refused(&["--config", path], &line);
    let by_variable = run_with(&[], &[("PANTS_CONFIG", path)]);
    assert_eq!((by_variable.code, by_variable.errors), (Some(2), vec![format!("pants-echo: {line}")]));
}

#[test]
fn every_problem_has_a_line_of_its_own() {
    let file = ScratchFile::new("several.toml", "[runtime]\npins = true\n[listener]\nbacklog = \"many\"\n");
    let ended = run_with(&["--config", file.path(), "--shards", "0"], &[("PANTS_IDLE_TIMEOUT", "5")]);
    assert_eq!(ended.code, Some(2));
    let path = file.path();
    let mut expected = [
        format!("pants-echo: {path}:2:1: runtime.pins: unknown key; did you mean \"pin\"?"),
        format!("pants-echo: {path}:4:11: listener.backlog: expected an integer, found \"many\""),
        "pants-echo: --shards: must be at least 1 or \"auto\", not 0".to_owned(),
        "pants-echo: PANTS_IDLE_TIMEOUT: expected a duration such as \"30s\" or \"off\", found \"5\"".to_owned(),
    ];
    let mut errors = ended.errors;
    errors.sort();
    expected.sort();
    assert_eq!(errors, expected);
}

#[test]
fn an_address_that_is_none_is_refused() {
    let ended = run(&["--listen", "127.0.0.1:http"]);
    assert_eq!((ended.code, ended.errors.len()), (Some(2), 1));
    assert!(ended.errors[0].starts_with("pants-echo: --listen: address \"127.0.0.1:http\""), "{ended:?}");
}

#[test]
fn a_port_in_use_is_refused_with_what_to_do() {
    let other = TcpListener::bind(ANY_PORT).unwrap();
    let address = other.local_addr().unwrap().to_string();
    let line = format!(
        "shard-0: cannot listen on {address}: another program listens there; stop it, choose another port, or set \
         share_port in both"
    );
    for shards in ["1", "2"] {
        assert_refused(&["--listen", &address, "--shards", shards], &line);
    }
}

#[test]
fn a_port_of_another_pants_echo_is_refused_unless_both_share_it() {
    let first = Server::start(&["--shards", "2"]);
    let address = first.address.to_string();
    let ended = run(&["--listen", &address, "--shards", "2"]);
    assert_eq!((ended.code, ended.output.len(), ended.errors.len()), (Some(2), 0, 1));
    let second = Server::start_as(command(PANTS_ECHO).args(["--listen", &address, "--shards", "2", "--share-port"]));
    assert_eq!(second.address, first.address);
}

#[test]
fn an_unknown_flag_is_refused() {
    let ended = run(&["--shard", "2"]);
    assert_eq!((ended.code, ended.output.len()), (Some(2), 0));
    assert!(ended.errors[0].contains("--shard"), "{ended:?}");
}

#[test]
fn an_unknown_level_of_the_log_is_refused() {
    let ended = run_with(&["--listen", ANY_PORT], &[("PANTS_LOG", "loud")]);
    let line = "pants-echo: PANTS_LOG: must be off, error, warn, info, debug or trace, not \"loud\"";
    assert_eq!((ended.code, ended.errors), (Some(2), vec![line.to_owned()]));
}
