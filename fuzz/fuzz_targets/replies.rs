//! Replies to pants-load: whatever comes in whatever pieces, every protocol makes the same of it as of the whole.

#![no_main]

use std::rc::Rc;
use std::sync::Arc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use loadtest::plan::sizes::Sizes;
use loadtest::protocol::echo::Echo;
use loadtest::protocol::http::{Get, Http};
use loadtest::protocol::lines::Lines;
use loadtest::protocol::pattern::Pattern;
use loadtest::protocol::raw::{Delimiter, Exchange, Expect, Raw};
use loadtest::protocol::{Protocol, Verdict};
use pants_fuzz::Course;

/// What is spoken.
#[derive(Arbitrary, Debug)]
enum Language {
    Echo,
    Http,
    Lines,
    Length(u16),
    Delimiter(Vec<u8>),
    Exactly(Vec<u8>),
}

/// What was made of all that came.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    verdicts: Vec<Verdict>,
    /// Whether it was no reply.
    failed: bool,
    /// What the server's end made of the last one.
    end: Option<Verdict>,
}

fuzz_target!(|case: (Language, Vec<u8>, Course)| {
    let (language, data, course) = case;
    let pieces = course.split(&data);
    match language {
        Language::Echo => check(echo, &data, &pieces),
        Language::Http => check(|| Http::new(get()), &data, &pieces),
        Language::Lines => check(lines, &data, &pieces),
        Language::Length(length) => check(|| raw(Expect::Length(u64::from(length) + 1)), &data, &pieces),
        Language::Delimiter(bytes) => {
            let Ok(delimiter) = Delimiter::new(&bytes) else { return };
            check(|| raw(Expect::Delimiter(delimiter.clone())), &data, &pieces);
        }
        Language::Exactly(bytes) if !bytes.is_empty() => {
            let bytes: Arc<[u8]> = bytes.into();
            check(|| raw(Expect::Exactly(Arc::clone(&bytes), true)), &data, &pieces);
        }
        Language::Exactly(_) => {}
    }
});

fn check<P: Protocol>(new: impl Fn() -> P, data: &[u8], pieces: &[&[u8]]) {
    let whole = hear(new(), &[data]);
    assert_eq!(whole, hear(new(), pieces));
    assert_eq!(whole, hear(new(), &data.chunks(1).collect::<Vec<_>>()));
}

fn hear(mut protocol: impl Protocol, pieces: &[&[u8]]) -> Heard {
    let mut heard = Heard { verdicts: Vec::new(), failed: false, end: None };
    for mut piece in pieces.iter().copied() {
        while !piece.is_empty() {
            let number = heard.verdicts.len() as u64;
            let Ok(taken) = protocol.take(number, piece) else {
                heard.failed = true;
                return heard;
            };
            assert!(taken.used <= piece.len());
            assert!(taken.reply.is_some() || taken.used == piece.len(), "an incomplete reply takes all");
            assert!(taken.used > 0, "each reply to these has bytes");
            piece = &piece[taken.used..];
            heard.verdicts.extend(taken.reply);
        }
    }
    heard.end = protocol.take_end(heard.verdicts.len() as u64);
    heard
}

fn echo() -> Echo {
    let sizes: Rc<Sizes> = Rc::new("uniform:1-40".parse().expect("it is a range"));
    Echo::new(Rc::new(Pattern::new(1, sizes.max())), sizes, 1, true)
}

fn lines() -> Lines {
    let sizes: Rc<Sizes> = Rc::new("uniform:1-40".parse().expect("it is a range"));
    Lines::new(Rc::new(Pattern::printable(1, sizes.max())), sizes, 1, true)
}

fn get() -> Get {
    Get::new("localhost", "/", &[]).expect("it is a request")
}

fn raw(expect: Expect) -> Raw {
    Raw::new(Exchange { request: b"x".as_slice().into(), expect })
}
