// SPDX-License-Identifier: BSD-2-Clause
//! What a wire does to the frames of one sender: it passes, loses, delays, doubles or returns them.
//!
//! A seed decides. The same frames in the same order meet the same fate, and a
//! fault that is switched on or off does not change which frames the others hit.

use std::collections::VecDeque;

use anyhow::{bail, Context, Result};

/// A delayed frame lets at most this many frames pass first.
const LONGEST_DELAY: u64 = 3;

/// The most frames that a wire records.
const MOST_RECORDED: usize = 10_000;

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// Where the ethertype is in an Ethernet frame (IEEE 802.3).
const ETHERTYPE: std::ops::Range<usize> = 12..14;
/// Where the protocol is in an Ethernet frame with IPv4 (RFC 791), and with IPv6 (RFC 8200).
const PROTOCOL_IPV4: usize = 14 + 9;
const PROTOCOL_IPV6: usize = 14 + 6;
/// The IP protocol of pfsync (net/if_pfsync.h).
const IPPROTO_PFSYNC: u8 = 240;

/// A frame that leaves the wire, and at which end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Delivery {
    /// To the other machine.
    On(Vec<u8>),
    /// To the machine that sent it.
    Back(Vec<u8>),
}

/// How many of a hundred frames each fault hits.
#[derive(Debug, Default)]
struct Faults {
    loss: u64,
    double: u64,
    reorder: u64,
    reflect: u64,
    /// No frame passes.
    cut: bool,
}

/// How many frames came, and how many met which fate, since the last `pass`.
#[derive(Debug, Default)]
struct Counts {
    frames: usize,
    lost: usize,
    doubled: usize,
    reordered: usize,
    reflected: usize,
}

/// A frame that lets `passing` others pass first.
struct Delayed {
    frame: Vec<u8>,
    passing: u64,
}

/// One direction of a wire: what happens to the frames of one machine.
pub(crate) struct Direction {
    random: Random,
    faults: Faults,
    counts: Counts,
    delayed: Option<Delayed>,
    /// How many more pfsync packets to record.
    to_record: usize,
    recorded: VecDeque<Vec<u8>>,
}

impl Direction {
    /// A wire that passes everything.
    pub(crate) fn new(seed: u64) -> Self {
        Direction {
            random: Random(seed),
            faults: Faults::default(),
            counts: Counts::default(),
            delayed: None,
            to_record: 0,
            recorded: VecDeque::new(),
        }
    }

    /// Takes a frame from its sender and returns what leaves the wire now.
    pub(crate) fn take(&mut self, frame: &[u8]) -> Vec<Delivery> {
        // All numbers are drawn for each frame, so that faults do not depend on each other.
        let lost = self.random.percent() < self.faults.loss || self.faults.cut;
        let doubled = self.random.percent() < self.faults.double;
        let reordered = self.random.percent() < self.faults.reorder;
        let reflected = self.random.percent() < self.faults.reflect;
        let passing = 1 + self.random.below(LONGEST_DELAY);

        self.counts.frames += 1;
        self.record(frame);
        if lost {
            self.counts.lost += 1;
            return Vec::new();
        }
        let mut leaving = Vec::new();
        if reflected {
            self.counts.reflected += 1;
            leaving.push(Delivery::Back(frame.to_owned()));
        }
        if doubled {
            self.counts.doubled += 1;
            leaving.push(Delivery::On(frame.to_owned()));
        }
        if reordered && self.delayed.is_none() {
            self.counts.reordered += 1;
            self.delayed = Some(Delayed { frame: frame.to_owned(), passing });
        } else {
            leaving.push(Delivery::On(frame.to_owned()));
            leaving.extend(self.pass_delayed());
        }
        leaving
    }

    /// Notes that another frame has passed the delayed one, which follows when it was the last.
    fn pass_delayed(&mut self) -> Option<Delivery> {
        let delayed = self.delayed.as_mut()?;
        delayed.passing -= 1;
        (delayed.passing == 0).then(|| self.release()).flatten()
    }

    /// The delayed frame, if there is one. For when no other frame comes.
    pub(crate) fn release(&mut self) -> Option<Delivery> {
        let frame = self.delayed.take()?.frame;
        (!self.faults.cut).then_some(Delivery::On(frame))
    }

    fn record(&mut self, frame: &[u8]) {
        if self.to_record > 0 && is_pfsync(frame) {
            self.to_record -= 1;
            self.recorded.push_back(frame.to_owned());
        }
    }

    /// Obeys one word of a case; returns the recorded frames that leave the wire because of it.
    ///
    /// | word | what it does |
    /// |---|---|
    /// | `loss=N`, `double=N`, `reorder=N`, `reflect=N` | the fault hits N of a hundred frames |
    /// | `cut`, `rejoin` | nothing passes, or the other faults decide again |
    /// | `record=N` | forgets what was recorded, and records the next N pfsync packets |
    /// | `replay`, `return` | sends what was recorded once more, on or back to its sender |
    /// | `seed=N` | chooses other fates for the frames to come |
    /// | `pass` | ends all faults and counts from 0 |
    /// | `count` | nothing: the harness replies with the counts in any case |
    pub(crate) fn obey(&mut self, word: &str) -> Result<Vec<Delivery>> {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let mut leaving = Vec::new();
        match name {
            "loss" => self.faults.loss = percentage(value)?,
            "double" => self.faults.double = percentage(value)?,
            "reorder" => self.faults.reorder = percentage(value)?,
            "reflect" => self.faults.reflect = percentage(value)?,
            "cut" => self.faults.cut = true,
            "rejoin" => self.faults.cut = false,
            "record" => {
                self.recorded.clear();
                self.to_record = number(value)?.min(MOST_RECORDED);
            }
            "replay" => leaving.extend(self.recorded.iter().cloned().map(Delivery::On)),
            "return" => leaving.extend(self.recorded.iter().cloned().map(Delivery::Back)),
            "seed" => self.random = Random(number(value)? as u64),
            "pass" => {
                self.faults = Faults::default();
                self.counts = Counts::default();
            }
            "count" => {}
            _ => bail!("a wire does not know `{word}`"),
        }
        Ok(leaving)
    }

    /// What happened since the last `pass`: words and numbers in turn.
    pub(crate) fn counts(&self) -> String {
        let Counts { frames, lost, doubled, reordered, reflected } = self.counts;
        let recorded = self.recorded.len();
        format!(
            "frames {frames} lost {lost} doubled {doubled} reordered {reordered} \
             reflected {reflected} recorded {recorded}"
        )
    }
}

fn number(value: &str) -> Result<usize> {
    value.parse().with_context(|| format!("`{value}` is no number"))
}

fn percentage(value: &str) -> Result<u64> {
    match number(value)? {
        percent @ 0..=100 => Ok(percent as u64),
        _ => bail!("`{value}` is no percentage"),
    }
}

/// Whether an Ethernet frame without a VLAN tag has a pfsync packet in it.
fn is_pfsync(frame: &[u8]) -> bool {
    let protocol = match frame.get(ETHERTYPE) {
        Some(ethertype) if ethertype == ETHERTYPE_IPV4 => PROTOCOL_IPV4,
        Some(ethertype) if ethertype == ETHERTYPE_IPV6 => PROTOCOL_IPV6,
        _ => return false,
    };
    frame.get(protocol) == Some(&IPPROTO_PFSYNC)
}

/// SplitMix64, the generator of <https://prng.di.unimi.it/splitmix64.c>.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn percent(&mut self) -> u64 {
        self.below(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(words: &[&str]) -> Direction {
        let mut wire = Direction::new(1);
        for word in words {
            assert_eq!(wire.obey(word).unwrap(), []);
        }
        wire
    }

    /// Sends the frames 0 to `count` and returns what leaves the wire: at the far end, and at the near end.
    fn send(wire: &mut Direction, count: u32) -> (Vec<u32>, Vec<u32>) {
        let mut leaving: Vec<_> = (0..count).flat_map(|number| wire.take(&number.to_be_bytes())).collect();
        leaving.extend(wire.release());
        split(leaving)
    }

    fn split(leaving: Vec<Delivery>) -> (Vec<u32>, Vec<u32>) {
        let number = |frame: Vec<u8>| u32::from_be_bytes(frame.try_into().unwrap());
        let (mut on, mut back) = (Vec::new(), Vec::new());
        for delivery in leaving {
            match delivery {
                Delivery::On(frame) => on.push(number(frame)),
                Delivery::Back(frame) => back.push(number(frame)),
            }
        }
        (on, back)
    }

    fn pfsync_packet(last: u8) -> Vec<u8> {
        let mut frame = vec![0; 60];
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame[23] = 240;
        frame[59] = last;
        frame
    }

    #[test]
    fn without_faults_everything_passes_in_order() {
        let (on, back) = send(&mut wire(&[]), 1000);
        assert_eq!(on, (0..1000).collect::<Vec<_>>());
        assert_eq!(back, []);
    }

    #[test]
    fn a_part_of_the_frames_is_lost() {
        let mut wire = wire(&["loss=5"]);
        let (on, _) = send(&mut wire, 10_000);
        let lost = 10_000 - on.len();
        assert!((400..600).contains(&lost), "{lost}");
        assert_eq!(
            wire.counts(),
            format!("frames 10000 lost {lost} doubled 0 reordered 0 reflected 0 recorded 0")
        );
        let (on, _) = send(&mut self::wire(&["loss=100"]), 100);
        assert_eq!(on, []);
    }

    #[test]
    fn the_seed_decides_which_frames_are_hit() {
        let faults = ["loss=10", "double=10", "reorder=10", "reflect=10"];
        let first = send(&mut wire(&faults), 1000);
        assert_eq!(send(&mut wire(&faults), 1000), first);
        assert_ne!(
            send(&mut wire(&["seed=2", "loss=10", "double=10", "reorder=10", "reflect=10"]), 1000),
            first
        );
    }

    #[test]
    fn a_fault_does_not_move_another() {
        let (all, _) = send(&mut wire(&["loss=10"]), 1000);
        let (doubled, _) = send(&mut wire(&["double=50", "loss=10"]), 1000);
        let mut once = doubled.clone();
        once.dedup();
        assert_eq!(once, all);
        assert!(doubled.len() > all.len());
    }

    #[test]
    fn a_cut_wire_passes_nothing_until_it_is_rejoined() {
        let mut wire = wire(&["reorder=100"]);
        // The first frame is delayed, and is on the wire when that is cut.
        assert_eq!(wire.take(&[0; 4]), []);
        wire.obey("cut").unwrap();
        assert_eq!(send(&mut wire, 100), (vec![], vec![]));
        wire.obey("rejoin").unwrap();
        assert_eq!(send(&mut wire, 100).0.len(), 100);
    }

    #[test]
    fn a_reordered_frame_comes_a_little_later() {
        let mut wire = wire(&["reorder=20"]);
        let (on, _) = send(&mut wire, 1000);
        assert_ne!(on, (0..1000).collect::<Vec<_>>());
        for (position, number) in (0u32..).zip(&on) {
            assert!(number.abs_diff(position) <= LONGEST_DELAY as u32, "{number} at {position}");
        }
        let mut sorted = on;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn a_delayed_frame_does_not_wait_for_ever() {
        let mut wire = wire(&["reorder=100"]);
        assert_eq!(wire.take(&[7]), []);
        assert_eq!(wire.release(), Some(Delivery::On(vec![7])));
        assert_eq!(wire.release(), None);
    }

    #[test]
    fn a_reflected_frame_arrives_at_both_ends() {
        let (on, back) = send(&mut wire(&["reflect=100"]), 10);
        assert_eq!(on, back);
        assert_eq!(on.len(), 10);
    }

    #[test]
    fn pfsync_packets_are_recorded_and_sent_again() {
        let mut wire = wire(&["loss=100", "record=2"]);
        let arp = vec![0; 42];
        for frame in [&arp, &pfsync_packet(1), &arp, &pfsync_packet(2), &pfsync_packet(3)] {
            wire.take(frame);
        }
        assert!(wire.counts().ends_with(" recorded 2"));
        let recorded = [pfsync_packet(1), pfsync_packet(2)];
        assert_eq!(wire.obey("replay").unwrap(), recorded.clone().map(Delivery::On));
        assert_eq!(wire.obey("return").unwrap(), recorded.map(Delivery::Back));
        wire.obey("record=0").unwrap();
        assert_eq!(wire.obey("replay").unwrap(), []);
    }

    #[test]
    fn pfsync_over_ipv6_is_recognised() {
        let mut frame = vec![0; 60];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        frame[20] = 240;
        assert!(is_pfsync(&frame));
        assert!(!is_pfsync(&frame[..14]));
        assert!(!is_pfsync(&[]));
    }

    #[test]
    fn pass_ends_all_faults() {
        let mut wire = wire(&["loss=100", "cut", "reflect=50"]);
        send(&mut wire, 10);
        wire.obey("pass").unwrap();
        assert_eq!(send(&mut wire, 10), ((0..10).collect(), vec![]));
        assert!(wire.counts().starts_with("frames 10 lost 0 "));
    }

    #[test]
    fn unknown_words_are_refused() {
        for word in ["los=5", "loss", "loss=101", "loss=-1", "record=many", "seed=", ""] {
            assert!(wire(&[]).obey(word).is_err(), "{word}");
        }
    }
}
