//! Work that blocks, on helper threads: what a shard would stand still for, and how its result comes back.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::affinity::{self, CpuSet};
use crate::bus::Bus;
use crate::bus::request::Unanswered;
use crate::error::panic_message;
use crate::shard::Shard;

/// Pieces of work that wait for a thread, of all shards together.
const QUEUED_MAX: usize = 1024;

/// Runs work that blocks on the runtime's helper threads; each shard has its own. Cheap to clone, for handlers to keep.
///
/// A callback that reads a file, hashes a password or asks a database keeps all other connections of its shard waiting.
/// There are 4 threads, started when there is something to do, which run on any CPU that the process may use; up to 1,024
/// pieces of work wait for them, in the order of their coming.
///
/// A [drain](crate::Running::drain) waits for what is offloaded, as long as it waits for connections: within the
/// configuration's `drain_timeout`. A [stop](crate::Running::stop) does not. What has not begun then never does; what has goes
/// on by itself, and what it returns is dropped.
///
/// # Examples
///
/// A server that answers with the length of the file that it is asked for:
///
/// ```
/// use pants_shard::{Config, Connection, Handler, Offloader, Runtime};
/// use std::cell::Cell;
/// use std::rc::Rc;
///
/// struct Lengths {
///     offloader: Offloader,
///     /// Answers that are on their way, and whether the connection closes behind the last of them.
///     owed: Rc<Cell<usize>>,
///     ends: Rc<Cell<bool>>,
/// }
///
/// impl Lengths {
///     fn end(&self, connection: &mut Connection<'_>) {
///         self.ends.set(true);
///         if self.owed.get() == 0 {
///             connection.close();
///         }
///     }
/// }
///
/// impl Handler for Lengths {
///     fn on_connect(&mut self, connection: &mut Connection<'_>) {
///         connection.set_delimiter("\n");
///     }
///
///     fn on_read(&mut self, connection: &mut Connection<'_>, path: &[u8]) {
///         let (key, path) = (connection.key(), String::from_utf8_lossy(path).into_owned());
///         let (owed, ends) = (Rc::clone(&self.owed), Rc::clone(&self.ends));
///         let asked = self.offloader.offload(
///             move || std::fs::metadata(path).map(|about| about.len()),
///             move |shard, answer| {
///                 owed.set(owed.get() - 1);
///                 // It may have closed meanwhile.
///                 let Some(mut connection) = shard.context().connection(key) else { return };
///                 let text = match answer {
///                     Ok(Ok(length)) => format!("{length}\n"),
///                     Ok(Err(error)) => format!("{error}\n"),
///                     Err(unanswered) => format!("{unanswered}\n"),
///                 };
///                 connection.write(text.as_bytes());
///                 if ends.get() && owed.get() == 0 {
///                     connection.close();
///                 }
///             },
///         );
///         match asked {
///             Ok(()) => self.owed.set(self.owed.get() + 1),
///             Err(_) => drop(connection.write(b"too busy\n")),
///         }
///     }
///
///     // Both close at once by default, and what is owed would reach nobody.
///     fn on_end(&mut self, connection: &mut Connection<'_>) {
///         self.end(connection);
///     }
///
///     fn on_shutdown(&mut self, connection: &mut Connection<'_>) {
///         self.end(connection);
///     }
/// }
///
/// let running = Runtime::new(Config::default())?.start(|shard| {
///     let offloader = shard.offloader();
///     shard.listen("127.0.0.1:0", move |_peer| Lengths {
///         offloader: offloader.clone(),
///         owed: Rc::default(),
///         ends: Rc::default(),
///     })?;
///     Ok(())
/// })?;
/// # use std::io::{BufRead, BufReader, Write};
/// # let mut client = std::net::TcpStream::connect(running.addresses()[0].socket_address().unwrap())?;
/// # client.write_all(b"Cargo.toml\n")?;
/// # client.shutdown(std::net::Shutdown::Write)?;
/// # let mut answer = String::new();
/// # BufReader::new(client).read_line(&mut answer)?;
/// # assert_eq!(answer.trim().parse::<u64>()?, std::fs::metadata("Cargo.toml")?.len());
/// running.stop();
/// running.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Offloader {
    bus: Bus,
    pool: Arc<Pool>,
}

/// Why work was not taken. Each gives it back.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum OffloadError<T> {
    /// As much waits as may, or no thread can be started. Try again later, or do without.
    #[error("too much work waits for the helper threads")]
    Full(T),
    /// The runtime has stopped.
    #[error("the runtime has stopped")]
    Stopped(T),
}

/// The threads of one runtime, and what waits for them. The threads end when it is dropped.
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    threads_max: usize,
    /// What the threads may run on; they would inherit the pin of the shard that starts them.
    cpus: Option<CpuSet>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    /// Those of them that wait for work.
    idle: usize,
    closed: bool,
}

type Job = Box<dyn FnOnce() + Send>;

/// A place in the queue, to be filled.
struct Place<'a> {
    shared: &'a Shared,
    state: MutexGuard<'a, State>,
}

/// One of the threads, for as long as it runs.
struct Helper(Arc<Shared>);

impl Offloader {
    pub(crate) fn new(bus: Bus, pool: Arc<Pool>) -> Self {
        Self { bus, pool }
    }

    /// Runs `work` on a helper thread, and gives what it returns to `then` on this shard, in one of its next turns. `then` runs
    /// exactly once: it gets [`Unanswered`] if `work` panics or the runtime ends before it has returned.
    ///
    /// # Errors
    ///
    /// [`OffloadError::Full`] if 1,024 pieces of work wait for a thread or this shard has as many under way, and
    /// [`OffloadError::Stopped`] at the end of the runtime. Both closures come back, and neither runs.
    pub fn offload<T, W, R>(&self, work: W, then: R) -> Result<(), OffloadError<(W, R)>>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
        R: FnOnce(&mut Shard<'_>, Result<T, Unanswered>) + 'static,
    {
        if self.bus.is_sealed() {
            return Err(OffloadError::Stopped((work, then)));
        }
        if self.bus.has_offloaded_enough() {
            return Err(OffloadError::Full((work, then)));
        }
        let Some(place) = self.pool.place() else { return Err(OffloadError::Full((work, then))) };
        let reply = self.bus.begin_offload(then);
        // If it panics, or never runs, the reply is dropped, which tells the shard.
        place.fill(Box::new(move || reply.send(work())));
        Ok(())
    }
}

impl fmt::Debug for Offloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offloader").field("shard", &self.bus.shard()).finish_non_exhaustive()
    }
}

impl<T> OffloadError<T> {
    /// The work.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(work) | Self::Stopped(work) => work,
        }
    }
}

impl<T> fmt::Debug for OffloadError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Stopped(_) => "Stopped(..)",
        })
    }
}

impl Pool {
    /// Up to `threads_max` threads, which may run where the calling one does.
    pub(crate) fn new(threads_max: usize) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Shared { threads_max, cpus: affinity::own_cpus(), state, changed }))
    }

    /// A place in the queue, with a thread to come to it; `None` if there is none.
    fn place(&self) -> Option<Place<'_>> {
        let mut state = self.0.lock();
        if state.queue.len() >= QUEUED_MAX {
            return None;
        }
        if state.idle <= state.queue.len() && state.threads < self.0.threads_max {
            match self.start_thread() {
                Ok(()) => state.threads += 1,
                Err(error) => {
                    tracing::error!(%error, "a helper thread could not be started");
                    if state.threads == 0 {
                        return None;
                    }
                }
            }
        }
        Some(Place { shared: &self.0, state })
    }

    fn start_thread(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.0);
        thread::Builder::new().name("offload".to_owned()).spawn(move || Helper(shared).run()).map(drop)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        let left = std::mem::take(&mut state.queue);
        // What is dropped is the program's own, and must not meet the lock.
        drop(state);
        self.0.changed.notify_all();
        drop(left);
    }
}

impl Place<'_> {
    fn fill(mut self, job: Job) {
        self.state.queue.push_back(job);
        self.shared.changed.notify_one();
    }
}

impl Shared {
    /// The next piece of work, once there is one; `None` at the end.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing of the program's runs while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Helper {
    fn run(self) {
        if let Some(cpus) = &self.0.cpus
            && let Err(error) = affinity::stay_on(cpus)
        {
            tracing::warn!(%error, "a helper thread stays on the CPU of the shard that has started it");
        }
        while let Some(job) = self.0.next() {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(job)) {
                tracing::error!("offloaded work panicked: {}", panic_message(&*payload));
            }
        }
    }
}

impl Drop for Helper {
    /// Runs also when a panic does not end with what it has ended.
    fn drop(&mut self) {
        self.0.lock().threads -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn wait_until(pool: &Shared, reached: impl Fn(&State) -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !reached(&pool.lock()) {
            assert!(Instant::now() < limit, "it does not come to that");
            thread::yield_now();
        }
    }

    #[test]
    fn threads_are_started_on_demand_and_end_with_the_pool() {
        let pool = Pool::new(2);
        let shared = Arc::clone(&pool.0);
        assert_eq!(shared.lock().threads, 0);
        for _ in 0..3 {
            pool.place().unwrap().fill(Box::new(|| {}));
            wait_until(&shared, |state| state.idle == 1 && state.queue.is_empty());
        }
        assert_eq!(shared.lock().threads, 1, "the one that waits is enough");
        let (open, opened) = channel::<()>();
        let opened = Arc::new(Mutex::new(opened));
        for _ in 0..5 {
            let opened = Arc::clone(&opened);
            pool.place().unwrap().fill(Box::new(move || assert!(opened.lock().unwrap().recv().is_err())));
        }
        wait_until(&shared, |state| state.queue.len() == 3);
        assert_eq!(shared.lock().threads, 2);
        drop(pool);
        assert_eq!(Arc::strong_count(&opened), 3, "what has not begun is dropped");
        drop(open);
        wait_until(&shared, |state| state.threads == 0);
    }

    #[test]
    fn the_queue_has_a_bound() {
        let pool = Pool::new(0);
        for _ in 0..QUEUED_MAX {
            pool.place().unwrap().fill(Box::new(|| {}));
        }
        assert!(pool.place().is_none());
    }
}
