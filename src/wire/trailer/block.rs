// SPDX-License-Identifier: BSD-2-Clause
//! The blocks of a trailer.

use super::{split_block, Epoch, Kind, MAX_NUMBER};
use crate::wire::Invalid;
use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The value of a node block, 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawNode {
    challenge: U64,
    hello: U32,
    creator: [u8; 4],
    states: U32,
    version: [u8; 3],
    freebsd: u8,
}

/// The part of a report block in front of the gaps, 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawReport {
    pub(super) epoch: U64,
    pub(super) challenge: U64,
    pub(super) through: U64,
    pub(super) heard: U64,
}

/// A gap in a report block, 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawGap {
    /// Numbers before the gap that arrived, counted from the end of the gap before
    /// it, or from [`RawReport::through`].
    pub(super) skip: U32,
    /// Numbers that are missing.
    pub(super) missing: U32,
}

/// The value of a repaired block, 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawRepaired {
    epoch: U64,
    through: U64,
    forgotten: U64,
}

/// What the sender of a hello says of itself. The frame's header already
/// announces the newest format that it reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Node {
    /// A random number, which the reports about this node repeat. A hello that
    /// repeats it was not recorded before it was chosen.
    pub challenge: u64,
    /// How many hellos the epoch has had, with this one.
    pub hello: u32,
    /// The node's host id, in network byte order.
    pub creator: [u8; 4],
    /// States that it has.
    pub states: u32,
    /// Version of its module: major, minor, patch.
    pub version: [u8; 3],
    /// The major release of its FreeBSD.
    pub freebsd: u8,
}

impl From<RawNode> for Node {
    fn from(raw: RawNode) -> Node {
        Node {
            challenge: raw.challenge.get(),
            hello: raw.hello.get(),
            creator: raw.creator,
            states: raw.states.get(),
            version: raw.version,
            freebsd: raw.freebsd,
        }
    }
}

impl From<&Node> for RawNode {
    fn from(node: &Node) -> RawNode {
        RawNode {
            challenge: U64::new(node.challenge),
            hello: U32::new(node.hello),
            creator: node.creator,
            states: U32::new(node.states),
            version: node.version,
            freebsd: node.freebsd,
        }
    }
}

/// How a peer names itself in its hellos.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ident {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its challenge.
    pub challenge: u64,
}

/// Numbers that are missing, one after the other. `first` is at least 1 and at
/// most `last`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The first that is missing.
    pub first: u64,
    /// The last that is missing.
    pub last: u64,
}

impl Gap {
    /// How many numbers are missing.
    pub fn count(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

/// Which frames of a peer arrived. Says nothing about numbers beyond
/// [`Report::heard`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Report<'a> {
    /// The peer, as far as the sender of the report knows it.
    pub of: Ident,
    /// Every number up to this one arrived, or what it told was told again.
    pub through: u64,
    /// Of the numbers up to this one, none but those in the gaps is missing.
    pub heard: u64,
    gaps: &'a [RawGap],
}

impl<'a> Report<'a> {
    /// Reads the value of a block.
    fn parse(value: &'a [u8]) -> Result<Report<'a>, Invalid> {
        let (raw, rest) = RawReport::ref_from_prefix(value).map_err(|_| Invalid::BlockLength)?;
        let gaps = <[RawGap]>::ref_from_bytes(rest).map_err(|_| Invalid::BlockLength)?;
        let of = Ident { epoch: epoch(raw.epoch)?, challenge: raw.challenge.get() };
        let report = Report { of, through: number(raw.through)?, heard: number(raw.heard)?, gaps };
        if report.is_consistent() {
            Ok(report)
        } else {
            Err(Invalid::Gaps)
        }
    }

    /// The gaps, in the order of the numbers. Any two have a number between them.
    pub fn gaps(&self) -> impl Iterator<Item = Gap> + 'a {
        self.gaps.iter().scan(self.through, |end, raw| {
            let before = end.saturating_add(raw.skip.get().into());
            *end = before.saturating_add(raw.missing.get().into());
            Some(Gap { first: before.saturating_add(1), last: *end })
        })
    }

    /// Whether the first gap begins behind `through`, no gap is empty or touches
    /// the one before, and none ends beyond `heard`.
    fn is_consistent(&self) -> bool {
        let has_bounds = self.gaps.iter().enumerate().all(|(index, raw)| {
            let (skip, missing) = (raw.skip.get(), raw.missing.get());
            missing > 0 && (skip == 0) == (index == 0)
        });
        match self.gaps().last() {
            Some(gap) => has_bounds && gap.last <= self.heard,
            None => self.through == self.heard,
        }
    }
}

/// What became of the numbers that a peer has reported as missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Repaired {
    /// The peer's epoch.
    pub of: Epoch,
    /// What the missing numbers up to this one told was told again, in frames up
    /// to the number of this hello.
    pub through: u64,
    /// The sender does not know any more what the missing numbers up to this one
    /// told. 0 if it knows all.
    pub forgotten: u64,
}

impl Repaired {
    fn parse(value: &[u8]) -> Result<Repaired, Invalid> {
        let raw = RawRepaired::ref_from_bytes(value).map_err(|_| Invalid::BlockLength)?;
        Ok(Repaired {
            of: epoch(raw.epoch)?,
            through: number(raw.through)?,
            forgotten: number(raw.forgotten)?,
        })
    }
}

impl From<&Repaired> for RawRepaired {
    fn from(repaired: &Repaired) -> RawRepaired {
        RawRepaired {
            epoch: U64::new(repaired.of.get()),
            through: U64::new(repaired.through),
            forgotten: U64::new(repaired.forgotten),
        }
    }
}

fn epoch(raw: U64) -> Result<Epoch, Invalid> {
    Epoch::new(raw.get()).ok_or(Invalid::Epoch)
}

fn number(raw: U64) -> Result<u64, Invalid> {
    Some(raw.get()).filter(|number| *number <= MAX_NUMBER).ok_or(Invalid::Number)
}

/// The checked value of a block.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Block<'a> {
    /// What the sender says of itself.
    Node(Node),
    /// Which frames of a peer arrived.
    Report(Report<'a>),
    /// What was told again to a peer.
    Repaired(Repaired),
}

/// An iterator over the blocks of a trailer. A block with a bad value does not
/// end it.
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    rest: &'a [u8],
}

impl<'a> Blocks<'a> {
    pub(super) fn new(blocks: &'a [u8]) -> Blocks<'a> {
        Blocks { rest: blocks }
    }

    /// Bytes of the blocks that were not read yet.
    pub fn unread(&self) -> usize {
        self.rest.len()
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Block<'a>, Invalid>;

    fn next(&mut self) -> Option<Self::Item> {
        const NODE: u8 = Kind::Node as u8;
        const REPORT: u8 = Kind::Report as u8;
        const REPAIRED: u8 = Kind::Repaired as u8;
        loop {
            let (kind, value, rest) = split_block(self.rest).ok()?;
            self.rest = rest;
            return Some(match kind {
                NODE => RawNode::read_from_bytes(value)
                    .map(|raw| Block::Node(raw.into()))
                    .map_err(|_| Invalid::BlockLength),
                REPORT => Report::parse(value).map(Block::Report),
                REPAIRED => Repaired::parse(value).map(Block::Repaired),
                _ => continue,
            });
        }
    }
}
