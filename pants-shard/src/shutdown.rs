//! The way out: every shard drains, then no shard sends, then every shard empties its lanes, then its answers, and all leave.
//!
//! Each stage ends when the last shard has come to its end, so that no message is sent to a shard that has left. What
//! happens on the way is a [`Source`], since a shard that is about to sleep must not miss any of it.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use pants_engine::{Context, Doorbell, Source};

use crate::sync::{AtomicUsize, Ordering, fence};

#[cfg(all(test, loom))]
mod models;

/// How far the runtime is on its way out. Stages only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Serving = 0,
    /// Another process accepts connections; those that are here go on.
    Yielding = 1,
    /// Servers close and connections are ended in good order.
    Draining = 2,
    /// What is left is closed at once.
    Stopping = 3,
    /// Every shard has drained; none may send any more.
    Sealing = 4,
    /// No shard sends any more; what was sent is delivered.
    Emptying = 5,
    /// Every message has been delivered, and every answer to one is on its way.
    Leaving = 6,
}

/// The orderings that the stages stand on; the models weaken them.
///
/// A visit is Dekker's pattern: a visitor counts itself, fences, and reads the stage; a shard reads the stage, fences, and
/// counts the visitors. Either the visitor sees that nothing may be sent any more, or the shard sees the visitor.
pub(crate) trait Orderings {
    /// An arrival shows what its shard has sent, and the last one sees it all.
    const ARRIVAL: Ordering = Ordering::AcqRel;

    fn fence_of_visitor() {
        fence(Ordering::SeqCst);
    }

    fn fence_of_shard() {
        fence(Ordering::SeqCst);
    }
}

#[derive(Debug)]
pub(crate) struct Sound;

impl Orderings for Sound {}

#[derive(Debug)]
pub(crate) struct Shutdown<O = Sound> {
    shards: usize,
    stage: AtomicUsize,
    drained: AtomicUsize,
    sealed: AtomicUsize,
    emptied: AtomicUsize,
    /// Threads that are no shards and send at this moment.
    visitors: AtomicUsize,
    /// Counts what a shard may wait for: changes of the stage, and the ends of visits.
    news: AtomicUsize,
    doorbells: OnceLock<Vec<Doorbell>>,
    orderings: PhantomData<O>,
}

impl<O: Orderings> Shutdown<O> {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            shards,
            stage: AtomicUsize::new(0),
            drained: AtomicUsize::new(0),
            sealed: AtomicUsize::new(0),
            emptied: AtomicUsize::new(0),
            visitors: AtomicUsize::new(0),
            news: AtomicUsize::new(0),
            doorbells: OnceLock::new(),
            orderings: PhantomData,
        }
    }

    /// Says whom to wake when the stage changes.
    pub(crate) fn set_doorbells(&self, doorbells: Vec<Doorbell>) {
        let _ = self.doorbells.set(doorbells);
    }

    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::SeqCst) {
            0 => Stage::Serving,
            1 => Stage::Yielding,
            2 => Stage::Draining,
            3 => Stage::Stopping,
            4 => Stage::Sealing,
            5 => Stage::Emptying,
            _ => Stage::Leaving,
        }
    }

    /// Asks for a stage; one that has passed already changes nothing.
    pub(crate) fn advance(&self, stage: Stage) {
        if self.stage.fetch_max(stage as usize, Ordering::SeqCst) < stage as usize {
            self.announce();
        }
    }

    /// Has every shard look at the stage and the visitors again, be it asleep or about to sleep.
    pub(crate) fn announce(&self) {
        // After the change and before the ring: whoever sees the count sees the change, and whoever is woken sees the count.
        self.news.fetch_add(1, Ordering::SeqCst);
        for doorbell in self.doorbells() {
            doorbell.ring();
        }
    }

    /// Who wakes each shard; nobody before they have met.
    pub(crate) fn doorbells(&self) -> &[Doorbell] {
        self.doorbells.get().map_or(&[], Vec::as_slice)
    }

    /// Keeps the shards from leaving until the visit is over: a thread that is none of them sends. `None` if nothing may be
    /// sent any more.
    pub(crate) fn visit(&self) -> Option<Visit<'_, O>> {
        // One who comes after the end, again and again perhaps, must not be waited for.
        if self.stage() >= Stage::Sealing {
            return None;
        }
        self.visitors.fetch_add(1, Ordering::Relaxed);
        O::fence_of_visitor();
        let visit = Visit(self);
        (self.stage() < Stage::Sealing).then_some(visit)
    }

    /// Whether a thread that is no shard may still send, asked when the stage is past sending.
    pub(crate) fn has_visitors(&self) -> bool {
        O::fence_of_shard();
        // What a visitor has sent is seen with its end.
        self.visitors.load(Ordering::Acquire) > 0
    }

    /// A shard has drained. The last one begins the next stage.
    pub(crate) fn arrive_drained(&self) {
        if self.drained.fetch_add(1, O::ARRIVAL) + 1 == self.shards {
            self.advance(Stage::Sealing);
        }
    }

    /// A shard sends no more. The last one begins the next stage.
    pub(crate) fn arrive_sealed(&self) {
        if self.sealed.fetch_add(1, O::ARRIVAL) + 1 == self.shards {
            self.advance(Stage::Emptying);
        }
    }

    /// A shard has delivered all that was sent to it. The last one begins the last stage.
    pub(crate) fn arrive_emptied(&self) {
        if self.emptied.fetch_add(1, O::ARRIVAL) + 1 == self.shards {
            self.advance(Stage::Leaving);
        }
    }
}

/// A thread that is no shard, while it sends.
#[derive(Debug)]
pub(crate) struct Visit<'a, O: Orderings>(&'a Shutdown<O>);

impl<O: Orderings> Drop for Visit<'_, O> {
    fn drop(&mut self) {
        self.0.visitors.fetch_sub(1, Ordering::Release);
        // Either this thread sees that a shard may wait, or that one sees that the visit is over.
        O::fence_of_visitor();
        if self.0.stage() >= Stage::Sealing {
            // Somebody may wait for the visit to end.
            self.0.announce();
        }
    }
}

/// Keeps a shard from sleeping over a change of the stage, over the end of a visit that it waits for, and over its step of
/// what all shards do in turn.
pub(crate) struct News<F> {
    shutdown: Arc<Shutdown>,
    seen: usize,
    /// Takes the shard's step, if it is its.
    take_turn: F,
}

impl<F: FnMut(&mut Context)> News<F> {
    pub(crate) fn new(shutdown: Arc<Shutdown>, take_turn: F) -> Self {
        Self { shutdown, seen: 0, take_turn }
    }
}

impl<F: FnMut(&mut Context)> Source for News<F> {
    fn is_empty(&self) -> bool {
        self.shutdown.news.load(Ordering::SeqCst) == self.seen
    }

    fn drain(&mut self, context: &mut Context, _budget: usize) -> usize {
        let news = self.shutdown.news.load(Ordering::SeqCst);
        if std::mem::replace(&mut self.seen, news) != news {
            (self.take_turn)(context);
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use pants_engine::Engine;

    use super::*;

    #[test]
    fn a_stage_begins_when_the_last_shard_has_come_to_the_end_of_the_one_before() {
        let shutdown = Shutdown::<Sound>::new(2);
        shutdown.advance(Stage::Draining);
        shutdown.arrive_drained();
        assert_eq!(shutdown.stage(), Stage::Draining);
        shutdown.arrive_drained();
        assert_eq!(shutdown.stage(), Stage::Sealing);
        shutdown.advance(Stage::Stopping);
        assert_eq!(shutdown.stage(), Stage::Sealing);
        shutdown.arrive_sealed();
        shutdown.arrive_sealed();
        assert_eq!(shutdown.stage(), Stage::Emptying);
        shutdown.arrive_emptied();
        shutdown.arrive_emptied();
        assert_eq!(shutdown.stage(), Stage::Leaving);
    }

    /// What a shard with this source does when it wakes.
    fn look(news: &mut News<impl FnMut(&mut Context)>) {
        let mut engine = Engine::new().unwrap();
        news.drain(engine.context(), 1);
    }

    #[test]
    fn a_shard_does_not_sleep_over_a_change_of_the_stage_or_the_end_of_a_visit() {
        let shutdown = Arc::new(Shutdown::<Sound>::new(1));
        let mut news = News::new(Arc::clone(&shutdown), |_context| {});
        let visit = shutdown.visit().unwrap();
        assert!(news.is_empty());
        shutdown.advance(Stage::Emptying);
        assert!(!news.is_empty());
        look(&mut news);
        assert!(news.is_empty() && shutdown.has_visitors());
        drop(visit);
        assert!(!news.is_empty() && !shutdown.has_visitors());
    }

    #[test]
    fn a_visit_after_the_end_is_refused_and_nobody_looks_up_for_it() {
        let shutdown = Arc::new(Shutdown::<Sound>::new(1));
        let mut news = News::new(Arc::clone(&shutdown), |_context| {});
        shutdown.advance(Stage::Sealing);
        look(&mut news);
        assert!(shutdown.visit().is_none());
        assert!(news.is_empty());
    }
}
