//! Where to listen or connect: a port, or a socket address; parsing them is pure.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

use crate::net::endpoint::Endpoint;

/// A place to listen on or to connect to.
///
/// [`Display`](fmt::Display) writes what [`FromStr`] reads, except that an IPv6 flow label, which has no text form, is
/// left out.
///
/// ```
/// use pants_engine::Address;
///
/// let address: Address = "127.0.0.1:4040".parse()?;
/// assert_eq!(address.to_string(), "127.0.0.1:4040");
/// assert_eq!("4040".parse::<Address>()?, Address::Port(4040));
/// # Ok::<(), pants_engine::AddressError>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A port, 0 to 65535, on all interfaces, IPv6 and IPv4. Port 0 lets the kernel choose one.
    Port(u16),
    /// An IP address and a port.
    Socket(SocketAddr),
    /// A host's name, to be resolved, and a port.
    Host {
        /// The name.
        name: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket's path.
    Path(PathBuf),
    /// A name in Linux' abstract namespace (unix(7)).
    Abstract(Vec<u8>),
}

/// What can name an [`Address`], so that `listen(4040, …)` and `listen("127.0.0.1:4040", …)` both read well.
///
/// Only one integer type implements it, which is why the literal `4040` needs no suffix.
///
/// ```
/// use pants_engine::{Address, ToAddress};
///
/// assert_eq!(4040.to_address()?, Address::Port(4040));
/// assert!("localhost:4040".to_address().is_err());
/// # Ok::<(), pants_engine::AddressError>(())
/// ```
pub trait ToAddress {
    /// Converts to an address.
    ///
    /// # Errors
    ///
    /// Text that is neither a port nor `ip:port` is refused; the other types cannot fail.
    fn to_address(self) -> Result<Address, AddressError>;
}

/// Text that is not an address: it says which text, what is wrong with it, and what to write instead.
///
/// ```
/// use pants_engine::Address;
///
/// let error = "127.0.0.1".parse::<Address>().unwrap_err();
/// assert_eq!(error.to_string(), r#"address "127.0.0.1": the port is missing; write "127.0.0.1:4040""#);
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("address {input:?}: {fault}")]
pub struct AddressError {
    input: String,
    fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
enum Fault {
    #[error("it is empty; write a port such as \"4040\" or an address such as \"127.0.0.1:4040\"")]
    Empty,
    #[error("the port is missing; write \"{}\"", SocketAddr::new(*.0, EXAMPLE_PORT))]
    NoPort(IpAddr),
    #[error("the port {0:?} is not a number; it must be 0 to 65535")]
    PortNotNumber(String),
    #[error("the port {0} is out of range; it must be 0 to 65535")]
    PortRange(String),
    #[error("the host is missing; write \"{0}\" for all interfaces or \"127.0.0.1:{0}\" for this machine only")]
    NoHost(u16),
    #[error("{0:?} is not an IP address; write one such as \"127.0.0.1:4040\" or \"[::1]:4040\"")]
    NotIp(String),
    #[error("host names are not resolved yet; write an IP address such as \"127.0.0.1:{0}\"")]
    HostName(u16),
    #[error(
        "Unix sockets are not supported yet; write a port such as \"4040\" or an address such as \"127.0.0.1:4040\""
    )]
    Path,
}

/// The port that messages suggest when the text gave none that is valid.
const EXAMPLE_PORT: u16 = 4040;

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => port.fmt(f),
            Self::Socket(address) => address.fmt(f),
            Self::Host { name, port } => write!(f, "{name}:{port}"),
            Self::Path(path) => path.display().fmt(f),
            Self::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse(text).map_err(|fault| AddressError { input: text.to_owned(), fault })
    }
}

impl From<u16> for Address {
    fn from(port: u16) -> Self {
        Self::Port(port)
    }
}

impl From<Endpoint> for Address {
    /// An unnamed socket becomes an abstract name without bytes, which nothing can be bound to.
    fn from(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Ip(address) => Self::Socket(address),
            Endpoint::Path(path) => Self::Path(path.to_path_buf()),
            Endpoint::Abstract(name) => Self::Abstract(name.to_vec()),
            Endpoint::Unnamed => Self::Abstract(Vec::new()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

impl ToAddress for u16 {
    fn to_address(self) -> Result<Address, AddressError> {
        Ok(self.into())
    }
}

impl ToAddress for SocketAddr {
    fn to_address(self) -> Result<Address, AddressError> {
        Ok(self.into())
    }
}

impl ToAddress for Endpoint {
    fn to_address(self) -> Result<Address, AddressError> {
        Ok(self.into())
    }
}

impl ToAddress for &Endpoint {
    fn to_address(self) -> Result<Address, AddressError> {
        Ok(self.clone().into())
    }
}

impl ToAddress for (IpAddr, u16) {
    fn to_address(self) -> Result<Address, AddressError> {
        Ok(SocketAddr::from(self).into())
    }
}

impl ToAddress for Address {
    fn to_address(self) -> Result<Address, AddressError> {
        Ok(self)
    }
}

impl ToAddress for &Address {
    fn to_address(self) -> Result<Address, AddressError> {
        Ok(self.clone())
    }
}

impl ToAddress for &str {
    fn to_address(self) -> Result<Address, AddressError> {
        self.parse()
    }
}

impl ToAddress for String {
    fn to_address(self) -> Result<Address, AddressError> {
        self.parse()
    }
}

fn parse(text: &str) -> Result<Address, Fault> {
    if text.is_empty() {
        return Err(Fault::Empty);
    }
    if is_number(text) {
        return parse_port(text).map(Address::Port);
    }
    match text.parse() {
        Ok(address) => Ok(Address::Socket(address)),
        Err(_) => Err(diagnose(text)),
    }
}

/// Finds out what is wrong with text that is neither a port nor a socket address.
fn diagnose(text: &str) -> Fault {
    if text.contains('/') || text.starts_with("unix:") {
        return Fault::Path;
    }
    if let Some(ip) = parse_ip(text) {
        return Fault::NoPort(ip);
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return if looks_numeric(text) { Fault::NotIp(text.to_owned()) } else { Fault::HostName(EXAMPLE_PORT) };
    };
    match (parse_ip(host), parse_port(port)) {
        (Some(ip), _) if port.is_empty() => Fault::NoPort(ip),
        (Some(_), Err(fault)) => fault,
        // An IPv6 address without its brackets, for one: the standard library refused the whole.
        (Some(_), Ok(_)) => Fault::NotIp(host.to_owned()),
        (None, port) if host.is_empty() || host == "*" => Fault::NoHost(port.unwrap_or(EXAMPLE_PORT)),
        (None, _) if looks_numeric(host) => Fault::NotIp(host.to_owned()),
        (None, port) => Fault::HostName(port.unwrap_or(EXAMPLE_PORT)),
    }
}

fn parse_port(text: &str) -> Result<u16, Fault> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !is_number(digits) {
        return Err(Fault::PortNotNumber(text.to_owned()));
    }
    text.parse().map_err(|_| Fault::PortRange(text.to_owned()))
}

/// Reads an IP address, with brackets or without.
fn parse_ip(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether the text means to be an IP address, so that "256.0.0.1" is not taken for a host name.
fn looks_numeric(text: &str) -> bool {
    text.contains([':', '[', ']']) || text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV6};

    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        text.parse::<Address>().unwrap_err().to_string()
    }

    #[test]
    fn every_port_is_read_and_written_back() {
        for port in 0..=u16::MAX {
            let address = Address::Port(port);
            assert_eq!(address.to_string().parse(), Ok(address));
        }
    }

    #[test]
    fn socket_addresses_are_read_in_both_families() {
        for text in ["127.0.0.1:4040", "0.0.0.0:0", "[::1]:4040", "[::]:65535", "[fe80::1%3]:80"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address, Address::Socket(text.parse().unwrap()));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn a_missing_port_is_named_with_what_to_write() {
        assert_eq!(error("127.0.0.1"), r#"address "127.0.0.1": the port is missing; write "127.0.0.1:4040""#);
        assert_eq!(error("127.0.0.1:"), r#"address "127.0.0.1:": the port is missing; write "127.0.0.1:4040""#);
        assert_eq!(error("::1"), r#"address "::1": the port is missing; write "[::1]:4040""#);
        assert_eq!(error("[::1]"), r#"address "[::1]": the port is missing; write "[::1]:4040""#);
    }

    #[test]
    fn a_port_out_of_range_is_named_with_the_range() {
        for (text, port) in [("127.0.0.1:99999", "99999"), ("65536", "65536"), ("[::1]:-1", "-1")] {
            assert_eq!(
                error(text),
                format!("address {text:?}: the port {port} is out of range; it must be 0 to 65535")
            );
        }
    }

    #[test]
    fn a_port_that_is_no_number_is_named() {
        assert_eq!(
            error("127.0.0.1:http"),
            r#"address "127.0.0.1:http": the port "http" is not a number; it must be 0 to 65535"#
        );
        assert_eq!(
            error("127.0.0.1:+80"),
            r#"address "127.0.0.1:+80": the port "+80" is not a number; it must be 0 to 65535"#
        );
    }

    #[test]
    fn a_host_name_is_refused_with_what_to_write() {
        assert_eq!(
            error("localhost:80"),
            "address \"localhost:80\": host names are not resolved yet; write an IP address such as \"127.0.0.1:80\""
        );
        assert_eq!(
            error("localhost"),
            "address \"localhost\": host names are not resolved yet; write an IP address such as \"127.0.0.1:4040\""
        );
    }

    #[test]
    fn a_missing_host_is_told_how_to_name_all_interfaces() {
        for text in [":80", "*:80"] {
            assert_eq!(
                error(text),
                format!(
                    "address {text:?}: the host is missing; write \"80\" for all interfaces or \"127.0.0.1:80\" for \
                     this machine only"
                )
            );
        }
    }

    #[test]
    fn a_wrong_ip_address_is_not_taken_for_a_host_name() {
        for (text, host) in [("256.0.0.1:80", "256.0.0.1"), ("[::g]:80", "[::g]"), ("1.2.3", "1.2.3"), ("-1", "-1")] {
            assert_eq!(
                error(text),
                format!(
                    "address {text:?}: {host:?} is not an IP address; write one such as \"127.0.0.1:4040\" or \
                     \"[::1]:4040\""
                )
            );
        }
    }

    #[test]
    fn an_empty_text_and_a_path_are_named_for_what_they_are() {
        assert_eq!(
            error(""),
            "address \"\": it is empty; write a port such as \"4040\" or an address such as \"127.0.0.1:4040\""
        );
        assert_eq!(
            error("/run/pants.sock"),
            "address \"/run/pants.sock\": Unix sockets are not supported yet; write a port such as \"4040\" or an \
             address such as \"127.0.0.1:4040\""
        );
    }

    #[test]
    fn every_type_that_names_an_address_gives_the_same_one() {
        let socket: SocketAddr = (Ipv4Addr::LOCALHOST, 4040).into();
        let address = Address::Socket(socket);
        assert_eq!(socket.to_address(), Ok(address.clone()));
        assert_eq!((IpAddr::V4(Ipv4Addr::LOCALHOST), 4040).to_address(), Ok(address.clone()));
        assert_eq!("127.0.0.1:4040".to_address(), Ok(address.clone()));
        assert_eq!(String::from("127.0.0.1:4040").to_address(), Ok(address.clone()));
        assert_eq!((&address).to_address(), Ok(address.clone()));
        assert_eq!(address.clone().to_address(), Ok(address));
        assert_eq!(4040.to_address(), Ok(Address::Port(4040)));
    }

    proptest! {
        #[test]
        fn no_text_makes_parsing_panic_or_its_error_span_lines(text in r"\PC*|[0-9.:\[\]\-*%a-g\n]*") {
            if let Err(error) = text.parse::<Address>() {
                prop_assert!(!error.to_string().contains('\n'));
            }
        }

        #[test]
        fn every_socket_address_is_written_back(ip: IpAddr, port: u16, scope in 0..4_u32) {
            let socket = match ip {
                IpAddr::V4(_) => SocketAddr::new(ip, port),
                IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, scope).into(),
            };
            let address = Address::Socket(socket);
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }
    }
}
