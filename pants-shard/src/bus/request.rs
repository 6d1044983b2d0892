//! Requests: work for another shard whose result comes back.
//!
//! An answer never meets a full lane: a shard counts the requests that it has under way with each other one, and since
//! their number is bounded, so is what their answers take.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use pants_engine::{Context, Doorbell, Source};

use super::lanes::Message;
use crate::error::panic_message;
use crate::shard::{Local, Shard};
use crate::shard_id::ShardId;

/// Requests that one shard may have under way with one other.
pub(crate) const UNDER_WAY_MAX: usize = 1024;

/// A request that nobody will answer: its work has panicked, its [`Reply`] was dropped, its shard has gone, or the
/// runtime has ended before its work has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request was not answered")]
pub struct Unanswered;

/// Answers one request, at once or later. Dropping it tells the asker that no answer comes.
pub struct Reply<T> {
    /// `None` once it has been used.
    way: Option<Way>,
    answer: PhantomData<fn(T)>,
}

/// How an answer gets back.
pub(crate) struct Way {
    request: usize,
    answers: Sender<Answer>,
    doorbell: Doorbell,
}

/// Which request is answered, and with what; nothing if it will not be.
struct Answer {
    request: usize,
    value: Option<Box<dyn Any + Send>>,
}

/// What is done with an answer.
pub(crate) type Continuation = Box<dyn FnOnce(&mut Shard<'_>, Option<Box<dyn Any + Send>>)>;

/// The requests that one shard has under way.
#[derive(Default)]
pub(crate) struct Pending(RefCell<Table>);

#[derive(Default)]
struct Table {
    /// By their numbers; a free place is `None`.
    requests: Vec<Option<(ShardId, Continuation)>>,
    free: Vec<usize>,
    /// By shard; `None` for one that was never asked.
    partners: Vec<Option<Partner>>,
}

/// A shard that is asked.
struct Partner {
    under_way: usize,
    answers: (Sender<Answer>, Receiver<Answer>),
}

/// A request whose work gives the answer.
pub(crate) struct Ask<W, T> {
    pub(crate) work: W,
    pub(crate) reply: Reply<T>,
}

/// A request whose work is given the means to answer.
pub(crate) struct AskLater<W, T> {
    pub(crate) work: W,
    pub(crate) reply: Reply<T>,
}

impl<W, T> Message for Ask<W, T>
where
    W: FnOnce(&mut Shard<'_>) -> T + Send + 'static,
    T: Send + 'static,
{
    fn run(self: Box<Self>, shard: &mut Shard<'_>) {
        let answer = (self.work)(shard);
        self.reply.send(answer);
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl<W, T> Message for AskLater<W, T>
where
    W: FnOnce(&mut Shard<'_>, Reply<T>) + Send + 'static,
    T: Send + 'static,
{
    fn run(self: Box<Self>, shard: &mut Shard<'_>) {
        (self.work)(shard, self.reply);
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl<T: Send + 'static> Reply<T> {
    pub(crate) fn new(way: Way) -> Self {
        Self { way: Some(way), answer: PhantomData }
    }

    /// Sends the answer. What is done with it is done in one of the asker's next turns.
    pub fn send(mut self, answer: T) {
        if let Some(way) = self.way.take() {
            way.send(Some(Box::new(answer)));
        }
    }
}

impl<T> Reply<T> {
    /// The request was never sent: its number, to be forgotten.
    pub(crate) fn disarm(mut self) -> Option<usize> {
        self.way.take().map(|way| way.request)
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(way) = self.way.take() {
            way.send(None);
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

impl Way {
    fn send(self, value: Option<Box<dyn Any + Send>>) {
        // It fails when the asker has gone, and has told whoever waited.
        if self.answers.send(Answer { request: self.request, value }).is_ok() {
            self.doorbell.ring();
        }
    }
}

impl Pending {
    /// Notes a request of `shard`, and gives the way its answer is to take; `None` if too many are under way there.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        shard: ShardId,
        doorbell: &Doorbell,
        then: impl FnOnce(&mut Shard<'_>, Result<T, Unanswered>) + 'static,
    ) -> Way {
        let then: Continuation = Box::new(move |shard, value| {
            let value = value.map(|value| *value.downcast().expect("a reply has the type of its request"));
            then(shard, value.ok_or(Unanswered));
        });
        let mut table = self.0.borrow_mut();
        let request = table.free.pop().unwrap_or_else(|| {
            table.requests.push(None);
            table.requests.len() - 1
        });
        table.requests[request] = Some((shard, then));
        let partner = table.partner(shard);
        partner.under_way += 1;
        Way { request, answers: partner.answers.0.clone(), doorbell: doorbell.clone() }
    }

    /// Whether another request of `shard` would be one too many.
    pub(crate) fn is_full(&self, shard: ShardId) -> bool {
        self.under_way(shard) >= UNDER_WAY_MAX
    }

    /// How many requests of `shard` are under way.
    pub(crate) fn under_way(&self, shard: ShardId) -> usize {
        self.0.borrow_mut().partner(shard).under_way
    }

    /// Takes a request off the table: it is answered, or was never sent.
    pub(crate) fn take(&self, request: usize) -> Option<Continuation> {
        let mut table = self.0.borrow_mut();
        let (shard, then) = table.requests.get_mut(request)?.take()?;
        table.free.push(request);
        table.partner(shard).under_way -= 1;
        Some(then)
    }

    /// Tells all that wait that no answer comes: the runtime ends. One that panics keeps the others from nothing. The bus is
    /// sealed by now, so that none can ask again.
    pub(crate) fn abandon(&self, shard: &mut Shard<'_>) {
        let requests = self.0.borrow().requests.len();
        for request in 0..requests {
            let Some(then) = self.take(request) else { continue };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| then(shard, None))) {
                let message = panic_message(&*payload);
                tracing::error!(shard = %shard.id(), "continuation of an unanswered request panicked: {message}");
            }
        }
    }

    pub(crate) fn has_answers(&self) -> bool {
        self.0.borrow().partners.iter().flatten().any(|partner| !partner.answers.1.is_empty())
    }

    fn next_answer(&self, partner: usize) -> Option<Answer> {
        self.0.borrow().partners.get(partner)?.as_ref()?.answers.1.try_recv().ok()
    }
}

impl Table {
    fn partner(&mut self, shard: ShardId) -> &mut Partner {
        if self.partners.len() <= shard.index() {
            self.partners.resize_with(shard.index() + 1, || None);
        }
        self.partners[shard.index()].get_or_insert_with(|| Partner { under_way: 0, answers: unbounded() })
    }
}

/// The answers to one shard's requests: a source of its engine.
pub(crate) struct Answers(pub(crate) Rc<Local>);

impl Source for Answers {
    fn is_empty(&self) -> bool {
        !self.0.bus.pending().has_answers()
    }

    fn drain(&mut self, context: &mut Context, budget: usize) -> usize {
        let pending = self.0.bus.pending();
        // The shards, and the helper threads.
        let partners = self.0.shards + 1;
        let share = (budget / partners).max(1);
        let mut delivered = 0;
        for partner in 0..partners {
            for _ in 0..share {
                let Some(answer) = pending.next_answer(partner) else { break };
                delivered += 1;
                if let Some(then) = pending.take(answer.request) {
                    then(&mut Shard::new(context, &self.0), answer.value);
                }
            }
        }
        delivered
    }
}
