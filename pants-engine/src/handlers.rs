//! The connections' handlers, beside the context and not in it, so that a handler can be called with the context at hand.

use crate::handler::Handler;
use crate::key::Key;

/// One place for each slot of the channels' slab. Whoever looks here has found the key valid there.
#[derive(Default)]
pub(crate) struct Handlers(Vec<Option<Box<dyn Handler>>>);

impl Handlers {
    pub(crate) fn insert(&mut self, key: Key, handler: Box<dyn Handler>) {
        let index = key.index() as usize;
        if index >= self.0.len() {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(handler);
    }

    #[inline]
    pub(crate) fn get(&mut self, key: Key) -> Option<&mut dyn Handler> {
        match self.0.get_mut(key.index() as usize) {
            Some(Some(handler)) => Some(&mut **handler),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Box<dyn Handler>> {
        self.0.get_mut(key.index() as usize)?.take()
    }
}
