//! What the tests share: runtimes that never outlive their test, clients that never wait for ever, and a look at the threads.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pants_shard::{
    Config, ConfigBuilder, Connection, Error, Handler, Report, Result, Running, Runtime, Shard, ShardId, Shards,
};

/// How long a test waits for what must come before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Any free port of this machine alone.
pub(crate) const ANY_PORT: &str = "127.0.0.1:0";

/// What a test's own panics say.
pub(crate) const ON_PURPOSE: &str = "on purpose";

/// The first shards of a runtime.
pub(crate) const ZERO: ShardId = ShardId::new(0);
pub(crate) const ONE: ShardId = ShardId::new(1);

/// A configuration of this many shards, not pinned.
pub(crate) fn shards(count: usize) -> ConfigBuilder {
    Config::builder().shards(Shards::Count(NonZeroUsize::new(count).unwrap())).pin(false)
}

/// A runtime that is stopped and joined at the end of its test, however that ends.
pub(crate) struct Live(Option<Running>);

impl Live {
    pub(crate) fn start<F>(config: ConfigBuilder, set_up: F) -> Self
    where
        F: Fn(&mut Shard<'_>) -> Result<()> + Send + Sync + 'static,
    {
        Self::try_start(config, set_up).expect("the runtime starts")
    }

    pub(crate) fn try_start<F>(config: ConfigBuilder, set_up: F) -> Result<Self>
    where
        F: Fn(&mut Shard<'_>) -> Result<()> + Send + Sync + 'static,
    {
        let config = config.build().expect("the configuration is valid");
        in_time(move || Runtime::new(config)?.start(set_up)).map(|running| Self(Some(running)))
    }

    /// One that was started in a way of its own.
    pub(crate) fn of(running: Running) -> Self {
        Self(Some(running))
    }

    /// Echo servers at any port.
    pub(crate) fn echo(config: ConfigBuilder) -> Self {
        Self::start(config, |shard| shard.listen(ANY_PORT, |_peer| Echo).map(drop))
    }

    pub(crate) fn running(&self) -> &Running {
        self.0.as_ref().expect("it has not been joined")
    }

    /// Where its first server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.running().addresses()[0].socket_address().unwrap()
    }

    pub(crate) fn stop(self) -> Report {
        self.running().stop();
        self.join()
    }

    pub(crate) fn drain(self) -> Report {
        self.running().drain();
        self.join()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn join(mut self) -> Report {
        let running = self.0.take().expect("it is joined once");
        let handle = running.stop_handle();
        let (end, ended) = channel();
        thread::spawn(move || end.send(running.join()));
        let result = ended.recv_timeout(PATIENCE);
        handle.stop();
        result.expect("the runtime ends").expect("no shard fails")
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            running.stop();
            let joined = running.join();
            assert!(joined.is_ok() || thread::panicking(), "a shard has failed: {joined:?}");
        }
    }
}

/// Starts `count` shards, and runs `begin` on shard 0 once all serve, with a way to tell the test what it sees.
pub(crate) fn start<T: Send + 'static>(
    count: usize,
    begin: impl Fn(&mut Shard<'_>, Sender<T>) + Clone + Send + Sync + 'static,
) -> (Live, Receiver<T>) {
    start_prepared(count, |_shard| {}, begin)
}

/// The same, with something done on every shard before.
pub(crate) fn start_prepared<T: Send + 'static>(
    count: usize,
    prepare: impl Fn(&mut Shard<'_>) + Send + Sync + 'static,
    begin: impl Fn(&mut Shard<'_>, Sender<T>) + Clone + Send + Sync + 'static,
) -> (Live, Receiver<T>) {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let live = Live::start(shards(count), move |shard| {
        prepare(shard);
        if shard.id() == ZERO {
            let (begin, tell) = (begin.clone(), tell.lock().unwrap().clone());
            shard.callback(move |shard| begin(shard, tell));
        }
        Ok(())
    });
    (live, told)
}

/// Runs `f` on a thread of its own and gives what it returned, unless it takes too long.
pub(crate) fn in_time<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let (end, ended) = channel();
    thread::spawn(move || end.send(f()));
    ended.recv_timeout(PATIENCE).expect("it ends in time")
}

/// What a runtime that does not start says of it.
pub(crate) fn refusal<F>(config: ConfigBuilder, set_up: F) -> Error
where
    F: Fn(&mut Shard<'_>) -> Result<()> + Send + Sync + 'static,
{
    match Live::try_start(config, set_up) {
        Ok(_) => panic!("it starts, which it should not"),
        Err(error) => error,
    }
}

/// Sends back what it is sent.
pub(crate) struct Echo;

impl Handler for Echo {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        connection.write(data);
    }
}

/// The next of what a channel carries.
pub(crate) fn next<T>(seen: &Receiver<T>) -> T {
    seen.recv_timeout(PATIENCE).expect("something is told in time")
}

/// The next `count` of what a channel carries.
pub(crate) fn next_all<T>(seen: &Receiver<T>, count: usize) -> Vec<T> {
    (0..count).map(|_| next(seen)).collect()
}

/// A client that gives up after [`PATIENCE`].
pub(crate) fn client(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends `data` and expects it back.
pub(crate) fn assert_echoes(stream: &mut TcpStream, data: &[u8]) {
    stream.write_all(data).unwrap();
    let mut reply = vec![0; data.len()];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply, data);
}

/// Opens this many connections, each of which has echoed.
pub(crate) fn clients(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut clients: Vec<TcpStream> = (0..count).map(|_| client(address)).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        assert_echoes(client, format!("client {index}").as_bytes());
    }
    clients
}

/// A thread of this process, as the kernel sees it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) cpus: String,
}

/// The shards' threads of this process, by name.
fn shard_tasks() -> Vec<Task> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let statuses = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let tasks = statuses
        .map(|status| Task { name: field(&status, "Name:"), cpus: field(&status, "Cpus_allowed_list:") })
        .filter(|task| task.name.starts_with("shard-"));
    let mut tasks: Vec<Task> = tasks.collect();
    tasks.sort();
    tasks
}

/// The CPUs that the calling thread may use, as the kernel writes them: such as `0-3,8`.
pub(crate) fn own_cpus() -> String {
    field(&fs::read_to_string("/proc/thread-self/status").unwrap(), "Cpus_allowed_list:")
}

/// The same, one by one.
pub(crate) fn own_cpu_list() -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        first.parse().unwrap()..=last.parse().unwrap()
    };
    own_cpus().split(',').flat_map(range).collect()
}

/// Waits until the shards' threads are these. The kernel's list can pass one over while another thread ends, and it drops
/// a thread only a moment after that was joined.
pub(crate) fn assert_shard_tasks(expected: &[Task]) {
    let limit = Instant::now() + PATIENCE;
    while shard_tasks() != expected {
        assert!(Instant::now() < limit, "the threads are {:?}, not {expected:?}", shard_tasks());
        thread::yield_now();
    }
}

/// Waits until the last shard's thread is gone.
pub(crate) fn assert_no_shard_is_left() {
    assert_shard_tasks(&[]);
}

/// Lets the tests of one file run one after the other, so that the threads they see are their own.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    hush();
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the panics that a test causes itself out of its output.
pub(crate) fn hush() {
    static HUSHED: Once = Once::new();
    HUSHED.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let message = panic.payload().downcast_ref::<String>();
            if message.is_none_or(|message| message != ON_PURPOSE) {
                others(panic);
            }
        }));
    });
}

fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.map(|value| value.trim().to_owned()).unwrap_or_default()
}
