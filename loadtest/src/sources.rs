//! The addresses that connections come from: how they are written, and how many of them have ports enough.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::units;

/// The most addresses that may be written: they have ports for more connections than a run may have.
const SOURCES_MAX: usize = 1_024;

/// The most addresses that are chosen where none are written: 127.0.0.1 to 127.0.0.254.
const CHOSEN_MAX: usize = 254;

/// An address that is chosen gives one in so many of its ports at most. The kernel tries every other port first, and a
/// connection that finds none of those free has looked at them all: 19,000 connections from one address take five times the
/// time of as many from two (`__inet_hash_connect` in the kernel's `net/ipv4/inet_hashtables.c`).
const QUICK: usize = 2;

/// Addresses as `--source` has them: single ones and ranges, with commas between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(Vec<IpAddr>);

/// How many ports of each local address connections to one place use now.
pub type Taken = HashMap<IpAddr, usize>;

impl Sources {
    /// The addresses, in the order in which they are used.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.0
    }

    /// Whether there is none: the kernel chooses.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<IpAddr>> for Sources {
    fn from(addresses: Vec<IpAddr>) -> Self {
        Self(addresses)
    }
}

impl FromStr for Sources {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected addresses such as 127.0.0.2-127.0.0.9,10.0.0.1, found {text:?}");
        let mut sources = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let address = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| wrong());
            let (first, last) = (address(first)?, address(last)?);
            let more = range_length(first, last).ok_or_else(wrong)?;
            if more > (SOURCES_MAX - sources.len()) as u128 {
                return Err(format!("more than {SOURCES_MAX} addresses are too many"));
            }
            sources.extend((0..more as usize).map(|step| after(first, step)));
        }
        Ok(Self(sources))
    }
}

/// As they are written, ranges put together.
impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_slice();
        while let Some(first) = rest.first() {
            let follows =
                |(step, address): &(usize, &IpAddr)| range_length(*first, **address) == Some(*step as u128 + 1);
            let length = rest.iter().enumerate().take_while(follows).count();
            let comma = if rest.len() == self.0.len() { "" } else { "," };
            match length {
                1 => write!(f, "{comma}{first}")?,
                _ => write!(f, "{comma}{first}-{}", rest[length - 1])?,
            }
            rest = &rest[length..];
        }
        Ok(())
    }
}

/// How many addresses there are from one to another of its family, both included; `None` if they are not in order.
fn range_length(first: IpAddr, last: IpAddr) -> Option<u128> {
    let distance = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => u128::from(last.to_bits().checked_sub(first.to_bits())?),
        (IpAddr::V6(first), IpAddr::V6(last)) => last.to_bits().checked_sub(first.to_bits())?,
        _ => return None,
    };
    Some(distance.saturating_add(1))
}

/// The address so many steps after another, which is not past the last of all.
fn after(first: IpAddr, step: usize) -> IpAddr {
    match first {
        IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits().wrapping_add(step as u32)).into(),
        IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits().wrapping_add(step as u128)).into(),
    }
}

/// Checks that these sources can have this many connections to `target`, each a port of its own, of which an address has
/// `ports`.
///
/// # Errors
///
/// That they cannot, whatever else is on the machine, and what to do.
pub fn check(sources: &Sources, target: SocketAddr, connections: usize, ports: usize) -> Result<(), String> {
    if let Some(other) = sources.0.iter().find(|source| source.is_ipv4() != target.is_ipv4()) {
        return Err(format!("--source {other} is not of the family of {}", target.ip()));
    }
    let (have, needed) = (sources.0.len().max(1), connections.div_ceil(ports));
    if have >= needed || is_ipv4_loopback(target) && sources.0.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} connections to {target} need {needed} source addresses, since each has {} ports: give them with --source, {}",
        units::count(connections as u64),
        units::count(ports as u64),
        ways_out(target.ip()),
    ))
}

/// The addresses of this machine from which `connections` reach a `target` that is on it too: none if the one that the kernel
/// takes has ports enough, or if there is nothing to choose from, since only those of 127.0.0.0/8 need not be set up.
pub fn choose(target: SocketAddr, connections: usize, ports: usize, taken: &Taken) -> Sources {
    if !is_ipv4_loopback(target) {
        return Sources::default();
    }
    let first = IpAddr::from(Ipv4Addr::LOCALHOST);
    let free = |source: &IpAddr| (ports / QUICK).saturating_sub(taken.get(source).copied().unwrap_or(0));
    for many in 1..=CHOSEN_MAX {
        let fits = |source: &IpAddr| free(source) >= connections.div_ceil(many);
        let fitting: Vec<IpAddr> = (0..CHOSEN_MAX).map(|step| after(first, step)).filter(fits).take(many).collect();
        if fitting.len() == many {
            return Sources(if fitting == [first] { Vec::new() } else { fitting });
        }
    }
    Sources::default()
}

fn is_ipv4_loopback(target: SocketAddr) -> bool {
    target.is_ipv4() && target.ip().is_loopback()
}

/// How more ports come about for a target.
pub fn ways_out(target: IpAddr) -> &'static str {
    match target {
        IpAddr::V4(ip) if ip.is_loopback() => {
            "such as --source 127.0.0.2-127.0.0.9, or `sysctl -w net.ipv4.ip_local_port_range='1024 65535'`"
        }
        IpAddr::V6(ip) if ip.is_loopback() => {
            "once `ip -6 address add fd00::2/128 dev lo` has made some, or use 127.0.0.1, or \
             `sysctl -w net.ipv4.ip_local_port_range='1024 65535'`"
        }
        _ => {
            "once `ip address add ADDRESS dev DEVICE` has made some, or \
             `sysctl -w net.ipv4.ip_local_port_range='1024 65535'`"
        }
    }
}

/// Reads from `/proc/net/tcp`, or `tcp6`, how many ports connections to `peer` use (proc_net(5)).
///
/// Those in TIME_WAIT are not counted: their ports are used again, over loopback at least (`net.ipv4.tcp_tw_reuse`).
pub fn parse_taken(text: &str, peer: SocketAddr) -> Taken {
    const TIME_WAIT: &str = "06";
    let peer = format!("{}:{:04X}", kernel_form(peer.ip()), peer.port());
    let mut taken = Taken::new();
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (Some(local), Some(remote), Some(state)) = (fields.next(), fields.next(), fields.next()) else { continue };
        if remote != peer || state == TIME_WAIT {
            continue;
        }
        if let Some(local) = local.split_once(':').and_then(|(ip, _)| from_kernel_form(ip)) {
            *taken.entry(local).or_default() += 1;
        }
    }
    taken
}

/// An address as the kernel's tables have it: words of four bytes, each as a number of this machine's byte order.
fn kernel_form(ip: IpAddr) -> String {
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let (words, _) = octets.as_chunks::<4>();
    words.iter().map(|word| format!("{:08X}", u32::from_ne_bytes(*word))).collect()
}

fn from_kernel_form(text: &str) -> Option<IpAddr> {
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let word = |word: &[u8; 8]| u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok().map(u32::to_ne_bytes);
    let octets = words.iter().map(word).collect::<Option<Vec<_>>>()?.concat();
    match octets.len() {
        _ if !rest.is_empty() => None,
        4 => Some(<[u8; 4]>::try_from(octets).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(octets).ok()?.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Those from 32768 to 60999.
    const PORTS: usize = 28_232;

    fn local() -> SocketAddr {
        "127.0.0.1:4040".parse().unwrap()
    }

    fn remote() -> SocketAddr {
        "192.0.2.1:80".parse().unwrap()
    }

    fn sources(text: &str) -> Sources {
        text.parse().unwrap()
    }

    #[test]
    fn lists_and_ranges_read_back_as_they_are_written() {
        for (text, count) in [
            ("127.0.0.2-127.0.0.9", 8),
            ("10.0.0.1,127.0.0.2-127.0.0.3", 3),
            ("::1", 1),
            ("fd00::2-fd00::401,::1", 1_025),
            ("10.0.255.254-10.1.0.1", 4),
            ("0.0.0.0-0.0.3.255", 1_024),
        ] {
            match text.parse::<Sources>() {
                Ok(sources) => assert_eq!((sources.to_string().as_str(), sources.addresses().len()), (text, count)),
                Err(error) => assert!(count > SOURCES_MAX && error.contains("1024 addresses"), "{text}: {error}"),
            }
        }
        assert_eq!(sources(" 127.0.0.2 , 127.0.0.3 - 127.0.0.4").to_string(), "127.0.0.2-127.0.0.4");
    }

    #[test]
    fn what_is_no_list_is_told_with_an_example() {
        for text in
            ["", "127.0.0.3-127.0.0.2", "127.0.0.1-::1", "localhost", "127.0.0.1-", "1.2.3.4-1.2.3.4-5", "::-ffff::"]
        {
            let error = text.parse::<Sources>().unwrap_err();
            assert!(error.contains("such as 127.0.0.2-127.0.0.9") || error.contains("too many"), "{text}: {error}");
        }
    }

    #[test]
    fn as_many_addresses_are_needed_as_the_connections_have_ports() {
        let (none, one, two) = (Sources::default(), sources("10.0.0.1"), sources("10.0.0.1,10.0.0.2"));
        assert_eq!(check(&none, remote(), 28_232, PORTS), Ok(()));
        assert_eq!(check(&two, remote(), 56_464, PORTS), Ok(()));
        for sources in [&none, &one] {
            let error = check(sources, remote(), 28_233, PORTS).unwrap_err();
            assert!(error.starts_with("28,233 connections to 192.0.2.1:80 need 2 source addresses"), "{error}");
            assert!(error.contains("ip address add") && error.contains("ip_local_port_range"), "{error}");
        }
        let error = check(&sources("127.0.0.2"), local(), 100_000, PORTS).unwrap_err();
        assert!(error.contains("need 4 source addresses") && error.contains("--source 127.0.0.2-127.0.0.9"), "{error}");
        let error = check(&none, "[::1]:80".parse().unwrap(), 30_000, PORTS).unwrap_err();
        assert!(error.contains("or use 127.0.0.1"), "{error}");
        let error = check(&sources("::1"), remote(), 1, PORTS).unwrap_err();
        assert_eq!(error, "--source ::1 is not of the family of 192.0.2.1");
    }

    #[test]
    fn where_the_machine_has_addresses_of_its_own_as_many_are_chosen_as_are_needed() {
        assert_eq!(check(&Sources::default(), local(), 1_000_000, PORTS), Ok(()));
        let chosen = |connections, taken: &Taken| choose(local(), connections, PORTS, taken).to_string();
        let nothing = Taken::new();
        assert_eq!(chosen(14_116, &nothing), "");
        assert_eq!(chosen(14_117, &nothing), "127.0.0.1-127.0.0.2");
        assert_eq!(chosen(100_000, &nothing), "127.0.0.1-127.0.0.8");
        assert_eq!(chosen(1_000_000, &nothing), "127.0.0.1-127.0.0.71");
        assert_eq!(choose(remote(), 100_000, PORTS, &nothing), Sources::default());
    }

    #[test]
    fn an_address_whose_ports_others_have_is_passed_over() {
        let taken = |used: &[(u8, usize)]| used.iter().map(|(last, used)| ([127, 0, 0, *last].into(), *used)).collect();
        let chosen = |connections, used: &[(u8, usize)]| choose(local(), connections, PORTS, &taken(used)).to_string();
        assert_eq!(chosen(9_000, &[(1, 5_000)]), "");
        assert_eq!(chosen(9_000, &[(1, 9_000)]), "127.0.0.2");
        assert_eq!(chosen(19_000, &[(1, 19_000), (2, 19_000), (4, 100)]), "127.0.0.3-127.0.0.4");
        assert_eq!(chosen(25_000, &[(2, 10_000)]), "127.0.0.1,127.0.0.3");
    }

    #[test]
    fn the_kernel_s_table_says_which_ports_are_taken() {
        let line =
            |local: &str, remote: &str, state: &str| format!("  1: {local} {remote} {state} 00000000:00000000\n");
        let (word, port) = (|ip: [u8; 4]| kernel_form(ip.into()), "0FC8");
        let place = |ip| format!("{}:{port}", word(ip));
        let (server, other) = (place([127, 0, 0, 1]), place([127, 0, 0, 2]));
        let mut text = "  sl  local_address rem_address   st\n".to_owned();
        text += &line(&server, &format!("{}:0000", word([0; 4])), "0A");
        text += &line(&other, &server, "01");
        text += &line(&other, &server, "02");
        text += &line(&other, &server, "06");
        text += &line(&server, &other, "01");
        text += &line("x", &server, "01");
        assert_eq!(parse_taken(&text, local()), Taken::from([([127, 0, 0, 2].into(), 2)]));

        let six: SocketAddr = "[fd00::1]:4040".parse().unwrap();
        let text = line(&format!("{}:1234", kernel_form(six.ip())), &format!("{}:{port}", kernel_form(six.ip())), "01");
        assert_eq!(parse_taken(&text, six), Taken::from([(six.ip(), 1)]));
    }

    #[test]
    fn the_table_of_this_machine_is_understood() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let text = std::fs::read_to_string("/proc/net/tcp").unwrap();
        assert_eq!(parse_taken(&text, address), Taken::from([(Ipv4Addr::LOCALHOST.into(), 1)]));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*|[0-9a-f:.,-]{0,60}|( [0-9A-F]{8}:[0-9A-F]{4}){3}") {
            if let Ok(sources) = text.parse::<Sources>() {
                prop_assert_eq!(sources.to_string().parse::<Sources>(), Ok(sources));
            }
            parse_taken(&text, local());
            from_kernel_form(&text);
        }
    }
}
