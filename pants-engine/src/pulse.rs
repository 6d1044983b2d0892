//! The pulse: what an engine is at, written where another thread can read it while a callback does not return.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use crate::key::Key;

/// What `running` holds when it is no channel's key, whose upper half is never zero.
const UPKEEP: u64 = 0;
const TIMER: u64 = 1;
const MESSAGE: u64 = 2;

/// The name of what has none; so many types of handlers have one.
const NO_NAME: u16 = u16::MAX;

/// The beat of an engine that is no more.
const ENDED: u64 = u64::MAX;

/// Shows from any thread what an engine is at; cheap to clone. [`Engine::pulse`](crate::Engine::pulse) gives it.
///
/// It is for watchers: those who find out whether some callback keeps its engine from all others. The engine reads no clock
/// for it, and stores a word per event.
///
/// # Examples
///
/// ```
/// use pants_engine::{Activity, Engine};
/// use std::sync::mpsc::channel;
///
/// let mut engine = Engine::new()?;
/// let pulse = engine.pulse();
/// assert!(!pulse.beat().is_working());
/// let (ask, asked) = channel();
/// let (answer, answered) = channel();
/// engine.context().callback(move |context| {
///     ask.send(()).unwrap();
///     // It blocks its engine until the watcher has seen that.
///     answered.recv().unwrap();
///     context.stop();
/// });
/// let watcher = std::thread::spawn(move || {
///     asked.recv().unwrap();
///     assert!(pulse.beat().is_working());
///     assert_eq!(pulse.activity(), Activity::Timer);
///     answer.send(()).unwrap();
/// });
/// engine.start()?;
/// watcher.join().unwrap();
/// # Ok::<(), pants_engine::Error>(())
/// ```
#[derive(Clone)]
pub struct Pulse(Arc<Line>);

/// A moment of an engine's life: two that are equal and [working](Self::is_working) are of the same turn, and in between none
/// has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat(u64);

/// What an engine does in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// A callback of a connection's or a datagram channel's handler, whose type this is.
    Handler(&'static str),
    /// A callback of a server's acceptor, whose type this is.
    Acceptor(&'static str),
    /// A timer, of any kind but those of connections, which count as their handlers.
    Timer,
    /// A message from another thread, or whatever else a [`Source`](crate::Source) delivers.
    Message,
    /// The engine's own upkeep.
    Upkeep,
}

/// The engine's end of its pulse: the only one that writes it.
#[derive(Debug)]
pub(crate) struct Heart(Arc<Line>);

/// Alone on its cache lines, as the engine writes there with every event.
#[derive(Debug)]
#[repr(align(128))]
struct Line {
    /// Twice the number of turns that have ended, and one more within a turn.
    beat: AtomicU64,
    running: AtomicU64,
    /// There is a watcher to be woken.
    watched: AtomicBool,
    stalls: AtomicU64,
    watcher: Mutex<Option<Thread>>,
    names: Mutex<Names>,
}

/// What the handlers of the channels are called: two bytes for each channel.
#[derive(Debug, Default)]
struct Names {
    known: Vec<Activity>,
    /// By the index of the channel's slot: where its name is in `known`.
    of: Vec<u16>,
}

impl Pulse {
    /// The engine's present beat.
    pub fn beat(&self) -> Beat {
        Beat(self.0.beat.load(Ordering::Relaxed))
    }

    /// Whether the engine is no more.
    pub fn has_ended(&self) -> bool {
        self.beat().0 == ENDED
    }

    /// What the engine does, or did last if it does not [work](Beat::is_working).
    pub fn activity(&self) -> Activity {
        match self.0.running.load(Ordering::Relaxed) {
            UPKEEP => Activity::Upkeep,
            TIMER => Activity::Timer,
            MESSAGE => Activity::Message,
            key => self.0.names().get(key as u32),
        }
    }

    /// Has `thread` unparked when the engine next begins a turn, or ends; once. It takes the place of an earlier one.
    ///
    /// A turn that begins while this is called may be missed: a watcher looks at the [beat](Self::beat) once more before it
    /// parks, and parks for a bounded time. (To miss none would cost every turn a fence.)
    pub fn wake_at_work(&self, thread: Thread) {
        *self.0.watcher() = Some(thread);
        self.0.watched.store(true, Ordering::SeqCst);
        if self.has_ended() {
            self.0.wake_watcher();
        }
    }

    /// Counts a stall in the engine's [`Stats::stalls`](crate::Stats::stalls).
    pub fn note_stall(&self) {
        self.0.stalls.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").field("beat", &self.beat()).field("activity", &self.activity()).finish()
    }
}

impl Beat {
    /// Whether the engine is within a turn: it neither sleeps nor polls busily, nor is it left to somebody else's loop.
    pub fn is_working(self) -> bool {
        self.0 % 2 == 1 && self.0 != ENDED
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handler(name) => write!(f, "handler {name}"),
            Self::Acceptor(name) => write!(f, "acceptor {name}"),
            Self::Timer => f.write_str("a timer"),
            Self::Message => f.write_str("a message from another thread"),
            Self::Upkeep => f.write_str("the engine's upkeep"),
        }
    }
}

impl Heart {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Line {
            beat: AtomicU64::new(0),
            running: AtomicU64::new(UPKEEP),
            watched: AtomicBool::new(false),
            stalls: AtomicU64::new(0),
            watcher: Mutex::default(),
            names: Mutex::default(),
        }))
    }

    pub(crate) fn pulse(&self) -> Pulse {
        Pulse(Arc::clone(&self.0))
    }

    pub(crate) fn stalls(&self) -> u64 {
        self.0.stalls.load(Ordering::Relaxed)
    }

    pub(crate) fn begin_turn(&self, turn: u64) {
        self.0.running.store(UPKEEP, Ordering::Relaxed);
        self.0.beat.store(turn.wrapping_mul(2).wrapping_sub(1), Ordering::Relaxed);
        if self.0.watched.load(Ordering::Relaxed) {
            self.0.wake_watcher();
        }
    }

    /// The turn with this number, counted from 1, has ended.
    pub(crate) fn end_turn(&self, turn: u64) {
        self.0.beat.store(turn.wrapping_mul(2), Ordering::Relaxed);
    }

    /// What comes now is for this channel.
    #[inline(always)]
    pub(crate) fn enter_channel(&self, key: Key) {
        self.0.running.store(key.to_token() as u64, Ordering::Relaxed);
    }

    /// The channel that was entered last, if nothing else was since.
    pub(crate) fn channel(&self) -> Option<Key> {
        let running = self.0.running.load(Ordering::Relaxed);
        Key::from_token(running as usize).filter(|key| key.generation() > 0)
    }

    pub(crate) fn enter_timer(&self) {
        self.0.running.store(TIMER, Ordering::Relaxed);
    }

    pub(crate) fn enter_messages(&self) {
        self.0.running.store(MESSAGE, Ordering::Relaxed);
    }

    /// Says what runs when the callbacks of a channel do.
    pub(crate) fn name(&self, key: Key, activity: Activity) {
        self.0.names().set(key.index(), activity);
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.0.beat.store(ENDED, Ordering::SeqCst);
        if self.0.watched.load(Ordering::SeqCst) {
            self.0.wake_watcher();
        }
    }
}

impl Line {
    #[cold]
    fn wake_watcher(&self) {
        self.watched.store(false, Ordering::Relaxed);
        if let Some(thread) = self.watcher().take() {
            thread.unpark();
        }
    }

    fn watcher(&self) -> MutexGuard<'_, Option<Thread>> {
        // Nothing panics while it is held.
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        // Nothing panics while it is held, but for want of memory.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    fn get(&self, index: u32) -> Activity {
        let known = self.of.get(index as usize).and_then(|&name| self.known.get(usize::from(name)));
        known.copied().unwrap_or(Activity::Upkeep)
    }

    fn set(&mut self, index: u32, activity: Activity) {
        let known = self.known.iter().position(|known| *known == activity);
        let name = known.or_else(|| {
            let has_room = self.known.len() < NO_NAME.into();
            has_room.then(|| self.known.push(activity)).map(|()| self.known.len() - 1)
        });
        let index = index as usize;
        if index >= self.of.len() {
            self.of.resize(index + 1, NO_NAME);
        }
        self.of[index] = name.and_then(|name| u16::try_from(name).ok()).unwrap_or(NO_NAME);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn key(index: u32) -> Key {
        Key::new(index, NonZeroU32::MIN)
    }

    #[test]
    fn each_channel_has_its_name_and_its_successor_another() {
        let heart = Heart::new();
        let pulse = heart.pulse();
        heart.name(key(2), Activity::Handler("two"));
        heart.name(key(0), Activity::Acceptor("zero"));
        let at = |index| {
            heart.enter_channel(key(index));
            pulse.activity()
        };
        assert_eq!([0, 1, 2, 3].map(at), {
            [Activity::Acceptor("zero"), Activity::Upkeep, Activity::Handler("two"), Activity::Upkeep]
        });
        heart.name(key(2), Activity::Handler("another"));
        assert_eq!(at(2), Activity::Handler("another"));
        assert_eq!(heart.0.names().known.len(), 3);
    }

    #[test]
    fn a_beat_is_of_one_turn_and_works_within_it_only() {
        let heart = Heart::new();
        let pulse = heart.pulse();
        let mut seen = vec![pulse.beat()];
        for turn in 1..=2 {
            heart.begin_turn(turn);
            assert!(pulse.beat().is_working());
            seen.push(pulse.beat());
            heart.end_turn(turn);
            assert!(!pulse.beat().is_working());
            seen.push(pulse.beat());
        }
        drop(heart);
        assert!(pulse.has_ended() && !pulse.beat().is_working());
        seen.push(pulse.beat());
        for (index, beat) in seen.iter().enumerate() {
            assert!(!seen[..index].contains(beat), "{beat:?} came twice");
        }
    }

    #[test]
    fn a_watcher_is_woken_once_by_a_turn_or_by_the_end() {
        let heart = Heart::new();
        let pulse = heart.pulse();
        let waits = || heart.0.watched.load(Ordering::Relaxed) && heart.0.watcher().is_some();
        pulse.wake_at_work(std::thread::current());
        assert!(waits());
        heart.begin_turn(1);
        std::thread::park();
        assert!(!waits());
        pulse.wake_at_work(std::thread::current());
        drop(heart);
        std::thread::park();
        // It comes too late.
        pulse.wake_at_work(std::thread::current());
        std::thread::park();
    }
}
