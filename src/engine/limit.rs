//! How much work and memory a peer may cause here. A peer is not trusted to
//! stop by itself: it may be broken, or not a peer.

use core::sync::atomic::{AtomicU64, Ordering};

/// Clears that are carried out in a second. Each walks through all of pf's
/// table; an operator's `pfctl -Fs` causes one, or one an interface.
pub const CLEARS: u32 = 16;

/// States that a row of pf's id hash may hold for another to be taken in from
/// a peer. A peer chooses the id and with it the row, and every packet that
/// needs a state of a long row would pay for its length. Ids that firewalls
/// make spread evenly: a row holds a handful.
pub const ROW: usize = 256;

/// Counts what happens in a second of uptime. Threads share it without a lock.
#[derive(Debug, Default)]
pub struct Rate {
    /// The second in the upper half, the count in the lower.
    counted: AtomicU64,
}

impl Rate {
    pub const fn new() -> Rate {
        Rate { counted: AtomicU64::new(0) }
    }

    /// Counts one more event in the second `now`, if fewer than `most` were
    /// counted in it. No limit if `most` is 0.
    #[must_use]
    pub fn allows(&self, now: u32, most: u32) -> bool {
        if most == 0 {
            return true;
        }
        let more = |counted| {
            let before = match (counted >> 32) as u32 == now {
                true => counted as u32,
                false => 0,
            };
            (before < most).then(|| u64::from(now) << 32 | u64::from(before.saturating_add(1)))
        };
        self.counted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

/// What is counted of the peers.
#[derive(Debug, Default)]
pub struct Rates {
    /// States taken in.
    pub inserts: Rate,
    /// States sent because a peer asked, or was behind.
    pub answers: Rate,
    /// States that a peer was asked for, because it told of a change.
    pub asks: Rate,
    pub clears: Rate,
}

/// How many states the peers may add: `held` are there of the `limit` that pf
/// allows, and up to `percent` of that may be filled from the network. A limit
/// of 0 is none.
pub fn share_left(held: u64, limit: u64, percent: u32) -> u64 {
    match limit {
        0 => u64::MAX,
        _ => (limit.saturating_mul(percent.min(100).into()) / 100).saturating_sub(held),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_second_has_its_number() {
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
    fn a_share_leaves_room_for_others() {
        assert_eq!(share_left(94, 100, 95), 1);
        assert_eq!(share_left(95, 100, 95), 0);
        assert_eq!(share_left(0, 100, 0), 0);
        assert_eq!(share_left(99, 100, 400), 1);
        assert_eq!(share_left(1 << 40, 0, 95), u64::MAX);
    }

    proptest! {
        #[test]
        fn no_second_has_more(events in proptest::collection::vec(0..4u32, 0..200), most in 1..20u32) {
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
