// SPDX-License-Identifier: BSD-2-Clause
//! Which of the latest numbers arrived, so that a frame that was overtaken is taken, and
//! none is taken twice: the anti-replay window of RFC 4303, section 3.4.3.

/// How far a frame may be behind the highest number. What comes later is dropped, and told
/// again.
pub const WINDOW: u64 = 1024;

/// A power of two.
const WORDS: usize = (WINDOW / 64) as usize;

/// A bit for each of the [`WINDOW`] numbers up to the highest.
#[derive(Clone, Debug)]
pub(super) struct Window {
    bits: [u64; WORDS],
}

impl Window {
    /// No number arrived.
    pub(super) const fn new() -> Window {
        Window { bits: [0; WORDS] }
    }

    /// The highest number rises from `before` to `highest`. The numbers that are new in the
    /// window did not arrive.
    pub(super) fn advance(&mut self, before: u64, highest: u64) {
        if highest.saturating_sub(before) >= WINDOW {
            self.bits = [0; WORDS];
            return;
        }
        for number in before.saturating_add(1)..=highest {
            if let Some((word, bit)) = self.place(number) {
                *word &= !bit;
            }
        }
    }

    /// A number arrives that is in the window. Returns whether it had not arrived before.
    pub(super) fn arrive(&mut self, number: u64) -> bool {
        let Some((word, bit)) = self.place(number) else { return false };
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    fn place(&mut self, number: u64) -> Option<(&mut u64, u64)> {
        let index = (number >> 6) as usize & (WORDS - 1);
        Some((self.bits.get_mut(index)?, 1_u64.rotate_left(number as u32 & 63)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        /// A number arrives once, in whatever order the numbers come.
        #[test]
        #[cfg_attr(miri, ignore = "takes minutes under Miri")]
        fn each_number_arrives_once(steps in proptest::collection::vec((0..WINDOW, 0..40u64), 1..2000)) {
            let (mut window, mut arrived, mut highest) = (Window::new(), HashSet::new(), WINDOW);
            for (back, rise) in steps {
                window.advance(highest, highest + rise);
                highest += rise;
                let number = highest - back;
                prop_assert_eq!(window.arrive(number), arrived.insert(number));
            }
        }
    }

    #[test]
    fn a_leap_empties_the_window() {
        let mut window = Window::new();
        assert!(window.arrive(5) && !window.arrive(5));
        window.advance(5, 5 + WINDOW);
        assert!(window.arrive(5 + WINDOW));
    }
}
