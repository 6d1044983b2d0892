//! The report for people: one screen of text.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use crate::count::failure::{Count, Kind};
use crate::report::Report;
use crate::report::outcome::{Outcome, ShardUse};
use crate::server::ServerUse;
use crate::units;

/// Shards that have a line of their own; of more the busiest is shown.
const SHARDS_SHOWN: usize = 4;

/// Warnings that are shown; a screen is not to be full of them.
const WARNINGS_SHOWN: usize = 2;

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { options, result, .. } = self;
        let (connections, depth) = (options.connections, options.depth);
        let size = &options.size;
        let verified = if options.verify { "every byte verified" } else { "not verified" };
        writeln!(f, "{}: closed loop, {connections} connections, {depth} in flight on each", options.target)?;
        writeln!(f, "messages of {size}, {verified}, seed {}", options.seed)?;
        if result.interrupted {
            writeln!(f, "interrupted: this is what was measured so far")?;
        }
        write_traffic(f, result, options.warmup_s)?;
        write_latency(f, result)?;
        write_failures(f, result)?;
        write_shards(f, &result.shards)?;
        if let Some(server) = &result.server {
            write_server(f, server)?;
        }
        self.invalid.iter().try_for_each(|reason| writeln!(f, "INVALID: {reason}"))?;
        self.warnings.iter().take(WARNINGS_SHOWN).try_for_each(|warning| writeln!(f, "warning: {warning}"))?;
        match self.warnings.len().saturating_sub(WARNINGS_SHOWN) {
            0 => Ok(()),
            more => writeln!(f, "warning: and {more} more, which --json has"),
        }
    }
}

fn write_traffic(f: &mut Formatter<'_>, result: &Outcome, warmup_s: f64) -> fmt::Result {
    let warmup = match Duration::try_from_secs_f64(warmup_s) {
        Ok(warmup) if !warmup.is_zero() => {
            format!(", after {} of warm-up, discarded", units::exact_duration(warmup))
        }
        _ => String::new(),
    };
    let total = &result.total;
    writeln!(f, "  measured   {:.2} s{warmup}", result.elapsed_s)?;
    let (messages, rate) = (units::count(result.messages), units::count(result.messages_per_s.round() as u64));
    writeln!(f, "  messages   {messages}, {rate}/s, {}/s each way", units::bytes(result.bytes_out_per_s as u64))?;
    write!(f, "  in all     {} sent, {} back", units::count(total.sent), units::count(total.replied))?;
    writeln!(f, "; {} B out, {} B in", units::count(total.bytes_out), units::count(total.bytes_in))?;
    match total.unfinished {
        0 => Ok(()),
        unfinished => writeln!(f, "  unfinished {} messages were in flight at the end", units::count(unfinished)),
    }
}

fn write_latency(f: &mut Formatter<'_>, result: &Outcome) -> fmt::Result {
    let latency = &result.response;
    if latency.count == 0 {
        return writeln!(f, "  latency    no message came back in the measured time");
    }
    let show = units::latency;
    let (p50, p90, p99) = (show(latency.p50_ns), show(latency.p90_ns), show(latency.p99_ns));
    writeln!(f, "  latency    p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {}", show(latency.p99_9_ns))?;
    writeln!(f, "             max {}, mean {}", show(latency.max_ns), show(latency.mean_ns as u64))
}

fn write_failures(f: &mut Formatter<'_>, result: &Outcome) -> fmt::Result {
    let failures = &result.failures;
    if failures.is_empty() {
        return writeln!(f, "  failed     none");
    }
    for kind in Kind::ALL {
        let count = failures.of(kind);
        if count == Count::default() {
            continue;
        }
        write!(f, "  failed     {}: {} messages", kind.name(), units::count(count.messages))?;
        match kind {
            Kind::Corrupt => write!(f, ", {} wrong bytes", units::count(failures.wrong_bytes))?,
            _ => write!(f, ", {} connections", units::count(count.connections))?,
        }
        match &count.first {
            Some(first) => writeln!(f, "; the first: {first}")?,
            None => writeln!(f)?,
        }
    }
    Ok(())
}

fn write_shards(f: &mut Formatter<'_>, shards: &[ShardUse]) -> fmt::Result {
    for shard in shards.iter().take(SHARDS_SHOWN) {
        writeln!(f, "  generator  {}", describe(shard))?;
    }
    let busiest = shards.iter().skip(SHARDS_SHOWN).max_by(|a, b| a.cpu_share.total_cmp(&b.cpu_share));
    match busiest {
        Some(busiest) => {
            writeln!(f, "             and {} more, busiest {}", shards.len() - SHARDS_SHOWN, describe(busiest))
        }
        None => Ok(()),
    }
}

fn describe(shard: &ShardUse) -> String {
    let place = shard.cpu.map_or_else(|| "not pinned".to_owned(), |cpu| format!("on CPU {cpu}"));
    format!("shard-{} {place}: {:.0} % busy", shard.shard, shard.cpu_share * 100.0)
}

fn write_server(f: &mut Formatter<'_>, server: &ServerUse) -> fmt::Result {
    let ServerUse { pid, cpu_seconds, busiest_thread, busiest_share, ran_on, .. } = server;
    let each = server.cpu_ns_per_message.map(|nanos| format!(", {} a message", units::latency(nanos as u64)));
    writeln!(f, "  server     process {pid}: {cpu_seconds:.2} s of CPU time{}", each.unwrap_or_default())?;
    if busiest_thread.is_empty() {
        return Ok(());
    }
    writeln!(
        f,
        "             busiest thread {busiest_thread}: {:.0} % busy; ran on CPU {ran_on}",
        busiest_share * 100.0
    )
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::count::tally::{Tally, Usage};
    use crate::cpus::Cpus;
    use crate::environment::Environment;
    use crate::load::control;
    use crate::plan::{Extent, tests::plan};
    use crate::run::Measured;

    /// The report of a run in which much has gone wrong.
    fn worst() -> Report {
        let second = Duration::from_secs(1);
        let mut tally = Tally { sent: 10, replied: 5, ..Tally::default() };
        tally.response.record(Duration::from_millis(3));
        for kind in [Kind::Refused, Kind::Reset, Kind::Timeout, Kind::Corrupt, Kind::Other] {
            tally.failures.add(kind, 1, 1, || Some("no buffer space".to_owned()));
        }
        let config = pants_shard::Config::builder().shards("9".parse().unwrap()).build().unwrap();
        let shards = (0..9).map(|shard| {
            let usage = Usage { busy: second, elapsed: second };
            control::Outcome { shard, tally: Tally::default(), usage, ended: std::time::Instant::now() }
        });
        let measured = Measured {
            tally,
            started: SystemTime::now(),
            elapsed: second,
            intervals: Vec::new(),
            shards: shards.collect(),
            placement: config.placement().clone(),
            server: None,
            disturbance: None,
            interrupted: true,
        };
        let mut report = Report::new(&plan(50, Extent::Time(second)), measured, Environment::read());
        let cpus: Cpus = [0].into_iter().collect();
        report.result.server = Some(ServerUse {
            pid: 1,
            cpu_seconds: 1.0,
            cpu_ns_per_message: Some(1.0),
            busiest_thread: "shard-0".to_owned(),
            busiest_share: 0.1,
            ran_on: cpus.clone(),
            allowed: cpus,
            ..ServerUse::default()
        });
        report.warnings.push("a second one".to_owned());
        report
    }

    #[test]
    fn the_longest_summary_fits_a_screen() {
        let text = worst().to_string();
        assert!(text.lines().count() <= 24, "{text}");
        assert!(text.contains("closed loop") && text.contains("no buffer space"), "{text}");
        assert!(text.contains("and 5 more, busiest shard-"), "{text}");
        assert!(text.contains("refused: 1 messages"), "{text}");
    }
}
