//! How many connections each shard has, as far as one of them knows, and what follows from it. Pure.

use crate::shard_id::ShardId;

/// What one shard knows of the connections of a listener: its own number exactly, the others' as they last told it, and as
/// it has changed them since.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    /// The shards that serve the listener.
    members: Vec<ShardId>,
    /// What is known of each of them. Invariant: as many as `members`.
    known: Vec<Known>,
    /// Which of them is this shard.
    own: usize,
    /// How often this shard has said how many it has.
    statements: u64,
}

/// How many connections a shard says that it has. They come to another one on several ways, and not always in their order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Statement {
    number: u64,
    open: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// As it said last.
    told: usize,
    /// Which of its statements that was.
    statement: u64,
    /// Sent from here, and not arrived yet.
    under_way: usize,
    /// What other shards are taken to send there, until it tells anew.
    assumed: usize,
}

impl Known {
    fn hear(&mut self, Statement { number, open }: Statement) {
        if number > self.statement {
            (self.statement, self.told) = (number, open);
        }
    }

    fn open(&self) -> usize {
        self.told + self.under_way + self.assumed
    }
}

impl Counts {
    /// Those of `shard`, which is one of the `members`.
    pub(crate) fn new(shard: ShardId, members: Vec<ShardId>) -> Self {
        let own = members.iter().position(|&member| member == shard).unwrap_or(0);
        Self { known: vec![Known::default(); members.len()], members, own, statements: 0 }
    }

    pub(crate) fn own(&self) -> usize {
        self.known[self.own].open()
    }

    pub(crate) fn set_own(&mut self, open: usize) {
        self.known[self.own] = Known { told: open, ..Known::default() };
    }

    /// What this shard says of itself now.
    pub(crate) fn state(&mut self) -> Statement {
        self.statements += 1;
        Statement { number: self.statements, open: self.own() }
    }

    /// Another shard has told how many it has.
    pub(crate) fn hear(&mut self, from: ShardId, statement: Statement) {
        if let Some(known) = self.of(from) {
            known.hear(statement);
            known.assumed = 0;
        }
    }

    /// A connection is sent to `shard`.
    ///
    /// Other shards that are ahead do the same, and do not know of each other's: so that they do not all fill up the emptiest
    /// together, each takes it that every one of them has sent as much, unless it is `alone` in sending.
    pub(crate) fn send(&mut self, shard: ShardId, alone: bool) {
        let mean = self.mean_with(0);
        let ahead = self.known.iter().enumerate().filter(|(at, known)| *at != self.own && known.open() as f64 > mean);
        let others = if alone { 0 } else { ahead.count() };
        if let Some(known) = self.of(shard) {
            known.under_way += 1;
            known.assumed += others;
        }
    }

    /// One that was sent has arrived, or is back, and with it how many are open there. (One more than before would be one too
    /// many where the shard has told meanwhile.)
    pub(crate) fn settle(&mut self, shard: ShardId, statement: Option<Statement>) {
        if let Some(known) = self.of(shard) {
            known.under_way -= 1;
            statement.into_iter().for_each(|statement| known.hear(statement));
        }
    }

    /// Whether something that was sent has neither arrived nor come back.
    pub(crate) fn any_under_way(&self) -> bool {
        self.known.iter().any(|known| known.under_way > 0)
    }

    /// A live connection leaves for `shard`, which tells how many it has when that has come.
    pub(crate) fn add(&mut self, shard: ShardId) {
        if let Some(known) = self.of(shard) {
            known.told += 1;
        }
    }

    /// The others have had the time to tell.
    pub(crate) fn assume_nothing(&mut self) {
        self.known.iter_mut().for_each(|known| known.assumed = 0);
    }

    /// Where a connection that has just come is best served, if that is not here: with it this shard would be ahead of the
    /// mean by more than the factor `max_skew`, and another one is behind.
    pub(crate) fn better_place(&self, max_skew: f64) -> Option<ShardId> {
        let with_it = self.own() + 1;
        if with_it as f64 <= (self.mean_with(1) * max_skew).max(1.0) {
            return None;
        }
        let (emptiest, open) = self.emptiest_other()?;
        (open + 1 < with_it).then_some(emptiest)
    }

    /// The emptiest of the other shards, and how many it has.
    pub(crate) fn emptiest_other(&self) -> Option<(ShardId, usize)> {
        self.of_others().min_by_key(|&(_, open)| open)
    }

    /// Where the emptiest shard is, this one among them.
    pub(crate) fn emptiest(&self) -> ShardId {
        // Of several the one that comes next, so that not all begin with the same.
        let all = self.members.len();
        let next = (0..all).map(|step| (self.own + step) % all);
        self.members[next.min_by_key(|&member| self.known[member].open()).unwrap_or(self.own)]
    }

    /// How many connections are to move to which shards, `most` in all, if this one is ahead of the mean by more than the factor
    /// `max_skew`.
    ///
    /// Every shard that is ahead plans by itself and gives the others, who are behind, its share of what they lack. So
    /// several together do not give one too many, as long as they know the same.
    pub(crate) fn moves(&self, max_skew: f64, most: usize) -> Vec<(ShardId, usize)> {
        let mean = self.mean_with(0);
        // One connection cannot be divided.
        if self.own() as f64 <= (mean * max_skew).max(mean.ceil()) {
            return Vec::new();
        }
        let above = |open: usize| open.saturating_sub(mean.ceil() as usize);
        let excess = above(self.own());
        let all_excess: usize = self.known.iter().map(|known| above(known.open())).sum();
        let mut left = excess.min(most);
        let mut moves = Vec::new();
        for (shard, open) in self.of_others() {
            let lacks = (mean.ceil() as usize).saturating_sub(open);
            let share = (lacks * excess).div_ceil(all_excess.max(1)).min(left);
            if share > 0 {
                moves.push((shard, share));
                left -= share;
            }
        }
        moves
    }

    /// How many connections a shard may have above the mean.
    pub(crate) fn tolerance(&self, max_skew: f64) -> usize {
        (self.mean_with(0) * (max_skew - 1.0)) as usize
    }

    pub(crate) fn others(&self) -> Vec<ShardId> {
        self.of_others().map(|(shard, _)| shard).collect()
    }

    fn of_others(&self) -> impl Iterator<Item = (ShardId, usize)> {
        let own = self.members[self.own];
        let all = self.members.iter().copied().zip(self.known.iter().map(Known::open));
        all.filter(move |(shard, _)| *shard != own)
    }

    fn of(&mut self, shard: ShardId) -> Option<&mut Known> {
        let member = self.members.iter().position(|&member| member == shard)?;
        self.known.get_mut(member)
    }

    fn mean_with(&self, more: usize) -> f64 {
        (self.known.iter().map(Known::open).sum::<usize>() + more) as f64 / self.known.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(own: usize, open: &[usize]) -> Counts {
        let known = open.iter().map(|&told| Known { told, ..Known::default() }).collect();
        Counts { own, known, members: (0..open.len()).map(ShardId::new).collect(), statements: 0 }
    }

    #[test]
    fn a_shard_that_is_not_ahead_keeps_what_comes() {
        for open in [&[0, 0][..], &[1, 1], &[100, 100], &[100, 100, 104], &[5]] {
            assert_eq!(counts(0, open).better_place(1.05), None, "{open:?}");
        }
    }

    #[test]
    fn a_shard_that_is_ahead_sends_what_comes_to_the_emptiest() {
        assert_eq!(counts(0, &[1, 0]).better_place(1.05), Some(ShardId::new(1)));
        assert_eq!(counts(1, &[90, 110, 80]).better_place(1.05), Some(ShardId::new(2)));
        assert_eq!(counts(0, &[104, 100]).better_place(1.05), None, "within the bound");
    }

    #[test]
    fn a_plan_gives_each_what_it_lacks() {
        assert_eq!(counts(0, &[300, 100, 100, 100]).moves(1.05, 1000), [1, 2, 3].map(|to| (ShardId::new(to), 50)));
        assert_eq!(counts(0, &[300, 100, 100, 100]).moves(1.05, 70), [(ShardId::new(1), 50), (ShardId::new(2), 20)]);
        assert_eq!(counts(1, &[300, 100, 100, 100]).moves(1.05, 1000), []);
        assert_eq!(counts(0, &[2, 1]).moves(1.01, 10), [], "one of three is left over wherever it is");
        assert_eq!(counts(0, &[2, 0]).moves(1.01, 10), [(ShardId::new(1), 1)]);
    }

    #[test]
    fn the_emptiest_of_equals_is_this_one() {
        assert_eq!(counts(1, &[0, 0, 0]).emptiest(), ShardId::new(1));
        assert_eq!(counts(1, &[1, 2, 1]).emptiest(), ShardId::new(2));
    }

    #[test]
    fn shards_that_know_nothing_of_each_others_sends_do_not_overfill_the_emptiest() {
        // Three have 100, and one has 40; each of the three is sent 40 more, and hears nothing meanwhile.
        let mut open = [100, 100, 100, 40];
        for own in 0..3 {
            let mut counts = counts(own, &[100, 100, 100, 40]);
            for _ in 0..40 {
                match counts.better_place(1.05) {
                    Some(place) => {
                        counts.send(place, false);
                        open[place.index()] += 1;
                    }
                    None => {
                        counts.set_own(counts.own() + 1);
                        open[own] += 1;
                    }
                }
            }
        }
        assert_eq!(open.iter().sum::<usize>(), 460);
        assert!(open.iter().all(|open| (103..=127).contains(open)), "{open:?}");
    }

    #[test]
    fn what_is_under_way_counts_until_it_is_told_of() {
        let mut counts = counts(0, &[5, 1]);
        let other = ShardId::new(1);
        counts.send(other, false);
        counts.send(other, true);
        counts.hear(other, Statement { number: 1, open: 1 });
        assert_eq!(counts.known[1].open(), 3);
        counts.settle(other, Some(Statement { number: 2, open: 2 }));
        assert_eq!(counts.known[1].open(), 3);
        counts.settle(other, None);
        assert_eq!(counts.known[1].open(), 2);
        counts.hear(other, Statement { number: 4, open: 0 });
        counts.hear(other, Statement { number: 3, open: 2 });
        assert_eq!(counts.known[1].open(), 0, "that was before");
    }

    proptest! {
        #[test]
        fn connections_that_come_by_chance_are_spread_evenly(
            shards in 1_usize..9,
            arrivals in proptest::collection::vec(any::<proptest::sample::Index>(), 0..400)
        ) {
            let mut open = vec![0; shards];
            for arrival in arrivals {
                let at = arrival.index(shards);
                let place = counts(at, &open).better_place(1.05).map_or(at, ShardId::index);
                open[place] += 1;
            }
            let mean = open.iter().sum::<usize>() as f64 / shards as f64;
            prop_assert!(*open.iter().max().unwrap() as f64 <= (mean * 1.05).max(mean + 1.0), "{:?}", open);
        }

        #[test]
        fn all_plans_together_even_things_out_and_never_overshoot(
            open in proptest::collection::vec(0_usize..500, 1..9),
            max_skew in 1.01_f64..2.0
        ) {
            let mut after: Vec<isize> = open.iter().map(|&open| open as isize).collect();
            for own in 0..open.len() {
                for (to, count) in counts(own, &open).moves(max_skew, usize::MAX) {
                    after[own] -= count as isize;
                    after[to.index()] += count as isize;
                }
            }
            let mean = open.iter().sum::<usize>() as f64 / open.len() as f64;
            let shards = open.len() as f64;
            for (own, &after) in after.iter().enumerate() {
                prop_assert!(after >= 0);
                // Shares are rounded up: one too many from each that is ahead, at most.
                prop_assert!(after as f64 <= (mean.ceil() * max_skew).max(mean.ceil()) + shards, "{:?}", after);
                // Whoever is ahead keeps as much as the mean.
                prop_assert!(open[own] as f64 <= mean || after as f64 >= mean.floor(), "{:?}", after);
            }
        }
    }
}
