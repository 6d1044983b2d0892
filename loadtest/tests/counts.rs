//! A run by count: what the server has seen is exactly what was asked for, in both directions.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::*;

/// Runs against an echo that counts, and expects the totals.
fn assert_counts(count: u64, size: u64, flags: &str) {
    let passed = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&passed);
    let address = server(move |stream| {
        echo(stream, |data| {
            seen.fetch_add(data.len() as u64, Ordering::Relaxed);
        });
    });
    let (ended, json) = load(address, &format!("--count {count} --size {size} {flags}"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(passed.load(Ordering::Relaxed), count * size, "{flags}");
    let result = &json["result"];
    assert_eq!((&result["messages"], &result["response"]["count"]), (&count.into(), &count.into()));
    for (field, expected) in [
        ("sent", count),
        ("replied", count),
        ("unfinished", 0),
        ("bytes_in", count * size),
        ("bytes_out", count * size),
    ] {
        assert_eq!(result["total"][field], expected, "{field} with {flags}: {ended:?}");
    }
}

#[test]
fn every_message_is_sent_once_and_comes_back_once() {
    assert_counts(1, 1, "--connections 1");
    assert_counts(10_007, 64, "--connections 16");
    assert_counts(5_000, 100, "--connections 7 --depth 16 --shards 2");
    assert_counts(3_000, 64, "--connections 3 --no-verify --seed 99");
}

#[test]
fn connections_that_have_nothing_to_send_do_no_harm() {
    assert_counts(3, 64, "--connections 20 --shards 3");
}

#[test]
fn messages_far_larger_than_any_buffer_come_back_whole() {
    // More than the kernel buffers in both directions: were the answers not read meanwhile, both sides would wait for ever.
    assert_counts(12, 4 << 20, "--connections 2 --depth 3");
}
