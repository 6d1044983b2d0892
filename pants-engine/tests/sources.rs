//! Sources of one's own: when an engine drains them, and when it leaves them alone.

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use pants_engine::{Context, Engine, Source};
use support::*;

/// A number of items, of which each drain delivers at most `step`.
#[derive(Clone)]
struct Items {
    left: Rc<Cell<usize>>,
    drains: Rc<Cell<usize>>,
    step: usize,
}

impl Items {
    fn new(left: usize, step: usize) -> Self {
        Self { left: Rc::new(Cell::new(left)), drains: Rc::default(), step }
    }
}

impl Source for Items {
    fn is_empty(&self) -> bool {
        self.left.get() == 0
    }

    fn drain(&mut self, _context: &mut Context, budget: usize) -> usize {
        let delivered = self.left.get().min(self.step).min(budget);
        self.left.set(self.left.get() - delivered);
        self.drains.set(self.drains.get() + 1);
        delivered
    }
}

fn is_due(engine: &Engine) -> bool {
    engine.next_deadline().is_some_and(|deadline| deadline <= Instant::now())
}

#[test]
fn what_a_source_holds_when_it_is_added_is_delivered_without_a_ring() {
    let mut engine = Engine::new().unwrap();
    let items = Items::new(1, 1);
    engine.add_source(items.clone());
    assert!(is_due(&engine));
    engine.poll(None).unwrap();
    assert_eq!(items.left.get(), 0);
    assert_eq!(engine.next_deadline(), None);
}

#[test]
fn what_a_drain_leaves_is_delivered_in_the_next_turns_without_a_ring() {
    let mut engine = Engine::new().unwrap();
    let items = Items::new(0, 2);
    engine.add_source(items.clone());
    engine.poll(Some(Duration::ZERO)).unwrap();
    items.left.set(5);
    engine.doorbell().ring();
    for left in [3, 1, 0] {
        engine.poll(None).unwrap();
        assert_eq!(items.left.get(), left);
        assert_eq!(is_due(&engine), left > 0);
    }
}

#[test]
fn a_source_is_left_alone_until_somebody_rings() {
    let mut engine = Engine::new().unwrap();
    let items = Items::new(0, 1);
    engine.add_source(items.clone());
    engine.poll(Some(Duration::ZERO)).unwrap();
    for _ in 0..3 {
        engine.context().callback(|_| {});
        engine.poll(None).unwrap();
    }
    assert_eq!(items.drains.get(), 1);
    let doorbell = engine.doorbell();
    std::thread::spawn(move || doorbell.ring()).join().unwrap();
    assert!(is_due(&engine));
    engine.poll(None).unwrap();
    assert_eq!(items.drains.get(), 2);
}

#[test]
fn a_ring_from_a_callback_has_the_sources_drained_in_the_same_turn_or_the_next() {
    let mut engine = Engine::new().unwrap();
    let items = Items::new(0, 1);
    engine.add_source(items.clone());
    engine.poll(Some(Duration::ZERO)).unwrap();
    let (doorbell, left) = (engine.doorbell(), Rc::clone(&items.left));
    engine.context().callback(move |_| {
        left.set(1);
        doorbell.ring();
    });
    turn_until(&mut engine, |_| items.left.get() == 0);
    assert_eq!(engine.context().stats().sleeps, 0);
}
