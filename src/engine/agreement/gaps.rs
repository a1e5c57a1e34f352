// SPDX-License-Identifier: BSD-2-Clause
//! A list of missing numbers, of limited size.

use crate::wire::trailer::Gap;

/// The most gaps that are told apart.
pub const MAX_GAPS: usize = 32;

/// Missing numbers as gaps, in order. No gap touches another.
///
/// If there are more than [`MAX_GAPS`], the two with the fewest numbers between
/// them become one: what arrived between them counts as missing too, and is told
/// again for nothing.
#[derive(Clone, Debug)]
pub struct Gaps {
    /// The first `len` are in use.
    gaps: [Gap; MAX_GAPS],
    len: usize,
}

const UNUSED: Gap = Gap { first: 0, last: 0 };

impl Default for Gaps {
    fn default() -> Gaps {
        Gaps::new()
    }
}

impl Gaps {
    /// Nothing is missing.
    pub const fn new() -> Gaps {
        Gaps { gaps: [UNUSED; MAX_GAPS], len: 0 }
    }

    /// Nothing is missing any more.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Whether nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many numbers are missing.
    pub fn count(&self) -> u64 {
        self.iter().map(|gap| gap.count()).fold(0, u64::saturating_add)
    }

    /// The gaps, in order.
    pub fn iter(&self) -> impl Iterator<Item = Gap> + '_ {
        self.used().iter().copied()
    }

    /// The missing numbers from `number` on: the first gap that ends there or later,
    /// without what is before `number`.
    pub fn first_from(&self, number: u64) -> Option<Gap> {
        let gap = self.iter().find(|gap| gap.last >= number)?;
        Some(Gap { first: gap.first.max(number), last: gap.last })
    }

    /// Adds a gap that begins behind the end of the last one.
    pub fn append(&mut self, gap: Gap) {
        if let Some(last) = self.gaps.get_mut(..self.len).and_then(<[Gap]>::last_mut) {
            if gap.first <= last.last.saturating_add(1) {
                last.last = gap.last.max(last.last);
                return;
            }
        }
        if self.len == MAX_GAPS {
            self.join_closest(gap);
            return;
        }
        if let Some(slot) = self.gaps.get_mut(self.len) {
            *slot = gap;
            self.len = self.len.saturating_add(1);
        }
    }

    /// Takes out all numbers up to this one.
    pub fn remove_through(&mut self, number: u64) {
        let gone = self.iter().take_while(|gap| gap.last <= number).count();
        if let Some(used) = self.gaps.get_mut(..self.len) {
            move_down(used, gone);
            self.len = self.len.saturating_sub(gone);
        }
        if let (1.., Some(first)) = (self.len, self.gaps.first_mut()) {
            first.first = first.first.max(number.saturating_add(1));
        }
    }

    /// Takes out a number. If that would make one gap too many, the number stays in.
    pub fn remove(&mut self, number: u64) {
        let Some(index) = self.iter().position(|gap| (gap.first..=gap.last).contains(&number)) else {
            return;
        };
        let Some(gap) = self.gaps.get(index).copied() else { return };
        let before = Gap { first: gap.first, last: number.saturating_sub(1) };
        let after = Gap { first: number.saturating_add(1), last: gap.last };
        match (number > gap.first, number < gap.last) {
            (true, true) => self.split(index, before, after),
            (true, false) => self.replace(index, before),
            (false, true) => self.replace(index, after),
            (false, false) => {
                if let Some(tail) = self.gaps.get_mut(index..self.len) {
                    move_down(tail, 1);
                    self.len = self.len.saturating_sub(1);
                }
            }
        }
    }

    fn replace(&mut self, index: usize, gap: Gap) {
        if let Some(slot) = self.gaps.get_mut(index) {
            *slot = gap;
        }
    }

    fn split(&mut self, index: usize, before: Gap, after: Gap) {
        if self.len == MAX_GAPS {
            return;
        }
        self.replace(index, before);
        self.len = self.len.saturating_add(1);
        let mut moved = after;
        for slot in self.gaps.iter_mut().take(self.len).skip(index.saturating_add(1)) {
            core::mem::swap(slot, &mut moved);
        }
    }

    /// Adds a gap to a full list.
    fn join_closest(&mut self, new: Gap) {
        let distance = |before: Gap, after: Gap| after.first.saturating_sub(before.last);
        let pairs = self.used().iter().zip(self.used().iter().skip(1));
        let inner = pairs.map(|(a, b)| distance(*a, *b)).enumerate().min_by_key(|(_, distance)| *distance);
        let to_new = self.used().last().map_or(0, |last| distance(*last, new));
        let Some((index, closest)) = inner else { return };
        if closest < to_new {
            let Some(tail) = self.gaps.get_mut(index..) else { return };
            if let [first, second, ..] = tail {
                second.first = first.first;
                move_down(tail, 1);
            }
            if let Some(slot) = self.gaps.last_mut() {
                *slot = new;
            }
        } else if let Some(last) = self.gaps.last_mut() {
            last.last = new.last;
        }
    }

    fn used(&self) -> &[Gap] {
        self.gaps.get(..self.len).unwrap_or_default()
    }
}

/// Moves each gap to a place `by` lower. The lowest are gone.
fn move_down(gaps: &mut [Gap], by: usize) {
    for index in by..gaps.len() {
        if let (Some(gap), Some(to)) = (gaps.get(index).copied(), index.checked_sub(by)) {
            if let Some(slot) = gaps.get_mut(to) {
                *slot = gap;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn gap(first: u64, last: u64) -> Gap {
        Gap { first, last }
    }

    fn numbers(gaps: &Gaps) -> BTreeSet<u64> {
        gaps.iter().flat_map(|gap| gap.first..=gap.last).collect()
    }

    #[test]
    fn gaps_that_touch_become_one() {
        let mut gaps = Gaps::new();
        gaps.append(gap(3, 4));
        gaps.append(gap(5, 5));
        gaps.append(gap(7, 9));
        assert_eq!(gaps.iter().collect::<Vec<_>>(), [gap(3, 5), gap(7, 9)]);
        assert_eq!(gaps.count(), 6);
        gaps.remove_through(7);
        assert_eq!(gaps.iter().collect::<Vec<_>>(), [gap(8, 9)]);
        assert_eq!(gaps.first_from(9), Some(gap(9, 9)));
        assert_eq!(gaps.first_from(10), None);
        gaps.remove_through(u64::MAX);
        assert!(gaps.is_empty());
    }

    #[test]
    fn the_closest_become_one_if_there_are_too_many() {
        let mut gaps = Gaps::new();
        for n in 0..MAX_GAPS as u64 {
            gaps.append(gap(n * 10, n * 10 + if n == 7 { 5 } else { 0 }));
        }
        gaps.append(gap(1000, 1000));
        // 70 to 75 and 80 have the fewest numbers between them.
        assert!(gaps.iter().any(|other| other == gap(70, 80)));
        assert_eq!((gaps.iter().count(), gaps.iter().last()), (MAX_GAPS, Some(gap(1000, 1000))));
        gaps.append(gap(1002, 1002));
        assert_eq!(gaps.iter().last(), Some(gap(1000, 1002)));
    }

    #[test]
    fn numbers_are_taken_out_one_by_one() {
        let mut gaps = Gaps::new();
        gaps.append(Gap { first: 1, last: 5 });
        gaps.append(Gap { first: 9, last: 9 });
        let mut left = |number| {
            gaps.remove(number);
            gaps.iter().map(|gap| (gap.first, gap.last)).collect::<Vec<_>>()
        };
        assert_eq!(left(3), [(1, 2), (4, 5), (9, 9)]);
        assert_eq!(left(7), [(1, 2), (4, 5), (9, 9)]);
        assert_eq!(left(1), [(2, 2), (4, 5), (9, 9)]);
        assert_eq!(left(5), [(2, 2), (4, 4), (9, 9)]);
        assert_eq!(left(4), [(2, 2), (9, 9)]);
        assert_eq!(left(9), [(2, 2)]);
        assert_eq!(left(2), []);
    }

    #[test]
    fn a_full_list_keeps_what_it_cannot_split() {
        let mut gaps = Gaps::new();
        (0..MAX_GAPS as u64).for_each(|n| gaps.append(Gap { first: n * 10 + 1, last: n * 10 + 5 }));
        gaps.remove(3);
        assert_eq!((gaps.count(), gaps.iter().count()), (5 * MAX_GAPS as u64, MAX_GAPS));
        gaps.remove(1);
        assert_eq!(gaps.count(), 5 * MAX_GAPS as u64 - 1);
    }

    proptest! {
        /// Whatever is missing stays missing until it is taken out, in bounded
        /// memory.
        #[test]
        #[cfg_attr(miri, ignore = "takes minutes under Miri")]
        fn nothing_missing_is_forgotten(steps in proptest::collection::vec((1..6u64, 1..6u64, 0..40u64), 0..200)) {
            let mut gaps = Gaps::new();
            let (mut model, mut end) = (BTreeSet::new(), 0);
            for (skip, missing, behind) in steps {
                let new = gap(end + skip, end + skip + missing - 1);
                end = new.last;
                gaps.append(new);
                model.extend(new.first..=new.last);
                if behind < 10 {
                    gaps.remove_through(end.saturating_sub(behind));
                    model.retain(|number| *number > end.saturating_sub(behind));
                }
                prop_assert!(model.is_subset(&numbers(&gaps)));
                prop_assert_eq!(model.is_empty(), gaps.is_empty());
                prop_assert_eq!(gaps.count(), numbers(&gaps).len() as u64);
                let list: Vec<_> = gaps.iter().collect();
                prop_assert!(list.iter().all(|gap| gap.first <= gap.last));
                prop_assert!(list.windows(2).all(|pair| pair[0].last + 1 < pair[1].first));
                if list.len() < MAX_GAPS {
                    prop_assert_eq!(gaps.first_from(0).map(|gap| gap.first), numbers(&gaps).first().copied());
                }
            }
        }
    }
}
