//! The proxy's own settings: where to, and how long to wait; the section `[proxy]` of the configuration. Pure.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use pants_shard::{Address, Config, OwnKey, parse_timeout};

/// How many bytes a pair may read beyond the high-water mark before reading pauses: what the engine reads of one connection in a
/// turn, and some.
const READ_AHEAD: usize = 512 << 10;

/// The proxy's own keys.
pub const KEYS: [OwnKey; 2] = [
    OwnKey {
        path: TO,
        variable: "PANTS_TO",
        default: "",
        about: "Where to pass connections on to, by turns: an address or an array of them, each once.",
        check: |text| addresses(text).map(drop),
    },
    OwnKey {
        path: FIN_TIMEOUT,
        variable: "PANTS_FIN_TIMEOUT",
        default: "30s",
        about: "As timeouts.idle, once one side of a pair has ended: \"1ms\" to \"3650d\", or \"off\".",
        check: |text| parse_timeout(text).map(drop),
    },
];

const TO: &str = "proxy.to";
const FIN_TIMEOUT: &str = "proxy.fin_timeout";

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
    /// How long nothing may pass once one side has ended; `None` is as long as the idle timeout.
    pub fin_timeout: Option<Duration>,
}

impl ProxyFlags {
    /// What the flags that were given set: the flag, the key, and the text.
    pub fn set(&self) -> Vec<(&'static str, &'static str, String)> {
        let to = (!self.to.is_empty()).then(|| self.to.join(","));
        let flags = [
            ("--to", TO, to),
            ("--connect-timeout", "timeouts.connect", self.connect_timeout.clone()),
            ("--fin-timeout", FIN_TIMEOUT, self.fin_timeout.clone()),
        ];
        flags.into_iter().filter_map(|(flag, path, text)| Some((flag, path, text?))).collect()
    }
}

impl Settings {
    /// What a configuration with the proxy's [`KEYS`] comes to.
    ///
    /// # Errors
    ///
    /// If a value does not fit the others: a line for each problem.
    pub fn new(config: &Config) -> Result<Self, String> {
        let to = addresses(config.own(TO)).map_err(|what| config.blame(TO, what))?;
        let fin_timeout = parse_timeout(config.own(FIN_TIMEOUT)).map_err(|what| config.blame(FIN_TIMEOUT, what))?;
        let mut problems = Vec::new();
        for (listen, to) in config.listen().iter().flat_map(|listen| to.iter().map(move |to| (listen, to))) {
            if leads_back(listen, to) {
                let what = format!("{to} is where the proxy itself listens; name another address here or to listen on");
                problems.push(config.blame(TO, what));
            }
        }
        if config.write_cap() < config.write_high_water() + READ_AHEAD {
            let what = "must be at least 512KiB above write_high_water, for what one turn reads";
            problems.push(config.blame("limits.write_cap", what));
        }
        if problems.is_empty() { Ok(Self { to, fin_timeout }) } else { Err(problems.join("\n")) }
    }
}

/// Reads the upstreams, each of which may be named once.
fn addresses(text: &str) -> Result<Vec<Address>, String> {
    let mut addresses = Vec::new();
    for text in text.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let address = text.parse::<Address>().map_err(|error| error.to_string())?;
        if addresses.contains(&address) {
            return Err(format!("{address} is listed twice; name each address once"));
        }
        addresses.push(address);
    }
    if addresses.is_empty() {
        return Err("say where to pass connections on to, such as --to 127.0.0.1:8080".to_owned());
    }
    Ok(addresses)
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

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use pants_shard::{Flags, Machine};

    use super::*;

    fn configure(file: &str, variables: &[(&str, &str)], flags: &ProxyFlags) -> Result<Config, String> {
        let flags = Flags { own: flags.set(), config: Some("p.toml".into()), ..Flags::default() };
        let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let builder = Config::builder().pin(false).own_keys(&KEYS);
        let machine = Machine { allowed: vec![0], quota: 1, ..Machine::default() };
        builder.resolve(&flags, variables, |_| Ok(file.to_owned()), &machine).map_err(|error| error.to_string())
    }

    fn resolve(file: &str, variables: &[(&str, &str)], flags: &ProxyFlags) -> Result<Settings, String> {
        configure(file, variables, flags).and_then(|config| Settings::new(&config))
    }

    fn to(addresses: &[&str]) -> ProxyFlags {
        ProxyFlags { to: addresses.iter().map(|&address| address.into()).collect(), ..ProxyFlags::default() }
    }

    fn addresses(list: &[&str]) -> Vec<Address> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn flags_beat_variables_and_those_the_file_and_that_the_defaults() {
        let file = "[proxy]\nto = [82, '@x']\nfin_timeout = '2s'\n[timeouts]\nconnect = '3s'\n";
        let settings = resolve("", &[], &to(&["80", "81"])).unwrap();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(settings, Settings { to: addresses(&["80", "81"]), fin_timeout: seconds(30) });
        let settings = resolve(file, &[], &ProxyFlags::default()).unwrap();
        assert_eq!(settings, Settings { to: addresses(&["82", "@x"]), fin_timeout: seconds(2) });
        let variables = [("PANTS_TO", "/run/x.sock, @name"), ("PANTS_FIN_TIMEOUT", "off")];
        let settings = resolve(file, &variables, &ProxyFlags::default()).unwrap();
        assert_eq!(settings, Settings { to: addresses(&["/run/x.sock", "@name"]), fin_timeout: None });
        let flags =
            ProxyFlags { connect_timeout: Some("1s".into()), fin_timeout: Some("4s".into()), ..ProxyFlags::default() };
        assert_eq!(resolve(file, &variables, &flags).unwrap().fin_timeout, seconds(4));
        assert_eq!(configure(file, &variables, &flags).unwrap().connect_timeout(), seconds(1));
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
        assert_eq!(
            resolve("proxy.to = 4040", &[], &ProxyFlags::default()).unwrap_err(),
            "p.toml:1:12: proxy.to: 4040 is where the proxy itself listens; name another address here or to listen on"
        );
    }

    #[test]
    fn every_fault_has_its_line() {
        let flags = ProxyFlags { connect_timeout: Some("5".into()), ..to(&["80", "here", "80"]) };
        assert_eq!(
            resolve("proxy.too = 1\nruntime.shards = 0", &[("PANTS_FIN_TIMEOUT", "0s")], &flags).unwrap_err(),
            "p.toml:1:7: proxy.too: unknown key; did you mean \"to\"?\n\
             p.toml:2:18: runtime.shards: must be at least 1 or \"auto\", not 0\n\
             --connect-timeout: expected a duration such as \"30s\" or \"off\", found \"5\"\n\
             --to: address \"here\": the port is missing; write \"here:4040\"\n\
             PANTS_FIN_TIMEOUT: must be 1ms to 3650d or \"off\", not \"0s\""
        );
        let error = resolve("", &[], &to(&["80", "80"])).unwrap_err();
        assert_eq!(error, "--to: 80 is listed twice; name each address once");
    }

    #[test]
    fn an_upstream_must_be_named() {
        let what = "say where to pass connections on to, such as --to 127.0.0.1:8080";
        for (variables, place) in [
            (&[][..], "default: proxy.to"),
            (&[("PANTS_TO", "")], "default: proxy.to"),
            (&[("PANTS_TO", " , ")], "PANTS_TO"),
        ] {
            assert_eq!(resolve("", variables, &ProxyFlags::default()).unwrap_err(), format!("{place}: {what}"));
        }
    }

    #[test]
    fn a_cap_without_room_for_a_turn_above_the_mark_is_refused() {
        let with_cap = |cap: usize| resolve(&format!("[limits]\nwrite_cap = {cap}"), &[], &to(&["80"]));
        assert!(with_cap(768 << 10).is_ok());
        assert_eq!(
            with_cap((768 << 10) - 1).unwrap_err(),
            "p.toml:2:13: limits.write_cap: must be at least 512KiB above write_high_water, for what one turn reads"
        );
    }
}
