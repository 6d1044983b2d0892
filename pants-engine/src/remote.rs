//! The engine's own inbox, the first of its sources, and the handle by which other threads fill it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::context::Context;
use crate::doorbell::{Doorbell, Source};
use crate::limits;

type Work = Box<dyn FnOnce(&mut Context) + Send>;

/// Reaches one engine from any thread; cheap to clone.
///
/// # Examples
///
/// ```
/// let mut engine = pants_engine::Engine::new()?;
/// let remote = engine.remote();
/// let thread = std::thread::spawn(move || remote.send(|context| context.stop()).is_ok());
/// engine.start()?;
/// assert!(thread.join().unwrap());
/// # Ok::<(), pants_engine::Error>(())
/// ```
#[derive(Clone)]
pub struct Remote {
    inbox: Sender<Work>,
    requests: Arc<Requests>,
    doorbell: Doorbell,
}

/// Why an engine did not take a message. Each gives the message back.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SendError<T> {
    /// The inbox holds all it can; the engine is behind.
    #[error("the engine's inbox is full")]
    Full(T),
    /// The engine is gone.
    #[error("the engine is gone")]
    Gone(T),
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Gone(_) => "Gone(..)",
        })
    }
}

impl Remote {
    pub(crate) fn new(doorbell: Doorbell) -> (Self, Inbox) {
        let (sender, receiver) = bounded(limits::INBOX_MAX);
        let requests = Arc::new(Requests::default());
        let inbox = Inbox { receiver, requests: Arc::clone(&requests) };
        (Self { inbox: sender, requests, doorbell }, inbox)
    }

    /// Has `f` run on the engine's thread, in its next turn. Never blocks. Messages of one thread keep their order.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] with 1,024 messages waiting, [`SendError::Gone`] when the engine is no more; both give a boxed
    /// `f` back.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_engine::{Engine, SendError};
    /// use std::sync::mpsc::channel;
    ///
    /// let mut engine = Engine::new()?;
    /// let remote = engine.remote();
    /// let (answer, answered) = channel();
    /// let thread = std::thread::spawn(move || {
    ///     let sent = remote.send(move |context| {
    ///         // Nobody waits for it if that thread is gone.
    ///         let _ = answer.send(context.stats().connections_open);
    ///         context.stop();
    ///     });
    ///     assert!(sent.is_ok());
    ///     assert_eq!(answered.recv(), Ok(0));
    ///     remote
    /// });
    /// engine.start()?;
    /// drop(engine);
    /// let remote = thread.join().unwrap();
    /// assert!(matches!(remote.send(|_| ()), Err(SendError::Gone(_))));
    /// # Ok::<(), pants_engine::Error>(())
    /// ```
    pub fn send(&self, f: impl FnOnce(&mut Context) + Send + 'static) -> Result<(), SendError<Work>> {
        self.inbox.try_send(Box::new(f)).map_err(|error| match error {
            TrySendError::Full(work) => SendError::Full(work),
            TrySendError::Disconnected(work) => SendError::Gone(work),
        })?;
        self.doorbell.ring();
        Ok(())
    }

    /// Stops the engine, as [`Context::stop`] does. Cannot fail: it needs no room in the inbox.
    pub fn stop(&self) {
        self.requests.0.store(Requests::STOP, Ordering::Release);
        self.doorbell.ring();
    }

    /// Drains the engine, as [`Context::drain`] does. Cannot fail: it needs no room in the inbox.
    pub fn drain(&self, deadline: Duration) {
        let millis = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX).min(Requests::STOP - 2);
        let sooner = |asked: u64| match asked {
            0 => Some(millis + 1),
            Requests::STOP => None,
            earlier => Some(earlier.min(millis + 1)),
        };
        // It is not updated when a stop was asked for, which is stronger.
        let _ = self.requests.0.fetch_update(Ordering::Release, Ordering::Relaxed, sooner);
        self.doorbell.ring();
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

/// What was asked of the engine as a whole: 0 nothing, otherwise a drain's deadline in milliseconds plus 1, or `STOP`.
#[derive(Debug, Default)]
struct Requests(AtomicU64);

impl Requests {
    const STOP: u64 = u64::MAX;
}

/// The receiving end.
///
/// crossbeam's bounded channel is not wait-free: a receive can spin for as long as a sender is preempted between claiming
/// a slot and filling it.
#[derive(Debug)]
pub(crate) struct Inbox {
    receiver: Receiver<Work>,
    requests: Arc<Requests>,
}

impl Drop for Inbox {
    /// Drops what nobody will run, and with it what it holds: the channel itself lives as long as a [`Remote`] does.
    fn drop(&mut self) {
        while self.receiver.try_recv().is_ok() {}
    }
}

impl Source for Inbox {
    fn is_empty(&self) -> bool {
        self.receiver.is_empty() && self.requests.0.load(Ordering::Acquire) == 0
    }

    fn drain(&mut self, context: &mut Context, budget: usize) -> usize {
        // A plain load first: the swap would take the cache line from every other handle, each turn.
        if self.requests.0.load(Ordering::Relaxed) != 0 {
            match self.requests.0.swap(0, Ordering::Acquire) {
                0 => {}
                Requests::STOP => context.stop(),
                millis => context.drain(Duration::from_millis(millis - 1)),
            }
        }
        let mut delivered = 0;
        while delivered < budget {
            let Ok(work) = self.receiver.try_recv() else { break };
            delivered += 1;
            work(context);
        }
        delivered
    }
}
