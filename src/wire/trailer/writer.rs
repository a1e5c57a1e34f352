// SPDX-License-Identifier: BSD-2-Clause
//! Writing a trailer.

use super::block::{RawGap, RawNode, RawRepaired, RawReport};
use super::{
    trailer_len, Epoch, Gap, Ident, Kind, Node, RawBlockHead, RawHead, Repaired, MAGIC, TAG_BLOCK_LEN,
    TAG_LEN,
};
use crate::wire::Full;
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

/// Writes a trailer into a buffer that the caller provides. A block that does not
/// fit is not written.
pub struct TrailerWriter<'b> {
    buffer: &'b mut [u8],
    /// Bytes written.
    used: usize,
    has_tag: bool,
}

impl<'b> TrailerWriter<'b> {
    /// Begins the trailer of a frame with the number `number` of `epoch`. Keeps
    /// space for a tag if `has_tag` is set. Fails if the buffer is too short.
    pub fn new(
        buffer: &'b mut [u8],
        epoch: Epoch,
        number: u64,
        has_tag: bool,
    ) -> Result<TrailerWriter<'b>, Full> {
        if buffer.len() < trailer_len(has_tag) {
            return Err(Full);
        }
        let [_, _, number @ ..] = number.to_be_bytes();
        let mut writer = TrailerWriter { buffer, used: 0, has_tag };
        writer.write(&RawHead { magic: MAGIC, number, epoch: U64::new(epoch.get()) })?;
        Ok(writer)
    }

    /// Bytes that are left for blocks.
    pub fn space(&self) -> usize {
        let tag = if self.has_tag { TAG_BLOCK_LEN } else { 0 };
        self.buffer.len().saturating_sub(self.used).saturating_sub(tag)
    }

    /// Appends what the sender says of itself.
    pub fn node(&mut self, node: &Node) -> Result<(), Full> {
        self.block(Kind::Node, &RawNode::from(node))
    }

    /// Appends what was told again to a peer.
    pub fn repaired(&mut self, repaired: &Repaired) -> Result<(), Full> {
        self.block(Kind::Repaired, &RawRepaired::from(repaired))
    }

    /// Appends a report about a peer: of its numbers up to `heard`, all but the gaps
    /// arrived. The gaps are in order, no two touch each other, and none ends
    /// beyond `heard`.
    ///
    /// If not all gaps fit, the report ends before the first that does not.
    pub fn report(&mut self, of: Ident, heard: u64, gaps: impl IntoIterator<Item = Gap>) -> Result<(), Full> {
        let start = self.used;
        let mut raw = RawReport {
            epoch: U64::new(of.epoch.get()),
            challenge: U64::new(of.challenge),
            through: U64::new(heard),
            heard: U64::new(heard),
        };
        self.block(Kind::Report, &raw)?;
        let mut end = None;
        for gap in gaps {
            let before = gap.first.saturating_sub(1);
            let after = end.unwrap_or(before);
            if end.is_none() {
                raw.through = U64::new(before);
            }
            let narrow = |count: u64| u32::try_from(count).ok().map(U32::new);
            let written = match (narrow(before.saturating_sub(after)), narrow(gap.count())) {
                (Some(skip), Some(missing)) if self.space() >= size_of::<RawGap>() => {
                    self.write(&RawGap { skip, missing })
                }
                _ => Err(Full),
            };
            if written.is_err() {
                raw.heard = U64::new(before);
                break;
            }
            end = Some(gap.last);
        }
        let value = self.used.saturating_sub(start).saturating_sub(size_of::<RawBlockHead>());
        self.write_at(start, &block_head(Kind::Report, value))?;
        self.write_at(start.saturating_add(size_of::<RawBlockHead>()), &raw)
    }

    /// Ends the trailer, and returns its length in bytes. The tag, if there is one,
    /// is in the last [`TAG_LEN`] bytes, and still 0.
    pub fn finish(mut self) -> usize {
        if self.has_tag {
            let _ = self.write(&block_head(Kind::Tag, TAG_LEN));
            let _ = self.write(&[0u8; TAG_LEN]);
        }
        self.used
    }

    fn block<T: IntoBytes + Immutable>(&mut self, kind: Kind, value: &T) -> Result<(), Full> {
        if self.space() < size_of::<RawBlockHead>().saturating_add(size_of::<T>()) {
            return Err(Full);
        }
        self.write(&block_head(kind, size_of::<T>()))?;
        self.write(value)
    }

    fn write<T: IntoBytes + Immutable>(&mut self, value: &T) -> Result<(), Full> {
        self.write_at(self.used, value)?;
        self.used = self.used.saturating_add(size_of::<T>());
        Ok(())
    }

    fn write_at<T: IntoBytes + Immutable>(&mut self, offset: usize, value: &T) -> Result<(), Full> {
        let space = self.buffer.get_mut(offset..).ok_or(Full)?;
        value.write_to_prefix(space).map_err(|_| Full)
    }
}

/// The head of a block whose value has `len` bytes. No block is longer than a
/// packet, so the length fits.
fn block_head(kind: Kind, len: usize) -> RawBlockHead {
    RawBlockHead { kind: kind as u8, pad: 0, len: U16::new(len.try_into().unwrap_or(u16::MAX)) }
}
