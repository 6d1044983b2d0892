//! Many pairs at once that send, pause, end and reset as a seed says: whatever was not reset arrives byte for byte.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use crate::support::proxy::*;
use crate::support::*;

/// How many pairs there are; `PANTS_TORTURE_PAIRS` says otherwise.
const PAIRS: usize = 500;
/// How many of them are there at once.
const AT_ONCE: usize = 32;

/// What one side of a pair does.
struct Plan {
    bytes: Noise,
    /// How much it sends before it ends or resets.
    length: usize,
    resets: bool,
    chance: Noise,
}

/// What has become of one side.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The other side's end came, behind so many bytes, all of them right.
    Ended(usize),
    /// The connection was reset, by itself or by the other side.
    Reset,
}

#[derive(Clone, Copy)]
enum Side {
    Client,
    Server,
}

impl Noise {
    fn below(&mut self, bound: usize) -> usize {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % bound as u64).expect("it is below one")
    }
}

impl Plan {
    fn of(pair: usize, side: Side) -> Self {
        let seed = ((pair as u64 + 1) << 8) | (side as u64 + 1);
        let mut chance = Noise(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        // Sizes of every magnitude, none among them.
        let length = match chance.below(5) {
            0 => 0,
            1 => chance.below(100),
            2 => chance.below(10_000),
            _ => chance.below(600_000),
        };
        let resets = chance.below(8) == 0;
        Self { bytes: Noise(seed), length, resets, chance }
    }

    /// Plays this plan on a socket on which the other side plays `other`.
    fn play(mut self, mut socket: Socket, other: &Self) -> Outcome {
        let mut output = vec![0; self.length];
        self.bytes.fill(&mut output);
        let mut expected = vec![0; other.length];
        Noise(other.bytes.0).fill(&mut expected);
        socket.set_nonblocking();
        let (mut sent, mut received, mut ended) = (0, 0, false);
        let mut buffer = vec![0; 64 << 10];
        let limit = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < limit, "{sent} of {} sent, {received} of {}", output.len(), expected.len());
            if self.chance.below(16) == 0 {
                thread::sleep(Duration::from_millis(1));
            }
            if sent == output.len() && !ended {
                if self.resets {
                    socket.reset();
                    return Outcome::Reset;
                }
                if let Err(error) = socket.try_end() {
                    assert_eq!(error.kind(), ErrorKind::NotConnected, "the other side has reset");
                    return Outcome::Reset;
                }
                ended = true;
            }
            let wanted = if ended { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
            is_ready(socket.as_fd(), wanted, PATIENCE);
            if sent < output.len() {
                let piece = (sent + 1 + self.chance.below(64 << 10)).min(output.len());
                match socket.write(&output[sent..piece]) {
                    Ok(count) => sent += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return reset(&error),
                }
            }
            let size = 1 + self.chance.below(buffer.len());
            match socket.read(&mut buffer[..size]) {
                Ok(0) if ended => return Outcome::Ended(received),
                // It came early; what is left to send is sent.
                Ok(0) => return self.send_rest(socket, &output[sent..], received),
                Ok(count) => {
                    let right = expected.get(received..received + count) == Some(&buffer[..count]);
                    assert!(right, "wrong bytes behind {received}");
                    received += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return reset(&error),
            }
        }
    }

    fn send_rest(&self, mut socket: Socket, mut rest: &[u8], received: usize) -> Outcome {
        while !rest.is_empty() {
            assert!(is_ready(socket.as_fd(), PollFlags::OUT, PATIENCE), "it takes nothing more");
            match socket.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return reset(&error),
            }
        }
        if self.resets {
            socket.reset();
            return Outcome::Reset;
        }
        match socket.try_end() {
            Ok(()) => Outcome::Ended(received),
            Err(_) => Outcome::Reset,
        }
    }
}

fn reset(error: &std::io::Error) -> Outcome {
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    Outcome::Reset
}

/// What both sides say of each pair: the client's outcome, and the server's if it has heard whose pair it is.
type Outcomes = Mutex<Vec<[Option<Outcome>; 2]>>;

fn play_pairs(address: &str, upstream: &Upstream, pairs: usize) -> Outcomes {
    let outcomes: Outcomes = Mutex::new((0..pairs).map(|_| [None, None]).collect());
    let (next, served) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let pair = next.fetch_add(1, Ordering::Relaxed);
                    if pair >= pairs {
                        return;
                    }
                    let mut socket = Socket::connect(address);
                    socket.send(&pair.to_le_bytes());
                    let outcome = Plan::of(pair, Side::Client).play(socket, &Plan::of(pair, Side::Server));
                    outcomes.lock().unwrap()[pair][0] = Some(outcome);
                }
            });
        }
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while served.fetch_add(1, Ordering::Relaxed) < pairs {
                    let mut socket = upstream.accept();
                    let mut header = [0; size_of::<usize>()];
                    // A client that resets at once may not even get so far.
                    if socket.read_exact(&mut header).is_err() {
                        continue;
                    }
                    let pair = usize::from_le_bytes(header);
                    let outcome = Plan::of(pair, Side::Server).play(socket, &Plan::of(pair, Side::Client));
                    outcomes.lock().unwrap()[pair][1] = Some(outcome);
                }
            });
        }
    });
    outcomes
}

fn torture(shards: &str) {
    let pairs = std::env::var("PANTS_TORTURE_PAIRS").ok().and_then(|pairs| pairs.parse().ok()).unwrap_or(PAIRS);
    let upstream = Upstream::tcp();
    // Low marks, so that they are passed often.
    let file = ScratchFile::new(
        &format!("torture-{shards}.toml"),
        "[limits]\nwrite_high_water = \"16KiB\"\nwrite_low_water = \"4KiB\"\nwrite_cap = \"1MiB\"\n",
    );
    let flags = ["--quiet", "--shards", shards, "--config", file.path(), "--to", &upstream.address()];
    let proxy = Proxy::start(&flags);
    let outcomes = play_pairs(&proxy.address, &upstream, pairs).into_inner().unwrap();
    let mut whole = 0;
    for (pair, [client, server]) in outcomes.into_iter().enumerate() {
        let plans = [Side::Client, Side::Server].map(|side| Plan::of(pair, side));
        let [there, back] = plans.each_ref().map(|plan| plan.length);
        let client = client.expect("each client comes to an end");
        if plans.iter().any(|plan| plan.resets) {
            // Whoever has not reset has seen it; nobody took a reset for an end.
            assert_eq!(client, Outcome::Reset, "pair {pair}");
            assert!(matches!(server, None | Some(Outcome::Reset)), "pair {pair}: {server:?}");
        } else {
            assert_eq!((client, server), (Outcome::Ended(back), Some(Outcome::Ended(there))), "pair {pair}");
            whole += 1;
        }
    }
    assert!(whole > pairs / 2, "only {whole} of {pairs} pairs were not reset");
    let ended = proxy.stop();
    assert_eq!(ended.code, Some(0));
    println!("{whole} of {pairs} whole; {:?}", ended.output.last());
}

#[test]
fn whatever_is_not_reset_arrives_byte_for_byte_on_one_shard() {
    torture("1");
}

#[test]
fn whatever_is_not_reset_arrives_byte_for_byte_on_two_shards() {
    torture("2");
}
