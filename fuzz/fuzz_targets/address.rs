//! Addresses: whatever the fuzzer gives is read as text, and taken for a host, a path, a name and a socket address.

#![no_main]

use std::ffi::OsStr;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pants_engine::{Address, AddressError, ToAddress};

/// The longest path or name (unix(7)).
const UNIX_MAX: usize = 107;

fuzz_target!(|data: &[u8]| {
    check_path(data);
    check_abstract(data);
    if let Some((ip, rest)) = data.split_first_chunk::<16>()
        && let Some((port, scope)) = rest.split_first_chunk()
    {
        // The scope is 0 if there is nothing left of the data.
        let scope = scope.iter().fold(0, |scope: u32, &byte| scope << 8 | u32::from(byte));
        let socket = SocketAddrV6::new(Ipv6Addr::from(*ip), u16::from_be_bytes(*port), 0, scope);
        check_round_trip(&Address::Socket(socket.into()));
    }
    let Ok(text) = str::from_utf8(data) else { return };
    check_result(text.parse());
    check_result((text, 4040).to_address());
    if let Some(port) = data.last_chunk() {
        // As a program may make it, with anything in it.
        check_result(Address::Host { name: text.into(), port: u16::from_be_bytes(*port) }.to_address());
    }
});

fn check_result(result: Result<Address, AddressError>) {
    match result {
        Ok(address) => check_round_trip(&address),
        Err(error) => check_line(&error.to_string()),
    }
}

/// An address that was accepted is accepted again, and is what its text says.
fn check_round_trip(address: &Address) {
    let text = address.to_string();
    check_line(&text);
    assert_eq!(text.parse().as_ref(), Ok(address), "{text:?}");
    assert_eq!(address.to_address().as_ref(), Ok(address));
}

fn check_line(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
}

/// A path is written on one line, and, if it can be, so that it is read as the same file.
fn check_path(bytes: &[u8]) {
    let path = Path::new(OsStr::from_bytes(bytes));
    check_line(&Address::Path(path.into()).to_string());
    let address = match path.to_address() {
        Ok(address) => address,
        Err(error) => return check_line(&error.to_string()),
    };
    assert!((1..=UNIX_MAX).contains(&bytes.len()));
    if !is_writable(bytes) {
        return;
    }
    if !bytes.starts_with(b"@") {
        check_round_trip(&address);
    } else if bytes.len() + 2 <= UNIX_MAX {
        assert_eq!(address.to_string().parse(), Ok(Address::Path(Path::new(".").join(path))));
    }
}

/// So is an abstract name.
fn check_abstract(bytes: &[u8]) {
    let address = Address::Abstract(bytes.into());
    check_line(&address.to_string());
    match (&address).to_address() {
        Ok(_) if is_writable(bytes) => check_round_trip(&address),
        Ok(_) => {}
        Err(error) => check_line(&error.to_string()),
    }
    assert_eq!((&address).to_address().is_ok(), (1..=UNIX_MAX).contains(&bytes.len()));
}

/// Whether there is text for it.
fn is_writable(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_ok_and(|text| !text.contains(char::is_control))
}
