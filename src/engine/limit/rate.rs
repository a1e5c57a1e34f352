// SPDX-License-Identifier: BSD-2-Clause
//! Counting events by the second.

use crate::atomic::{AtomicU64, Ordering};

/// Counts the events of the current second of uptime. Threads share it without
/// a lock: all of it is in one word, so that nothing has to be ordered with it.
#[derive(Debug, Default)]
pub struct Rate {
    /// The second in the high half, the number of events in the low half.
    counted: AtomicU64,
}

impl Rate {
    /// No events yet.
    pub const fn new() -> Rate {
        Rate { counted: AtomicU64::new(0) }
    }

    /// Counts an event in the second `now`, and returns true, if fewer than
    /// `most` were counted in that second. 0 allows any number.
    #[must_use]
    pub fn allows(&self, now: u32, most: u32) -> bool {
        if most == 0 {
            return true;
        }
        let count_one = |counted| {
            let (second, events) = ((counted >> 32) as u32, counted as u32);
            let before = if second == now { events } else { 0 };
            (before < most).then(|| u64::from(now) << 32 | u64::from(before.saturating_add(1)))
        };
        self.counted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count_one).is_ok()
    }
}
