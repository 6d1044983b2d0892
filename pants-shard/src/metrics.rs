//! Metrics: what every shard has done, gathered over the bus when somebody asks, and only then.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use pants_engine::{Stats, TimerKey};
use rustix::time::{ClockId, clock_gettime};

use crate::bus::remote::RemoteBus;
use crate::bus::traffic::BusStats;
use crate::placement::CpuId;
use crate::runtime::Running;
use crate::shard::{Local, Shard};
use crate::shard_id::ShardId;

/// How long a shard may take to say what it has done; then it is missing.
const GATHER_TIMEOUT: Duration = Duration::from_secs(1);

/// What all the shards have done since the runtime was started.
///
/// # Examples
///
/// ```
/// use pants_shard::{Config, Runtime, Shards};
///
/// let config = Config::builder().shards("2".parse::<Shards>()?).build()?;
/// let running = Runtime::new(config)?.start(|_shard| Ok(()))?;
/// let metrics = running.metrics();
/// assert_eq!((metrics.shards.len(), metrics.missing.len()), (2, 0));
/// for shard in &metrics.shards {
///     println!("{}: {} open, {:.0} % busy", shard.shard, shard.stats.connections_open, shard.busy_share(None) * 100.0);
/// }
/// running.stop();
/// running.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// How long ago the runtime was started.
    pub uptime: Duration,
    /// Those that have answered, in order.
    pub shards: Vec<ShardMetrics>,
    /// Those that have not, within a second: each is stalled, or has left. In order.
    pub missing: Vec<ShardId>,
}

/// What one shard has done since the runtime was started.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShardMetrics {
    /// Which one.
    pub shard: ShardId,
    /// The CPU it is pinned to.
    pub cpu: Option<CpuId>,
    /// How long ago the runtime was started when the shard read this.
    pub uptime: Duration,
    /// The CPU time of the shard's thread, in user space and in the kernel. Busy polling is CPU time too.
    pub cpu_time: Duration,
    /// The counters of its engine.
    pub stats: Stats,
    /// The counters of its bus.
    pub bus: BusStats,
}

impl Metrics {
    /// How unevenly the open connections are spread: those of the fullest shard, divided by the mean of those that have
    /// answered. 1 is even, and what it is without connections; with all on one of N shards it is N.
    pub fn skew(&self) -> f64 {
        let open = |shard: &ShardMetrics| shard.stats.connections_open;
        let (sum, max) = (self.shards.iter().map(open).sum::<u64>(), self.shards.iter().map(open).max().unwrap_or(0));
        if sum == 0 { 1.0 } else { max as f64 * self.shards.len() as f64 / sum as f64 }
    }

    fn new(started: Instant, shards: Vec<Option<ShardMetrics>>) -> Self {
        let missing = shards.iter().enumerate().filter(|(_, shard)| shard.is_none());
        let missing = missing.map(|(index, _)| ShardId::new(index)).collect();
        Self { uptime: started.elapsed(), shards: shards.into_iter().flatten().collect(), missing }
    }
}

impl ShardMetrics {
    /// The share of the time since `earlier` (`None`: since the start) that the shard's thread was on a CPU, from 0 to 1.
    pub fn busy_share(&self, earlier: Option<&Self>) -> f64 {
        let (cpu_time, uptime) = earlier.map_or_else(Default::default, |earlier| (earlier.cpu_time, earlier.uptime));
        let wall = self.uptime.saturating_sub(uptime).as_secs_f64();
        let busy = self.cpu_time.saturating_sub(cpu_time).as_secs_f64();
        if wall == 0.0 { 0.0 } else { (busy / wall).min(1.0) }
    }

    /// What a turn has taken on average since `earlier` (`None`: since the start), in CPU time, so that sleep does not count;
    /// zero if there was none.
    pub fn turn_time(&self, earlier: Option<&Self>) -> Duration {
        let (cpu_time, turns) =
            earlier.map_or_else(Default::default, |earlier| (earlier.cpu_time, earlier.stats.turns));
        let turns = self.stats.turns.saturating_sub(turns);
        let nanos = self.cpu_time.saturating_sub(cpu_time).as_nanos().checked_div(turns.into()).unwrap_or(0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// An answer that is being put together, shared by those who bring its parts.
struct Gathering {
    /// By shard; `None` has not answered.
    shards: Vec<Option<ShardMetrics>>,
    /// How many have been asked and have not answered.
    left: usize,
    /// Ends the waiting.
    timer: Option<TimerKey>,
    /// `None` once it has run.
    then: Option<Then>,
}

type Then = Box<dyn FnOnce(&mut Shard<'_>, Metrics)>;

impl Shard<'_> {
    /// Asks every shard what it has done, and gives it to `then`, in a later turn. It runs once, unless the runtime ends
    /// before. A shard that does not answer within a second, or whose lane is full, is [missing](Metrics::missing).
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_shard::{Config, Runtime, ShardId};
    ///
    /// Runtime::new(Config::default())?.run(|shard| {
    ///     if shard.id() == ShardId::new(0) {
    ///         shard.callback(|shard| {
    ///             shard.metrics(|shard, metrics| {
    ///                 println!("skew {:.2}", metrics.skew());
    ///                 shard.stop();
    ///             });
    ///         });
    ///     }
    ///     Ok(())
    /// })?;
    /// # Ok::<(), pants_shard::Error>(())
    /// ```
    pub fn metrics(&mut self, then: impl FnOnce(&mut Shard<'_>, Metrics) + 'static) {
        let (own, bus) = (self.id(), self.bus());
        let mut shards = vec![None; self.shards()];
        shards[own.index()] = Some(read(self));
        let gathering = Gathering { shards, left: 0, timer: None, then: Some(Box::new(then)) };
        let gathering = Rc::new(RefCell::new(gathering));
        for other in (0..self.shards()).map(ShardId::new).filter(|shard| *shard != own) {
            let kept = Rc::clone(&gathering);
            let asked = bus.request(other, read, move |here, answer| {
                if kept.borrow_mut().note(other, answer.ok()) {
                    Gathering::finish(&kept, here);
                }
            });
            gathering.borrow_mut().left += usize::from(asked.is_ok());
        }
        let patience = if gathering.borrow().left == 0 { Duration::ZERO } else { GATHER_TIMEOUT };
        let kept = Rc::clone(&gathering);
        gathering.borrow_mut().timer = Some(self.defer(patience, move |here| Gathering::finish(&kept, here)));
    }
}

/// What this shard has done.
fn read(shard: &mut Shard<'_>) -> ShardMetrics {
    let stats = shard.context().stats();
    let Local { id, cpu, started, backlogs, .. } = &**shard.local();
    let mut bus = BusStats::default();
    backlogs.borrow().iter().for_each(|lanes| lanes.add_to(&mut bus));
    let (uptime, cpu_time) = (started.elapsed(), thread_cpu_time());
    ShardMetrics { shard: *id, cpu: *cpu, uptime, cpu_time, stats, bus }
}

impl Gathering {
    /// Takes a part of the answer, or notes that it does not come. Returns whether it was the last.
    fn note(&mut self, shard: ShardId, answer: Option<ShardMetrics>) -> bool {
        // One that comes too late finds no place.
        if let Some(place) = self.shards.get_mut(shard.index()) {
            *place = answer;
        }
        self.left -= 1;
        self.left == 0
    }

    /// Passes on what there is, to nobody if that was done.
    fn finish(gathering: &RefCell<Self>, shard: &mut Shard<'_>) {
        let (shards, timer, then) = {
            let mut gathering = gathering.borrow_mut();
            (std::mem::take(&mut gathering.shards), gathering.timer.take(), gathering.then.take())
        };
        if let Some(timer) = timer {
            shard.context().cancel(timer);
        }
        if let Some(then) = then {
            let started = shard.local().started;
            then(shard, Metrics::new(started, shards));
        }
    }
}

impl Running {
    /// Asks every shard what it has done, and waits for the answers: no longer than a second, after which those that have
    /// not answered are [missing](Metrics::missing). So is one that has left.
    ///
    /// Not for a shard's own thread, which would wait for itself: that has [`Shard::metrics`].
    pub fn metrics(&self) -> Metrics {
        self.remote().metrics()
    }
}

impl RemoteBus {
    /// As [`Running::metrics`].
    pub fn metrics(&self) -> Metrics {
        let deadline = Instant::now() + GATHER_TIMEOUT;
        let (tell, told) = mpsc::channel();
        // Whoever does not reach its shard tells nothing, and is missing.
        self.broadcast(move |shard: &mut Shard<'_>| drop(tell.send(read(shard))));
        let mut shards = vec![None; self.shards()];
        // It ends at the deadline, or when every message has run or was dropped.
        while let Ok(answer) = told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            let shard = answer.shard.index();
            shards[shard] = Some(answer);
        }
        Metrics::new(self.started(), shards)
    }
}

fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // The kernel counts from zero, and the fraction is below a second.
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(index: usize, open: u64) -> ShardMetrics {
        let mut stats = Stats::default();
        stats.connections_open = open;
        let (uptime, cpu_time) = (Duration::from_secs(10), Duration::from_secs(4));
        ShardMetrics { shard: ShardId::new(index), cpu: None, uptime, cpu_time, stats, bus: BusStats::default() }
    }

    fn skew(open: &[u64]) -> f64 {
        let shards = open.iter().enumerate().map(|(index, open)| Some(shard(index, *open))).collect();
        Metrics::new(Instant::now(), shards).skew()
    }

    #[test]
    fn skew_is_the_fullest_shard_over_the_mean() {
        assert_eq!((skew(&[]), skew(&[0, 0])), (1.0, 1.0));
        assert_eq!((skew(&[7]), skew(&[5, 5, 5])), (1.0, 1.0));
        assert_eq!((skew(&[0, 9, 0]), skew(&[1, 3])), (3.0, 1.5));
    }

    #[test]
    fn a_shard_that_has_not_answered_is_named() {
        let metrics = Metrics::new(Instant::now(), vec![Some(shard(0, 1)), None, Some(shard(2, 1))]);
        assert_eq!(metrics.missing, [ShardId::new(1)]);
        assert_eq!(metrics.shards.iter().map(|shard| shard.shard.index()).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn shares_and_turns_are_of_the_time_between() {
        let (mut earlier, mut later) = (shard(0, 0), shard(0, 0));
        assert_eq!((later.busy_share(None), later.busy_share(Some(&earlier))), (0.4, 0.0));
        assert_eq!(later.turn_time(None), Duration::ZERO);
        earlier.stats.turns = 100;
        (later.uptime, later.cpu_time, later.stats.turns) = (Duration::from_secs(12), Duration::from_secs(5), 1100);
        assert_eq!(later.busy_share(Some(&earlier)), 0.5);
        assert_eq!(later.turn_time(Some(&earlier)), Duration::from_millis(1));
    }

    #[test]
    fn a_threads_cpu_time_grows_by_work() {
        let begun = thread_cpu_time();
        while thread_cpu_time() == begun {}
        assert!(thread_cpu_time() > begun);
    }
}
