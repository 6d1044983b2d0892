//! The channels' handlers, beside the context and not in it, so that a handler can be called with the context at hand.

use crate::key::Key;

/// Handlers of one kind, one place for each slot of the channels' slab. Whoever looks here has found the key valid there.
pub(crate) struct Handlers<H: ?Sized>(Vec<Option<Box<H>>>);

impl<H: ?Sized> Handlers<H> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn insert(&mut self, key: Key, handler: Box<H>) {
        let index = key.index() as usize;
        if index >= self.0.len() {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(handler);
    }

    #[inline]
    pub(crate) fn get(&mut self, key: Key) -> Option<&mut H> {
        match self.0.get_mut(key.index() as usize) {
            Some(Some(handler)) => Some(&mut **handler),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Box<H>> {
        self.0.get_mut(key.index() as usize)?.take()
    }
}
