//! What `/who` and `/rooms` answer, put together from what each shard says. Pure.

use std::collections::BTreeMap;

use super::name::Name;

/// How many names an answer lists.
pub(super) const LISTED_MAX: usize = 50;

/// Who is in a room: for each shard how many there are, and the names of up to [`LISTED_MAX`] of them.
pub(super) fn who(room: &Name, answers: Vec<(usize, Vec<Name>)>) -> String {
    let all: usize = answers.iter().map(|(count, _)| count).sum();
    let mut names: Vec<Name> = answers.into_iter().flat_map(|(_, names)| names).collect();
    names.sort();
    names.truncate(LISTED_MAX);
    let more = match all - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("-- in {room} ({all}): {}{more}\n", join(names.iter().map(Name::to_string)))
}

/// Which rooms there are: for each shard the first [`LISTED_MAX`] + 1 in the order of their names. The first of all shards are
/// among the first of each shard that has them, so their numbers are whole.
pub(super) fn rooms(answers: Vec<Vec<(Name, usize)>>) -> String {
    let mut rooms = BTreeMap::<Name, usize>::new();
    for (name, count) in answers.into_iter().flatten() {
        *rooms.entry(name).or_default() += count;
    }
    let more = if rooms.len() > LISTED_MAX { " and more" } else { "" };
    let listed = rooms.iter().take(LISTED_MAX).map(|(name, count)| format!("{name} ({count})"));
    format!("-- rooms: {}{more}\n", join(listed))
}

fn join(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(range: std::ops::Range<usize>) -> Vec<Name> {
        range.map(|number| Name::new(&format!("n{number:03}")).unwrap()).collect()
    }

    #[test]
    fn the_members_of_all_shards_are_listed_in_order() {
        let [ann, bob, room] = ["ann", "bob", "rust"].map(|text| Name::new(text).unwrap());
        assert_eq!(who(&room, vec![(1, vec![bob]), (0, vec![]), (1, vec![ann])]), "-- in rust (2): ann, bob\n");
    }

    #[test]
    fn a_long_list_ends_with_how_many_are_left() {
        let room = Name::new("lobby").unwrap();
        let listed = who(&room, vec![(70, names(0..50)), (30, names(100..130))]);
        assert!(listed.starts_with("-- in lobby (100): n000, n001, "), "{listed}");
        assert!(listed.ends_with(", n049 and 50 more\n"), "{listed}");
    }

    #[test]
    fn rooms_of_several_shards_are_added_up() {
        let [lobby, rust] = ["lobby", "rust"].map(|text| Name::new(text).unwrap());
        let answers = vec![vec![(rust, 1), (lobby.clone(), 2)], vec![(lobby, 3)]];
        assert_eq!(rooms(answers), "-- rooms: lobby (5), rust (1)\n");
    }

    #[test]
    fn many_rooms_are_cut_off() {
        let answer = |range| names(range).into_iter().map(|name| (name, 1)).collect();
        let listed = rooms(vec![answer(0..LISTED_MAX), answer(1..LISTED_MAX + 1)]);
        assert!(listed.starts_with("-- rooms: n000 (1), n001 (2), "), "{listed}");
        assert!(listed.ends_with(", n049 (2) and more\n"), "{listed}");
    }
}
