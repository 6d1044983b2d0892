//! Where to listen or connect: a port, an IP address, a host name or a Unix socket.

use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

use crate::net::endpoint::Endpoint;
use crate::net::parse::{self, Fault};

/// A place to listen on or to connect to.
///
/// | text | address |
/// | --- | --- |
/// | `4040` | the port on all interfaces |
/// | `127.0.0.1:4040`, `[::1]:4040` | an IP address and a port |
/// | `localhost:4040` | a host name, to be resolved, and a port |
/// | `/run/x.sock`, `./x.sock`, `../x.sock`, `unix:x.sock`, `unix:/run/x.sock` | a Unix socket's path |
/// | `@name`, `unix:@name` | an abstract Unix socket's name |
///
/// What [`FromStr`] has read, [`Display`](fmt::Display) writes so that it reads the same again. Of what no text says, some
/// is lost when it is written: an IPv6 flow label is left out, control characters and bytes that are not UTF-8 are shown
/// as U+FFFD, and a relative path that begins with `@` is shown with `./` in front.
///
/// ```
/// use pants_engine::Address;
///
/// let address: Address = "127.0.0.1:4040".parse()?;
/// assert_eq!(address.to_string(), "127.0.0.1:4040");
/// assert_eq!("4040".parse::<Address>()?, Address::Port(4040));
/// assert_eq!("unix:x.sock".parse::<Address>()?, Address::Path("x.sock".into()));
/// # Ok::<(), pants_engine::AddressError>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A port, 0 to 65535, on all interfaces, IPv6 and IPv4. Port 0 lets the kernel choose one.
    Port(u16),
    /// An IP address and a port.
    Socket(SocketAddr),
    /// The name of a host, which stands for its IP addresses, and a port.
    Host {
        /// At most 253 bytes: labels of 1 to 63 letters, digits, `-` (not first or last) and `_`, with dots between them
        /// and possibly one behind (RFC 1123, section 2.1). In lower case, since case means nothing (RFC 4343).
        name: String,
        /// The port, 0 to 65535.
        port: u16,
    },
    /// The path of a Unix socket: 1 to 107 bytes without a NUL (unix(7)).
    Path(PathBuf),
    /// The name of a Unix socket outside the file system, Linux' abstract namespace: 1 to 107 bytes of any value
    /// (unix(7)), without the NUL that the kernel has in front of them.
    Abstract(Vec<u8>),
}

impl Address {
    /// Its port; a Unix socket has none.
    ///
    /// ```
    /// use pants_engine::Address;
    ///
    /// assert_eq!("localhost:4040".parse::<Address>()?.port(), Some(4040));
    /// assert_eq!("/run/x.sock".parse::<Address>()?.port(), None);
    /// # Ok::<(), pants_engine::AddressError>(())
    /// ```
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Port(port) | Self::Host { port, .. } => Some(*port),
            Self::Socket(address) => Some(address.port()),
            Self::Path(_) | Self::Abstract(_) => None,
        }
    }
}

/// What can name an [`Address`], so that `listen(4040, …)` and `listen("127.0.0.1:4040", …)` both read well.
///
/// Only one integer type implements it, which is why the literal `4040` needs no suffix.
///
/// ```
/// use pants_engine::{Address, ToAddress};
///
/// assert_eq!(4040.to_address()?, Address::Port(4040));
/// assert_eq!(("127.0.0.1", 4040).to_address()?, "127.0.0.1:4040".parse()?);
/// assert_eq!(("localhost", 4040).to_address()?, "localhost:4040".parse()?);
/// assert!("localhost".to_address().is_err());
/// # Ok::<(), pants_engine::AddressError>(())
/// ```
pub trait ToAddress {
    /// Converts to an address that is well-formed: a [`Host`](Address::Host) is never an IP address, and its name is in
    /// lower case.
    ///
    /// # Errors
    ///
    /// Text that is no address is refused, and so are host names, paths and abstract names that cannot be one, even within
    /// an [`Address`]; numbers and IP addresses cannot fail.
    fn to_address(self) -> Result<Address, AddressError>;
}

/// What is not an address: it says what was given, what is wrong with it, and what to write instead.
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

impl AddressError {
    fn new(input: impl ToString, fault: Fault) -> Self {
        Self { input: input.to_string(), fault }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => port.fmt(f),
            Self::Socket(address) => address.fmt(f),
            // `unix:` begins a path; the case of a name means nothing.
            Self::Host { name, port } if name == "unix" => write!(f, "UNIX:{port}"),
            Self::Host { name, port } => write!(f, "{name}:{port}"),
            Self::Path(path) => {
                let bytes = path.as_os_str().as_bytes();
                f.write_str(if parse::is_plain_path(bytes) {
                    ""
                } else if bytes.starts_with(b"@") {
                    "unix:./"
                } else {
                    "unix:"
                })?;
                write_lossy(f, bytes)
            }
            Self::Abstract(name) => {
                f.write_char('@')?;
                write_lossy(f, name)
            }
        }
    }
}

/// Writes a path or a name on one line: those of peers come from anybody.
fn write_lossy(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let text = String::from_utf8_lossy(bytes);
    text.chars().try_for_each(|char| {
        let shown = if char.is_control() { char::REPLACEMENT_CHARACTER } else { char };
        f.write_char(shown)
    })
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse::text(text).map_err(|fault| AddressError::new(text, fault))
    }
}

impl From<u16> for Address {
    fn from(port: u16) -> Self {
        Self::Port(port)
    }
}

impl From<Endpoint> for Address {
    /// An unnamed socket becomes an abstract name without bytes, which no operation takes.
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
        Address::from(self).to_address()
    }
}

impl ToAddress for &Endpoint {
    fn to_address(self) -> Result<Address, AddressError> {
        self.clone().to_address()
    }
}

impl ToAddress for (IpAddr, u16) {
    fn to_address(self) -> Result<Address, AddressError> {
        Ok(SocketAddr::from(self).into())
    }
}

/// An IP address, with brackets or without, or a host name; and a port.
impl ToAddress for (&str, u16) {
    fn to_address(self) -> Result<Address, AddressError> {
        let (host, port) = self;
        parse::host_and_port(host, port).map_err(|fault| AddressError::new(format_args!("{host}:{port}"), fault))
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

/// A Unix socket's path, whatever it looks like.
impl ToAddress for &Path {
    fn to_address(self) -> Result<Address, AddressError> {
        self.to_owned().to_address()
    }
}

/// A Unix socket's path, whatever it looks like.
impl ToAddress for PathBuf {
    fn to_address(self) -> Result<Address, AddressError> {
        let checked = parse::check_path(self.as_os_str());
        let address = Address::Path(self);
        match checked {
            Ok(()) => Ok(address),
            Err(fault) => Err(AddressError::new(address, fault)),
        }
    }
}

impl ToAddress for Address {
    fn to_address(self) -> Result<Address, AddressError> {
        match self {
            Self::Port(_) | Self::Socket(_) => Ok(self),
            Self::Host { name, port } => (&*name, port).to_address(),
            Self::Path(path) => path.to_address(),
            Self::Abstract(ref name) => match parse::check_abstract(name) {
                Ok(()) => Ok(self),
                Err(fault) => Err(AddressError::new(self, fault)),
            },
        }
    }
}

impl ToAddress for &Address {
    fn to_address(self) -> Result<Address, AddressError> {
        self.clone().to_address()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::net::{Ipv4Addr, SocketAddrV6};

    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        text.parse::<Address>().unwrap_err().to_string()
    }

    fn host(name: &str, port: u16) -> Address {
        Address::Host { name: name.into(), port }
    }

    fn path(path: &str) -> Address {
        Address::Path(path.into())
    }

    fn name(name: &[u8]) -> Address {
        Address::Abstract(name.into())
    }

    #[test]
    #[cfg_attr(miri, ignore = "65,536 addresses take too long")]
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
    fn host_names_are_read_and_written_in_lower_case() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", &label[..61]);
        for name in ["localhost", "a", "example.org.", "4o4.org", "a-b_c.d--e", "_x._tcp", "10-0-0-1", "0xg", &longest]
        {
            let text = format!("{name}:80");
            assert_eq!(text.parse(), Ok(host(name, 80)));
            assert_eq!(host(name, 80).to_string(), text);
        }
        assert_eq!("Example.ORG:80".parse(), Ok(host("example.org", 80)));
        assert_eq!(format!("{longest}.:0").parse(), Ok(host(&format!("{longest}."), 0)));
    }

    #[test]
    fn a_host_that_is_called_unix_is_not_written_as_a_path() {
        assert_eq!("UNIX:80".parse(), Ok(host("unix", 80)));
        assert_eq!(host("unix", 80).to_string(), "UNIX:80");
        assert_eq!("unix:80".parse(), Ok(path("80")));
    }

    #[test]
    fn paths_are_read_with_and_without_their_prefix() {
        for (text, read, written) in [
            ("/run/x.sock", "/run/x.sock", "/run/x.sock"),
            ("./x.sock", "./x.sock", "./x.sock"),
            ("../x.sock", "../x.sock", "../x.sock"),
            ("unix:x.sock", "x.sock", "unix:x.sock"),
            ("unix:a/x.sock", "a/x.sock", "unix:a/x.sock"),
            ("unix:/run/x.sock", "/run/x.sock", "/run/x.sock"),
            ("unix:./@x", "./@x", "./@x"),
            ("unix:4040", "4040", "unix:4040"),
            ("unix:localhost:80", "localhost:80", "unix:localhost:80"),
            ("unix:unix:x", "unix:x", "unix:unix:x"),
            ("/127.0.0.1:80", "/127.0.0.1:80", "/127.0.0.1:80"),
        ] {
            assert_eq!(text.parse(), Ok(path(read)), "{text}");
            assert_eq!(path(read).to_string(), written);
            assert_eq!(written.parse(), Ok(path(read)));
        }
    }

    #[test]
    fn abstract_names_are_read_with_and_without_their_prefix() {
        for text in ["name", "@name", "a/b:80", "unix:x", "é"] {
            assert_eq!(format!("@{text}").parse(), Ok(name(text.as_bytes())));
            assert_eq!(format!("unix:@{text}").parse(), Ok(name(text.as_bytes())));
            assert_eq!(name(text.as_bytes()).to_string(), format!("@{text}"));
        }
    }

    #[test]
    fn what_has_no_text_form_is_written_on_one_line() {
        let bytes = Path::new(OsStr::from_bytes(b"x\xff\n"));
        assert_eq!(Address::Path(bytes.into()).to_string(), "unix:x\u{fffd}\u{fffd}");
        assert_eq!(name(b"\0x\xff\x1b").to_string(), "@\u{fffd}x\u{fffd}\u{fffd}");
        assert_eq!(path("@x").to_string(), "unix:./@x");
    }

    #[test]
    fn a_missing_port_is_named_with_what_to_write() {
        for (text, written) in [
            ("127.0.0.1", "127.0.0.1:4040"),
            ("127.0.0.1:", "127.0.0.1:4040"),
            ("::1", "[::1]:4040"),
            ("[::1]", "[::1]:4040"),
            ("localhost", "localhost:4040"),
            ("localhost:", "localhost:4040"),
        ] {
            assert_eq!(error(text), format!("address {text:?}: the port is missing; write {written:?}"));
        }
    }

    #[test]
    fn a_port_out_of_range_is_named_with_the_range() {
        for (text, port) in
            [("127.0.0.1:99999", "99999"), ("65536", "65536"), ("[::1]:-1", "-1"), ("localhost:65536", "65536")]
        {
            assert_eq!(
                error(text),
                format!("address {text:?}: the port {port} is out of range; it must be 0 to 65535")
            );
        }
    }

    #[test]
    fn a_port_that_is_no_number_is_named() {
        for (text, port) in
            [("127.0.0.1:http", "http"), ("127.0.0.1:+80", "+80"), ("localhost:http", "http"), ("UNIX:x", "x")]
        {
            assert_eq!(
                error(text),
                format!("address {text:?}: the port {port:?} is not a number; it must be 0 to 65535")
            );
        }
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
        for (text, host) in [
            ("256.0.0.1:80", "256.0.0.1"),
            ("256.0.0.1.:80", "256.0.0.1."),
            ("127.o.0.1:80", "127.o.0.1"),
            ("0x7f.0.0.0x1:80", "0x7f.0.0.0x1"),
            ("0X7F000001:80", "0X7F000001"),
            ("[::g]:80", "[::g]"),
            ("1:2:3:4:5:6:7:8:80", "1:2:3:4:5:6:7:8"),
            ("fe80::1%3:80", "fe80::1%3"),
            ("[127.0.0.1]:80", "[127.0.0.1]"),
            ("127.1:http", "127.1"),
            ("1.2.3", "1.2.3"),
            ("-1", "-1"),
        ] {
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
    fn a_host_name_that_cannot_be_one_is_told_why() {
        let label = "a".repeat(63);
        let long = format!("{label}.{label}.{label}.{}", &label[..62]);
        for (host, fault) in [
            (&*long, "the host name is 254 bytes long; write one of at most 253"),
            (&*"a".repeat(64), "a part of the host name is 64 bytes long; write at most 63 between dots"),
            ("a..b", "a part of the host name is empty; write it with one dot between two parts"),
            (".a", "a part of the host name is empty; write it with one dot between two parts"),
            (".", "a part of the host name is empty; write it with one dot between two parts"),
            ("-a.b", "a part of the host name, \"-a\", begins or ends with a hyphen; write it without"),
            ("a.b-", "a part of the host name, \"b-\", begins or ends with a hyphen; write it without"),
        ] {
            // It comes before whatever is wrong with the port.
            for text in [format!("{host}:80"), format!("{host}:http"), format!("{host}:"), host.to_owned()] {
                assert_eq!(error(&text), format!("address {text:?}: {fault}"));
            }
        }
        for (text, char) in [("bücher.de:80", 'ü'), ("a b:80", ' '), ("user@host:80", '@'), ("host\n:80", '\n')] {
            assert_eq!(
                error(text),
                format!(
                    "address {text:?}: the host name has the character {char:?}; write letters (a to z), digits, \
                     hyphens and dots, and an international name in its \"xn--\" form"
                )
            );
        }
    }

    #[test]
    fn a_path_or_an_abstract_name_that_cannot_be_one_is_told_why() {
        let long = "x".repeat(107);
        for (text, fault) in [
            ("unix:".into(), "the Unix socket's path is missing; write one such as \"/run/pants.sock\""),
            ("@".into(), "the abstract Unix socket's name is missing; write one such as \"@pants\""),
            ("unix:@".into(), "the abstract Unix socket's name is missing; write one such as \"@pants\""),
            (
                format!("/{long}"),
                "the Unix socket's path is 108 bytes long; write one of at most 107, from the working directory if \
                 need be",
            ),
            (format!("@{long}x"), "the abstract Unix socket's name is 108 bytes long; write one of at most 107"),
            ("/run/x\n".into(), "it has the control character '\\n'; write it without"),
            ("@x\0".into(), "it has the control character '\\0'; write it without"),
            (
                "run/x.sock".into(),
                "a Unix socket's path begins with \"/\", \"./\", \"../\" or \"unix:\"; write \"./run/x.sock\"",
            ),
            (
                "http://localhost:80/".into(),
                "it is a URL; write only its host and port, such as \"127.0.0.1:4040\", or a Unix socket's path",
            ),
        ] {
            assert_eq!(error(&text), format!("address {text:?}: {fault}"));
        }
        assert_eq!(format!("unix:{long}").parse(), Ok(path(&long)));
        assert_eq!(format!("@{long}").parse(), Ok(name(long.as_bytes())));
    }

    #[test]
    fn an_empty_text_is_named_for_what_it_is() {
        assert_eq!(
            error(""),
            "address \"\": it is empty; write a port such as \"4040\" or an address such as \"127.0.0.1:4040\""
        );
    }

    #[test]
    fn every_type_that_names_an_address_gives_the_same_one() {
        let socket: SocketAddr = (Ipv4Addr::LOCALHOST, 4040).into();
        let address = Address::Socket(socket);
        assert_eq!(socket.to_address(), Ok(address.clone()));
        assert_eq!((IpAddr::V4(Ipv4Addr::LOCALHOST), 4040).to_address(), Ok(address.clone()));
        assert_eq!(("127.0.0.1", 4040).to_address(), Ok(address.clone()));
        assert_eq!("127.0.0.1:4040".to_address(), Ok(address.clone()));
        assert_eq!(String::from("127.0.0.1:4040").to_address(), Ok(address.clone()));
        assert_eq!(host("127.0.0.1", 4040).to_address(), Ok(address.clone()));
        assert_eq!((&address).to_address(), Ok(address.clone()));
        assert_eq!(address.clone().to_address(), Ok(address));
        assert_eq!(4040.to_address(), Ok(Address::Port(4040)));
        assert_eq!(Path::new("4040").to_address(), Ok(path("4040")));
        assert_eq!(PathBuf::from("@x").to_address(), Ok(path("@x")));
        assert_eq!(name(b"\0\xff").to_address(), Ok(name(b"\0\xff")));
    }

    #[test]
    fn a_host_and_a_port_may_be_an_ip_address_in_any_form() {
        for (host, written) in [("::1", "[::1]:4040"), ("[::1]", "[::1]:4040"), ("fe80::1%3", "[fe80::1%3]:4040")] {
            assert_eq!((host, 4040).to_address(), Ok(Address::Socket(written.parse().unwrap())));
        }
        assert_eq!(("LocalHost", 4040).to_address(), Ok(host("localhost", 4040)));
        let message = |host: &str| (host, 80).to_address().unwrap_err().to_string();
        assert!(message("256.0.0.1").starts_with("address \"256.0.0.1:80\": \"256.0.0.1\" is not an IP address"));
        assert!(message("127.0.0.1:80").starts_with("address \"127.0.0.1:80:80\": \"127.0.0.1:80\" is not an IP"));
        assert!(message("").starts_with("address \":80\": the host is missing"));
        assert!(message("a b").starts_with("address \"a b:80\": the host name has the character ' '"));
    }

    #[test]
    fn an_address_that_a_program_made_is_checked_as_text_is() {
        for (address, fault) in [
            (
                host("a..b", 80),
                "address \"a..b:80\": a part of the host name is empty; write it with one dot between two parts",
            ),
            (path(""), "address \"unix:\": the Unix socket's path is missing; write one such as \"/run/pants.sock\""),
            (path("/x\0"), "address \"/x\u{fffd}\": it has the control character '\\0'; write it without"),
            (name(b""), "address \"@\": the abstract Unix socket's name is missing; write one such as \"@pants\""),
        ] {
            assert_eq!((&address).to_address().unwrap_err().to_string(), fault);
            assert_eq!(address.to_address().unwrap_err().to_string(), fault);
        }
        assert!(Path::new(&"x".repeat(108)).to_address().is_err());
        assert!(name(&[0; 108]).to_address().is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_parsing_panic_or_its_error_span_lines(
            text in r"\PC*|[0-9.:\[\]\-*%a-gx\n]*|(unix:)?[@/.]{0,3}[\PC\n\x00]*",
        ) {
            if let Err(error) = text.parse::<Address>() {
                prop_assert!(!error.to_string().contains('\n'));
            }
        }

        #[test]
        fn what_is_read_is_written_so_that_it_reads_the_same(
            text in r"[0-9.:\[\]a-gA-Gunix@/_-]*|(unix:|UNIX:)?[@/.]{0,3}[a-z/.:@é]{0,8}(:[0-9]{0,5})?",
        ) {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address.clone()));
                prop_assert_eq!((&address).to_address(), Ok(address));
            }
        }

        #[test]
        fn every_path_reads_as_the_same_file(text in r"[@/.unix:a-z0-9é]{1,40}") {
            let address = Path::new(&text).to_address().unwrap();
            let read: Address = address.to_string().parse().unwrap();
            let anchored = path(&format!("./{text}"));
            prop_assert!(read == address || text.starts_with('@') && read == anchored);
        }

        #[test]
        fn every_text_is_an_abstract_name(text in r"\PC{1,20}") {
            prop_assume!(text.len() <= 107);
            prop_assert_eq!(name(text.as_bytes()).to_string().parse(), Ok(name(text.as_bytes())));
        }

        #[test]
        fn no_bytes_make_an_address_span_lines(bytes: Vec<u8>) {
            prop_assert!(!Address::Path(OsStr::from_bytes(&bytes).into()).to_string().contains('\n'));
            prop_assert!(!Address::Abstract(bytes).to_string().contains('\n'));
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
