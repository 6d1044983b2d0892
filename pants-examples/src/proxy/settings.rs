//! The proxy's own settings: where to, and how long to wait. Flags beat the environment, which beats the defaults. Pure.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use pants_shard::{Address, Config, parse_timeout};

/// How many bytes a pair may read beyond the high-water mark before reading pauses: what the engine reads of one connection in a
/// turn, and some.
const READ_AHEAD: usize = 512 << 10;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const FIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The flags that only the proxy takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ProxyFlags {
    /// Where to pass connections on to. Repeatable: they are taken by turns, and one that cannot be reached is passed over
    #[arg(long, value_name = "ADDR")]
    pub to: Vec<String>,
    /// How long one attempt to reach an upstream may take [default: 5s]
    #[arg(long, value_name = "TIME|off")]
    pub connect_timeout: Option<String>,
    /// Once one side has ended: close a connection over which nothing has passed for this long [default: 30s]
    #[arg(long, value_name = "TIME|off")]
    pub fin_timeout: Option<String>,
}

/// What the proxy needs beside the configuration that all programs have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The upstreams: at least one, each once.
    pub to: Vec<Address>,
    /// How long one attempt to connect may take; `None` is as long as the system's own.
    pub connect_timeout: Option<Duration>,
    /// How long nothing may pass once one side has ended; `None` is as long as the idle timeout.
    pub fin_timeout: Option<Duration>,
}

impl ProxyFlags {
    /// What these flags and the environment's variables make, with this configuration beside them.
    ///
    /// # Errors
    ///
    /// If anything is wrong: a line for each problem.
    pub fn resolve(&self, variable: impl Fn(&str) -> Option<String>, config: &Config) -> Result<Settings, String> {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let mut problems = Vec::new();
        let mut timeout = |flag: &Option<String>, flag_name, variable_name, default| {
            let set = flag.clone().map(|text| (flag_name, text));
            let set = set.or_else(|| variable(variable_name).map(|text| (variable_name, text)));
            let Some((name, text)) = set else { return Some(default) };
            parse_timeout(&text).unwrap_or_else(|what| {
                problems.push(format!("{name}: {what}"));
                None
            })
        };
        let connect_timeout =
            timeout(&self.connect_timeout, "--connect-timeout", "PANTS_CONNECT_TIMEOUT", CONNECT_TIMEOUT);
        let fin_timeout = timeout(&self.fin_timeout, "--fin-timeout", "PANTS_FIN_TIMEOUT", FIN_TIMEOUT);
        let to = if self.to.is_empty() {
            let listed = variable("PANTS_TO").unwrap_or_default();
            addresses("PANTS_TO", listed.split(',').map(str::trim).filter(|text| !text.is_empty()), &mut problems)
        } else {
            addresses("--to", self.to.iter().map(String::as_str), &mut problems)
        };
        for (listen, to) in config.listen().iter().flat_map(|listen| to.iter().map(move |to| (listen, to))) {
            if leads_back(listen, to) {
                problems.push(format!("--to: {to} is where the proxy itself listens; name another --listen or --to"));
            }
        }
        if config.write_cap() < config.write_high_water() + READ_AHEAD {
            problems.push("write_cap: must be at least 512KiB above write_high_water, for what one turn reads".into());
        }
        if problems.is_empty() { Ok(Settings { to, connect_timeout, fin_timeout }) } else { Err(problems.join("\n")) }
    }
}

/// Reads the upstreams, each of which may be named once.
fn addresses<'a>(name: &str, texts: impl Iterator<Item = &'a str>, problems: &mut Vec<String>) -> Vec<Address> {
    let (mut seen, mut addresses, before) = (HashSet::new(), Vec::new(), problems.len());
    for text in texts {
        match text.parse::<Address>() {
            Ok(address) if seen.insert(address.clone()) => addresses.push(address),
            Ok(address) => problems.push(format!("{name}: {address} is listed twice; name each address once")),
            Err(error) => problems.push(format!("{name}: {error}")),
        }
    }
    if addresses.is_empty() && problems.len() == before {
        problems.push("--to: say where to pass connections on to, such as --to 127.0.0.1:8080".into());
    }
    addresses
}

/// Whether an upstream is, as far as can be told by its address, the proxy itself: then one connection would become as many as
/// there are descriptors.
fn leads_back(listen: &Address, to: &Address) -> bool {
    let (ip, port): (IpAddr, u16) = match to {
        Address::Port(port) => (Ipv4Addr::LOCALHOST.into(), *port),
        Address::Socket(address) => (address.ip(), address.port()),
        Address::Host { name, port } if name == "localhost" => (Ipv4Addr::LOCALHOST.into(), *port),
        _ => return listen == to,
    };
    match listen {
        Address::Port(listening) => *listening == port && ip.is_loopback(),
        Address::Socket(own) => own.port() == port && (own.ip() == ip || own.ip().is_unspecified() && ip.is_loopback()),
        _ => false,
    }
}

/// The settings as comments behind a configuration's lines: they are no keys of its file.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timeout = |timeout: Option<Duration>| timeout.map_or_else(|| "off".to_owned(), |time| format!("{time:?}"));
        for address in &self.to {
            writeln!(f, "# --to {address}")?;
        }
        writeln!(f, "# --connect-timeout {}", timeout(self.connect_timeout))?;
        writeln!(f, "# --fin-timeout {}", timeout(self.fin_timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(flags: &ProxyFlags, variables: &[(&str, &str)]) -> Result<Settings, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        flags.resolve(variable, &Config::default())
    }

    fn to(addresses: &[&str]) -> ProxyFlags {
        ProxyFlags { to: addresses.iter().map(|&address| address.into()).collect(), ..ProxyFlags::default() }
    }

    #[test]
    fn flags_beat_variables_and_those_the_defaults() {
        let settings = resolve(&to(&["80"]), &[("PANTS_TO", "81")]).unwrap();
        assert_eq!(settings.to_string(), "# --to 80\n# --connect-timeout 5s\n# --fin-timeout 30s\n");
        let variables =
            [("PANTS_TO", "/run/x.sock, @name"), ("PANTS_CONNECT_TIMEOUT", "1500ms"), ("PANTS_FIN_TIMEOUT", "off")];
        let settings = resolve(&ProxyFlags::default(), &variables).unwrap();
        let printed = "# --to /run/x.sock\n# --to @name\n# --connect-timeout 1.5s\n# --fin-timeout off\n";
        assert_eq!(settings.to_string(), printed);
        let flags = ProxyFlags { fin_timeout: Some("1s".into()), ..ProxyFlags::default() };
        assert_eq!(resolve(&flags, &variables).unwrap().fin_timeout, Some(Duration::from_secs(1)));
    }

    #[test]
    fn an_upstream_that_is_the_proxy_itself_is_refused() {
        let leads_back = |listen: &str, to: &str| leads_back(&listen.parse().unwrap(), &to.parse().unwrap());
        for (listen, to) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("127.0.0.1:80", "80"),
            ("127.0.0.1:80", "localhost:80"),
            ("80", "127.0.0.7:80"),
            ("0.0.0.0:80", "80"),
            ("/run/x.sock", "/run/x.sock"),
        ] {
            assert!(leads_back(listen, to), "{listen} and {to}");
        }
        for (listen, to) in [
            ("127.0.0.1:80", "127.0.0.1:81"),
            ("127.0.0.1:80", "127.0.0.2:80"),
            ("80", "192.0.2.1:80"),
            ("127.0.0.1:0", "127.0.0.1:80"),
            ("/run/x.sock", "/run/y.sock"),
            ("80", "/run/x.sock"),
        ] {
            assert!(!leads_back(listen, to), "{listen} and {to}");
        }
        // The default address.
        assert!(resolve(&to(&["4040"]), &[]).unwrap_err().contains("4040 is where the proxy itself listens"));
    }

    #[test]
    fn every_fault_has_its_line() {
        let flags = ProxyFlags { connect_timeout: Some("5".into()), ..to(&["80", "here", "80"]) };
        assert_eq!(
            resolve(&flags, &[("PANTS_FIN_TIMEOUT", "0s")]).unwrap_err(),
            "--connect-timeout: expected a duration such as \"30s\" or \"off\", found \"5\"\n\
             PANTS_FIN_TIMEOUT: must be 1ms to 3650d or \"off\", not \"0s\"\n\
             --to: address \"here\": the port is missing; write \"here:4040\"\n\
             --to: 80 is listed twice; name each address once"
        );
    }

    #[test]
    fn an_upstream_must_be_named() {
        for variables in [&[][..], &[("PANTS_TO", "")], &[("PANTS_TO", " , ")]] {
            let error = resolve(&ProxyFlags::default(), variables).unwrap_err();
            assert_eq!(error, "--to: say where to pass connections on to, such as --to 127.0.0.1:8080");
        }
    }

    #[test]
    fn a_cap_without_room_for_a_turn_above_the_mark_is_refused() {
        let config = |cap| Config::builder().write_high_water(256 << 10).write_cap(cap).build().unwrap();
        assert!(to(&["80"]).resolve(|_| None, &config(768 << 10)).is_ok());
        assert!(to(&["80"]).resolve(|_| None, &config((768 << 10) - 1)).unwrap_err().starts_with("write_cap: must be"));
    }
}
