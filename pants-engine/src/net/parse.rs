//! Reads addresses from text, and says what is wrong with what is none; pure.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;

use thiserror::Error;

use crate::limits::{HOST_LABEL_BYTES_MAX, HOST_NAME_BYTES_MAX, UNIX_NAME_BYTES_MAX};
use crate::net::address::Address;

/// What is wrong with an address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Fault {
    #[error("it is empty; write a port such as \"4040\" or an address such as \"127.0.0.1:4040\"")]
    Empty,
    #[error("the port is missing; write \"{}\"", SocketAddr::new(*.0, EXAMPLE_PORT))]
    NoPort(IpAddr),
    #[error("the port is missing; write \"{0}:{port}\"", port = EXAMPLE_PORT)]
    NoHostPort(String),
    #[error("the port {0:?} is not a number; it must be 0 to 65535")]
    PortNotNumber(String),
    #[error("the port {0} is out of range; it must be 0 to 65535")]
    PortRange(String),
    #[error("the host is missing; write \"{0}\" for all interfaces or \"127.0.0.1:{0}\" for this machine only")]
    NoHost(u16),
    #[error("{0:?} is not an IP address; write one such as \"127.0.0.1:4040\" or \"[::1]:4040\"")]
    NotIp(String),
    #[error("the host name is {0} bytes long; write one of at most {max}", max = HOST_NAME_BYTES_MAX)]
    NameLong(usize),
    #[error("a part of the host name is {0} bytes long; write at most {max} between dots", max = HOST_LABEL_BYTES_MAX)]
    LabelLong(usize),
    #[error("a part of the host name is empty; write it with one dot between two parts")]
    LabelEmpty,
    #[error("a part of the host name, {0:?}, begins or ends with a hyphen; write it without")]
    LabelHyphen(String),
    #[error(
        "the host name has the character {0:?}; write letters (a to z), digits, hyphens and dots, and an international \
         name in its \"xn--\" form"
    )]
    NameCharacter(char),
    #[error("it is a URL; write only its host and port, such as \"127.0.0.1:4040\", or a Unix socket's path")]
    Url,
    #[error("a Unix socket's path begins with \"/\", \"./\", \"../\" or \"unix:\"; write {:?}", format!("./{}", .0))]
    PathPrefix(String),
    #[error("the Unix socket's path is missing; write one such as \"/run/pants.sock\"")]
    NoPath,
    #[error(
        "the Unix socket's path is {0} bytes long; write one of at most {max}, from the working directory if need be",
        max = UNIX_NAME_BYTES_MAX
    )]
    PathLong(usize),
    #[error("the abstract Unix socket's name is missing; write one such as \"@pants\"")]
    NoAbstract,
    #[error("the abstract Unix socket's name is {0} bytes long; write one of at most {max}", max = UNIX_NAME_BYTES_MAX)]
    AbstractLong(usize),
    #[error("it has the control character {0:?}; write it without")]
    Control(char),
}

/// The port that messages suggest when the text gave none that is valid.
const EXAMPLE_PORT: u16 = 4040;

/// Reads any form of address.
pub(crate) fn text(text: &str) -> Result<Address, Fault> {
    if text.is_empty() {
        return Err(Fault::Empty);
    }
    if is_number(text) {
        return port(text).map(Address::Port);
    }
    if let Some(result) = unix(text) {
        return result;
    }
    if let Ok(address) = text.parse() {
        return Ok(Address::Socket(address));
    }
    if let Some(ip) = ip(text) {
        return Err(Fault::NoPort(ip));
    }
    let Some((host, digits)) = text.rsplit_once(':') else {
        // Whatever else is wrong with a lone name goes first.
        named(text, EXAMPLE_PORT)?;
        return Err(Fault::NoHostPort(text.to_owned()));
    };
    match (ip(host), port(digits)) {
        (Some(ip), _) if digits.is_empty() => Err(Fault::NoPort(ip)),
        (Some(_), Err(fault)) => Err(fault),
        // An IPv6 address without its brackets, for one: the standard library refused the whole.
        (Some(_), Ok(_)) => Err(Fault::NotIp(host.to_owned())),
        (None, Ok(port)) => named(host, port),
        (None, Err(fault)) => {
            named(host, EXAMPLE_PORT)?;
            Err(if digits.is_empty() { Fault::NoHostPort(host.to_owned()) } else { fault })
        }
    }
}

/// Reads an IP address, with brackets or without, or a host name.
pub(crate) fn host_and_port(host: &str, port: u16) -> Result<Address, Fault> {
    // The standard library reads the scope of an IPv6 address only where there is a port.
    match format!("{host}:{port}").parse().or_else(|_| format!("[{host}]:{port}").parse()) {
        Ok(socket) => Ok(Address::Socket(socket)),
        Err(_) => named(host, port),
    }
}

/// Whether a path is known for one without `unix:` in front.
pub(crate) fn is_plain_path(bytes: &[u8]) -> bool {
    ["/", "./", "../"].iter().any(|prefix| bytes.starts_with(prefix.as_bytes()))
}

/// Checks a Unix socket's path against unix(7).
pub(crate) fn check_path(path: &OsStr) -> Result<(), Fault> {
    match path.as_bytes() {
        [] => Err(Fault::NoPath),
        bytes if bytes.contains(&0) => Err(Fault::Control('\0')),
        bytes if bytes.len() > UNIX_NAME_BYTES_MAX => Err(Fault::PathLong(bytes.len())),
        _ => Ok(()),
    }
}

/// Checks an abstract Unix socket's name against unix(7).
pub(crate) fn check_abstract(name: &[u8]) -> Result<(), Fault> {
    match name.len() {
        0 => Err(Fault::NoAbstract),
        1..=UNIX_NAME_BYTES_MAX => Ok(()),
        long => Err(Fault::AbstractLong(long)),
    }
}

/// Reads a Unix socket's path or name, if the text means one.
fn unix(text: &str) -> Option<Result<Address, Fault>> {
    let rest = text.strip_prefix("unix:").unwrap_or(text);
    let marked = rest.len() < text.len();
    let name = rest.strip_prefix('@');
    if name.is_none() && !marked && !is_plain_path(text.as_bytes()) {
        let fault = || if text.contains("://") { Fault::Url } else { Fault::PathPrefix(text.to_owned()) };
        return text.contains('/').then(|| Err(fault()));
    }
    // Nobody means them, and what is written must read the same.
    if let Some(char) = text.chars().find(|char| char.is_control()) {
        return Some(Err(Fault::Control(char)));
    }
    Some(match name {
        Some(name) => check_abstract(name.as_bytes()).map(|()| Address::Abstract(name.into())),
        None => check_path(rest.as_ref()).map(|()| Address::Path(rest.into())),
    })
}

/// Reads the name of a host.
fn named(host: &str, port: u16) -> Result<Address, Fault> {
    if host.is_empty() || host == "*" {
        return Err(Fault::NoHost(port));
    }
    if looks_numeric(host) {
        return Err(Fault::NotIp(host.to_owned()));
    }
    check_name(host)?;
    Ok(Address::Host { name: host.to_ascii_lowercase(), port })
}

/// Checks a host name against RFC 952 as relaxed by RFC 1123, section 2.1; underscores are found in the field.
fn check_name(name: &str) -> Result<(), Fault> {
    let known = |char: &char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
    if let Some(char) = name.chars().find(|char| !known(char)) {
        return Err(Fault::NameCharacter(char));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > HOST_NAME_BYTES_MAX {
        return Err(Fault::NameLong(name.len()));
    }
    name.split('.').try_for_each(|label| match label.len() {
        0 => Err(Fault::LabelEmpty),
        long if long > HOST_LABEL_BYTES_MAX => Err(Fault::LabelLong(long)),
        _ if label.starts_with('-') || label.ends_with('-') => Err(Fault::LabelHyphen(label.to_owned())),
        _ => Ok(()),
    })
}

fn port(text: &str) -> Result<u16, Fault> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !is_number(digits) {
        return Err(Fault::PortNotNumber(text.to_owned()));
    }
    text.parse().map_err(|_| Fault::PortRange(text.to_owned()))
}

/// Reads an IP address, with brackets or without.
fn ip(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether the text means to be an IP address, so that "256.0.0.1" is not taken for a host name.
///
/// No top-level domain is a number (RFC 1123, section 2.1), and getaddrinfo(3) would read hexadecimal ones as addresses.
fn looks_numeric(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let last = name.rsplit('.').next().unwrap_or(name);
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    text.contains([':', '[', ']'])
        || is_number(last.strip_prefix('-').unwrap_or(last))
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
