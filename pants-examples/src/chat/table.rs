//! The table of one shard: its members, and which of them is in which room. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;

use super::name::Name;

/// Members by their connections, and rooms by their names.
#[derive(Debug)]
pub(super) struct Table<K> {
    members: HashMap<K, Member>,
    /// Invariant: each member is in the room that it has, and in no other; no room is empty.
    rooms: BTreeMap<Name, HashSet<K>>,
}

/// What is known of a member.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) nick: Name,
    pub(super) room: Name,
    /// How many lines it has missed since it was last told.
    pub(super) missed: u64,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { members: HashMap::new(), rooms: BTreeMap::new() }
    }
}

impl<K: Copy + Eq + Hash> Table<K> {
    pub(super) fn insert(&mut self, key: K, nick: Name, room: Name) {
        self.rooms.entry(room.clone()).or_default().insert(key);
        self.members.insert(key, Member { nick, room, missed: 0 });
    }

    pub(super) fn remove(&mut self, key: K) -> Option<Member> {
        let member = self.members.remove(&key)?;
        self.leave(key, &member.room);
        Some(member)
    }

    pub(super) fn get(&self, key: K) -> Option<&Member> {
        self.members.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut Member> {
        self.members.get_mut(&key)
    }

    /// Has a member go to another room; nothing happens to one that is not there.
    pub(super) fn move_to(&mut self, key: K, room: Name) {
        let Some(member) = self.members.get_mut(&key) else { return };
        let left = std::mem::replace(&mut member.room, room.clone());
        self.leave(key, &left);
        self.rooms.entry(room).or_default().insert(key);
    }

    fn leave(&mut self, key: K, room: &Name) {
        if let Some(keys) = self.rooms.get_mut(room) {
            keys.remove(&key);
            if keys.is_empty() {
                self.rooms.remove(room);
            }
        }
    }

    /// Calls `f` with every member of a room.
    pub(super) fn for_each_in(&mut self, room: &Name, mut f: impl FnMut(K, &mut Member)) {
        for &key in self.rooms.get(room).into_iter().flatten() {
            if let Some(member) = self.members.get_mut(&key) {
                f(key, member);
            }
        }
    }

    /// How many members a room has, and the names of `limit` of them.
    pub(super) fn who(&self, room: &Name, limit: usize) -> (usize, Vec<Name>) {
        let Some(keys) = self.rooms.get(room) else { return (0, Vec::new()) };
        let members = keys.iter().filter_map(|key| self.members.get(key));
        (keys.len(), members.take(limit).map(|member| member.nick.clone()).collect())
    }

    /// The first `limit` rooms in the order of their names, with how many members each has.
    pub(super) fn rooms(&self, limit: usize) -> Vec<(Name, usize)> {
        self.rooms.iter().take(limit).map(|(name, keys)| (name.clone(), keys.len())).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn keys_in(table: &mut Table<u8>, room: &str) -> Vec<u8> {
        let mut keys = Vec::new();
        table.for_each_in(&name(room), |key, _| keys.push(key));
        keys.sort_unstable();
        keys
    }

    #[test]
    fn a_member_is_in_one_room_and_a_room_without_members_is_gone() {
        let mut table = Table::default();
        table.insert(1, name("ann"), name("lobby"));
        table.insert(2, name("bob"), name("lobby"));
        assert_eq!(keys_in(&mut table, "lobby"), [1, 2]);
        table.move_to(1, name("rust"));
        assert_eq!((keys_in(&mut table, "lobby"), keys_in(&mut table, "rust")), (vec![2], vec![1]));
        assert_eq!(table.rooms(9), [(name("lobby"), 1), (name("rust"), 1)]);
        assert_eq!(table.rooms(1), [(name("lobby"), 1)]);
        assert_eq!(table.who(&name("rust"), 9), (1, vec![name("ann")]));
        assert_eq!(table.remove(1).unwrap().room, name("rust"));
        assert_eq!(table.rooms(9), [(name("lobby"), 1)]);
        assert!(table.remove(1).is_none());
    }

    #[test]
    fn to_go_where_one_is_changes_nothing() {
        let mut table = Table::default();
        table.insert(1, name("ann"), name("lobby"));
        table.move_to(1, name("lobby"));
        table.move_to(2, name("rust"));
        assert_eq!(table.rooms(9), [(name("lobby"), 1)]);
        assert_eq!(keys_in(&mut table, "lobby"), [1]);
    }

    proptest! {
        #[test]
        fn rooms_and_members_agree(steps in proptest::collection::vec((0_u8..3, 0_u8..6, 0_usize..3), 0..60)) {
            let rooms = ["a", "b", "c"].map(name);
            let mut table = Table::default();
            for (step, key, room) in steps {
                match step {
                    0 if table.get(key).is_none() => table.insert(key, name("x"), rooms[room].clone()),
                    1 => table.move_to(key, rooms[room].clone()),
                    _ => drop(table.remove(key)),
                }
                let all: usize = table.rooms(9).iter().map(|(_, count)| count).sum();
                prop_assert_eq!(all, table.members.len());
                prop_assert!(table.rooms.values().all(|keys| !keys.is_empty()));
                prop_assert!(table.members.iter().all(|(key, member)| table.rooms[&member.room].contains(key)));
            }
        }
    }
}
