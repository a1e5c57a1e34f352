// SPDX-License-Identifier: BSD-2-Clause
//! The trailer: what follows the end of a frame in a packet of this module.
//!
//! Stock modules read a packet up to the length in the frame's header and ignore
//! what follows, unless the frame has an end mark. So a frame with a trailer has
//! none, and a stock module notices nothing.
//!
//! A trailer consists of a *head* with the frame's number, *blocks*, and a *tag*
//! if the sender has a key. It ends where the packet ends, and so needs no length
//! of its own. Another version would have another magic number.
//!
//! A frame that carries messages has the next number of its sender's epoch. A
//! frame without messages is a *hello*: it carries the last number that was
//! given, and blocks.
//!
//! # Examples
//!
//! Write a hello that reports number 7 of a peer as missing, and read it:
//!
//! ```
//! use pfsync::wire::trailer::{Block, Epoch, Gap, Ident, Node, Trailer, TrailerWriter};
//! use pfsync::wire::{Frame, FrameWriter, Full};
//!
//! let own = Epoch::new(0x1111).expect("it is not 0");
//! let peer = Ident { epoch: Epoch::new(0x2222).expect("it is not 0"), challenge: 5 };
//! let node = Node { challenge: 9, hello: 1, creator: [1, 2, 3, 4], states: 0, version: [0, 3, 0], freebsd: 14 };
//!
//! let mut packet = [0; 1480];
//! let mut frame = FrameWriter::new(&mut packet, &[0; 16])?;
//! frame.end_with_trailer(false);
//! let len = frame.finish();
//! let mut writer = TrailerWriter::new(&mut packet[len..], own, 41, false)?;
//! writer.node(&node)?;
//! writer.report(peer, 9, [Gap { first: 7, last: 7 }])?;
//! let len = len + writer.finish();
//!
//! let frame = Frame::parse(&packet[..len]).expect("the header is valid");
//! assert!(!frame.has_messages());
//! let trailer = frame.trailer().expect("the trailer is valid").expect("there is one");
//! assert_eq!((trailer.epoch, trailer.number), (own, 41));
//! let blocks: Vec<_> = trailer.blocks().map(|block| block.expect("its values are valid")).collect();
//! let [Block::Node(read), Block::Report(report)] = &blocks[..] else { panic!("{blocks:?}") };
//! assert_eq!((read, report.of, report.through, report.heard), (&node, peer, 6, 9));
//! assert_eq!(report.gaps().collect::<Vec<_>>(), [Gap { first: 7, last: 7 }]);
//! # Ok::<(), Full>(())
//! ```

mod block;
mod writer;

#[cfg(test)]
mod tests;

pub use block::{Block, Blocks, Gap, Ident, Node, Repaired, Report};
pub use writer::TrailerWriter;

use core::num::NonZeroU64;
use zerocopy::byteorder::big_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first bytes of a trailer. Other bytes after a frame are no trailer, and
/// are ignored.
pub const MAGIC: [u8; 2] = [0xa6, 0xe1];

/// The largest number of a frame: numbers have 48 bits. At a hundred thousand
/// frames a second they last for 89 years.
pub const MAX_NUMBER: u64 = (1 << 48) - 1;

/// Bytes of a tag.
pub const TAG_LEN: usize = 16;

/// Bytes of the block with the tag.
const TAG_BLOCK_LEN: usize = size_of::<RawBlockHead>() + TAG_LEN;

/// The head of a trailer, 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHead {
    /// [`MAGIC`].
    magic: [u8; 2],
    /// The frame's number, 48 bits in network byte order.
    number: [u8; 6],
    /// The sender's [`Epoch`].
    epoch: U64,
}

/// What precedes the value of a block, 4 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawBlockHead {
    /// The number of a [`Kind`].
    kind: u8,
    /// Sent as 0 and ignored.
    pad: u8,
    /// Bytes of the value.
    len: U16,
}

/// The kinds of blocks that this module knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Kind {
    Node = 1,
    Report = 2,
    Repaired = 3,
    Tag = 255,
}

/// Bytes of a trailer without blocks.
pub const fn trailer_len(has_tag: bool) -> usize {
    const WITH_TAG: usize = size_of::<RawHead>() + TAG_BLOCK_LEN;
    if has_tag {
        WITH_TAG
    } else {
        size_of::<RawHead>()
    }
}

/// Names the time since a node opened its link: a random number, which is never
/// 0. The numbers of frames count within an epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Epoch(NonZeroU64);

impl Epoch {
    /// The epoch with this number. `None` for 0.
    pub const fn new(number: u64) -> Option<Epoch> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Epoch(number)),
            None => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

/// Why a trailer is refused, and with it the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrailerError {
    /// It is shorter than its head.
    Short,
    /// The epoch is 0.
    Epoch,
    /// A block is longer than what is left of the packet.
    BlockLength,
    /// The tag does not have 16 bytes, or is not the last block.
    Tag,
}

/// A trailer whose blocks have valid lengths.
#[derive(Clone, Copy, Debug)]
pub struct Trailer<'a> {
    /// The sender's epoch.
    pub epoch: Epoch,
    /// The number of the frame, or for a hello, the last number given.
    pub number: u64,
    /// The tag, if the trailer has one. It covers all bytes of frame and trailer
    /// in front of it.
    pub tag: Option<&'a [u8; TAG_LEN]>,
    /// The blocks, without the tag.
    blocks: &'a [u8],
}

impl<'a> Trailer<'a> {
    /// Reads the bytes that follow a frame. `None` if they are no trailer.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Trailer<'a>>, TrailerError> {
        if !bytes.starts_with(&MAGIC) {
            return Ok(None);
        }
        let (head, blocks) = RawHead::ref_from_prefix(bytes).map_err(|_| TrailerError::Short)?;
        let epoch = Epoch::new(head.epoch.get()).ok_or(TrailerError::Epoch)?;
        let [a, b, c, d, e, f] = head.number;
        let number = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let (blocks, tag) = split_tag(blocks)?;
        Ok(Some(Trailer { epoch, number, tag, blocks }))
    }

    /// The blocks with their checked values, without those that are not known
    /// here.
    pub fn blocks(&self) -> Blocks<'a> {
        Blocks::new(self.blocks)
    }
}

/// Takes a block off the front of `bytes`: its kind, its value and what follows.
fn split_block(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), TrailerError> {
    let (head, rest) = RawBlockHead::ref_from_prefix(bytes).map_err(|_| TrailerError::BlockLength)?;
    let (value, rest) =
        rest.split_at_checked(usize::from(head.len.get())).ok_or(TrailerError::BlockLength)?;
    Ok((head.kind, value, rest))
}

/// The blocks in front of the tag, and the tag.
type Split<'a> = (&'a [u8], Option<&'a [u8; TAG_LEN]>);

/// Checks the lengths of all blocks, and takes the tag off their end.
fn split_tag(blocks: &[u8]) -> Result<Split<'_>, TrailerError> {
    let mut rest = blocks;
    while !rest.is_empty() {
        let before = blocks.len().saturating_sub(rest.len());
        let (kind, value, after) = split_block(rest)?;
        if kind == Kind::Tag as u8 {
            let tag = value.try_into().map_err(|_| TrailerError::Tag)?;
            let blocks = blocks.get(..before).filter(|_| after.is_empty()).ok_or(TrailerError::Tag)?;
            return Ok((blocks, Some(tag)));
        }
        rest = after;
    }
    Ok((blocks, None))
}
