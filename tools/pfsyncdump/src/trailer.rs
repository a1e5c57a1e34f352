// SPDX-License-Identifier: BSD-2-Clause
//! Decodes the trailer of a frame, and checks its tag.

use std::fs;
use std::path::Path;

use anyhow::{bail, Context, Result};
use pfsync::engine::agreement::{tag, Key, KEY_LEN};
use pfsync::wire::trailer::{Block, Epoch, Gap, Ident, Node, Repaired, Trailer, TAG_LEN};
use pfsync::wire::Invalid;

/// The trailer of a frame.
#[derive(Debug, PartialEq)]
pub(crate) struct DecodedTrailer {
    /// Where the trailer begins in the recorded packet.
    pub(crate) offset: usize,
    /// Bytes of the trailer.
    pub(crate) len: usize,
    pub(crate) epoch: Epoch,
    /// The number of the frame, or for a hello, the last number given.
    pub(crate) number: u64,
    pub(crate) is_hello: bool,
    pub(crate) tag: Option<[u8; TAG_LEN]>,
    /// Whether the tag is right. `None` without a tag, or without a key.
    pub(crate) is_right: Option<bool>,
    pub(crate) blocks: Vec<DecodedBlock>,
}

/// A block of a trailer, whether or not it passed the checks.
#[derive(Debug, PartialEq)]
pub(crate) struct DecodedBlock {
    /// Where the block begins in the recorded packet, or an unknown block before it.
    pub(crate) offset: usize,
    pub(crate) content: Result<BlockContent, Invalid>,
}

/// The checked content of a block.
#[derive(Debug, PartialEq)]
pub(crate) enum BlockContent {
    Node(Node),
    Report { of: Ident, through: u64, heard: u64, gaps: Vec<Gap> },
    Repaired(Repaired),
}

impl DecodedTrailer {
    /// Decodes a trailer of `len` bytes, which begins at `offset` in the recorded packet.
    /// The tag is not checked yet.
    pub(crate) fn new(trailer: &Trailer, is_hello: bool, offset: usize, len: usize) -> DecodedTrailer {
        DecodedTrailer {
            offset,
            len,
            epoch: trailer.epoch,
            number: trailer.number,
            is_hello,
            tag: trailer.tag.copied(),
            is_right: None,
            blocks: blocks(trailer, offset + len),
        }
    }

    /// Checks the tag. `packet` is frame and trailer. The tag is right if it is that of
    /// any key.
    pub(crate) fn check_tag(&mut self, packet: &[u8], keys: &[Key]) {
        let signed = packet.split_last_chunk::<TAG_LEN>().map_or(packet, |(signed, _)| signed);
        let own = self.tag.filter(|_| !keys.is_empty());
        self.is_right = own.map(|own| keys.iter().any(|key| tag(key, signed) == own));
    }
}

/// The blocks of a trailer which ends at `end` in the recorded packet.
fn blocks(trailer: &Trailer, end: usize) -> Vec<DecodedBlock> {
    let tag_len = trailer.tag.map_or(0, |_| BLOCK_HEAD_LEN + TAG_LEN);
    let (mut decoded, mut blocks) = (Vec::new(), trailer.blocks());
    loop {
        let offset = end - tag_len - blocks.unread();
        let Some(block) = blocks.next() else { return decoded };
        decoded.push(DecodedBlock { offset, content: block.map(BlockContent::from) });
    }
}

/// Bytes in front of the value of a block.
const BLOCK_HEAD_LEN: usize = 4;

impl From<Block<'_>> for BlockContent {
    fn from(block: Block) -> BlockContent {
        match block {
            Block::Node(node) => BlockContent::Node(node),
            Block::Report(report) => BlockContent::Report {
                of: report.of,
                through: report.through,
                heard: report.heard,
                gaps: report.gaps().collect(),
            },
            Block::Repaired(repaired) => BlockContent::Repaired(repaired),
        }
    }
}

/// Reads a key from a file, as the rc script `pfsync_key` does: its first line is 64 hex
/// digits.
pub(crate) fn read_key(file: &Path) -> Result<Key> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let line = text.lines().next().unwrap_or_default().trim();
    match key(line) {
        Some(key) => Ok(key),
        // The line itself may be most of a key.
        None => bail!("{}: the first line is not 64 hex digits", file.display()),
    }
}

fn key(digits: &str) -> Option<Key> {
    let digits: Option<Vec<_>> = digits.chars().map(|digit| digit.to_digit(16)).collect();
    let digits: [u32; 2 * KEY_LEN] = digits?.try_into().ok()?;
    Some(std::array::from_fn(|n| (digits[2 * n] << 4 | digits[2 * n + 1]) as u8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfsync::engine::agreement::seal;
    use pfsync::wire::trailer::TrailerWriter;
    use pfsync::wire::{Frame, FrameWriter};

    const KEY: Key = [7; KEY_LEN];

    /// A hello with three blocks and a tag.
    fn hello() -> Vec<u8> {
        let mut packet = vec![0; 400];
        let mut frame = FrameWriter::new(&mut packet, &[0; 16]).unwrap();
        frame.end_with_trailer(true);
        let len = frame.finish();
        let epoch = |number| Epoch::new(number).unwrap();
        let mut writer = TrailerWriter::new(&mut packet[len..], epoch(1), 41, true).unwrap();
        let node =
            Node { challenge: 9, hello: 1, creator: [1; 4], states: 0, version: [0, 3, 0], freebsd: 14 };
        writer.node(&node).unwrap();
        let of = Ident { epoch: epoch(2), challenge: 5 };
        writer.report(of, 9, [Gap { first: 3, last: 3 }, Gap { first: 7, last: 8 }]).unwrap();
        writer.repaired(&Repaired { of: epoch(2), through: 6, forgotten: 0 }).unwrap();
        let len = len + writer.finish();
        packet.truncate(len);
        seal(&KEY, &mut packet);
        packet
    }

    fn decoded(packet: &[u8]) -> DecodedTrailer {
        let trailer = Frame::parse(packet).unwrap().trailer().unwrap().unwrap();
        DecodedTrailer::new(&trailer, true, 120, packet.len() - 20)
    }

    #[test]
    fn blocks_are_found_at_their_offset() {
        let trailer = decoded(&hello());
        let offsets: Vec<_> = trailer.blocks.iter().map(|block| block.offset).collect();
        assert_eq!(offsets, [136, 136 + 28, 136 + 28 + 52]);
        let Ok(BlockContent::Report { gaps, .. }) = &trailer.blocks[1].content else { panic!() };
        assert_eq!(gaps[..], [Gap { first: 3, last: 3 }, Gap { first: 7, last: 8 }]);
    }

    #[test]
    fn a_bad_block_does_not_hide_the_next() {
        let mut packet = hello();
        // The epoch of the report.
        packet[20 + 16 + 28 + 4..][..8].fill(0);
        let trailer = decoded(&packet);
        assert_eq!(trailer.blocks[1].content, Err(Invalid::Epoch));
        assert!(matches!(trailer.blocks[2].content, Ok(BlockContent::Repaired(_))));
    }

    #[test]
    fn a_tag_is_right_with_any_of_the_keys() {
        let check = |packet: &[u8], keys: &[Key]| {
            let mut trailer = decoded(packet);
            trailer.check_tag(packet, keys);
            trailer.is_right
        };
        assert_eq!(check(&hello(), &[]), None);
        assert_eq!(check(&hello(), &[[1; 32], KEY]), Some(true));
        assert_eq!(check(&hello(), &[[1; 32]]), Some(false));
        let mut packet = hello();
        packet[4] ^= 1;
        assert_eq!(check(&packet, &[KEY]), Some(false));
    }

    #[test]
    fn a_key_is_sixty_four_hex_digits() {
        let expected: Key = std::array::from_fn(|n| if n == 31 { 0xab } else { 0x10 });
        let digits = "10".repeat(31) + "aB";
        assert_eq!(key(&digits), Some(expected));
        assert_eq!(
            [key(&digits[1..]), key(&(digits.clone() + "0")), key(&digits.replace('a', "g"))],
            [None; 3]
        );
    }
}
