//! Work on its way to another shard, boxed.

use std::any::Any;

use crate::shard::Shard;

/// A message of the bus.
pub(crate) trait Message: Send {
    fn run(self: Box<Self>, shard: &mut Shard<'_>);
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<F: FnOnce(&mut Shard<'_>) + Send + 'static> Message for F {
    fn run(self: Box<Self>, shard: &mut Shard<'_>) {
        self(shard);
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// A message that was not taken, as it was before it was boxed.
pub(crate) fn unbox<M: Message + 'static>(message: Box<dyn Message>) -> M {
    *message.into_any().downcast().expect("it is what was sent")
}
