//! What the kernel allows of connections on either side: what is surely too little before a run begins, and what was too
//! little in one, with the command that lifts it.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::count::failure::{Count, Failures, Kind};
use crate::descriptors;
use crate::environment::Environment;
use crate::plan::Plan;
use crate::proc;
use crate::sources::{self, Taken};
use crate::units;

/// A connection that met a full queue is made no sooner than this: when the kernel asks again (`TCP_TIMEOUT_INIT` of the
/// kernel's `include/net/tcp.h`, after RFC 6298), less its tick.
const SYN_AGAIN: Duration = Duration::from_millis(990);

/// From this many connections on the kernel's table is read for the ports that are taken.
const MANY: usize = 1_000;

/// Makes room for the connections of a plan: raises the descriptor limit, and chooses source addresses where more than one is
/// needed and the machine has them. Returns what to tell the user, if there is something.
///
/// # Errors
///
/// If the connections cannot be had: which limit is too low, and the command that lifts it.
pub fn make_room(plan: &mut Plan, shards: usize) -> Result<Option<String>, String> {
    descriptors::make_room(plan.connections + plan.idle, shards)?;
    let connections = plan.connections + plan.idle;
    let Some(target) = plan.target.address().socket_address().filter(|_| !plan.target.is_datagram()) else {
        let source = plan.sources.addresses().first();
        return source.map_or(Ok(None), |source| Err(format!("--source {source} is of use for TCP alone")));
    };
    let range = read("/proc/sys/net/ipv4/ip_local_port_range").and_then(|text| proc::parse_port_range(&text));
    let Some(ports) = range.and_then(|(first, last)| last.checked_sub(first)).map(|steps| usize::from(steps) + 1)
    else {
        return Ok(None);
    };
    sources::check(&plan.sources, target, connections, ports)?;
    plan.sources.addresses().iter().try_for_each(|source| find(*source))?;
    if !plan.sources.is_empty() || connections < MANY {
        return Ok(None);
    }
    plan.sources = sources::choose(target, connections, ports, &taken(target));
    Ok((!plan.sources.is_empty()).then(|| {
        let connections = units::count(connections as u64);
        format!("{connections} connections come from {}, since one would have few ports left", plan.sources)
    }))
}

/// Looks whether an address is this machine's.
fn find(source: IpAddr) -> Result<(), String> {
    // The scope of a link-local one is known when it connects.
    if matches!(source, IpAddr::V6(ip) if ip.is_unicast_link_local()) {
        return Ok(());
    }
    UdpSocket::bind((source, 0)).map(drop).map_err(|error| {
        format!("--source {source}: {error}: give this machine the address with `ip address add {source} dev DEVICE`")
    })
}

fn taken(target: SocketAddr) -> Taken {
    let file = if target.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    read(file).map(|table| sources::parse_taken(&table, target)).unwrap_or_default()
}

fn read(file: &str) -> Option<String> {
    fs::read_to_string(file).ok()
}

/// How the connections of a run were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Making {
    /// How long the slowest took.
    pub slowest: Duration,
    /// How often a queue of connections to accept was full on this machine meanwhile, whoever's it was.
    pub overflows: u64,
}

/// How often a connection has met a server on this machine whose queue of connections to accept was full, since it was started.
pub fn overflows() -> u64 {
    read("/proc/net/netstat").and_then(|text| parse_overflows(&text)).unwrap_or_default()
}

/// Which limits a run has met, and how each is lifted: a sentence for each.
pub fn met(plan: &Plan, environment: &Environment, failures: &Failures, making: Making) -> Vec<String> {
    let met = [
        out_of_descriptors(plan, environment, &failures.of(Kind::Descriptors)),
        out_of_ports(plan, failures),
        out_of_memory(&failures.of(Kind::Other)),
        queue_full(environment, making, &failures.of(Kind::Timeout)),
    ];
    met.into_iter().flatten().collect()
}

fn out_of_descriptors(plan: &Plan, environment: &Environment, lacking: &Count) -> Option<String> {
    if lacking.connections == 0 {
        return None;
    }
    // ENFILE, where EMFILE is the process's own (socket(2)).
    if lacking.first.as_ref().is_some_and(|first| first.contains("os error 23)")) {
        return Some(
            "this machine has as many files open as it may: `sysctl fs.file-nr` shows it, and `sysctl -w fs.file-max=N` \
             raises it"
                .to_owned(),
        );
    }
    let has = environment.descriptors_hard.map_or_else(|| "all".to_owned(), units::count);
    let needed = 2 * plan.connections as u64;
    Some(format!(
        "pants-load had {has} descriptors open, which is its limit: raise that as root with `ulimit -n {needed}` (behind \
         `sysctl -w fs.nr_open={needed}` if it is refused), or share the connections among several and merge what they find"
    ))
}

fn queue_full(environment: &Environment, making: Making, timeouts: &Count) -> Option<String> {
    let longer = environment.somaxconn.map_or(65_536, |longest| 2 * longest);
    let lift = format!("give it a longer backlog, and `sysctl -w net.core.somaxconn={longer}`");
    // Those that fail in the midst of a conversation fail with a message.
    let failed = timeouts.connections > timeouts.messages;
    // Others may have filled a queue, too; this run has met a full one only if it shows.
    if making.overflows > 0 && (failed || making.slowest >= SYN_AGAIN) {
        return Some(format!(
            "{} times a connection met a server on this machine whose accept queue was full, and had to wait for a second or \
             longer: {lift}",
            units::count(making.overflows),
        ));
    }
    failed.then(|| {
        format!(
            "connections were not made in time: the server may not accept as fast as they come, which `nstat -az \
             TcpExtListenOverflows` shows there; {lift}; or a firewall drops them"
        )
    })
}

fn out_of_ports(plan: &Plan, failures: &Failures) -> Option<String> {
    let target = plan.target.address().socket_address()?;
    (failures.of(Kind::Ports).connections > 0).then(|| {
        let from = if plan.sources.is_empty() { "this machine".to_owned() } else { plan.sources.to_string() };
        format!("all ports from {from} to {target} are taken: use more addresses, {}", sources::ways_out(target.ip()))
    })
}

fn out_of_memory(other: &Count) -> Option<String> {
    // ENOMEM and ENOBUFS (connect(2), socket(2)).
    let is_memory = |first: &String| first.contains("os error 12)") || first.contains("os error 105)");
    other.first.as_ref().is_some_and(is_memory).then(|| {
        "this machine's kernel has no memory left for sockets: `cat /proc/net/sockstat` shows what they have, and `sysctl -w \
         net.ipv4.tcp_mem='LOW PRESSURE HIGH'` raises what they may have, in pages"
            .to_owned()
    })
}

/// Reads from `/proc/net/netstat` how often a queue of connections that wait to be accepted was full: `ListenOverflows`.
fn parse_overflows(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_ascii_whitespace().position(|name| name == "ListenOverflows")?;
    values.split_ascii_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Extent;
    use crate::plan::tests::plan;

    fn environment() -> Environment {
        Environment { descriptors_hard: Some(20_000), somaxconn: Some(4_096), ..Environment::read() }
    }

    fn failed(kind: Kind, messages: u64, error: &str) -> Failures {
        let mut failures = Failures::default();
        failures.add(kind, messages, 3, || Some(error.to_owned()));
        failures
    }

    /// All were made at once.
    const AT_ONCE: Making = Making { slowest: Duration::from_millis(1), overflows: 0 };

    #[track_caller]
    fn assert_met(failures: &Failures, parts: &[&str]) {
        let met = met(&plan(20_000, Extent::Count(1)), &environment(), failures, AT_ONCE);
        assert_eq!(met.len(), 1, "{met:?}");
        assert!(parts.iter().all(|part| met[0].contains(part)) && met[0].lines().count() == 1, "{met:?}");
    }

    #[test]
    fn each_lack_is_told_with_the_side_and_the_command_that_lifts_it() {
        let ours = ["pants-load had 20,000", "`ulimit -n 40000`", "`sysctl -w fs.nr_open=40000`"];
        assert_met(&failed(Kind::Descriptors, 0, "Too many open files (os error 24)"), &ours);
        let machine = ["this machine", "fs.file-max"];
        assert_met(&failed(Kind::Descriptors, 0, "Too many open files in system (os error 23)"), &machine);
        let ports = ["all ports from this machine to 127.0.0.1:4040", "--source 127.0.0.2", "ip_local_port_range"];
        assert_met(&failed(Kind::Ports, 0, "Cannot assign requested address (os error 99)"), &ports);
        assert_met(
            &failed(Kind::Other, 0, "cannot connect: Cannot allocate memory (os error 12)"),
            &["net.ipv4.tcp_mem"],
        );
        assert_met(&failed(Kind::Timeout, 0, "timed out"), &["not made in time", "net.core.somaxconn=8192"]);
    }

    #[test]
    fn what_no_limit_explains_is_left_alone() {
        let plan = plan(20_000, Extent::Count(1));
        for failures in [
            Failures::default(),
            failed(Kind::Timeout, 3, "no reply"),
            failed(Kind::Refused, 0, "Connection refused (os error 111)"),
            failed(Kind::Other, 0, "Operation not permitted (os error 1)"),
        ] {
            assert_eq!(met(&plan, &environment(), &failures, AT_ONCE), [""; 0]);
        }
    }

    #[test]
    fn a_full_queue_is_told_if_connections_had_to_wait() {
        let plan = plan(20_000, Extent::Count(1));
        let met = |making| met(&plan, &environment(), &Failures::default(), making);
        let told = met(Making { slowest: Duration::from_secs(1), overflows: 1_000 });
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("1,000 times a connection met") && told[0].contains("somaxconn=8192"), "{told:?}");
        assert_eq!(met(Making { overflows: 1_000, ..AT_ONCE }), [""; 0], "they were somebody else's");
        assert_eq!(met(Making { slowest: Duration::from_secs(1), overflows: 0 }), [""; 0]);
    }

    #[test]
    fn the_kernel_s_list_of_full_queues_is_understood() {
        let text = "TcpExt: A ListenOverflows B\nTcpExt: 1 17 3\nIpExt: ListenOverflows\nIpExt: 4\n";
        assert_eq!(parse_overflows(text), Some(17));
        assert_eq!(parse_overflows("TcpExt: A\nTcpExt: 1\n"), None);
    }

    #[test]
    fn more_connections_than_the_ports_of_this_machine_s_loopback_address_get_more_addresses() {
        let mut many = plan(60_000, Extent::Count(1));
        let Ok(note) = make_room(&mut many, 1) else {
            // The descriptor limit is too low for them, and that comes first.
            assert!(make_room(&mut many, 1).unwrap_err().contains("descriptors"));
            return;
        };
        assert!(note.is_some_and(|note| note.contains("127.0.0.1-127.0.0.")) && many.sources.addresses().len() > 1);
    }

    #[test]
    fn an_address_that_is_not_this_machine_s_is_told_before_the_run() {
        let mut plan = plan(1, Extent::Count(1));
        plan.sources = "127.0.0.5,192.0.2.1".parse().unwrap();
        let error = make_room(&mut plan, 1).unwrap_err();
        assert!(error.starts_with("--source 192.0.2.1: ") && error.contains("ip address add 192.0.2.1"), "{error}");
    }
}
