//! Loom models of the way out: what was accepted is delivered, and nobody leaves before.
//!
//! Each follows `seat.rs` step by step. A queue is a counter that is pushed with release and looked at with acquire. A shard
//! sleeps until there is news; that it is woken for news is the doorbell's affair, modelled elsewhere.

use std::sync::Arc;

use loom::sync::atomic::AtomicUsize;
use loom::thread;

use super::{Orderings, Shutdown, Sound, Stage};
use crate::sync::Ordering;

struct NoFenceOfVisitor;

impl Orderings for NoFenceOfVisitor {
    fn fence_of_visitor() {}
}

struct NoFenceOfShard;

impl Orderings for NoFenceOfShard {
    fn fence_of_shard() {}
}

struct RelaxedArrivals;

impl Orderings for RelaxedArrivals {
    const ARRIVAL: Ordering = Ordering::Relaxed;
}

impl<O: Orderings> Shutdown<O> {
    /// Waits for news after `seen`, and returns the count.
    fn wait_for_news(&self, seen: usize) -> usize {
        loop {
            let news = self.news.load(Ordering::SeqCst);
            if news != seen {
                return news;
            }
            thread::yield_now();
        }
    }
}

/// One shard, and another thread that sends to it if it may.
fn visit<O: Orderings + Send + Sync + 'static>() {
    loom::model(|| {
        let shutdown = Arc::new(Shutdown::<O>::new(1));
        let lane = Arc::new(AtomicUsize::new(0));
        let visitor = {
            let (shutdown, lane) = (Arc::clone(&shutdown), Arc::clone(&lane));
            thread::spawn(move || {
                let visit = shutdown.visit();
                if visit.is_some() {
                    lane.fetch_add(1, Ordering::Release);
                }
                usize::from(visit.is_some())
            })
        };
        shutdown.arrive_drained();
        shutdown.arrive_sealed();
        let mut news = 0;
        while shutdown.has_visitors() {
            news = shutdown.wait_for_news(news);
        }
        let delivered = lane.load(Ordering::Acquire);
        shutdown.arrive_emptied();
        let accepted = visitor.join().unwrap();
        assert_eq!(delivered, accepted, "what was accepted is delivered");
    });
}

#[test]
fn a_visitor_is_refused_or_its_message_is_delivered() {
    visit::<Sound>();
}

#[test]
#[should_panic(expected = "what was accepted is delivered")]
fn a_message_is_lost_without_the_visitors_fence() {
    visit::<NoFenceOfVisitor>();
}

#[test]
#[should_panic(expected = "what was accepted is delivered")]
fn a_message_is_lost_without_the_shards_fence() {
    visit::<NoFenceOfShard>();
}

/// What goes into one of two shards.
#[derive(Default)]
struct Into {
    requests: AtomicUsize,
    answers: AtomicUsize,
}

/// Two shards. Each sends a request to the other before it has drained, and answers the other's whenever it comes.
fn leave<O: Orderings + Send + Sync + 'static>() {
    loom::model(|| {
        let shutdown = Arc::new(Shutdown::<O>::new(2));
        let into = Arc::new([Into::default(), Into::default()]);
        let other = {
            let (shutdown, into) = (Arc::clone(&shutdown), Arc::clone(&into));
            thread::spawn(move || sit(&shutdown, &into[1], &into[0]))
        };
        let had = sit(&shutdown, &into[0], &into[1]);
        assert_eq!([had, other.join().unwrap()], [(1, 1); 2], "what was accepted is delivered");
    });
}

/// The life of a shard; returns the requests and answers that it has had.
fn sit<O: Orderings>(shutdown: &Shutdown<O>, own: &Into, other: &Into) -> (usize, usize) {
    let (mut answered, mut news) = (0, 0);
    let mut answer = || {
        if own.requests.load(Ordering::Acquire) > answered {
            answered += 1;
            other.answers.fetch_add(1, Ordering::Release);
        }
        answered
    };
    other.requests.fetch_add(1, Ordering::Release);
    shutdown.arrive_drained();
    while shutdown.stage() < Stage::Sealing {
        news = shutdown.wait_for_news(news);
    }
    shutdown.arrive_sealed();
    while shutdown.stage() < Stage::Emptying {
        news = shutdown.wait_for_news(news);
    }
    let requests = answer();
    shutdown.arrive_emptied();
    while shutdown.stage() < Stage::Leaving {
        news = shutdown.wait_for_news(news);
    }
    (requests, own.answers.load(Ordering::Acquire))
}

#[test]
fn no_shard_leaves_before_all_is_delivered_and_answered() {
    leave::<Sound>();
}

#[test]
#[should_panic(expected = "what was accepted is delivered")]
fn a_shard_leaves_too_early_if_arrivals_show_nothing() {
    leave::<RelaxedArrivals>();
}
