//! Host names to addresses, by getaddrinfo(3): it blocks, so a few threads of the process do it for all engines.
//!
//! A name server that hangs must not hold up the names of others: a lookup that is slow no longer counts, and another runs
//! beside it. So one name that hangs delays nobody, and every four at once delay those behind them by a second.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::getpid;
use rustix::thread::{sched_getaffinity, sched_setaffinity};

use crate::limits::LOOKUP_IDLE;
use crate::net::lookups::{Help, Lookups, Next, Question};

/// Addresses, at least one, in the order of getaddrinfo(3); or why there are none.
pub(crate) type Answer = io::Result<Vec<SocketAddr>>;

/// Takes an answer to whoever asked.
pub(crate) type Deliver = Box<dyn FnOnce(Answer) + Send>;

type LookUp = fn(&str, u16) -> Answer;

/// Looks up the addresses of a host and puts a port to each.
///
/// `deliver` is called once: on a thread of the resolver, or at once on this one if the lookup is not even tried, because
/// too many others are under way or no thread can be started. It should be quick, and a panic in it is contained.
pub(crate) fn lookup(name: &str, port: u16, deliver: Deliver) {
    static POOL: LazyLock<Arc<Pool<LookUp>>> = LazyLock::new(|| Pool::new(getaddrinfo, LOOKUP_IDLE));
    POOL.lookup(name, port, deliver);
}

fn getaddrinfo(name: &str, port: u16) -> Answer {
    Ok((name, port).to_socket_addrs()?.collect())
}

/// Threads that look up names with `look_up`, started when they are needed; they end when they have been idle for a while.
struct Pool<F> {
    look_up: F,
    idle: Duration,
    lookups: Mutex<Lookups<Deliver>>,
    /// Wakes idle threads: there is a lookup that waits.
    wanted: Condvar,
}

impl<F: Fn(&str, u16) -> Answer + Send + Sync + 'static> Pool<F> {
    fn new(look_up: F, idle: Duration) -> Arc<Self> {
        Arc::new(Self { look_up, idle, lookups: Mutex::new(Lookups::new()), wanted: Condvar::new() })
    }

    fn lookup(self: &Arc<Self>, name: &str, port: u16, deliver: Deliver) {
        let mut lookups = self.lock();
        let refused = lookups.ask(Question { name: name.to_owned(), port }, deliver).err();
        let stranded = self.help(&mut lookups);
        drop(lookups);
        if let Some((deliver, refusal)) = refused {
            tell(vec![deliver], &Err(io::Error::new(io::ErrorKind::ResourceBusy, refusal)));
        }
        if let Some((waiters, error)) = stranded {
            tell(waiters, &Err(error));
        }
    }

    /// What a thread of the pool does.
    fn serve(self: &Arc<Self>) {
        use_every_cpu();
        let mut lookups = self.lock();
        let mut leave_at = Instant::now() + self.idle;
        loop {
            match lookups.take_next(Instant::now(), leave_at) {
                Next::Run(lookup, question) => {
                    let stranded = self.help(&mut lookups);
                    drop(lookups);
                    if let Some((waiters, error)) = stranded {
                        tell(waiters, &Err(error));
                    }
                    let answer = self.answer(&question);
                    let waiters = self.lock().take_waiters(&question);
                    tell(waiters, &answer);
                    lookups = self.lock();
                    lookups.handle_done(lookup);
                    leave_at = Instant::now() + self.idle;
                }
                Next::Wait(patience) => {
                    let woken = self.wanted.wait_timeout(lookups, patience);
                    lookups = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
                Next::Leave => return,
            }
        }
    }

    fn answer(&self, question: &Question) -> Answer {
        let answer = catch_unwind(AssertUnwindSafe(|| (self.look_up)(&question.name, question.port)));
        match answer.unwrap_or_else(|_| Err(io::Error::other("looking up the host name panicked"))) {
            Ok(addresses) if addresses.is_empty() => {
                Err(io::Error::new(io::ErrorKind::NotFound, "the host name has no addresses"))
            }
            answer => answer,
        }
    }

    /// Sees to a thread for the lookups that wait. If it cannot be started, the caller tells those, once it has unlocked.
    fn help(self: &Arc<Self>, lookups: &mut Lookups<Deliver>) -> Option<(Vec<Deliver>, io::Error)> {
        match lookups.take_help() {
            Help::Enough => None,
            Help::Wake => {
                self.wanted.notify_one();
                None
            }
            Help::Start(number) => {
                let pool = Arc::clone(self);
                let thread = thread::Builder::new().name(format!("pants-resolver-{number}"));
                let error = thread.spawn(move || pool.serve()).err()?;
                let error =
                    io::Error::new(error.kind(), format!("cannot start a thread to look up the host name: {error}"));
                Some((lookups.handle_start_failure(), error))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lookups<Deliver>> {
        self.lookups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(waiters: Vec<Deliver>, answer: &Answer) {
    for deliver in waiters {
        let answer = match answer {
            Ok(addresses) => Ok(addresses.clone()),
            Err(error) => Err(copy(error)),
        };
        if catch_unwind(AssertUnwindSafe(|| deliver(answer))).is_err() {
            tracing::error!("what was to be done with the addresses of a host panicked");
        }
    }
}

/// The same error once more: the type has no `Clone`.
fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// A thread inherits the pin of the shard that happened to start it, and would compete with it for its CPU.
fn use_every_cpu() {
    // Where it is not allowed, names are resolved all the same.
    if let Ok(cpus) = sched_getaffinity(Some(getpid())) {
        let _ = sched_setaffinity(None, &cpus);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

    use rustix::thread::CpuSet;

    use super::*;
    use crate::limits::{LOOKUP_SLOW, LOOKUP_THREADS, LOOKUPS_QUEUED_MAX};

    /// Long enough for whatever must come.
    const PATIENCE: Duration = Duration::from_secs(30);

    type Ask = Box<dyn Fn(&str, u16) -> Answer + Send + Sync>;

    /// A pool whose lookups report themselves and last, those of names with "hang" in them, until the gate opens.
    struct Fake {
        pool: Arc<Pool<Ask>>,
        gate: Arc<Gate>,
        asked: Receiver<String>,
        tell: Sender<(usize, Answer)>,
        told: Receiver<(usize, Answer)>,
    }

    #[derive(Default)]
    struct Gate(Mutex<bool>, Condvar);

    impl Gate {
        fn open(&self) {
            *self.0.lock().unwrap() = true;
            self.1.notify_all();
        }

        fn pass(&self) {
            drop(self.1.wait_while(self.0.lock().unwrap(), |open| !*open).unwrap());
        }
    }

    impl Fake {
        fn new() -> Self {
            let (report, asked) = channel();
            let (tell, told) = channel();
            let gate = Arc::new(Gate::default());
            let passed = Arc::clone(&gate);
            let ask = move |name: &str, port| {
                let _ = report.send(name.to_owned());
                if name.contains("hang") {
                    passed.pass();
                }
                match name {
                    "unknown" => Err(io::Error::new(io::ErrorKind::NotFound, "no such host")),
                    "failing" => Err(io::Error::from_raw_os_error(5)),
                    "empty" => Ok(Vec::new()),
                    "panicking" => panic!("on purpose"),
                    _ => Ok(vec![address(port)]),
                }
            };
            Self { pool: Pool::new(Box::new(ask), Duration::from_millis(1)), gate, asked, tell, told }
        }

        fn lookup(&self, name: &str, id: usize) {
            let tell = self.tell.clone();
            self.pool.lookup(name, 80, Box::new(move |answer| drop(tell.send((id, answer)))));
        }

        fn asked(&self) -> String {
            self.asked.recv_timeout(PATIENCE).unwrap()
        }

        fn told(&self) -> (usize, Answer) {
            self.told.recv_timeout(PATIENCE).unwrap()
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            self.gate.open();
        }
    }

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn lookups_of_the_same_name_are_one_and_all_are_told_once() {
        let mut fake = Fake::new();
        (0..3).for_each(|id| fake.lookup("hang", id));
        assert_eq!(fake.asked(), "hang");
        (3..6).for_each(|id| fake.lookup("hang", id));
        fake.gate.open();
        for id in 0..6 {
            let (told, answer) = fake.told();
            assert_eq!((told, answer.unwrap()), (id, vec![address(80)]));
        }
        // Once its threads have ended, nobody can be told and nothing asked any more.
        fake.pool = Pool::new(Box::new(|_, _| unreachable!()), Duration::ZERO);
        fake.tell = channel().0;
        assert!(fake.asked.recv_timeout(PATIENCE).is_err_and(|error| error == RecvTimeoutError::Disconnected));
        assert!(fake.told.recv_timeout(PATIENCE).is_err_and(|error| error == RecvTimeoutError::Disconnected));
    }

    #[test]
    fn errors_reach_all_who_asked_and_no_addresses_are_one() {
        let fake = Fake::new();
        for (name, kind, message) in [
            ("unknown", io::ErrorKind::NotFound, "no such host"),
            ("failing", io::Error::from_raw_os_error(5).kind(), "Input/output error (os error 5)"),
            ("empty", io::ErrorKind::NotFound, "the host name has no addresses"),
            ("panicking", io::ErrorKind::Other, "looking up the host name panicked"),
        ] {
            (0..2).for_each(|id| fake.lookup(name, id));
            for _ in 0..2 {
                let error = fake.told().1.unwrap_err();
                assert_eq!((error.kind(), error.to_string()), (kind, message.to_owned()));
            }
        }
    }

    #[test]
    fn a_panic_of_one_who_is_told_reaches_neither_the_others_nor_the_thread() {
        let fake = Fake::new();
        fake.lookup("hang", 0);
        fake.pool.lookup("hang", 80, Box::new(|_| panic!("on purpose")));
        fake.lookup("hang", 1);
        fake.gate.open();
        assert_eq!((fake.told().0, fake.told().0), (0, 1));
        fake.lookup("other", 2);
        assert_eq!(fake.told().0, 2);
    }

    #[test]
    fn names_that_hang_hold_up_another_for_a_second_at_most() {
        let fake = Fake::new();
        for id in 0..LOOKUP_THREADS {
            fake.lookup(&format!("hang-{id}"), id);
            fake.asked();
        }
        let start = Instant::now();
        fake.lookup("other", 10);
        fake.lookup("another", 11);
        assert_eq!((fake.told().0, fake.told().0), (10, 11));
        // They did wait, for the four that hang until now.
        assert!(start.elapsed() >= LOOKUP_SLOW / 2);
        fake.gate.open();
        let mut hung: Vec<_> = (0..LOOKUP_THREADS).map(|_| fake.told().0).collect();
        hung.sort_unstable();
        assert_eq!(hung, (0..LOOKUP_THREADS).collect::<Vec<_>>());
    }

    #[test]
    fn a_lookup_too_many_fails_at_once() {
        let fake = Fake::new();
        for id in 0..LOOKUP_THREADS {
            fake.lookup(&format!("hang-{id}"), id);
            fake.asked();
        }
        // Some of those may begin meanwhile, and hang as well.
        (LOOKUP_THREADS..2 * LOOKUPS_QUEUED_MAX).for_each(|id| fake.lookup(&format!("hang-{id}"), id));
        let (id, answer) = fake.told();
        assert!(id >= LOOKUP_THREADS + LOOKUPS_QUEUED_MAX);
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        assert_eq!(error.to_string(), "1024 lookups of host names wait already, which is the most");
    }

    #[test]
    fn a_thread_of_the_pool_does_not_inherit_the_pin_of_the_one_that_started_it() {
        let (tell, told) = channel();
        let ask = move |_: &str, port| {
            tell.send((thread::current().name().map(str::to_owned), sched_getaffinity(None).unwrap())).unwrap();
            Ok(vec![address(port)])
        };
        let pool = Pool::new(ask, Duration::from_millis(1));
        let everywhere = sched_getaffinity(Some(getpid())).unwrap();
        let pinned = move || {
            let mut one = CpuSet::new();
            one.set((0..CpuSet::MAX_CPU).find(|cpu| everywhere.is_set(*cpu)).unwrap());
            sched_setaffinity(None, &one).unwrap();
            pool.lookup("host", 80, Box::new(drop));
        };
        thread::spawn(pinned).join().unwrap();
        let (name, cpus) = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!(name.as_deref(), Some("pants-resolver-1"));
        assert_eq!(cpus, everywhere);
    }

    #[test]
    fn this_machine_has_an_address_and_a_name_that_cannot_be_has_none() {
        let (tell, told) = channel();
        for name in ["localhost", "a.invalid"] {
            let tell = tell.clone();
            lookup(name, 4040, Box::new(move |answer| tell.send((name, answer)).unwrap()));
        }
        for _ in 0..2 {
            match told.recv_timeout(PATIENCE).unwrap() {
                ("localhost", answer) => {
                    let addresses = answer.unwrap();
                    assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 4040));
                    assert!(!addresses.is_empty());
                }
                (_, answer) => assert!(answer.is_err()),
            }
        }
    }
}
