//! What a message costs in counts: instructions and allocations by callgrind, system calls by strace.
//!
//! A count is a difference: the same server is started twice, is sent fewer messages and more, and what the second has done
//! beyond the first belongs to the messages alone.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::builds::CLIENT;
use crate::client::Client;
use crate::contestant::{Contestant, Poller, Program};
use crate::point::{Point, Work};
use crate::process::Line;
use crate::record::{Count, Record};
use crate::rounds::{self, Cpus};
use crate::server::{Server, Setting};

/// Messages of the two counts.
const FEW: u64 = 4_000;
const MANY: u64 = 24_000;

/// What gives memory, of the C library.
const ALLOCATORS: [&str; 5] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];

/// What one count has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Totals {
    messages: u64,
    counts: BTreeMap<String, u64>,
}

/// The names of what callgrind counts.
const INSTRUCTIONS: &str = "instructions";
const ALLOCATIONS: &str = "allocations";

/// Counts what a message of a point costs each contestant.
pub(crate) fn run(record: &mut Record, point: &Point, contestants: &[&Contestant], setting: Setting<'_>, cpus: Cpus) {
    let backend = match rounds::backend(point, setting, cpus) {
        Ok(backend) => backend,
        Err(error) => return record.fail("all", format!("{point}, counts"), error),
    };
    let setting = Setting { to: backend.as_ref().map(|backend| backend.address), ..setting };
    for contestant in contestants {
        let mut noted = |what: &str, counted: Result<BTreeMap<String, f64>, String>| match counted {
            Ok(each) => Some(each),
            Err(error) => {
                record.fail(contestant.name, format!("{point}, {what}"), error);
                None
            }
        };
        let calls = noted("system calls", count(contestant, point, setting, cpus, Tool::Strace));
        let costs = noted("instructions and allocations", count(contestant, point, setting, cpus, Tool::Callgrind));
        let of = |name: &str| Some(costs.as_ref()?.get(name).copied().unwrap_or(0.0));
        record.counts.push(Count {
            point: *point,
            contestant: contestant.name.to_owned(),
            instructions: of(INSTRUCTIONS),
            allocations: of(ALLOCATIONS),
            system_calls: calls.map(most_frequent_first),
        });
    }
}

/// What counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Callgrind,
    Strace,
}

impl Tool {
    fn program(self) -> &'static str {
        match self {
            Self::Callgrind => "valgrind",
            Self::Strace => "strace",
        }
    }

    /// A server's command line under this tool, which writes to `file`.
    fn line(self, line: Line, file: &Path) -> Line {
        match self {
            Self::Callgrind => {
                let mut out = OsString::from("--callgrind-out-file=");
                out.push(file);
                line.under(self.program(), vec!["--tool=callgrind".into(), "--dump-line=no".into(), out])
            }
            Self::Strace => line.under(self.program(), vec!["-c".into(), "-f".into(), "-o".into(), file.into()]),
        }
    }

    fn parse(self, text: &str) -> Result<BTreeMap<String, u64>, String> {
        match self {
            Self::Callgrind => parse_callgrind(text),
            Self::Strace => Ok(parse_strace(text)),
        }
    }
}

/// What a message costs: the difference of two counts, by name.
fn count(
    contestant: &Contestant,
    point: &Point,
    setting: Setting<'_>,
    cpus: Cpus,
    tool: Tool,
) -> Result<BTreeMap<String, f64>, String> {
    if let (Tool::Callgrind, Some(reason)) = (tool, cannot_run_under_callgrind(contestant)) {
        return Err(reason.to_owned());
    }
    let few = count_once(contestant, point, setting, cpus, tool, FEW)?;
    let many = count_once(contestant, point, setting, cpus, tool, MANY)?;
    difference(&few, &many).ok_or_else(|| "the longer count had no more messages than the shorter one".to_owned())
}

fn cannot_run_under_callgrind(contestant: &Contestant) -> Option<&'static str> {
    match (contestant.program, contestant.poller) {
        (Program::Nginx, _) => Some("its worker is a process of its own, into which callgrind does not follow"),
        (_, Poller::IoUring) => Some("valgrind does not hear that it is to end while a program waits in io_uring"),
        _ => None,
    }
}

fn count_once(
    contestant: &Contestant,
    point: &Point,
    setting: Setting<'_>,
    cpus: Cpus,
    tool: Tool,
    messages: u64,
) -> Result<Totals, String> {
    let file: PathBuf = setting.scratch.join("counts");
    // What is left of the last count must not be taken for this one's.
    let _ = std::fs::remove_file(&file);
    let mut server = Server::start_under(contestant, point, setting, |line| tool.line(line, &file))?;
    let program = setting.programs.path(CLIENT);
    let mut client = Client::connect(&program, point, server.address, cpus.client, setting.interrupted)?;
    // A broadcast's messages are what each connection gets: as many as there are connections, for each that is sent.
    let said = client.count(if point.work == Work::Broadcast { messages * 10 } else { messages })?;
    match tool {
        Tool::Callgrind => server.process.tell_to_end(),
        // strace takes the signal for itself, and would leave the server running.
        Tool::Strace => server.process.tell_child_to_end(),
    }
    // A server may wait for its clients to leave.
    drop(client);
    server.process.wait_for_end();
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    if text.is_empty() {
        return Err(format!("{} left no count", tool.program()));
    }
    Ok(Totals { messages: said.messages, counts: tool.parse(&text)? })
}

fn difference(few: &Totals, many: &Totals) -> Option<BTreeMap<String, f64>> {
    let messages = many.messages.checked_sub(few.messages).filter(|messages| *messages > 0)?;
    let each = many.counts.iter().map(|(name, count)| {
        let less = few.counts.get(name).copied().unwrap_or(0);
        (name.clone(), count.saturating_sub(less) as f64 / messages as f64)
    });
    Some(each.collect())
}

fn most_frequent_first(calls: BTreeMap<String, f64>) -> Vec<(String, f64)> {
    // What comes less often than once in a thousand messages is no cost of a message.
    let mut calls: Vec<_> = calls.into_iter().filter(|(_, each)| *each >= 0.001).collect();
    calls.sort_by(|one, other| other.1.total_cmp(&one.1));
    calls
}

/// The sum of instructions, and the calls of what gives memory, from callgrind's file ("Callgrind Format Specification" in
/// valgrind's manual): a function has a number, with its name where it comes first; the line after `cfn=` has the calls.
fn parse_callgrind(text: &str) -> Result<BTreeMap<String, u64>, String> {
    let mut instructions = None;
    let mut allocations = 0;
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    let mut called = "";
    for line in text.lines() {
        if let Some(function) = line.strip_prefix("fn=").or_else(|| line.strip_prefix("cfn=")) {
            let (number, name) = function.split_once(' ').unwrap_or((function, ""));
            let name = if name.is_empty() { names.get(number).copied().unwrap_or_default() } else { name };
            names.insert(number, name);
            if line.starts_with('c') {
                called = name;
            }
        } else if let Some(calls) = line.strip_prefix("calls=") {
            if ALLOCATORS.contains(&called) {
                allocations += calls.split(' ').next().and_then(|calls| calls.parse().ok()).unwrap_or(0);
            }
        } else if let Some(sum) = line.strip_prefix("summary: ").or_else(|| line.strip_prefix("totals: ")) {
            instructions = sum.trim().parse().ok().or(instructions);
        }
    }
    let instructions: u64 = instructions.ok_or("callgrind's file has no summary")?;
    Ok([(INSTRUCTIONS.to_owned(), instructions), (ALLOCATIONS.to_owned(), allocations)].into())
}

/// The calls by name, from strace's table: share, seconds, microseconds a call, calls, errors where there are any, and the name.
fn parse_strace(text: &str) -> BTreeMap<String, u64> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let is_call = cells.len() >= 5 && cells[0].parse::<f64>().is_ok() && cells[cells.len() - 1] != "total";
        is_call.then(|| Some((cells[cells.len() - 1].to_owned(), cells[3].parse().ok()?))).flatten()
    };
    text.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callgrinds_file_has_instructions_and_calls_of_the_allocator() {
        let text = "version: 1\nevents: Ir\nfn=(1) main\n0 10\ncfn=(2) malloc\ncalls=3 0\n0 90\ncfn=(3) free\ncalls=9 0\n0 5\n\
                    \nfn=(4) other\n0 7\ncfn=(2)\ncalls=4 0\n0 80\ncfn=(5) realloc\ncalls=1 0\n0 8\n\ntotals: 192\n";
        let counts = parse_callgrind(text).unwrap();
        assert_eq!((counts[INSTRUCTIONS], counts[ALLOCATIONS]), (192, 8));
        assert!(parse_callgrind("version: 1\n").is_err());
    }

    #[test]
    fn straces_table_has_calls_by_name_with_errors_or_without() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n \
                    62.50    0.100000           4     24050           sendto\n \
                    37.40    0.060000           2     24100        50 recvfrom\n\
                    100.00    0.160000           3     48150        50 total\n";
        let calls = parse_strace(text);
        assert_eq!(calls, [("recvfrom".to_owned(), 24_100), ("sendto".to_owned(), 24_050)].into());
    }

    #[test]
    fn what_both_counts_have_in_common_is_no_cost_of_a_message() {
        let totals = |messages, calls| Totals { messages, counts: [("recvfrom".to_owned(), calls)].into() };
        assert_eq!(difference(&totals(100, 150), &totals(300, 350)).unwrap()["recvfrom"], 1.0);
        assert_eq!(difference(&totals(100, 150), &totals(100, 150)), None);
    }

    #[test]
    fn the_most_frequent_call_comes_first_and_rare_ones_not_at_all() {
        let calls = [("a".to_owned(), 0.5), ("b".to_owned(), 1.0), ("c".to_owned(), 0.0001)];
        assert_eq!(most_frequent_first(calls.into()), [("b".to_owned(), 1.0), ("a".to_owned(), 0.5)]);
    }

    #[test]
    fn a_tool_runs_the_servers_own_command_line() {
        let line = Tool::Strace.line(Line::new("/server", ["echo"]), Path::new("/out"));
        assert_eq!(line, Line::new("strace", ["-c", "-f", "-o", "/out", "/server", "echo"]));
    }
}
