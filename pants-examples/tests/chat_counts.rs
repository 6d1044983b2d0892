//! What it costs to say something to many: a `send` each, and little else. Counted by strace, of pants-chat on two shards.

mod support;

use crate::support::chat::*;
use crate::support::counts::*;
use crate::support::*;

const GUESTS: usize = 100;
const LINES: usize = 100;

/// The system calls of a chat of so many, in which so many lines are said: all, those that send, and those on other shards'
/// eventfds.
fn calls_for(lines: usize) -> [usize; 3] {
    let table = ScratchFile::new(&format!("chat-strace-{lines}.txt"), "");
    let arguments = ["-c", "-f", "-o", table.path(), PANTS_CHAT, "--no-pin"];
    let flags = ["--shards", "2", "--listen", ANY_PORT];
    let mut server = Server::start_as(command("strace").args(arguments).args(flags));
    server.pid = child_of(server.pid);
    let mut guests: Vec<Guest> = Vec::new();
    for _ in 0..GUESTS {
        let newcomer = Guest::connect(server.address);
        let told = format!("-- {} has come", newcomer.nick);
        guests.iter_mut().for_each(|guest| guest.wait_for(&told));
        guests.push(newcomer);
    }
    for line in 0..lines {
        let (speaker, text) = (line % GUESTS, format!("line {line}"));
        guests[speaker].send(&text);
        let said = format!("<{}> {text}", guests[speaker].nick);
        guests.iter_mut().for_each(|guest| assert_eq!(guest.next_said(), said));
    }
    // Without their own goodbyes, so that both runs end alike.
    server.stop();
    let table = table.text();
    let calls = calls(&table);
    let count = |name: &str| calls.get(name).copied().unwrap_or(0);
    println!("{lines} lines to {GUESTS}: {calls:?}");
    let all = calls.values().sum::<usize>() - count("total");
    [all, count("sendto") + count("sendmsg"), count("write")]
}

#[test]
fn a_line_costs_a_send_for_each_who_hears_it_and_a_few_calls_more() {
    if !has_tool("strace") {
        return;
    }
    let (few, many) = (calls_for(0), calls_for(LINES));
    let [all, sends, wakes] = [0, 1, 2].map(|index| many[index].saturating_sub(few[index]));
    // The two runs may differ by a few in how those who come are greeted.
    assert!(sends.abs_diff(LINES * GUESTS) <= LINES / 2, "{sends} sends of {LINES} lines to {GUESTS}");
    assert!(wakes <= LINES + LINES / 2, "{wakes} wakes for {LINES} lines to the other shard");
    // To receive it and to wake the other shard; and on each, to wait once or twice.
    assert!(all - sends <= 8 * LINES, "{} other calls for {LINES} lines", all - sends);
}
