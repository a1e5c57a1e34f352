// SPDX-License-Identifier: BSD-2-Clause
//! How much work and memory peers may cause. A peer is not trusted to stop by
//! itself: it may be broken, or an attacker.

mod rate;
mod share;

pub use rate::Rate;
pub use share::Share;

/// How many clears are carried out per second. Each walks through the whole
/// table. An operator's `pfctl -F states` causes one, or one per interface.
pub const CLEARS_PER_SECOND: u32 = 16;

/// How many states a row of pf's id hash may hold before a state from a peer is
/// refused.
///
/// A peer chooses the id of a state, and with it the row. Each packet that looks
/// up a state in a long row pays for its length. The ids that firewalls choose
/// spread evenly, so that a row holds a handful.
pub const STATES_PER_ROW: usize = 256;

/// What peers may cause: events, limited per second, and states.
#[derive(Debug, Default)]
pub struct Rates {
    /// States inserted for peers.
    pub inserts: Rate,
    /// States sent because a peer requested them or was behind.
    pub answers: Rate,
    /// States requested from peers that sent a compressed update of them.
    pub requests: Rate,
    /// Clears carried out for peers.
    pub clears: Rate,
    /// States that peers may still add.
    pub share: Share,
}

/// How many more states peers may insert.
///
/// `present` is the number of states in the table, `limit` the most that pf
/// allows, 0 for any number. Peers may fill up to `percent` of the limit, at
/// most 100.
pub fn share_left(present: u64, limit: u64, percent: u32) -> u64 {
    match limit {
        0 => u64::MAX,
        _ => (limit.saturating_mul(percent.min(100).into()) / 100).saturating_sub(present),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_second_has_its_own_count() {
        let rate = Rate::new();
        assert_eq!((0..10).filter(|_| rate.allows(7, 3)).count(), 3);
        assert_eq!((0..10).filter(|_| rate.allows(8, 3)).count(), 3);
        assert!((0..1000).all(|_| rate.allows(8, 0)));
    }

    #[test]
    fn the_first_second_counts_too() {
        let rate = Rate::new();
        assert_eq!((0..10).filter(|_| rate.allows(0, 4)).count(), 4);
    }

    #[test]
    fn the_share_leaves_states_for_local_connections() {
        assert_eq!(share_left(94, 100, 95), 1);
        assert_eq!(share_left(95, 100, 95), 0);
        assert_eq!(share_left(0, 100, 0), 0);
        assert_eq!(share_left(99, 100, 400), 1);
        assert_eq!(share_left(1 << 40, 0, 95), u64::MAX);
    }

    proptest! {
        #[test]
        fn no_second_exceeds_the_limit(events in proptest::collection::vec(0..4u32, 0..200), most in 1..20u32) {
            let rate = Rate::new();
            let (mut now, mut allowed) = (0, 0);
            for event in events {
                if event == 0 {
                    (now, allowed) = (now + 1, 0);
                } else if rate.allows(now, most) {
                    allowed += 1;
                }
                prop_assert!(allowed <= most);
            }
        }
    }
}
