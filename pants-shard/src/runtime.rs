//! The runtime: starts a thread for every shard, and sees them out again.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::Sender;
use pants_engine::{Acceptor, Endpoint, Stats, ToAddress};

use crate::bus::lanes::{Lane, make_lanes, make_lanes_from_outside};
use crate::bus::message::Message;
use crate::bus::remote::RemoteBus;
use crate::config::Config;
use crate::error::{Error, Result, panic_message};
use crate::handover::Predecessor;
use crate::listener::ListenerGroups;
use crate::listener::changes::{Changes, Listeners, Told};
use crate::listener::given::{Given, Name, local_endpoint};
use crate::offload::Pool;
use crate::placement::Placement;
use crate::seat::Seat;
use crate::shard::Shard;
use crate::shard_id::ShardId;
use crate::shutdown::{Shutdown, Stage};
use crate::stall;
use crate::startup::{Abandoned, Startup};
use crate::stop_handle::StopHandle;

/// The shards of a program, before they are started.
///
/// # Examples
///
/// ```
/// use pants_shard::{Config, Connection, Handler, Runtime};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
///         connection.write(data);
///     }
/// }
///
/// let running = Runtime::new(Config::default())?.start(|shard| {
///     shard.listen("127.0.0.1:0", |_peer| Echo)?;
///     Ok(())
/// })?;
/// println!("listening on {}", running.addresses()[0]);
/// running.drain();
/// running.join()?;
/// # Ok::<(), pants_shard::Error>(())
/// ```
#[derive(Debug)]
pub struct Runtime {
    config: Arc<Config>,
    inherited: Vec<Given>,
    /// In place of what the configuration says.
    handover: Option<PathBuf>,
}

/// Shards that run. Dropping it lets them run on, with nobody to wait for them.
pub struct Running {
    threads: Vec<JoinHandle<Result<Stats>>>,
    /// `None` until the shards have started.
    watchdog: Option<JoinHandle<()>>,
    startup: Arc<Startup>,
    shutdown: Arc<Shutdown>,
    changes: Arc<Changes>,
    from_outside: Vec<Sender<Box<dyn Message>>>,
    config: Arc<Config>,
    started: Instant,
}

/// What became of a runtime.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// What each shard's engine has done, by shard.
    pub shards: Vec<Stats>,
}

impl Runtime {
    /// A runtime with this configuration.
    ///
    /// # Errors
    ///
    /// None at present; a configuration is valid.
    pub fn new(config: Config) -> Result<Self> {
        Ok(Self { config: Arc::new(config), inherited: Vec::new(), handover: None })
    }

    /// Takes listening sockets that this process has inherited, from systemd say; see sd_listen_fds(3), and the crate
    /// `listenfd` for reading what it sets. An address that is declared and at which one of them is bound goes on with it;
    /// a host's name is none. Those that no shard wants are closed, with a warning in the log.
    ///
    /// Where there are fewer sockets at an address than shards, `SO_REUSEPORT` is set on them and the other shards bind sockets
    /// beside them. Those end with this process, while what is queued on the inherited ones waits for the next. Where that
    /// cannot be, with Unix sockets and those that another user's process has made, one shard accepts and
    /// sends the others theirs. The file of a Unix socket stays when this process ends.
    ///
    /// # Errors
    ///
    /// If one of them is no socket.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_shard::{Config, Connection, Handler, Runtime};
    /// use std::net::TcpListener;
    ///
    /// struct Echo;
    ///
    /// impl Handler for Echo {
    ///     fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
    ///         connection.write(data);
    ///     }
    /// }
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let running = Runtime::new(Config::default())?
    ///     .inherit([listener.into()])?
    ///     .start(move |shard| shard.listen(address, |_peer| Echo).map(drop))?;
    /// running.stop();
    /// running.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn inherit(mut self, sockets: impl IntoIterator<Item = OwnedFd>) -> Result<Self> {
        for socket in sockets {
            let endpoint = local_endpoint(&socket).map_err(pants_engine::Error::Adopt)?;
            let given = Given::entry(&mut self.inherited, Name::Bound(endpoint));
            given.sockets.push(socket);
            given.borrowed = true;
        }
        Ok(self)
    }

    /// Takes the listening sockets over from a process that runs already, and leaves them to the next one: a restart at
    /// which no connection is refused or reset. (Those that are open stay with the old process, whose drain ends them in good order.)
    ///
    /// Both processes are started with the same `path`, of a Unix socket that only their user can connect to (mode 0600;
    /// each also looks at the other's user, which must be its own or root). [`start`](Self::start) asks the process that
    /// serves there for its sockets. Each address that is declared here as it was there goes on with them: the first shard with
    /// the first socket, and so on. Shards that are more than there were bind sockets beside them; where they are fewer,
    /// some accept from several, so that every queue has somebody who empties it. When all shards listen the old process is
    /// told. It accepts no more, closes nothing that is shared, and a second later drains as by [`Running::drain`]. If the
    /// new process ends before that, or takes longer than a minute, the old one serves on; a new one that comes too late gives back
    /// what it was given, and its start fails.
    ///
    /// The old process closes an address that the new one does not declare when it drains. An address that was added while it
    /// ran ([`Listeners`]) is handed over if the new one declares it in its set-up. One process takes over at a time; a
    /// second one's start fails.
    ///
    /// Without this call the configuration's `runtime.handover` says where, if anywhere.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use pants_shard::{Config, Connection, Handler, Runtime};
    ///
    /// struct Echo;
    ///
    /// impl Handler for Echo {
    ///     fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
    ///         connection.write(data);
    ///     }
    /// }
    ///
    /// // To restart it, start it once more.
    /// Runtime::new(Config::load()?)?
    ///     .handover("/run/echo.sock")
    ///     .run(|shard| shard.listen(4040, |_peer| Echo).map(drop))?;
    /// # Ok::<(), pants_shard::Error>(())
    /// ```
    #[must_use]
    pub fn handover(mut self, path: impl Into<PathBuf>) -> Self {
        self.handover = Some(path.into());
        self
    }

    /// Starts the shards, and waits for their end: `start`, then [`join`](Running::join).
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start) and [`join`](Running::join).
    pub fn run<F>(self, set_up: F) -> Result<()>
    where
        F: Fn(&mut Shard<'_>) -> Result<()> + Send + Sync + 'static,
    {
        self.start(set_up)?.join().map(drop)
    }

    /// Starts a thread for every shard and calls `set_up` on each, one after the other in the order of the shards. When all
    /// have set up, their servers listen, in the same order; then this returns.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started or pinned, an engine cannot be made, a server cannot listen, or `set_up` fails or
    /// panics. Every thread has ended by then, and the error names the shard.
    pub fn start<F>(self, set_up: F) -> Result<Running>
    where
        F: Fn(&mut Shard<'_>) -> Result<()> + Send + Sync + 'static,
    {
        let shards = self.config.placement().len();
        let startup = Arc::new(Startup::new(shards));
        let shutdown = Arc::new(Shutdown::new(shards));
        let handover = self.handover.or_else(|| self.config.handover().map(Path::to_owned));
        let (predecessor, mut given) = match &handover {
            Some(path) => Predecessor::find(path)?.map_or_else(Default::default, |(one, given)| (Some(one), given)),
            None => Default::default(),
        };
        given.extend(self.inherited);
        let groups = Arc::new(ListenerGroups::new(shards, handover.is_some(), given));
        let changes = Changes::new(shards, Arc::clone(&shutdown), Arc::clone(&startup), Arc::clone(&groups));
        let changes = Arc::new(changes);
        let pool = Arc::new(Pool::new(self.config.offload_threads()));
        let set_up = Arc::new(set_up);
        let started = Instant::now();
        let mut threads = Vec::with_capacity(shards);
        let mut lanes = make_lanes(shards);
        let from_outside = make_lanes_from_outside(&mut lanes);
        for (index, (cpu, lanes)) in self.config.placement().iter().zip(lanes).enumerate() {
            let seat = Seat {
                id: ShardId::new(index),
                cpu,
                started,
                lanes,
                config: Arc::clone(&self.config),
                startup: Arc::clone(&startup),
                shutdown: Arc::clone(&shutdown),
                groups: Arc::clone(&groups),
                changes: Arc::clone(&changes),
                pool: Arc::clone(&pool),
                handover: handover.clone(),
            };
            let (id, set_up) = (seat.id, Arc::clone(&set_up));
            match thread::Builder::new().name(id.to_string()).spawn(move || seat.occupy(&*set_up)) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    startup.fail(id, Error::Spawn(error));
                    break;
                }
            }
        }
        let mut running =
            Running { threads, watchdog: None, startup, shutdown, changes, from_outside, config: self.config, started };
        if let Err(Abandoned) = running.startup.wait_until_open() {
            running.shutdown.advance(Stage::Leaving);
            let failure = running.startup.take_failure();
            let joined = running.join();
            let unknown = || Error::Panicked("while the shards started, for a reason that nobody has told".to_owned());
            return Err(failure.or(joined.err()).unwrap_or_else(unknown));
        }
        let taken = groups.settle();
        // The predecessor ends when it is told: from then on nothing may fail.
        let served = running.watch().and_then(|()| predecessor.map_or(Ok(()), |old| old.relieve(&taken)));
        if let Err(error) = served {
            // What was taken is the predecessor's still: nothing is closed that it needs.
            groups.yield_to_successor(&taken);
            running.drain();
            running.join()?;
            return Err(error);
        }
        Ok(running)
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("shards", &self.threads.len()).field("addresses", &self.addresses()).finish()
    }
}

impl Running {
    /// Starts the watchdog, if there is to be one.
    fn watch(&mut self) -> Result<()> {
        if let Some(stall_after) = self.config.stall_after() {
            self.watchdog = Some(stall::watch(self.startup.take_pulses(), stall_after).map_err(Error::Spawn)?);
        }
        Ok(())
    }

    /// Where the servers listen, each address once, ports resolved.
    pub fn addresses(&self) -> Vec<Endpoint> {
        self.startup.addresses()
    }

    /// Where the datagram channels are that the shards have declared ([`Shard::open_datagram`]), each address once, ports
    /// resolved.
    pub fn datagram_addresses(&self) -> Vec<Endpoint> {
        self.startup.datagram_addresses()
    }

    /// Where the admin endpoint of the configuration's `admin.listen` is, port resolved; see
    /// [`Shard::serve_admin`]. `None` if it is off.
    pub fn admin_address(&self) -> Option<Endpoint> {
        self.startup.admin()
    }

    /// Which CPU each shard is pinned to.
    pub fn placement(&self) -> &Placement {
        self.config.placement()
    }

    /// The bus, for threads that are no shards.
    pub fn remote(&self) -> RemoteBus {
        let lanes = self.from_outside.iter().cloned().zip(self.shutdown.doorbells().iter().cloned());
        let lanes = lanes.map(|(sender, doorbell)| Lane { sender, doorbell }).collect();
        RemoteBus::new(lanes, Arc::clone(&self.shutdown), self.started)
    }

    /// Has every shard listen at `address`, and waits until they do: [`Listeners::listen`], from a thread that is no shard.
    /// Gives the address, a port resolved.
    ///
    /// # Errors
    ///
    /// If the address is not understood, taken, or listened at already, or a shard fails, which is named: then none listens.
    /// Also if the runtime drains or has stopped.
    pub fn listen<A: Acceptor>(
        &self,
        address: impl ToAddress,
        make: impl Fn(&mut Shard<'_>) -> A + Send + Sync + 'static,
    ) -> Result<Endpoint> {
        self.wait_for(|listeners, told| listeners.listen(address, make, told))
    }

    /// Has every shard accept what is queued at `address` and close its listening socket there, and waits until they have:
    /// [`Listeners::unlisten`], from a thread that is no shard. Connections stay.
    ///
    /// # Errors
    ///
    /// If no shard listens there, or the runtime has stopped.
    pub fn unlisten(&self, address: impl ToAddress) -> Result<Endpoint> {
        self.wait_for(|listeners, told| listeners.unlisten(address, told))
    }

    /// Adds and removes listeners without waiting. What it is told, it is told on shard 0.
    pub fn listeners(&self) -> Listeners {
        Listeners::new(Arc::clone(&self.changes), ShardId::new(0))
    }

    fn wait_for(&self, ask: impl FnOnce(Listeners, Told) -> Result<()>) -> Result<Endpoint> {
        let (tell, told) = crossbeam_channel::bounded(1);
        ask(self.listeners(), Box::new(move |_shard, result| drop(tell.send(result))))?;
        // What would tell is dropped when the runtime ends.
        told.recv().unwrap_or(Err(Error::Stopped))
    }

    /// A handle by which other threads, one that waits for signals say, end the runtime.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(Arc::clone(&self.shutdown))
    }

    /// Ends service in good order, within the configuration's `drain_timeout`: servers take what is queued and close, what
    /// is being answered is finished, quiet connections are closed with FIN, and what is offloaded is awaited. Returns at
    /// once.
    pub fn drain(&self) {
        self.shutdown.advance(Stage::Draining);
    }

    /// Closes everything at once. Messages that were sent still run. Returns at once.
    pub fn stop(&self) {
        self.shutdown.advance(Stage::Stopping);
    }

    /// Waits until every shard has ended.
    ///
    /// # Errors
    ///
    /// If a shard failed, which stopped the others; the first one is named.
    pub fn join(self) -> Result<Report> {
        let mut report = Report::default();
        let mut failure = None;
        for (index, thread) in self.threads.into_iter().enumerate() {
            let result = thread.join().unwrap_or_else(|payload| Err(Error::Panicked(panic_message(&*payload))));
            match result {
                Ok(stats) => report.shards.push(stats),
                Err(error) => {
                    let error = Error::Shard { shard: ShardId::new(index), source: Box::new(error) };
                    failure.get_or_insert(error);
                }
            }
        }
        if let Some(watchdog) = self.watchdog {
            // It need not wait for its next look to see that all have ended.
            watchdog.thread().unpark();
            if let Err(payload) = watchdog.join() {
                failure.get_or_insert(Error::Panicked(panic_message(&*payload)));
            }
        }
        failure.map_or(Ok(report), Err)
    }
}
