// SPDX-License-Identifier: BSD-2-Clause
//! The states that peers may add to pf's table.

use crate::atomic::{AtomicU64, Ordering};

/// How many states peers may still add, counted down since a moment ago. Threads share it
/// without a lock.
///
/// To count the states in pf's table takes longer with more processors. So they are counted once in
/// a moment, and not for each packet.
#[derive(Debug, Default)]
pub struct Share {
    /// The moment in the high half, the number of states in the low half. 0 says nothing.
    counted: AtomicU64,
}

impl Share {
    /// Whether the peers may add one more state. Counts it. `moment` is the number of this moment,
    /// and `count` says how many states the peers may add now.
    ///
    /// If two threads ask at once, both states may count as one. The next moment corrects that.
    #[must_use]
    pub fn takes(&self, moment: u32, count: impl FnOnce() -> u64) -> bool {
        let counted = self.counted.load(Ordering::Relaxed);
        let left = if counted != 0 && (counted >> 32) as u32 == moment {
            counted as u32
        } else {
            u32::try_from(count()).unwrap_or(u32::MAX)
        };
        self.counted.store(u64::from(moment) << 32 | u64::from(left.saturating_sub(1)), Ordering::Relaxed);
        left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_counted_once_in_a_moment() {
        let share = Share::default();
        assert_eq!((0..10).filter(|_| share.takes(7, || 3)).count(), 3);
        assert!((0..10).all(|_| !share.takes(7, || unreachable!())));
        assert_eq!((0..10).filter(|_| share.takes(8, || 4)).count(), 4);
        assert!(!share.takes(9, || 0));
    }

    #[test]
    fn the_first_moment_counts_too() {
        let share = Share::default();
        assert!(share.takes(0, || 2) && share.takes(0, || unreachable!()));
        assert!(!share.takes(0, || 0));
    }

    #[test]
    fn there_may_be_no_limit() {
        let share = Share::default();
        assert!((1..10).all(|moment| share.takes(moment, || u64::MAX)));
    }
}
