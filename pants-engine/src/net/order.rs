//! The order in which a host's addresses are tried; pure.

use std::net::SocketAddr;

use crate::limits::ADDRESSES_MAX;

/// Interleaves the address families, beginning with that of the first address, so that one that does not work costs one
/// attempt and not all (RFC 8305, section 4).
///
/// The order within a family is kept; duplicates go, and so do those beyond the first 16.
pub(crate) fn happy_order(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return addresses };
    let leads = first.is_ipv6();
    let (mut leading, mut other) = (Vec::new(), Vec::new());
    for address in addresses {
        let family = if address.is_ipv6() == leads { &mut leading } else { &mut other };
        if family.len() < ADDRESSES_MAX && !family.contains(&address) {
            family.push(address);
        }
    }
    let (mut leading, mut other) = (leading.into_iter(), other.into_iter());
    let mut ordered = Vec::with_capacity(leading.len() + other.len());
    while leading.len() + other.len() > 0 {
        ordered.extend(leading.next());
        ordered.extend(other.next());
    }
    ordered.truncate(ADDRESSES_MAX);
    ordered
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn four(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    fn six(port: u16) -> SocketAddr {
        (Ipv6Addr::LOCALHOST, port).into()
    }

    #[test]
    fn families_alternate_from_the_first_one_on() {
        assert_eq!(happy_order(vec![six(1), six(2), four(1), four(2)]), [six(1), four(1), six(2), four(2)]);
        assert_eq!(happy_order(vec![four(1), six(1), six(2), six(3)]), [four(1), six(1), six(2), six(3)]);
        assert_eq!(happy_order(vec![four(1), four(2), four(3), six(1)]), [four(1), six(1), four(2), four(3)]);
    }

    #[test]
    fn at_most_sixteen_are_kept_and_both_families_are_among_them() {
        let addresses = (0..100).map(six).chain((0..100).map(four)).collect();
        let expected: Vec<_> = (0..8).flat_map(|port| [six(port), four(port)]).collect();
        assert_eq!(happy_order(addresses), expected);
        assert_eq!(happy_order((0..17).map(four).collect()), (0..16).map(four).collect::<Vec<_>>());
    }

    #[test]
    fn every_short_list_is_interleaved_with_its_order_kept_and_its_duplicates_gone() {
        // Shorter under Miri, which takes a thousand times as long.
        let longest = if cfg!(miri) { 4 } else { 6 };
        let pool = [four(1), four(2), six(1), six(2)];
        for length in 0..=longest {
            for code in 0..pool.len().pow(length) {
                let list: Vec<_> = (0..length).map(|digit| pool[code / pool.len().pow(digit) % pool.len()]).collect();
                let mut unique: Vec<SocketAddr> = Vec::new();
                for address in &list {
                    if !unique.contains(address) {
                        unique.push(*address);
                    }
                }
                let ordered = happy_order(list.clone());
                assert_eq!(ordered.first(), list.first());
                let family = |of: &[SocketAddr], six| -> Vec<_> {
                    of.iter().copied().filter(|address| address.is_ipv6() == six).collect()
                };
                let (fours, sixes) = (family(&ordered, false), family(&ordered, true));
                assert_eq!((&fours, &sixes), (&family(&unique, false), &family(&unique, true)));
                // As long as both last, they take turns.
                let mixed = &ordered[..2 * fours.len().min(sixes.len())];
                assert!(mixed.windows(2).all(|pair| pair[0].is_ipv6() != pair[1].is_ipv6()), "{ordered:?}");
            }
        }
    }
}
