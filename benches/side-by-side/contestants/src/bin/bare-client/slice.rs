//! A slice of load: the epoll loop, the timers that end it, and its figures.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use rustix::event::epoll;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use serde::Serialize;

/// A kind of load, over sockets of its own that it has had watched.
pub(crate) trait Load {
    /// Sends what a slice begins with.
    fn begin(&mut self, slice: &mut Slice, slices: &Slices) -> io::Result<()>;

    /// Handles what the kernel says of the socket in `slot`.
    fn handle(&mut self, slot: usize, flags: epoll::EventFlags, slice: &mut Slice, slices: &Slices) -> io::Result<()>;

    /// Called every [`TICK`].
    fn handle_tick(&mut self, _slice: &mut Slice) -> io::Result<()> {
        Ok(())
    }

    /// How many pieces of echo were not what was sent, since the program began.
    fn wrong(&self) -> u64;
}

/// How long a slice goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// New messages are sent for so long.
    Run(Duration),
    /// So many messages are sent.
    Count(u64),
}

/// The counts of a slice under way.
#[derive(Debug)]
pub(crate) struct Slice {
    /// How many messages may yet be sent.
    allowed: u64,
    /// Negative if more came back than was sent.
    in_flight: i64,
    pub(crate) received: u64,
    /// How many datagrams were sent again.
    pub(crate) lost: u64,
}

impl Slice {
    /// Asks for leave to send so many messages; the answer may be fewer.
    #[inline]
    pub(crate) fn take(&mut self, wanted: usize) -> usize {
        let taken = self.allowed.min(wanted as u64);
        self.allowed -= taken;
        self.in_flight += taken as i64;
        taken as usize
    }

    /// Asks for leave to have so many messages come of one that is sent. The last time may bring more than were asked for.
    pub(crate) fn take_all(&mut self, messages: usize) -> bool {
        let may = self.allowed > 0;
        if may {
            self.allowed = self.allowed.saturating_sub(messages as u64);
            self.in_flight += messages as i64;
        }
        may
    }

    /// Notes that so many messages have come back, of those in flight.
    #[inline]
    pub(crate) fn give_back(&mut self, messages: usize) {
        self.in_flight -= messages as i64;
        self.received += messages as u64;
    }

    fn is_done(&self) -> bool {
        self.in_flight <= 0
    }
}

/// The figures of a slice.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    messages: u64,
    nanoseconds: u64,
    /// The processor time of this client.
    cpu_nanoseconds: u64,
    /// How many pieces of echo were not what was sent, and how many messages were more than were sent.
    wrong: u64,
    /// How many datagrams had to be sent again.
    lost: u64,
}

/// How often a slice is looked at for what does not come: lost datagrams, and a server that has stopped to answer.
pub(crate) const TICK: Duration = Duration::from_millis(200);

/// After so many ticks without a message the client gives up.
pub(crate) const PATIENCE: u32 = 50;

/// The events of one call.
const EVENTS: usize = 1024;

/// The tokens of the two timers; sockets have those below.
const END: u64 = u64::MAX;
const TICKS: u64 = END - 1;

/// What one slice after the other is run with.
#[derive(Debug)]
pub(crate) struct Slices {
    epoll: OwnedFd,
    end: OwnedFd,
    ticks: OwnedFd,
}

impl Slices {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer = || timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK);
        let (end, ticks) = (timer()?, timer()?);
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &end, epoll::EventData::new_u64(END), edge)?;
        epoll::add(&epoll, &ticks, epoll::EventData::new_u64(TICKS), edge)?;
        arm(&ticks, TICK, TICK)?;
        Ok(Self { epoll, end, ticks })
    }

    /// Watches a socket, edge-triggered.
    pub(crate) fn watch(&self, socket: impl AsFd, slot: usize, flags: epoll::EventFlags) -> io::Result<()> {
        let token = epoll::EventData::new_u64(slot as u64);
        Ok(epoll::add(&self.epoll, socket, token, flags | epoll::EventFlags::ET)?)
    }

    /// Runs one slice, until all that it has sent is back.
    pub(crate) fn run(&mut self, load: &mut impl Load, goal: Goal) -> io::Result<Report> {
        let mut slice = Slice { allowed: u64::MAX, in_flight: 0, received: 0, lost: 0 };
        match goal {
            Goal::Run(time) => arm(&self.end, time, Duration::ZERO)?,
            Goal::Count(messages) => slice.allowed = messages,
        }
        let wrong = load.wrong();
        let (begun, cpu) = (Instant::now(), cpu_time());
        self.turn_until_done(load, &mut slice)?;
        Ok(Report {
            messages: slice.received,
            nanoseconds: begun.elapsed().as_nanos() as u64,
            cpu_nanoseconds: (cpu_time() - cpu).as_nanos() as u64,
            wrong: load.wrong() - wrong + slice.in_flight.unsigned_abs(),
            lost: slice.lost,
        })
    }

    fn turn_until_done(&self, load: &mut impl Load, slice: &mut Slice) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        let mut stall = Stall { received: 0, ticks: 0 };
        load.begin(slice, self)?;
        while !slice.is_done() {
            // A debugger, or a driver that stops and continues this process, interrupts the call.
            rustix::io::retry_on_intr(|| epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None))?;
            for event in events.drain(..) {
                match event.data.u64() {
                    END => slice.allowed = 0,
                    TICKS => {
                        // Read, so that the next one is an event.
                        rustix::io::read(&self.ticks, &mut [0; 8])?;
                        load.handle_tick(slice)?;
                        stall.handle_tick(slice)?;
                    }
                    slot => load.handle(slot as usize, event.flags, slice, self)?,
                }
            }
        }
        Ok(())
    }
}

/// Whether messages come at all.
struct Stall {
    /// How many had come at the last tick.
    received: u64,
    /// How many ticks have passed since one came.
    ticks: u32,
}

impl Stall {
    fn handle_tick(&mut self, slice: &Slice) -> io::Result<()> {
        self.ticks = if self.received == slice.received { self.ticks + 1 } else { 0 };
        self.received = slice.received;
        if self.ticks < PATIENCE {
            return Ok(());
        }
        let message = format!("no message for {:?}, of {} in flight", TICK * PATIENCE, slice.in_flight);
        Err(io::Error::new(io::ErrorKind::TimedOut, message))
    }
}

fn arm(timer: &OwnedFd, value: Duration, interval: Duration) -> io::Result<()> {
    let spec = |time: Duration| Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
    let times = Itimerspec { it_value: spec(value), it_interval: spec(interval) };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &times)?;
    Ok(())
}

fn cpu_time() -> Duration {
    // By the C library: rustix' way to the kernel's clocks does not work under valgrind.
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("every process has one").into()
}
