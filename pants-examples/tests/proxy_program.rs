//! pants-proxy as a program: its timeouts, its log, its end, and what it says of settings.

mod support;

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::proxy::*;
use crate::support::*;

/// A proxy before an upstream of the test's own, and the first connection through it.
fn pair(arguments: &[&str]) -> (Proxy, Upstream, Socket, Socket) {
    let upstream = Upstream::tcp();
    let proxy = Proxy::start(&[&["--to", &upstream.address()], arguments].concat());
    let (client, server) = (proxy.connect(), upstream.accept());
    (proxy, upstream, client, server)
}

fn run_proxy(arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    Program::start(command(PANTS_PROXY).args(arguments).envs(variables.iter().copied())).join()
}

fn refused(line: &str) -> Ended {
    Ended { code: Some(2), output: Vec::new(), errors: vec![format!("pants-proxy: {line}")] }
}

#[test]
fn what_passes_on_one_side_keeps_both_alive_and_silence_ends_both() {
    const IDLE: Duration = Duration::from_secs(1);
    let (proxy, _upstream, mut client, mut server) = pair(&["--idle-timeout", "1s"]);
    let begun = Instant::now();
    let mut last = begun;
    while begun.elapsed() < 2 * IDLE {
        last = Instant::now();
        server.send(b"tick");
        client.assert_receives(b"tick");
        assert!(!client.has_come(IDLE / 20), "it ends while it is in use");
    }
    client.assert_receives_all(b"");
    server.assert_receives_all(b"");
    assert!(last.elapsed() >= IDLE, "it ended after {:?}", last.elapsed());
    drop((client, server));
    assert!(proxy.next_logged().ends_with(" by=proxy reason=\"idle timeout\""));
}

#[test]
fn a_pair_of_which_one_side_has_ended_waits_for_the_other_only_so_long() {
    let (proxy, upstream, client, mut server) = pair(&["--fin-timeout", "300ms"]);
    let begun = Instant::now();
    client.end();
    server.assert_receives_all(b"");
    let mut client = client;
    client.assert_receives_all(b"");
    assert!(begun.elapsed() >= Duration::from_millis(300), "it waited for {:?}", begun.elapsed());
    drop((client, server));
    assert!(proxy.next_logged().ends_with(" by=proxy reason=\"idle timeout\""));
    // One of which neither side has ended waits on.
    let (mut client, mut server) = (proxy.connect(), upstream.accept());
    assert!(!client.has_come(Duration::from_millis(600)));
    client.send(b"hello");
    server.assert_receives(b"hello");
}

#[test]
fn a_signal_lets_pairs_finish_and_accepts_nobody_new() {
    let (proxy, upstream, mut client, mut server) = pair(&["--shards", "2"]);
    client.send(b"question");
    server.assert_receives(b"question");
    proxy.signal(Signal::TERM);
    assert!(proxy.program.next_error().starts_with("pants-proxy: draining for at most 10s; a second signal"));
    let limit = Instant::now() + PATIENCE;
    // The listeners close a moment after the announcement.
    while std::net::TcpStream::connect(&proxy.address).is_ok() {
        assert!(Instant::now() < limit, "it still accepts");
    }
    drop(upstream);
    // Both directions go on, and end when the two sides want it.
    server.send(b"answer");
    client.assert_receives(b"answer");
    client.send(b"more");
    client.end();
    server.assert_receives_all(b"more");
    server.send(b"last");
    server.end();
    client.assert_receives_all(b"last");
    let begun = Instant::now();
    let ended = proxy.program.join();
    assert_eq!(ended.code, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
    assert!(ended.output.last().unwrap().starts_with("drained: "), "{ended:?}");
}

#[test]
fn a_pair_that_does_not_finish_is_closed_at_the_deadline() {
    let file = ScratchFile::new("proxy-drain.toml", "[runtime]\ndrain_timeout = \"300ms\"\n");
    let (proxy, _upstream, mut client, mut server) = pair(&["--config", file.path()]);
    client.send(b"question");
    server.assert_receives(b"question");
    let begun = Instant::now();
    let ended = proxy.stop();
    assert_eq!(ended.code, Some(0));
    assert!(begun.elapsed() >= Duration::from_millis(300), "it ended before the deadline");
    assert!(ended.errors.iter().any(|line| line.ends_with(" by=proxy reason=\"engine stopped\"")), "{ended:?}");
    client.assert_receives_all(b"");
    server.assert_receives_all(b"");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (proxy, _upstream, client, server) = pair(&[]);
    proxy.signal(Signal::TERM);
    assert!(proxy.program.next_error().starts_with("pants-proxy: draining"));
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.program.join().code, Some(143));
    drop((client, server));
}

#[test]
fn each_connection_is_one_line_in_the_log() {
    let (proxy, upstream, mut client, mut server) = pair(&[]);
    let Socket::Tcp(stream) = &client else { unreachable!("it is TCP") };
    let address = stream.local_addr().unwrap();
    client.send(b"12345");
    client.end();
    server.assert_receives_all(b"12345");
    server.send(b"123");
    server.end();
    client.assert_receives_all(b"123");
    let line = proxy.next_logged();
    let begins = format!("client={address} upstream={} from_client=5 from_upstream=3 seconds=", upstream.address());
    assert!(line.starts_with(&begins), "{line}");
    assert!(line.ends_with(" attempts=1 by=client reason=finished"), "{line}");
    let rest = proxy.stop().errors;
    assert!(rest.iter().all(|line| !line.contains("client=")), "it is told twice: {rest:?}");
}

#[test]
fn the_log_can_be_kept_quiet() {
    for (flags, variables) in [(&["--quiet"][..], &[][..]), (&[], &[("PANTS_LOG", "warn")])] {
        let upstream = Upstream::tcp();
        let mut command = command(PANTS_PROXY);
        command.args(["--listen", ANY_PORT, "--shards", "1", "--to", &upstream.address()]).args(flags);
        let proxy = Proxy::start_as(command.envs(variables.iter().copied()));
        let (client, server) = (proxy.connect(), upstream.accept());
        drop((client, server));
        let ended = proxy.stop();
        assert!(ended.output.last().unwrap().starts_with("drained: 1 connection, "), "{ended:?}");
        assert!(ended.errors.iter().all(|line| !line.contains("client=")), "{ended:?}");
    }
}

#[test]
fn it_does_not_start_without_an_upstream_or_with_a_wrong_one() {
    let nowhere = "default: proxy.to: say where to pass connections on to, such as --to 127.0.0.1:8080";
    assert_eq!(run_proxy(&[], &[]), refused(nowhere));
    assert_eq!(run_proxy(&["--check"], &[]), refused(nowhere));
    assert_eq!(
        run_proxy(&[], &[("PANTS_TO", "here")]),
        refused("PANTS_TO: address \"here\": the port is missing; write \"here:4040\"")
    );
    assert_eq!(
        run_proxy(&["--to", "80", "--connect-timeout", "soon"], &[]),
        refused("--connect-timeout: expected a duration such as \"30s\" or \"off\", found \"soon\"")
    );
    assert_eq!(
        run_proxy(&["--to", "80", "--idle-timeout", "0s"], &[]),
        refused("--idle-timeout: must be 1ms to 3650d or \"off\", not \"0s\"")
    );
}

#[test]
fn check_and_print_config_show_and_start_nothing() {
    let ended = run_proxy(&["--check", "--listen", "1"], &[("PANTS_TO", "80")]);
    assert_eq!((ended.code, ended.output), (Some(0), vec!["the configuration is valid".to_owned()]));
    let ended = run_proxy(&["--print-config", "--to", "80", "--to", "@x", "--idle-timeout", "1s"], &[]);
    assert_eq!(ended.code, Some(0));
    for line in ["idle = \"1s\"  # --idle-timeout", "[proxy]", "to = \"80,@x\"  # --to", "connect = \"5s\"  # default"]
    {
        assert!(ended.output.iter().any(|printed| printed == line), "{line} is not in {:?}", ended.output);
    }
}

#[test]
fn help_names_every_flag_and_variable_of_its_own() {
    let help = run_proxy(&["--help"], &[]).output.join("\n");
    for word in [
        "--to <ADDR>",
        "--connect-timeout <TIME|off>",
        "--fin-timeout <TIME|off>",
        "--quiet",
        "--listen <ADDR>",
        "PANTS_TO",
        "PANTS_CONNECT_TIMEOUT",
        "PANTS_FIN_TIMEOUT",
        "Exit status: 0",
    ] {
        assert!(help.contains(word), "{word} is not in\n{help}");
    }
}
