// SPDX-License-Identifier: BSD-2-Clause
//! Which numbered frames a capture has, and which numbers it lacks, for each epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use pfsync::wire::trailer::{Epoch, Gap};
use serde::Serialize;

use crate::trailer::DecodedTrailer;
use crate::view::{epoch, ranges, show_ranges};

/// All epochs of a capture, by their number.
#[derive(Default)]
pub(crate) struct Epochs(BTreeMap<u64, (Epoch, Numbers)>);

/// What a capture has of an epoch. A packet with a wrong tag counts as that and as nothing
/// else.
#[derive(Default)]
struct Numbers {
    senders: BTreeSet<IpAddr>,
    hellos: u64,
    tagged: u64,
    /// `None` if no tag was checked.
    wrong: Option<u64>,
    /// Frames whose number was in the capture before.
    doubled: u64,
    seen: BTreeSet<u64>,
    /// Numbers from this one on should be in the capture: its first packet of the epoch
    /// has it, or is a hello that announces the number before.
    first: Option<u64>,
    /// The highest number of a frame, or that a hello announces.
    last: u64,
}

impl Epochs {
    /// Adds the trailer of a packet.
    pub(crate) fn add(&mut self, sender: Option<IpAddr>, trailer: &DecodedTrailer) {
        let new = || (trailer.epoch, Numbers::default());
        self.0.entry(trailer.epoch.get()).or_insert_with(new).1.add(sender, trailer);
    }

    /// A row for each epoch.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        self.0.values().map(|(epoch, numbers)| Row::new(*epoch, numbers))
    }
}

impl Numbers {
    fn add(&mut self, sender: Option<IpAddr>, trailer: &DecodedTrailer) {
        self.senders.extend(sender);
        self.tagged += u64::from(trailer.tag.is_some());
        if let Some(is_right) = trailer.is_right {
            *self.wrong.get_or_insert(0) += u64::from(!is_right);
            if !is_right {
                return;
            }
        }
        let number = trailer.number;
        self.last = self.last.max(number);
        if trailer.is_hello {
            self.hellos += 1;
            self.first.get_or_insert(number + 1);
        } else {
            self.doubled += u64::from(!self.seen.insert(number));
            let first = self.first.get_or_insert(number);
            *first = number.min(*first);
        }
    }

    /// The numbers that the capture lacks.
    fn gaps(&self) -> Vec<Gap> {
        let (mut gaps, mut next) = (Vec::new(), self.first.unwrap_or(0));
        for end in self.seen.iter().copied().chain([self.last + 1]) {
            if next < end {
                gaps.push(Gap { first: next, last: end - 1 });
            }
            next = end + 1;
        }
        gaps
    }
}

/// A row of the table.
#[derive(Serialize)]
pub(crate) struct Row {
    epoch: String,
    senders: Vec<String>,
    frames: u64,
    hellos: u64,
    tagged: u64,
    wrong: Option<u64>,
    doubled: u64,
    first: Option<u64>,
    last: u64,
    /// The first and the last number of each gap.
    lacks: Vec<[u64; 2]>,
}

impl Row {
    fn new(number: Epoch, numbers: &Numbers) -> Row {
        Row {
            epoch: epoch(number),
            senders: numbers.senders.iter().map(IpAddr::to_string).collect(),
            frames: numbers.seen.len() as u64,
            hellos: numbers.hellos,
            tagged: numbers.tagged,
            wrong: numbers.wrong,
            doubled: numbers.doubled,
            first: numbers.first,
            last: numbers.last,
            lacks: ranges(&numbers.gaps()),
        }
    }

    /// The line above the rows.
    pub(crate) fn head() -> String {
        line(["epoch", "frames", "hellos", "tagged", "wrong", "doubled", "numbers", "senders", "lacks"])
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let numbers =
            self.first.filter(|first| *first <= self.last).map(|first| format!("{first}-{}", self.last));
        let nothing = || "-".to_owned();
        let cells = [
            self.epoch.clone(),
            self.frames.to_string(),
            self.hellos.to_string(),
            self.tagged.to_string(),
            self.wrong.map_or_else(nothing, |wrong| wrong.to_string()),
            self.doubled.to_string(),
            numbers.unwrap_or_else(nothing),
            self.senders.join(" "),
            Some(show_ranges(&self.lacks)).filter(|lacks| !lacks.is_empty()).unwrap_or_else(nothing),
        ];
        f.write_str(&line(cells.each_ref().map(String::as_str)))
    }
}

fn line(cells: [&str; 9]) -> String {
    let [epoch, frames, hellos, tagged, wrong, doubled, numbers, senders, lacks] = cells;
    let line = format!(
        "{epoch:<17} {frames:>9} {hellos:>9} {tagged:>9} {wrong:>9} {doubled:>9}  {numbers:<13} {senders:<16} {lacks}"
    );
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailer(number: u64, is_hello: bool) -> DecodedTrailer {
        DecodedTrailer {
            offset: 0,
            len: 16,
            epoch: Epoch::new(1).unwrap(),
            number,
            is_hello,
            tag: None,
            is_right: None,
            blocks: Vec::new(),
        }
    }

    /// The row of an epoch with these frames (number, is a hello).
    fn row(packets: &[(u64, bool)]) -> Row {
        let mut epochs = Epochs::default();
        packets.iter().for_each(|(number, is_hello)| epochs.add(None, &trailer(*number, *is_hello)));
        let row = epochs.rows().next().unwrap();
        row
    }

    const HELLO: bool = true;
    const FRAME: bool = false;

    #[test]
    fn what_a_capture_lacks_lies_between_its_first_number_and_its_last() {
        assert_eq!(row(&[(5, FRAME), (6, FRAME)]).lacks, [[0; 2]; 0]);
        assert_eq!(row(&[(5, FRAME), (7, FRAME), (8, FRAME), (11, FRAME)]).lacks, [[6, 6], [9, 10]]);
        // Numbers that were given before the capture began are not lacking.
        assert_eq!(row(&[(5, HELLO), (7, FRAME)]).lacks, [[6, 6]]);
        assert_eq!(row(&[(5, FRAME), (7, HELLO)]).lacks, [[6, 7]]);
        assert_eq!(row(&[(0, HELLO), (0, HELLO)]).lacks, [[0; 2]; 0]);
    }

    #[test]
    fn late_and_doubled_frames_are_not_lacking() {
        let row = row(&[(6, FRAME), (5, FRAME), (8, FRAME), (7, FRAME), (8, FRAME), (7, HELLO)]);
        assert_eq!((row.lacks.len(), row.frames, row.doubled, row.first), (0, 4, 1, Some(5)));
    }

    #[test]
    fn a_forged_number_counts_for_nothing() {
        let mut epochs = Epochs::default();
        for (number, is_right) in [(1, true), (1 << 40, false), (2, true)] {
            let (tag, is_right) = (Some([0; 16]), Some(is_right));
            epochs.add(None, &DecodedTrailer { tag, is_right, ..trailer(number, FRAME) });
        }
        let row = epochs.rows().next().unwrap();
        assert_eq!((row.tagged, row.wrong, row.frames, row.last, row.lacks.len()), (3, Some(1), 2, 2, 0));
    }
}
