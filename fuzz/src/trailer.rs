// SPDX-License-Identifier: BSD-2-Clause
//! Reads any bytes as a trailer, and writes what was accepted. Writes trailers behind
//! frames, and reads them back.

use crate::messages::Message;
use arbitrary::{Result, Unstructured};
use pfsync::wire::trailer::{
    trailer_len, Block, Epoch, Gap, Ident, Node, Repaired, Trailer, TrailerWriter, MAX_NUMBER,
};
use pfsync::wire::{Frame, FrameWriter};

/// Bytes of the largest packet that is written.
const LARGEST: usize = 9000;

/// A block with values that its types promise.
#[derive(Clone, PartialEq, Debug)]
enum Content {
    Node(Node),
    Report(Ident, u64, Vec<Gap>),
    Repaired(Repaired),
}

/// The first byte says whether the rest is a trailer or makes blocks.
pub fn run(input: &[u8]) {
    match input.split_first() {
        Some((first, rest)) if first % 2 == 0 => rewrite(rest),
        Some((_, rest)) => drop(write(&mut Unstructured::new(rest))),
        None => {}
    }
}

/// Reads a trailer, writes what was accepted, and reads that.
fn rewrite(bytes: &[u8]) {
    let Ok(Some(trailer)) = Trailer::parse(bytes) else { return };
    let blocks = read(&trailer);
    let mut buffer = vec![0xff; bytes.len()];
    let mut writer =
        TrailerWriter::new(&mut buffer, trailer.epoch, trailer.number, trailer.tag.is_some()).expect("space");
    for block in &blocks {
        append(&mut writer, block).expect("it is no longer than it was");
    }
    let len = writer.finish();
    let again = Trailer::parse(&buffer[..len]).expect("valid").expect("a trailer");
    assert_eq!((again.epoch, again.number), (trailer.epoch, trailer.number));
    assert_eq!(again.tag, trailer.tag.map(|_| &[0; 16]));
    assert_eq!(read(&again), blocks);
}

/// The accepted blocks of a trailer. Checks what the types promise.
fn read(trailer: &Trailer) -> Vec<Content> {
    assert!(trailer.number <= MAX_NUMBER);
    let mut blocks = trailer.blocks();
    let (mut unread, mut accepted) = (blocks.unread(), Vec::new());
    while let Some(block) = blocks.next() {
        assert!(blocks.unread() < unread, "reading moves on");
        unread = blocks.unread();
        accepted.extend(block.ok().map(check));
    }
    accepted
}

fn check(block: Block) -> Content {
    match block {
        Block::Node(node) => Content::Node(node),
        Block::Report(report) => {
            let gaps: Vec<_> = report.gaps().collect();
            assert!(report.through <= report.heard && report.heard <= MAX_NUMBER);
            assert!(gaps.iter().all(|gap| gap.first <= gap.last && gap.count() > 0));
            assert!(gaps.windows(2).all(|pair| pair[0].last + 1 < pair[1].first));
            assert!(gaps.first().map_or(report.heard, |gap| gap.first - 1) == report.through);
            assert!(gaps.last().is_none_or(|gap| gap.last <= report.heard));
            Content::Report(report.of, report.heard, gaps)
        }
        Block::Repaired(repaired) => {
            assert!(repaired.through <= MAX_NUMBER && repaired.forgotten <= MAX_NUMBER);
            Content::Repaired(repaired)
        }
    }
}

fn append(writer: &mut TrailerWriter, block: &Content) -> core::result::Result<(), pfsync::wire::Full> {
    match block {
        Content::Node(node) => writer.node(node),
        Content::Report(of, heard, gaps) => writer.report(*of, *heard, gaps.iter().copied()),
        Content::Repaired(repaired) => writer.repaired(repaired),
    }
}

/// Writes a frame with as many messages as fit, and a trailer with as many blocks as fit
/// behind it. Reads both.
fn write(u: &mut Unstructured) -> Result<()> {
    let (has_tag, epoch, number) = (u.arbitrary()?, epoch(u)?, number(u)?);
    let mut packet = vec![0xff; u.int_in_range(0..=LARGEST)?];
    let Ok(mut frame) = FrameWriter::new(&mut packet, &[7; 16]) else { return Ok(()) };
    frame.end_with_trailer(has_tag);
    let mut messages = Vec::new();
    for _ in 0..u.int_in_range(0..=8)? {
        let message = Message::arbitrary(u)?;
        if message.append(&mut frame).is_ok() {
            messages.push(message.carried());
        }
    }
    let len = frame.finish();
    let Ok(mut writer) = TrailerWriter::new(&mut packet[len..], epoch, number, has_tag) else {
        // Only a packet that was too short for an empty frame with a trailer.
        assert!(messages.is_empty() && packet.len() < 20 + trailer_len(has_tag));
        return Ok(());
    };
    let mut blocks = Vec::new();
    while !u.is_empty() {
        let (block, before) = (content(u)?, writer.space());
        match append(&mut writer, &block) {
            Ok(()) => blocks.push(block),
            Err(_) => assert_eq!(writer.space(), before, "a block that does not fit is not written"),
        }
    }
    let len = len + writer.finish();
    assert!(len <= packet.len());
    let frame = Frame::parse(&packet[..len]).expect("valid");
    let trailer = frame.trailer().expect("valid").expect("a trailer");
    assert_eq!((trailer.epoch, trailer.number, trailer.tag.is_some()), (epoch, number, has_tag));
    assert_eq!(frame.has_messages(), !messages.is_empty());
    let runs = frame.map(|run| run.expect("valid"));
    let read_back: Vec<_> =
        runs.flat_map(|run| Message::all(&run)).map(|message| message.expect("valid")).collect();
    assert_eq!(read_back, messages);
    compare(&read(&trailer), &blocks);
    Ok(())
}

/// What was read is what was written, except that a report ends before the first gap that
/// did not fit.
fn compare(read: &[Content], written: &[Content]) {
    assert_eq!(read.len(), written.len());
    for pair in read.iter().zip(written) {
        match pair {
            (Content::Report(of, heard, gaps), Content::Report(all_of, all_heard, all)) => {
                assert_eq!(of, all_of);
                assert_eq!(gaps[..], all[..gaps.len()]);
                let end = all.get(gaps.len()).map_or(*all_heard, |gap| gap.first - 1);
                assert_eq!(*heard, end);
            }
            (read, written) => assert_eq!(read, written),
        }
    }
}

fn epoch(u: &mut Unstructured) -> Result<Epoch> {
    let number: u64 = u.arbitrary()?;
    Ok(Epoch::new(number | 1).expect("it is not 0"))
}

fn number(u: &mut Unstructured) -> Result<u64> {
    u.int_in_range(0..=MAX_NUMBER)
}

fn content(u: &mut Unstructured) -> Result<Content> {
    Ok(match u.int_in_range(0..=2)? {
        0 => Content::Node(Node {
            challenge: u.arbitrary()?,
            hello: u.arbitrary()?,
            creator: u.arbitrary()?,
            states: u.arbitrary()?,
            version: u.arbitrary()?,
            freebsd: u.arbitrary()?,
        }),
        1 => {
            let of = Ident { epoch: epoch(u)?, challenge: u.arbitrary()? };
            let (mut gaps, mut end) = (Vec::new(), number(u)?);
            for _ in 0..u.int_in_range(0..=40)? {
                let first = end + u64::from(u.int_in_range(2..=u32::MAX)?);
                let last = first + u64::from(u.arbitrary::<u16>()?);
                if last > MAX_NUMBER {
                    break;
                }
                gaps.push(Gap { first, last });
                end = last;
            }
            Content::Report(of, u.int_in_range(end..=MAX_NUMBER)?, gaps)
        }
        _ => Content::Repaired(Repaired { of: epoch(u)?, through: number(u)?, forgotten: number(u)? }),
    })
}
