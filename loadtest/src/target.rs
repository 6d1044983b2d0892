//! What is loaded: `tcp://HOST:PORT`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// A server to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    host: String,
    address: SocketAddr,
}

impl Target {
    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp://{}:{}", self.host, self.address.port())
    }
}

impl FromStr for Target {
    type Err = String;

    /// Reads `tcp://HOST:PORT`, where HOST is an IP address (one of version 6 in brackets) or `localhost`, which is
    /// looked up.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected tcp://HOST:PORT such as tcp://127.0.0.1:4040, found {text:?}");
        let (host, port) = text.strip_prefix("tcp://").and_then(|rest| rest.rsplit_once(':')).ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        if port == 0 {
            return Err("port 0 is none to connect to".to_owned());
        }
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let address = match bracketed {
            Some(inner) => SocketAddr::new(IpAddr::V6(inner.parse::<Ipv6Addr>().map_err(|_| wrong())?), port),
            None if host == "localhost" => look_up(host, port)?,
            None => match host.parse::<IpAddr>() {
                Ok(IpAddr::V4(ip)) => SocketAddr::from((ip, port)),
                Ok(IpAddr::V6(ip)) => return Err(format!("write brackets around the address: tcp://[{ip}]:{port}")),
                Err(_) => return Err(format!("the host must be an IP address or localhost, not {host:?}")),
            },
        };
        Ok(Self { host: host.to_owned(), address })
    }
}

/// The address of a name: of version 4 if there is one, since that is where a server listens by default.
fn look_up(host: &str, port: u16) -> Result<SocketAddr, String> {
    let found = (host, port).to_socket_addrs().map_err(|error| format!("cannot look up {host}: {error}"))?;
    found.min_by_key(SocketAddr::is_ipv6).ok_or_else(|| format!("{host} has no address"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_and_localhost_are_understood() {
        for text in ["tcp://127.0.0.1:4040", "tcp://[::1]:80"] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), text);
            assert_eq!(format!("tcp://{}", target.address()), text);
        }
        let local: Target = "tcp://localhost:4040".parse().unwrap();
        assert!(local.address().ip().is_loopback());
        assert_eq!(local.to_string(), "tcp://localhost:4040");
    }

    #[test]
    fn anything_else_is_refused_with_what_to_write() {
        for (text, part) in [
            ("127.0.0.1:4040", "expected tcp://HOST:PORT"),
            ("udp://127.0.0.1:4040", "expected tcp://HOST:PORT"),
            ("tcp://127.0.0.1", "expected tcp://HOST:PORT"),
            ("tcp://127.0.0.1:66000", "expected tcp://HOST:PORT"),
            ("tcp://127.0.0.1:0", "port 0"),
            ("tcp://::1:80", "tcp://[::1]:80"),
            ("tcp://example.org:80", "must be an IP address or localhost"),
            ("tcp://[127.0.0.1]:80", "expected tcp://HOST:PORT"),
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*|tcp://[0-9.:\\[\\]a-f]{0,30}") {
            let _ = text.parse::<Target>();
        }
    }
}
