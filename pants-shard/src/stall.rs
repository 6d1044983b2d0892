//! The stall detector: a thread that looks at what each shard is at, and tells of turns that do not end.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pants_engine::{Beat, Pulse};

use crate::shard_id::ShardId;

/// Looks at a turn before it counts as a stall: what a stall's length may be wrong by.
const LOOKS: u32 = 4;

/// The shortest time between two looks, whatever counts as a stall.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(1);

/// One shard's stalls are told of at most this often, without the ends of those that were told of.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// With every shard at rest for so long the watchdog sleeps, until one goes to work.
const QUIET: Duration = Duration::from_secs(1);

/// The longest of these sleeps: a turn that began at the very moment the watchdog lay down has not woken it.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Starts the watchdog: a turn that takes as long as `stall_after` is a stall. It ends when every engine has: it is woken by the last one.
pub(crate) fn watch(pulses: Vec<Pulse>, stall_after: Duration) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("watchdog".to_owned()).spawn(move || Watchdog::new(pulses, stall_after).run())
}

struct Watchdog {
    shards: Vec<(Pulse, Watch)>,
    stall_after: Duration,
}

impl Watchdog {
    fn new(pulses: Vec<Pulse>, stall_after: Duration) -> Self {
        let now = Instant::now();
        let shards = pulses.into_iter().map(|pulse| (pulse.clone(), Watch::new(pulse.beat(), now))).collect();
        Self { shards, stall_after }
    }

    fn run(mut self) {
        let look_every = (self.stall_after / LOOKS).max(LOOK_EVERY_MIN);
        let mut now = Instant::now();
        let mut last_work = now;
        while !self.shards.iter().all(|(pulse, _)| pulse.has_ended()) {
            if now - last_work < QUIET {
                thread::park_timeout(look_every);
            } else {
                self.sleep();
            }
            now = Instant::now();
            if self.look(now) {
                last_work = now;
            }
        }
    }

    /// Looks at every shard. Returns whether one has worked since the last look.
    fn look(&mut self, now: Instant) -> bool {
        let mut works = false;
        for (index, (pulse, watch)) in self.shards.iter_mut().enumerate() {
            let beat = pulse.beat();
            works |= beat.is_working() || beat != watch.beat;
            if let Some(sight) = watch.look(beat, now, self.stall_after) {
                report(ShardId::new(index), pulse, sight);
            }
        }
        works
    }

    /// Sleeps until a shard goes to work.
    fn sleep(&self) {
        for (pulse, _) in &self.shards {
            pulse.wake_at_work(thread::current());
        }
        if self.shards.iter().all(|(pulse, watch)| pulse.beat() == watch.beat) {
            thread::park_timeout(SLEEP_MAX);
        }
    }
}

/// What is known of one shard from earlier looks.
#[derive(Debug)]
struct Watch {
    beat: Beat,
    /// When that beat was seen first.
    since: Instant,
    stalls: bool,
    /// The present stall was told of.
    told: bool,
    last_told: Option<Instant>,
}

/// What a look has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sight {
    kind: Kind,
    /// How long the stall has lasted.
    so_far: Duration,
    /// Whether it is to be told of.
    tell: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Begun,
    GoesOn,
    Over,
}

impl Watch {
    fn new(beat: Beat, now: Instant) -> Self {
        Self { beat, since: now, stalls: false, told: false, last_told: None }
    }

    /// Takes note of the beat that is seen now, and says so if the shard stalls or has done so until now.
    fn look(&mut self, beat: Beat, now: Instant, stall_after: Duration) -> Option<Sight> {
        if beat != self.beat {
            let over = || Sight { kind: Kind::Over, so_far: now - self.since, tell: self.told };
            let over = self.stalls.then(over);
            *self = Self { last_told: self.last_told, ..Self::new(beat, now) };
            return over;
        }
        let so_far = now - self.since;
        if !beat.is_working() || so_far < stall_after {
            return None;
        }
        let kind = if std::mem::replace(&mut self.stalls, true) { Kind::GoesOn } else { Kind::Begun };
        let tell = self.last_told.is_none_or(|last| now - last >= LOG_INTERVAL);
        if tell {
            (self.told, self.last_told) = (true, Some(now));
        }
        Some(Sight { kind, so_far, tell })
    }
}

fn report(shard: ShardId, pulse: &Pulse, sight: Sight) {
    let Sight { kind, so_far, tell } = sight;
    if kind == Kind::Begun {
        pulse.note_stall();
    }
    if !tell {
        return;
    }
    if kind == Kind::Over {
        tracing::warn!(%shard, total = ?so_far, "a shard's stall is over");
    } else {
        let running = pulse.activity();
        tracing::warn!(%shard, %running, ?so_far, "a shard stalls: its turn does not end");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use pants_engine::Engine;

    use super::*;

    const STALL_AFTER: Duration = Duration::from_millis(100);

    const SECOND: Duration = Duration::from_secs(1);
    const LOOK: Duration = Duration::from_millis(25);

    /// Beats of an engine: at rest, in its first turn, at rest, in its second turn.
    fn beats() -> [Beat; 4] {
        let mut engine = Engine::new().unwrap();
        let (tell, told) = channel();
        let mut turn = || {
            let (pulse, tell) = (engine.pulse(), tell.clone());
            tell.send(pulse.beat()).unwrap();
            engine.context().callback(move |_| tell.send(pulse.beat()).unwrap());
            engine.poll(Some(Duration::ZERO)).unwrap();
        };
        turn();
        turn();
        [(); 4].map(|()| told.try_recv().unwrap())
    }

    /// Looks at one beat again and again for so long; gives what was seen, with the time of each.
    fn stare(watch: &mut Watch, beat: Beat, from: Instant, length: Duration) -> Vec<(Duration, Sight)> {
        let mut seen = Vec::new();
        let mut passed = Duration::ZERO;
        while passed <= length {
            seen.extend(watch.look(beat, from + passed, STALL_AFTER).map(|sight| (passed, sight)));
            passed += LOOK;
        }
        seen
    }

    #[test]
    fn a_shard_at_rest_does_not_stall() {
        let [rest, ..] = beats();
        let now = Instant::now();
        assert_eq!(stare(&mut Watch::new(rest, now), rest, now, 10 * SECOND), []);
    }

    #[test]
    fn turns_that_end_in_time_are_no_stall_however_many_there_are() {
        let [_, one, _, two] = beats();
        let mut now = Instant::now();
        let mut watch = Watch::new(one, now);
        for _ in 0..50 {
            for beat in [one, two] {
                assert_eq!(stare(&mut watch, beat, now, STALL_AFTER - LOOK), []);
                now += STALL_AFTER;
            }
        }
    }

    #[test]
    fn a_stall_is_told_when_it_begins_then_once_a_second_and_when_it_is_over() {
        let [_, working, rest, _] = beats();
        let now = Instant::now();
        let mut watch = Watch::new(working, now);
        let seen = stare(&mut watch, working, now, 3 * SECOND);
        assert_eq!(seen[0].1, Sight { kind: Kind::Begun, so_far: STALL_AFTER, tell: true });
        assert!(seen[1..].iter().all(|(_, sight)| sight.kind == Kind::GoesOn));
        let told: Vec<_> = seen.iter().filter(|(_, sight)| sight.tell).map(|(at, _)| *at).collect();
        assert_eq!(told, [0, 1, 2].map(|seconds| STALL_AFTER + seconds * SECOND));
        let over = watch.look(rest, now + 4 * SECOND, STALL_AFTER);
        assert_eq!(over, Some(Sight { kind: Kind::Over, so_far: 4 * SECOND, tell: true }));
        assert_eq!(stare(&mut watch, rest, now + 4 * SECOND, SECOND), []);
    }

    #[test]
    fn stalls_that_follow_at_once_are_seen_each_and_told_once_a_second() {
        let [_, one, _, two] = beats();
        let begun = Instant::now();
        let mut now = begun;
        let mut watch = Watch::new(one, now);
        let (mut counted, mut told) = (0, 0);
        for _ in 0..10 {
            for beat in [one, two] {
                let seen = stare(&mut watch, beat, now, STALL_AFTER);
                counted += seen.iter().filter(|(_, sight)| sight.kind == Kind::Begun).count();
                told += seen.iter().filter(|(_, sight)| sight.tell && sight.kind != Kind::Over).count();
                now += STALL_AFTER + LOOK;
            }
        }
        // 20 stalls in 2.5 seconds.
        assert_eq!((counted, told), (20, 3));
    }
}
