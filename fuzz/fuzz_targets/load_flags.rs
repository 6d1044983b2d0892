//! What pants-load's flags are given: sizes, bytes, and the parts of an HTTP request.

#![no_main]

use libfuzzer_sys::fuzz_target;
use loadtest::plan::SIZE_MAX;
use loadtest::plan::sizes::{Draws, Sizes};
use loadtest::protocol::bytes::{parse_escaped, parse_hex};
use loadtest::protocol::http::Get;

fuzz_target!(|case: (String, String, u64)| {
    let (text, other, number) = case;
    if let Ok(sizes) = text.parse::<Sizes>() {
        assert_eq!(sizes.to_string().parse().as_ref(), Ok(&sizes));
        assert!(1 <= sizes.min() && sizes.max() <= SIZE_MAX);
        assert!((sizes.min()..=sizes.max()).contains(&sizes.of(Draws::new(number, number), number)));
    }
    check_bytes(&text);
    check_request(&text, &other);
});

fn check_bytes(text: &str) {
    if let Ok(bytes) = parse_hex(text) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(parse_hex(&hex), Ok(bytes));
    }
    if let Ok(bytes) = parse_escaped(text) {
        let escaped: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        assert_eq!(parse_escaped(&escaped), Ok(bytes));
    }
}

/// Whatever is in a path and a field, the request has its own lines and no more.
fn check_request(path: &str, field: &str) {
    let Ok(get) = Get::new("localhost", path, &[field.to_owned()]) else { return };
    let text = str::from_utf8(get.bytes()).expect("it was text");
    let lines: Vec<&str> = text.split("\r\n").collect();
    let own = if field.to_ascii_lowercase().starts_with("host:") { 4 } else { 5 };
    assert_eq!(lines.len(), own, "{text:?}");
    assert_eq!(lines[0], format!("GET {path} HTTP/1.1"));
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{text:?}");
}
