//! What went wrong once: results that were lost, processes that panicked, and statements that were not true.

mod support;

use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::support::*;

/// The flags of a run that takes no time.
const SHORT: [&str; 5] = ["--no-pin", "--connections", "2", "--count", "40"];

fn echo_target() -> String {
    format!("tcp://{}", server(|stream| echo(stream, |_| ())))
}

fn run_with(target: &str, flags: &[&str]) -> Ended {
    run(&["run", target].into_iter().chain(SHORT).chain(flags.iter().copied()).collect::<Vec<_>>())
}

/// Checks that it ended with status 2 and this one line.
fn assert_refused(ended: &Ended, part: &str) {
    assert_eq!((ended.code, ended.errors.len()), (Some(2), 1), "{ended:?}");
    assert!(ended.errors[0].contains(part), "{ended:?}");
}

#[test]
fn a_run_that_does_not_start_leaves_the_results_of_the_last_one() {
    let file = ScratchFile::new();
    fs::write(file.path(), "the last one").unwrap();
    let ended = run_with(&echo_target(), &["--json", file.path(), "--server-pid", "4294967295"]);
    assert_refused(&ended, "no process");
    assert_eq!(fs::read_to_string(file.path()).unwrap(), "the last one");
}

#[test]
fn a_shorter_result_leaves_nothing_of_a_longer_one() {
    let file = ScratchFile::new();
    fs::write(file.path(), "#".repeat(1 << 20)).unwrap();
    assert_eq!(run_with(&echo_target(), &["--csv", file.path()]).code, Some(0));
    assert!(!fs::read_to_string(file.path()).unwrap().contains('#'));
}

#[test]
fn one_file_by_two_names_is_still_one_file() {
    let (file, link) = (ScratchFile::new(), ScratchFile::new());
    fs::write(file.path(), "").unwrap();
    std::os::unix::fs::symlink(file.path(), link.path()).unwrap();
    let ended = run_with("tcp://127.0.0.1:1", &["--json", file.path(), "--html", link.path()]);
    assert_refused(&ended, "two results cannot go to one file");
}

#[test]
fn a_file_that_is_read_is_never_written_to() {
    let (one, other, target) = (ScratchFile::new(), ScratchFile::new(), echo_target());
    for (file, seed) in [(&one, "1"), (&other, "2")] {
        assert_eq!(run_with(&target, &["--json", file.path(), "--seed", seed]).code, Some(0));
    }
    let before = fs::read(other.path()).unwrap();
    for command in ["merge", "compare"] {
        let ended = run(&[command, one.path(), other.path(), "--json", other.path()]);
        assert_refused(&ended, "is a file that is read");
        assert_eq!(fs::read(other.path()).unwrap(), before, "{command}");
    }
}

#[test]
fn one_result_twice_is_neither_merged_nor_compared() {
    let file = ScratchFile::new();
    assert_eq!(run_with(&echo_target(), &["--json", file.path()]).code, Some(0));
    assert_refused(&run(&["merge", file.path(), file.path()]), "one result twice");
    assert_refused(&run(&["compare", file.path(), file.path()]), "the same runs");
}

#[test]
fn who_reads_only_the_first_line_of_standard_error_does_not_end_the_run() {
    let target = echo_target();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pants-load"));
    command.args(["run", &target, "--no-pin", "--connections", "2", "--duration", "1200ms", "--warmup", "0s"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(writer);
    let mut child = command.spawn().unwrap();
    drop(command);
    drop(reader);
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(output.contains("failed     none"), "{output}");
}

#[test]
fn a_summary_that_cannot_be_written_is_told() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pants-load"));
    command.args(["run", &echo_target()]).args(SHORT).stdin(Stdio::null());
    let ended = command.stdout(File::create("/dev/full").unwrap()).stderr(Stdio::piped()).output().unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{errors}");
    assert!(errors.contains("standard output: No space left"), "{errors}");
}

#[test]
fn a_port_that_refuses_everybody_is_told_in_one_line() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ended = run_with(&format!("tcp://{address}"), &[]);
    assert_refused(&ended, "Connection refused");
    assert_eq!(ended.output, "");
}

#[test]
fn a_search_needs_a_connection_for_each_shard() {
    let flags = ["--slo", "p99<1s", "--connections", "1", "--shards", "2", "--no-pin"];
    let ended = run(&["search", &echo_target()].into_iter().chain(flags).collect::<Vec<_>>());
    assert_refused(&ended, "2 shards have 1 --connections");
}
