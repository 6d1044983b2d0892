//! The registrar: which nicknames are taken. It is the state of one shard, which the others ask. Pure but for its cell.

use std::cell::RefCell;
use std::collections::HashSet;

use super::name::Name;

/// The nicknames that are taken, in lower case.
#[derive(Debug, Default)]
pub(super) struct Registrar(RefCell<HashSet<Name>>);

impl Registrar {
    /// Takes a name, unless it is taken.
    pub(super) fn claim(&self, nick: &Name) -> bool {
        self.0.borrow_mut().insert(nick.folded())
    }

    /// Gives a name back.
    pub(super) fn release(&self, nick: &Name) {
        self.0.borrow_mut().remove(&nick.folded());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_once_until_it_is_given_back() {
        let registrar = Registrar::default();
        let [bob, other] = ["Bob", "bob"].map(|text| Name::new(text).unwrap());
        assert!(registrar.claim(&bob));
        assert!(!registrar.claim(&other));
        registrar.release(&other);
        assert!(registrar.claim(&other));
    }
}
