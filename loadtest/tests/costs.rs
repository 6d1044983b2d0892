//! What a message costs the generator, in instructions in user space: a count, not a timing, so that it can fail a test.

mod support;

use std::fs;
use std::process::{Command, Stdio};

use crate::support::outside::find_or_skip;
use crate::support::*;

/// The bound, in instructions per message of 64 bytes on 50 connections. Of these some 160 are the engine's.
const INSTRUCTIONS_MAX: f64 = 480.0;

/// How often they are counted at most: work of others on the machine makes turns short, which can only add to them.
const ATTEMPTS: usize = 3;

/// The messages of the two runs whose difference is counted, so that the start and the end of a run are not.
const FEW: u64 = 20_000;
const MANY: u64 = 120_000;

#[test]
fn a_message_of_a_closed_loop_costs_few_instructions() {
    if cfg!(debug_assertions) {
        println!("skipped: only an optimised build is counted; use --release");
        return;
    }
    let Some(valgrind) = find_or_skip("valgrind") else { return };
    let address = server(|stream| echo(stream, |_| ()));
    let count = |messages: u64| {
        let profile = ScratchFile::new();
        let target = format!("tcp://{address}");
        let mut command = Command::new(&valgrind);
        let profiles = format!("--callgrind-out-file={}", profile.path());
        command.args(["--tool=callgrind", "--separate-threads=yes", &profiles]);
        command.args([env!("CARGO_BIN_EXE_pants-load"), "run", &target, "--no-pin", "--connections", "50"]);
        command.args(["--warmup", "0s", "--count", &messages.to_string()]);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "{status}");
        of_the_shard(profile.path())
    };
    let mut least = f64::INFINITY;
    for _ in 0..ATTEMPTS {
        let each = (count(MANY) - count(FEW)) as f64 / (MANY - FEW) as f64;
        println!("{each:.1} instructions per message");
        least = least.min(each);
        if least <= INSTRUCTIONS_MAX {
            return;
        }
    }
    panic!("{least:.1} instructions per message, more than {INSTRUCTIONS_MAX}");
}

/// The instructions of the busiest thread, which is the shard, in the profiles that callgrind has written: one for each thread,
/// with its number behind the name. They are deleted.
fn of_the_shard(profiles: &str) -> u64 {
    let profiles = (1..).map(|thread| format!("{profiles}-{thread:02}")).map_while(|path| {
        let text = fs::read_to_string(&path).ok()?;
        fs::remove_file(&path).unwrap();
        Some(text)
    });
    let totals = profiles.map(|text| {
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).map(str::parse);
        total.expect("a profile has totals").expect("that is a number")
    });
    totals.max().expect("there is a profile")
}
