//! What is loaded: `tcp://HOST:PORT`, `http://HOST:PORT/PATH`, `udp://HOST:PORT`, `unix:PATH` or `unixgram:PATH`.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use pants_shard::{Address, Endpoint};

use crate::protocol::http;

/// The port of HTTP, if a URL has none (RFC 9110, section 4.2.1).
const HTTP_PORT: u16 = 80;

/// A server to load. What [`FromStr`] has read, [`Display`](fmt::Display) writes so that it reads the same.
///
/// | text | server |
/// | --- | --- |
/// | `tcp://127.0.0.1:4040`, `tcp://[::1]:4040`, `tcp://localhost:4040` | a stream over TCP |
/// | `http://127.0.0.1:8080/index.html` | the same, and what to get there |
/// | `udp://127.0.0.1:4040` | datagrams over UDP |
/// | `unix:/run/x.sock`, `unix:@name` | a stream over a Unix socket, with a path or an abstract name |
/// | `unixgram:/run/x.sock`, `unixgram:@name` | datagrams over a Unix socket |
///
/// A host's name is looked up once, when the text is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    scheme: Scheme,
    written: Address,
    endpoint: Endpoint,
    /// What to get there. Invariant: `Some` exactly with the scheme `http`.
    path: Option<String>,
}

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Tcp,
    Http,
    Udp,
    Unix,
    Unixgram,
}

impl Target {
    /// Where it is.
    pub fn address(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether it is spoken to in datagrams.
    pub fn is_datagram(&self) -> bool {
        matches!(self.scheme, Scheme::Udp | Scheme::Unixgram)
    }

    /// What to get there, of one that was given as a URL.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// What an HTTP request calls it in its `Host` (RFC 9110, section 7.2).
    pub fn host(&self) -> String {
        match self.written {
            Address::Socket(_) | Address::Host { .. } => self.written.to_string().to_ascii_lowercase(),
            _ => "localhost".to_owned(),
        }
    }
}

impl Scheme {
    const ALL: [Self; 5] = [Self::Tcp, Self::Http, Self::Udp, Self::Unix, Self::Unixgram];

    /// What an address of it begins with.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Tcp => "tcp://",
            Self::Http => "http://",
            Self::Udp => "udp://",
            Self::Unix => "unix:",
            Self::Unixgram => "unixgram:",
        }
    }

    /// An address of it.
    const fn example(self) -> &'static str {
        match self {
            Self::Tcp => "tcp://127.0.0.1:4040",
            Self::Http => "http://127.0.0.1:8080/",
            Self::Udp => "udp://127.0.0.1:4040",
            Self::Unix => "unix:/run/server.sock",
            Self::Unixgram => "unixgram:/run/server.sock",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.written.to_string();
        let address = match self.scheme {
            Scheme::Unix | Scheme::Unixgram => address.strip_prefix("unix:").unwrap_or(&address),
            _ => &address,
        };
        write!(f, "{}{address}{}", self.scheme.prefix(), self.path.as_deref().unwrap_or_default())
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Scheme::ALL.into_iter().find_map(|scheme| Some((scheme, text.strip_prefix(scheme.prefix())?)));
        let Some((scheme, rest)) = found else { return Err(unknown(text)) };
        let wrong = |why: String| format!("{why}; expected a target such as {}", scheme.example());
        let (written, path) = match scheme {
            Scheme::Tcp | Scheme::Udp => (host_and_port(rest).map_err(wrong)?, None),
            Scheme::Http => url(rest).map_err(wrong).map(|(written, path)| (written, Some(path)))?,
            Scheme::Unix | Scheme::Unixgram => (socket_name(rest).map_err(wrong)?, None),
        };
        let endpoint = resolve(&written)?;
        Ok(Self { scheme, written, endpoint, path })
    }
}

/// What is wrong with a text of none of the schemes.
fn unknown(text: &str) -> String {
    let instead = match text.split_once("://") {
        Some(("https" | "wss", _)) => {
            return "TLS is not spoken: give the server's plain http:// or tcp:// address".to_owned();
        }
        None if host_and_port(text).is_ok() => format!("tcp://{text} or udp://{text}"),
        None if text.starts_with(['/', '.', '@']) => format!("unix:{text} or unixgram:{text}"),
        _ => Scheme::ALL.map(Scheme::example).join(", "),
    };
    format!("{text:?} does not say how to speak to the server: write {instead}")
}

/// Reads a host, which is there, and a port, which is not 0.
fn host_and_port(text: &str) -> Result<Address, String> {
    if text.is_empty() {
        return Err("the host is missing".to_owned());
    }
    if text.starts_with(':') && !text[1..].contains(':') {
        return Err(format!("the host is missing: write 127.0.0.1{text}"));
    }
    match text.parse::<Address>().map_err(|error| error.to_string())? {
        Address::Port(port) => Err(format!("the host is missing: write 127.0.0.1:{port}")),
        address if address.port() == Some(0) => Err("port 0 is none to connect to".to_owned()),
        address if address.port().is_none() => Err(format!("{text:?} is not a host and a port")),
        address => Ok(address),
    }
}

/// Reads what is behind `http://`.
fn url(text: &str) -> Result<(Address, String), String> {
    let (authority, path) = text.split_at(text.find(['/', '?', '#']).unwrap_or(text.len()));
    if let Some((_, host)) = authority.rsplit_once('@') {
        return Err(format!("a user is told by --header \"Authorization: ...\": write only {host}"));
    }
    // Behind the brackets of an IPv6 address.
    let named = authority.rsplit_once(']').map_or(authority, |(_, port)| port);
    let written = if named.contains(':') || authority.is_empty() {
        host_and_port(authority)?
    } else {
        host_and_port(&format!("{authority}:{HTTP_PORT}"))?
    };
    let path = if path.is_empty() { "/" } else { path };
    http::check_path(path)?;
    Ok((written, path.to_owned()))
}

/// Reads the path or the abstract name of a Unix socket.
fn socket_name(text: &str) -> Result<Address, String> {
    format!("unix:{text}").parse().map_err(|error: pants_shard::AddressError| error.to_string())
}

fn resolve(address: &Address) -> Result<Endpoint, String> {
    match address {
        Address::Socket(address) => Ok((*address).into()),
        Address::Host { name, port } => look_up(name, *port).map(Endpoint::from),
        Address::Path(path) => Ok(Endpoint::Path(path.as_path().into())),
        Address::Abstract(name) => Ok(Endpoint::Abstract(name.as_slice().into())),
        _ => Err(format!("{address} is no address to connect to")),
    }
}

/// The address of a name: of version 4 if there is one, since that is where a server listens by default.
fn look_up(host: &str, port: u16) -> Result<SocketAddr, String> {
    let unknown =
        |why: &dyn fmt::Display| format!("cannot look up {host}: {why}; check the name, or write an IP address");
    let found = (host, port).to_socket_addrs().map_err(|error| unknown(&error))?;
    found.min_by_key(SocketAddr::is_ipv6).ok_or_else(|| unknown(&"it has no address"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_is_read_and_written_back() {
        for text in [
            "tcp://127.0.0.1:4040",
            "tcp://[::1]:80",
            "tcp://localhost:4040",
            "udp://127.0.0.1:53",
            "unix:/run/x.sock",
            "unix:x.sock",
            "unix:unix:x",
            "unix:@pants",
            "unixgram:/run/x.sock",
            "unixgram:@pants",
            "http://127.0.0.1:8080/",
            "http://[::1]:8080/a/b?c=d&e",
            "http://localhost:80/",
        ] {
            assert_eq!(target(text).to_string(), text);
        }
        assert_eq!(target("http://localhost").to_string(), "http://localhost:80/");
        assert_eq!(target("http://[::1]/x").to_string(), "http://[::1]:80/x");
    }

    #[test]
    fn it_is_known_where_it_is_and_how_it_is_spoken_to() {
        assert_eq!(target("tcp://127.0.0.1:4040").address().to_string(), "127.0.0.1:4040");
        assert!(target("tcp://localhost:4040").address().ip().is_some_and(|ip| ip.is_loopback()));
        assert_eq!(target("unix:@pants").address().to_string(), "@pants");
        assert_eq!(target("http://LocalHost:81/x?y").path(), Some("/x?y"));
        assert_eq!(target("http://LocalHost:81/x?y").host(), "localhost:81");
        assert_eq!(target("unix:/run/x.sock").host(), "localhost");
        let datagrams = ["udp://127.0.0.1:1", "unixgram:x", "tcp://127.0.0.1:1", "unix:x", "http://127.0.0.1:1"];
        assert_eq!(datagrams.map(|text| target(text).is_datagram()), [true, true, false, false, false]);
    }

    #[test]
    fn anything_else_is_refused_with_what_to_write() {
        for (text, part) in [
            ("127.0.0.1:4040", "write tcp://127.0.0.1:4040 or udp://127.0.0.1:4040"),
            ("/run/x.sock", "write unix:/run/x.sock or unixgram:/run/x.sock"),
            ("@pants", "write unix:@pants"),
            ("ftp://127.0.0.1:21", "write tcp://127.0.0.1:4040, http://"),
            ("", "write tcp://127.0.0.1:4040, http://"),
            ("https://127.0.0.1:443/", "TLS is not spoken"),
            ("tcp://127.0.0.1", "the port is missing"),
            ("tcp://127.0.0.1:66000", "must be 0 to 65535"),
            ("tcp://127.0.0.1:0", "port 0"),
            ("tcp://4040", "write 127.0.0.1:4040"),
            ("tcp://:4040", "write 127.0.0.1:4040"),
            ("udp://:4040", "such as udp://127.0.0.1:4040"),
            ("tcp://::1:80", "\"[::1:80]:4040\""),
            ("tcp:///run/x.sock", "is not a host and a port"),
            ("tcp://[127.0.0.1]:80", "such as tcp://127.0.0.1:4040"),
            ("unix:", "the Unix socket's path is missing"),
            ("http://", "the host is missing"),
            ("http://me@localhost/", "--header \"Authorization: ...\": write only localhost"),
            ("http://localhost/a b", "percent"),
            ("http://localhost?x", "begins with /"),
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert!(error.contains(part) && error.lines().count() == 1, "{text}: {error}");
        }
    }

    #[test]
    fn a_name_that_nobody_has_is_told() {
        // A name that is sure not to exist: RFC 6761, section 6.4.
        let error = "tcp://pants.invalid:80".parse::<Target>().unwrap_err();
        assert!(error.starts_with("cannot look up pants.invalid: "), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_is_read_is_written_so_that_it_reads_the_same(
            text in "\\PC*|(tcp|udp|http)://[0-9.:\\[\\]]{0,30}(/[!-~]{0,9})?|unix(gram)?:[@/.a-z]{0,12}"
        ) {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string().parse(), Ok(target));
            }
        }
    }
}
