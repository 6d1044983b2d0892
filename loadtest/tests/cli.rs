//! The program as its users see it: its arguments, what it shows meanwhile, its summary, its JSON and its end.

mod support;

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::*;

#[test]
fn help_names_every_flag_and_the_exit_statuses() {
    let ended = run(&["run", "--help"]);
    assert_eq!((ended.code, &ended.errors), (Some(0), &Vec::new()));
    for flag in [
        "--connections",
        "--size",
        "--protocol",
        "--path",
        "--header",
        "--send-hex",
        "--expect-delimiter",
        "--depth",
        "--duration",
        "--count",
        "--warmup",
        "--shards",
        "--cpus",
        "--no-pin",
        "--seed",
        "--timeout",
        "--no-verify",
        "--json",
        "--csv",
        "--hgrm",
        "--html",
        "--server-pid",
        "--server-cmd",
        "--server-wait",
        "--server-syscalls",
        "Exit status",
    ] {
        assert!(ended.output.contains(flag), "{flag} is not in\n{}", ended.output);
    }
    assert_eq!(run(&["--version"]).output, format!("pants-load {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn bad_arguments_are_told_in_one_line_with_status_2() {
    let target = "tcp://127.0.0.1:4040";
    for (arguments, part) in [
        (&[][..], "pants-load"),
        (&["run"], "<TARGET>"),
        (&["run", "127.0.0.1:4040"], "write tcp://127.0.0.1:4040"),
        (&["run", "tcp://pants.invalid:80"], "cannot look up pants.invalid"),
        (
            &["run", target, "--protocol", "raw", "--send-file", "/nowhere", "--expect-length", "1"],
            "--send-file: /nowhere",
        ),
        (&["run", target, "--connections", "none"], "must be a number from 1"),
        (&["run", target, "--duration", "1s", "--count", "5"], "cannot be used with"),
        (&["run", target, "--size", "16MiB", "--depth", "9"], "in flight"),
        (&["run", target, "--cpus", "1023"], "--cpus: CPU 1023"),
        (&["run", target, "--server-pid", "4294967295"], "--server-pid: there is no process"),
        (&["run", target, "--json", "/nowhere/at/all"], "--json: /nowhere/at/all: No such file"),
    ] {
        let ended = run(arguments);
        assert_eq!((ended.code, ended.output.as_str()), (Some(2), ""), "{arguments:?}: {ended:?}");
        assert!(ended.errors.len() == 1 && ended.errors[0].contains(part), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn a_run_by_the_clock_shows_plain_lines_and_a_summary_of_one_screen() {
    let address = server(|stream| echo(stream, |_| ()));
    let pid = std::process::id();
    let flags = format!("--connections 2 --warmup 300ms --duration 1200ms --server-pid {pid}");
    let (ended, json) = load(address, &flags);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.errors.iter().all(|line| line.starts_with("pants-load: ") && !line.contains('\u{1b}')), "{ended:?}");
    assert!(ended.errors.iter().any(|line| line.contains("/s, 0 failed")), "{ended:?}");
    assert!(ended.output.lines().count() <= 24, "{}", ended.output);
    for part in
        ["closed loop", "after 300ms of warm-up, discarded", "p99.9", "failed     none", "not pinned", "a message"]
    {
        assert!(ended.output.contains(part), "{part} is not in\n{}", ended.output);
    }
    let result = &json["result"];
    assert!((result["elapsed_s"].as_f64().unwrap() - 1.2).abs() < 0.001, "{json}");
    let (measured, all) = (result["messages"].as_u64().unwrap(), result["total"]["replied"].as_u64().unwrap());
    assert!(0 < measured && measured < all, "the warm-up's messages are not measured: {json}");
    assert!(result["server"]["cpu_ns_per_message"].as_f64().unwrap() > 0.0, "{json}");
    // Neither is pinned, so that they may meet.
    assert!(ended.output.contains("may share CPU"), "{}", ended.output);
}

#[test]
fn the_json_has_its_version_the_environment_the_options_and_every_result() {
    let address = server(|stream| echo(stream, |_| ()));
    let (_, json) = load(address, "--connections 3 --count 30 --seed 5 --depth 2");
    assert_eq!((&json["options"]["model"], &json["options"]["seed"]), (&"closed".into(), &5.into()));
    for pointer in [
        "/environment/kernel",
        "/environment/cpus",
        "/environment/program",
        "/environment/cpu_model",
        "/environment/commit",
        "/options/target",
        "/options/connections",
        "/options/size",
        "/options/depth",
        "/options/count",
        "/options/duration_s",
        "/options/warmup_s",
        "/options/timeout_s",
        "/options/shards",
        "/options/verify",
        "/result/messages_per_s",
        "/result/bytes_out_per_s",
        "/result/response/p50_ns",
        "/result/response/p90_ns",
        "/result/response/p99_ns",
        "/result/response/p99_9_ns",
        "/result/response/max_ns",
        "/result/response/mean_ns",
        "/result/response/p99_99_ns",
        "/result/response/censored",
        "/result/response/histogram",
        "/result/service/count",
        "/result/lag",
        "/result/schedule",
        "/result/failures/kinds",
        "/result/started_unix_ns",
        "/result/intervals",
        "/invalid",
        "/result/total/bytes_in",
        "/result/shards/0/cpu_share",
        "/result/server",
        "/warnings",
    ] {
        assert!(json.pointer(pointer).is_some(), "{pointer} is not in {json}");
    }
}

#[test]
fn the_first_ctrl_c_reports_what_was_measured_so_far() {
    let address = server(|stream| echo(stream, |_| ()));
    let target = format!("tcp://{address}");
    let program =
        Program::start(&["run", &target, "--no-pin", "--connections", "2", "--warmup", "0s", "--duration", "60s"]);
    program.wait_for_error(" of 60.0 s");
    let asked = Instant::now();
    program.signal(Signal::INT);
    let ended = program.join();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.output.contains("interrupted") && ended.output.contains("p50"), "{}", ended.output);
    assert!(asked.elapsed() < Duration::from_secs(10), "it took {:?}", asked.elapsed());
}

#[test]
fn the_second_ctrl_c_ends_it_at_once() {
    let address = server(|stream| echo(stream, |_| ()));
    let program = Program::start(&["run", &format!("tcp://{address}"), "--duration", "20s"]);
    program.next_error();
    // Both come to a process that stands still, so that it cannot end of itself between them.
    for signal in [Signal::STOP, Signal::INT, Signal::TERM, Signal::CONT] {
        program.signal(signal);
    }
    let ended = program.join();
    // Which of the two is seen first is the kernel's choice.
    assert!(matches!(ended.code, Some(130 | 143)) && ended.output.is_empty(), "{ended:?}");
}

#[test]
fn a_run_whose_connections_are_not_yet_made_can_be_ended() {
    // Nobody accepts, and the kernel's queue of one is soon full: the rest of the connections wait.
    let listener =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&listener, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&listener, 1).unwrap();
    let listener = std::net::TcpListener::from(listener);
    let address = listener.local_addr().unwrap();
    let target = format!("tcp://{address}");
    let program = Program::start(&["run", &target, "--no-pin", "--timeout", "60s"]);
    assert!(program.next_error().contains("of 50 connections open"));
    program.signal(Signal::TERM);
    assert!(program.join().output.contains("no message came back"));
}
