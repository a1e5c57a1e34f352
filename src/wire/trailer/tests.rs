// SPDX-License-Identifier: BSD-2-Clause

use super::*;
use crate::wire::{Frame, FrameWriter, Full, Invalid};
use proptest::prelude::*;

fn epoch(number: u64) -> Epoch {
    Epoch::new(number).unwrap()
}

fn ident(number: u64) -> Ident {
    Ident { epoch: epoch(number), challenge: number + 1 }
}

fn node() -> Node {
    Node {
        challenge: 0x0102_0304_0506_0708,
        hello: 9,
        creator: [10, 11, 12, 13],
        states: 400_000,
        version: [0, 3, 1],
        freebsd: 15,
    }
}

fn written(space: usize, has_tag: bool, fill: impl FnOnce(&mut TrailerWriter)) -> Vec<u8> {
    let mut buffer = vec![0xaa; space];
    let mut writer = TrailerWriter::new(&mut buffer, epoch(0x1122_3344_5566_7788), 0x99aa_bbcc_ddee, has_tag)
        .expect("the buffer is large enough");
    fill(&mut writer);
    let len = writer.finish();
    buffer.truncate(len);
    buffer
}

fn blocks(bytes: &[u8]) -> Vec<Result<Block<'_>, Invalid>> {
    Trailer::parse(bytes).unwrap().unwrap().blocks().collect()
}

#[test]
fn the_bytes_are_those_of_the_documents() {
    let bytes = written(500, true, |w| {
        w.node(&node()).unwrap();
        w.report(ident(5), 40, [Gap { first: 11, last: 12 }, Gap { first: 20, last: 20 }]).unwrap();
        w.repaired(&Repaired { of: epoch(6), through: 7, forgotten: 8 }).unwrap();
    });
    #[rustfmt::skip]
    assert_eq!(bytes, [
        0xa6, 0xe1, // magic
        0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, // number
        0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, // epoch
        1, 0, 0, 24, // node
        1, 2, 3, 4, 5, 6, 7, 8, // challenge
        0, 0, 0, 9, // hello
        10, 11, 12, 13, // host id
        0, 6, 0x1a, 0x80, // states
        0, 3, 1, 15, // version, FreeBSD
        2, 0, 0, 48, // report
        0, 0, 0, 0, 0, 0, 0, 5, // epoch
        0, 0, 0, 0, 0, 0, 0, 6, // challenge
        0, 0, 0, 0, 0, 0, 0, 10, // through
        0, 0, 0, 0, 0, 0, 0, 40, // heard
        0, 0, 0, 0, 0, 0, 0, 2, // 11 and 12 are missing
        0, 0, 0, 7, 0, 0, 0, 1, // 13 to 19 arrived, 20 is missing
        3, 0, 0, 24, // repaired
        0, 0, 0, 0, 0, 0, 0, 6, // epoch
        0, 0, 0, 0, 0, 0, 0, 7, // through
        0, 0, 0, 0, 0, 0, 0, 8, // forgotten
        255, 0, 0, 16, // tag
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ]);
}

#[test]
fn what_is_written_is_read() {
    let gaps = [Gap { first: 1, last: 3 }, Gap { first: 5, last: 5 }];
    let bytes = written(500, false, |w| {
        w.node(&node()).unwrap();
        w.report(ident(5), 5, gaps).unwrap();
        w.report(ident(6), 77, []).unwrap();
    });
    let trailer = Trailer::parse(&bytes).unwrap().unwrap();
    assert_eq!((trailer.epoch.get(), trailer.number), (0x1122_3344_5566_7788, 0x99aa_bbcc_ddee));
    assert_eq!(trailer.tag, None);
    let read = blocks(&bytes);
    let [Ok(Block::Node(read)), Ok(Block::Report(first)), Ok(Block::Report(second))] = read[..] else {
        panic!("{read:?}")
    };
    assert_eq!(read, node());
    assert_eq!((first.of, first.through, first.heard), (ident(5), 0, 5));
    assert_eq!(first.gaps().collect::<Vec<_>>(), gaps);
    assert_eq!((second.through, second.heard, second.gaps().count()), (77, 77, 0));
}

#[test]
fn other_bytes_are_no_trailer() {
    for bytes in [&[][..], &[0xa6], &[0xa6, 0xe2, 0, 0], &[0; 40]] {
        assert!(Trailer::parse(bytes).unwrap().is_none());
    }
}

#[test]
fn the_head_is_checked() {
    let good = written(100, false, |_| ());
    assert_eq!(good.len(), trailer_len(false));
    assert_eq!(Trailer::parse(&good[..15]).unwrap_err(), TrailerError::Short);
    let mut bad = good;
    bad[8..].fill(0);
    assert_eq!(Trailer::parse(&bad).unwrap_err(), TrailerError::Epoch);
}

#[test]
fn every_block_ends_within_the_packet() {
    let good = written(100, false, |w| w.node(&node()).unwrap());
    for cut in trailer_len(false) + 1..good.len() {
        assert_eq!(Trailer::parse(&good[..cut]).unwrap_err(), TrailerError::BlockLength);
    }
    // Three bytes are no head of a block.
    let mut bad = good.clone();
    bad.extend([1, 0, 0]);
    assert_eq!(Trailer::parse(&bad).unwrap_err(), TrailerError::BlockLength);
}

#[test]
fn the_tag_is_whole_and_last() {
    let good = written(100, true, |_| ());
    assert_eq!(good.len(), trailer_len(true));
    assert_eq!(Trailer::parse(&good).unwrap().unwrap().tag, Some(&[0; 16]));
    let mut bad = good.clone();
    bad.extend([7, 0, 0, 0]);
    assert_eq!(Trailer::parse(&bad).unwrap_err(), TrailerError::Tag);
    let mut bad = good.clone();
    bad[19] = 15;
    bad.pop();
    assert_eq!(Trailer::parse(&bad).unwrap_err(), TrailerError::Tag);
}

#[test]
fn unknown_blocks_are_skipped() {
    let mut bytes = written(100, false, |_| ());
    bytes.extend([77, 1, 0, 3, 9, 9, 9]);
    bytes.extend([78, 0, 0, 0]);
    bytes.extend(&written(100, true, |w| w.node(&node()).unwrap())[16..]);
    assert_eq!(blocks(&bytes), [Ok(Block::Node(node()))]);
    assert!(Trailer::parse(&bytes).unwrap().unwrap().tag.is_some());
}

#[test]
fn a_bad_value_does_not_hide_the_next_block() {
    let mut bytes = written(100, false, |_| ());
    bytes.extend([1, 0, 0, 2, 9, 9]);
    bytes.extend([3, 0, 0, 0]);
    bytes.extend(&written(100, false, |w| w.node(&node()).unwrap())[16..]);
    assert_eq!(
        blocks(&bytes),
        [Err(Invalid::BlockLength), Err(Invalid::BlockLength), Ok(Block::Node(node()))]
    );
}

/// The verdict on a report with these words for `through`, `heard` and gaps.
fn report_error(epoch: u64, through: u64, heard: u64, gaps: &[(u32, u32)]) -> Option<Invalid> {
    let mut value = Vec::new();
    for word in [epoch, 1, through, heard] {
        value.extend(word.to_be_bytes());
    }
    for (skip, missing) in gaps {
        value.extend(skip.to_be_bytes());
        value.extend(missing.to_be_bytes());
    }
    let mut bytes = written(100, false, |_| ());
    bytes.extend([2, 0, 0, value.len() as u8]);
    bytes.extend(value);
    blocks(&bytes)[0].err()
}

#[test]
fn reports_are_checked() {
    assert_eq!(report_error(1, 4, 9, &[(0, 1), (1, 3)]), None);
    assert_eq!(report_error(1, 4, 4, &[]), None);
    assert_eq!(report_error(0, 4, 4, &[]), Some(Invalid::Epoch));
    assert_eq!(report_error(1, 4, MAX_NUMBER + 1, &[(0, 1)]), Some(Invalid::Number));
    assert_eq!(report_error(1, u64::MAX, u64::MAX, &[]), Some(Invalid::Number));
    // No gap, but something is said to be missing, or less than nothing.
    assert_eq!(report_error(1, 4, 9, &[]), Some(Invalid::Gaps));
    assert_eq!(report_error(1, 9, 4, &[]), Some(Invalid::Gaps));
    // An empty gap; a first gap behind numbers that arrived; two gaps that touch.
    assert_eq!(report_error(1, 4, 9, &[(0, 0)]), Some(Invalid::Gaps));
    assert_eq!(report_error(1, 4, 9, &[(1, 1)]), Some(Invalid::Gaps));
    assert_eq!(report_error(1, 4, 9, &[(0, 1), (0, 1)]), Some(Invalid::Gaps));
    // Beyond what was heard.
    assert_eq!(report_error(1, 4, 9, &[(0, 1), (1, 4)]), Some(Invalid::Gaps));
    assert_eq!(report_error(1, 4, 9, &[(0, u32::MAX), (u32::MAX, u32::MAX)]), Some(Invalid::Gaps));
}

#[test]
fn a_report_ends_before_the_first_gap_that_does_not_fit() {
    let gaps = [(3, 4), (6, 6), (9, 11)].map(|(first, last)| Gap { first, last });
    let full = 16 + 4 + 32 + 3 * 8;
    for (space, through, heard, fit) in [(full, 2, 20, 3), (full - 1, 2, 8, 2), (full - 24, 2, 2, 0)] {
        let bytes = written(space, false, |w| w.report(ident(1), 20, gaps).unwrap());
        let read = blocks(&bytes);
        let [Ok(Block::Report(report))] = read[..] else { panic!("{read:?}") };
        assert_eq!((report.through, report.heard), (through, heard));
        assert_eq!(report.gaps().collect::<Vec<_>>(), gaps[..fit]);
    }
    let bytes = written(full - 25, false, |w| assert_eq!(w.report(ident(1), 20, gaps), Err(Full)));
    assert_eq!(bytes.len(), trailer_len(false));
}

#[test]
fn the_space_for_the_tag_is_kept() {
    let bytes = written(trailer_len(true) + 27, true, |w| assert_eq!(w.node(&node()), Err(Full)));
    assert_eq!(bytes.len(), trailer_len(true));
    let mut short = [0; 35];
    assert!(TrailerWriter::new(&mut short, epoch(1), 1, true).is_err());
    assert!(TrailerWriter::new(&mut short, epoch(1), 1, false).is_ok());
}

/// Gaps in order, none of which touches another, from steps of arrived and missing
/// numbers.
fn gaps(steps: &[(u64, u64)], start: u64) -> Vec<Gap> {
    let mut end = start;
    let mut gaps = Vec::new();
    for (skip, missing) in steps {
        let first = end + skip + 1;
        end = first + missing - 1;
        gaps.push(Gap { first, last: end });
    }
    gaps
}

proptest! {
    #[test]
    fn any_bytes_can_be_read(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), is_magic: bool) {
        if let (true, Some(magic)) = (is_magic, bytes.get_mut(..2)) {
            magic.copy_from_slice(&MAGIC);
        }
        if let Ok(Some(trailer)) = Trailer::parse(&bytes) {
            for block in trailer.blocks().flatten() {
                if let Block::Report(report) = block {
                    let mut end = report.through;
                    for gap in report.gaps() {
                        prop_assert!(gap.first > end || end == report.through && gap.first == end + 1);
                        prop_assert!(gap.first <= gap.last && gap.last <= report.heard);
                        end = gap.last;
                    }
                }
            }
        }
    }

    /// Frame and trailer share a packet, and each is read as it was written. A report
    /// never claims that a number arrived which is missing.
    #[test]
    fn a_report_is_never_too_good(
        steps in proptest::collection::vec((1..5u64, 1..9u64), 0..40),
        start in 0..1000u64,
        rest in 0..50u64,
        space in 90..600usize,
        has_tag: bool,
    ) {
        let gaps = gaps(&steps, start);
        let heard = gaps.last().map_or(start, |gap| gap.last) + rest;
        let mut packet = vec![0; space];
        let mut frame = FrameWriter::new(&mut packet, &[0; 16]).unwrap();
        frame.end_with_trailer(has_tag);
        let len = frame.finish();
        prop_assert_eq!(len, 20);
        let mut writer = TrailerWriter::new(&mut packet[len..], epoch(1), 5, has_tag).unwrap();
        let is_written = writer.report(ident(2), heard, gaps.clone()).is_ok();
        let len = len + writer.finish();
        prop_assert!(len <= space);
        let frame = Frame::parse(&packet[..len]).unwrap();
        prop_assert!(!frame.has_messages());
        let trailer = frame.trailer().unwrap().unwrap();
        prop_assert_eq!(trailer.tag.is_some(), has_tag);
        let read: Vec<_> = trailer.blocks().collect();
        prop_assert_eq!(read.len(), usize::from(is_written));
        if let Some(block) = read.first() {
            let Ok(Block::Report(report)) = block else { panic!("{block:?}") };
            prop_assert!(report.heard <= heard);
            let within: Vec<_> = gaps.iter().copied().filter(|gap| gap.last <= report.heard).collect();
            prop_assert_eq!(report.gaps().collect::<Vec<_>>(), within);
            prop_assert!(gaps.iter().all(|gap| gap.last <= report.heard || gap.first > report.heard));
        }
    }
}
