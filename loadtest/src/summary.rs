//! The report for people: one screen of text.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use crate::count::failure::{Count, Failures, Kind};
use crate::count::histogram::Distribution;
use crate::report::Report;
use crate::report::options::Options;
use crate::report::outcome::{Outcome, ShardUse};
use crate::server::ServerUse;
use crate::units;

/// Warnings that are shown; a screen is not to be full of them.
const WARNINGS_SHOWN: usize = 2;

/// Kinds of failures that have a line of their own, those with the most messages; the rest is summed up.
const KINDS_SHOWN: usize = 3;

/// How wide the text is where that is in its hands: the texts of users, servers and warnings may be wider.
const WIDTH: usize = 100;

/// The widest column of latencies, such as `≥ 12.3 ms`, and a space.
const COLUMN: usize = 11;

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { options, result, .. } = self;
        write_head(f, options, result)?;
        self.invalid.iter().try_for_each(|reason| writeln!(f, "INVALID: {reason}"))?;
        if result.response.count == 0 {
            // All its numbers would be zeros.
            let (made, asked) = (units::count(result.total.connections), units::count(options.connections as u64));
            writeln!(f, "  no message came back in the measured time; {made} of {asked} connections were made")?;
            write_failures(f, &result.failures)?;
        } else {
            write_traffic(f, result)?;
            write_latencies(f, options, result)?;
            write_failures(f, &result.failures)?;
            write_shards(f, &result.shards)?;
            result.server.as_ref().map_or(Ok(()), |server| write_server(f, server))?;
        }
        self.warnings.iter().take(WARNINGS_SHOWN).try_for_each(|warning| writeln!(f, "warning: {warning}"))?;
        match self.warnings.len().saturating_sub(WARNINGS_SHOWN) {
            0 => Ok(()),
            more => writeln!(f, "warning: and {more} more, which --json and --html have"),
        }
    }
}

/// Which loop it was, in a few words.
pub(crate) fn model(options: &Options) -> String {
    match (options.rate_per_s, &options.arrivals) {
        (Some(rate), Some(arrivals)) => {
            let arrivals = if arrivals == "poisson" { "Poisson" } else { arrivals };
            format!("open loop, {}/s, {arrivals} arrivals", units::count(rate.round() as u64))
        }
        _ => "closed loop".to_owned(),
    }
}

fn write_head(f: &mut Formatter<'_>, options: &Options, result: &Outcome) -> fmt::Result {
    let (connections, depth) = (units::count(options.connections as u64), options.depth);
    write!(f, "{}: {}; {connections} connections, {depth} in flight on each", options.target, model(options))?;
    match options.idle {
        0 => writeln!(f)?,
        idle => writeln!(f, ", {} idle", units::count(idle as u64))?,
    }
    let measured = if result.interrupted { "interrupted, measured" } else { "measured" };
    let warmup = match Duration::try_from_secs_f64(options.warmup_s) {
        Ok(warmup) if !warmup.is_zero() => format!(", after {} of warm-up, discarded", units::exact_duration(warmup)),
        _ => String::new(),
    };
    let said = what_is_said(options);
    let line = format!("{said}, seed {}; {measured} {:.2} s{warmup}", options.seed, result.elapsed_s);
    writeln!(f, "{}", shortened(line))
}

/// What the messages are, in a few words.
pub(crate) fn what_is_said(options: &Options) -> String {
    let Options { protocol, size, .. } = options;
    match protocol.as_str() {
        "echo" | "lines" => {
            let kind = if protocol == "lines" { "lines" } else { "messages" };
            // A size without a unit is in bytes.
            let size = if size.bytes().all(|byte| byte.is_ascii_digit()) { format!("{size} B") } else { size.clone() };
            let verified = if options.verify { "every byte verified" } else { "not verified" };
            format!("{kind} of {size}, {verified}")
        }
        _ => {
            // The first line of it, such as the request line of HTTP.
            let request = options.request.as_deref().unwrap_or_default();
            format!("{protocol}, {}", request.split("\\r").next().unwrap_or_default())
        }
    }
}

fn write_traffic(f: &mut Formatter<'_>, result: &Outcome) -> fmt::Result {
    let rate = units::count(result.messages_per_s.round() as u64);
    write!(f, "  rate       {rate}/s, {} messages", units::count(result.messages))?;
    if let Some(schedule) = result.schedule {
        let (sent, scheduled) = (units::count(schedule.sent), units::count(schedule.scheduled));
        write!(f, "; {sent} sent of {scheduled} scheduled")?;
    }
    writeln!(f)?;
    let (total, bytes) = (&result.total, |per_second: f64| units::bytes(per_second as u64));
    write!(f, "  traffic    {}/s out, {}/s in", bytes(result.bytes_out_per_s), bytes(result.bytes_in_per_s))?;
    write!(f, "; in all {} sent, {} back", units::count(total.sent), units::count(total.replied))?;
    match total.unfinished {
        0 => writeln!(f),
        unfinished => writeln!(f, ", {} in flight at the end", units::count(unfinished)),
    }
}

fn write_latencies(f: &mut Formatter<'_>, options: &Options, result: &Outcome) -> fmt::Result {
    write!(f, "  latency ")?;
    for name in ["p50", "p90", "p99", "p99.9", "p99.99", "max", "mean"] {
        write!(f, "{name:>COLUMN$}")?;
    }
    writeln!(f)?;
    write_distribution(f, "response", &result.response)?;
    // In a closed loop the two are the same.
    if options.rate_per_s.is_some() {
        write_distribution(f, "service", &result.service)?;
    }
    if let Some(lag) = &result.lag {
        write_distribution(f, "lag", lag)?;
    }
    if result.total.connections > options.connections as u64 {
        write_distribution(f, "connect", &result.connect)?;
    }
    match result.response.censored {
        0 => Ok(()),
        censored => writeln!(f, "  given up   {}, which count as at least (≥) so long", units::count(censored)),
    }
}

fn write_distribution(f: &mut Formatter<'_>, name: &str, found: &Distribution) -> fmt::Result {
    write!(f, "  {name:<8}")?;
    let quantiles = [
        (0.5, found.p50_ns),
        (0.9, found.p90_ns),
        (0.99, found.p99_ns),
        (0.999, found.p99_9_ns),
        (0.9999, found.p99_99_ns),
        (1.0, found.max_ns),
    ];
    for (quantile, nanos) in quantiles {
        write!(f, "{:>COLUMN$}", at_least(found.is_at_least(quantile), nanos))?;
    }
    writeln!(f, "{:>COLUMN$}", at_least(found.censored > 0, found.mean_ns as u64))
}

fn at_least(is_at_least: bool, nanos: u64) -> String {
    format!("{}{}", if is_at_least { "≥ " } else { "" }, units::latency(nanos))
}

fn write_failures(f: &mut Formatter<'_>, failures: &Failures) -> fmt::Result {
    if failures.is_empty() {
        return writeln!(f, "  failed     none");
    }
    let mut kinds: Vec<(Kind, &Count)> = failures.kinds.iter().map(|(kind, count)| (*kind, count)).collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(count.messages.max(count.connections)));
    let (shown, rest) = kinds.split_at(kinds.len().min(KINDS_SHOWN));
    for (place, (kind, count)) in shown.iter().enumerate() {
        let mut line = format!("  failed     {}: {} messages", kind.name(), units::count(count.messages));
        line += &match kind {
            Kind::Corrupt => format!(", {} wrong bytes", units::count(failures.wrong_bytes)),
            _ => format!(", {} connections", units::count(count.connections)),
        };
        let first = count.first.as_ref().map(|first| format!("the first: {first}")).unwrap_or_default();
        // That of the most frequent kind has a line of its own if it needs one.
        if place == 0 && line.chars().count() + first.chars().count() > WIDTH {
            writeln!(f, "{line}\n{}", shortened(format!("             {first}")))?;
            continue;
        }
        if !first.is_empty() {
            line += &format!("; {first}");
        }
        writeln!(f, "{}", shortened(line))?;
    }
    if rest.is_empty() {
        return Ok(());
    }
    let messages = units::count(rest.iter().map(|(_, count)| count.messages).sum());
    let names: Vec<&str> = rest.iter().map(|(kind, _)| kind.name()).collect();
    writeln!(f, "{}", shortened(format!("             and {messages} messages: {}", names.join(", "))))
}

/// Cut to the width. What comes from a server could be of any length, and move the cursor.
fn shortened(line: String) -> String {
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= WIDTH { line } else { line.chars().take(WIDTH - 1).chain(['…']).collect() }
}

fn write_shards(f: &mut Formatter<'_>, shards: &[ShardUse]) -> fmt::Result {
    match shards.iter().max_by(|a, b| a.cpu_share.total_cmp(&b.cpu_share)) {
        Some(only) if shards.len() == 1 => writeln!(f, "  generator  {}", describe(only)),
        Some(busiest) => writeln!(f, "  generator  {} shards, the busiest {}", shards.len(), describe(busiest)),
        None => Ok(()),
    }
}

fn describe(shard: &ShardUse) -> String {
    let place = shard.cpu.map_or_else(|| "not pinned".to_owned(), |cpu| format!("on CPU {cpu}"));
    format!("shard-{} {place}: {:.0} % busy", shard.shard, shard.cpu_share * 100.0)
}

fn write_server(f: &mut Formatter<'_>, server: &ServerUse) -> fmt::Result {
    write!(f, "  server     process {}: {:.2} s of CPU time", server.pid, server.cpu_seconds)?;
    if let Some(nanos) = server.cpu_ns_per_message {
        write!(f, ", {} a message", units::latency(nanos as u64))?;
    }
    if let Some(calls) = server.syscalls.as_ref().and_then(|syscalls| syscalls.per_message) {
        write!(f, ", {calls:.2} system calls a message")?;
    }
    writeln!(f)?;
    if let Some(missing) = &server.syscalls_missing {
        writeln!(f, "             its system calls were not counted: {missing}")?;
    }
    if !server.busiest_thread.is_empty() {
        let (thread, share, ran_on) = (&server.busiest_thread, server.busiest_share * 100.0, &server.ran_on);
        writeln!(f, "             busiest thread {thread}: {share:.0} % busy; ran on CPU {ran_on}")?;
    }
    let resident = &server.resident;
    write!(f, "             {} resident at the end", units::bytes(resident.end_bytes))?;
    write!(f, ", {} at most", units::bytes(resident.peak_bytes))?;
    if let Some(each) = server.resident_bytes_per_connection {
        write!(f, ", {} a connection", units::bytes(each as u64))?;
    }
    writeln!(f, "; {} descriptors", units::count(server.descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::histogram::Latencies;
    use crate::report::sample::{open_report, report};

    /// The lines of a screen that a summary may fill, and their width.
    const SCREEN: (usize, usize) = (24, 100);

    /// A run in which everything that can has gone wrong.
    fn worst() -> Report {
        let mut report = open_report();
        for kind in Kind::ALL {
            let first = "message 1,204 of connection 3: byte 17 is 0x2f\nand should be 0xa1, ".repeat(3);
            report.result.failures.add(kind, 1, 1, || Some(first));
        }
        report.result.failures.add(Kind::Timeout, 11, 0, || None);
        let mut latencies = report.result.response.latencies().unwrap();
        (0..12).for_each(|_| latencies.record_censored_ns(5_000_000_000));
        report.result.response = latencies.distribution();
        report.result.shards = report.result.shards.iter().cycle().take(9).cloned().collect();
        report.result.interrupted = true;
        report.result.total.unfinished = 50;
        report.result.total.connections = 500;
        report.result.messages_per_s = 1_234_567.0;
        report.result.messages = 123_456_789;
        report.invalid.extend(["the schedule was not kept".to_owned(), "the generator was saturated".to_owned()]);
        report.warnings.extend(["a first warning".to_owned(), "a second warning".to_owned(), "a third".to_owned()]);
        report
    }

    #[test]
    fn the_longest_summary_fits_a_screen() {
        let text = worst().to_string();
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(text.lines().count() <= SCREEN.0 && widest <= Some(SCREEN.1), "{widest:?}\n{text}");
        for part in [
            "open loop, 1,000/s, Poisson arrivals",
            "interrupted",
            "INVALID: the schedule was not kept\n",
            "10,000 sent of 10,000 scheduled",
            "9 shards, the busiest shard-1",
            "failed     timeout: 12 messages",
            "…",
            &format!("and {} messages: ", Kind::ALL.len() - KINDS_SHOWN),
            "warning: and 1 more, ",
            "12.0 MiB resident",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn an_ordinary_run_in_a_closed_loop_has_one_line_of_latencies() {
        let report = report();
        let text = report.to_string();
        assert!(text.starts_with("tcp://127.0.0.1:4040: closed loop; 50 connections, 1 in flight on each\n"), "{text}");
        assert!(text.contains("  response  ") && !text.contains("  service") && !text.contains("  lag"), "{text}");
        assert!(text.contains("failed     none") && !text.contains("INVALID") && !text.contains('≥'), "{text}");
        assert!(text.lines().count() <= 11, "{text}");
    }

    #[test]
    fn what_was_given_up_is_told_as_at_least_so_long_where_it_is_reached() {
        let text = worst().to_string();
        let response = text.lines().find(|line| line.starts_with("  response")).unwrap();
        assert_eq!(response.matches('≥').count(), 4, "p99.9, p99.99, max and mean: {response}");
        assert!(text.contains("given up   12,"), "{text}");
        let service = text.lines().find(|line| line.starts_with("  service")).unwrap();
        assert!(!service.contains('≥'), "{service}");
    }

    #[test]
    fn a_run_with_nobody_there_is_no_page_of_zeros() {
        let mut report = report();
        report.result.response = Latencies::default().distribution();
        report.result.total.connections = 0;
        report.result.failures.add(Kind::Refused, 0, 50, || {
            Some("cannot connect to 127.0.0.1:40401: Connection refused (os error 111)".to_owned())
        });
        let text = report.to_string();
        assert!(text.contains("no message came back in the measured time; 0 of 50 connections were made"), "{text}");
        let refused = "failed     refused: 0 messages, 50 connections\n             the first: cannot connect to ";
        assert!(text.contains(refused) && text.contains("(os error 111)\n"), "{text}");
        assert_eq!(text.lines().count(), 5, "{text}");
    }
}
