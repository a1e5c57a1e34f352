// SPDX-License-Identifier: BSD-2-Clause
//! The tag, and which frames are taken with a key or without one.
//!
//! A tag is keyed BLAKE2s with 16 bytes of output (RFC 7693, section 2.9) over frame
//! and trailer up to the tag's value.

use crate::wire::trailer::TAG_LEN;
use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput, KeyInit, Update};
use blake2::Blake2sMac;

/// Bytes of a key.
pub const KEY_LEN: usize = 32;

/// A key. Whoever has it is believed.
pub type Key = [u8; KEY_LEN];

/// The tag of `signed`.
pub fn tag(key: &Key, signed: &[u8]) -> [u8; TAG_LEN] {
    let mut mac = <Blake2sMac<U16> as KeyInit>::new(key.into());
    mac.update(signed);
    mac.finalize_fixed().into()
}

/// Writes the tag of a packet into its last [`TAG_LEN`] bytes.
pub fn seal(key: &Key, packet: &mut [u8]) {
    if let Some((signed, space)) = packet.split_last_chunk_mut::<TAG_LEN>() {
        *space = tag(key, signed);
    }
}

/// Whether a tag is right. Takes the same time wherever the first wrong byte is.
fn is_right(key: &Key, signed: &[u8], other: &[u8; TAG_LEN]) -> bool {
    let differences = tag(key, signed).iter().zip(other).fold(0, |all, (a, b)| all | a ^ b);
    core::hint::black_box(differences) == 0
}

/// What a tag tells of a frame that may be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trust {
    /// Nothing, and nothing is demanded.
    Anyone,
    /// Its sender has the key, although that is not demanded.
    Keyed,
    /// Its sender has the key. The frame may still be a recorded one: only those of
    /// a fresh epoch are taken.
    MustBeFresh,
}

/// The frame is not taken: its tag is wrong, or it has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadTag;

/// The keys of a node.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    /// The key that frames are tagged with.
    pub key: Option<&'a Key>,
    /// Another key that is right too, while keys are being changed.
    pub also: Option<&'a Key>,
    /// Only frames with a right tag are taken.
    pub is_required: bool,
}

impl Keys<'_> {
    /// Judges a frame by its tag. `packet` is frame and trailer, `tag` the tag in its
    /// last bytes, if there is one.
    ///
    /// | | no tag | right tag | wrong tag |
    /// |---|---|---|---|
    /// | no key | taken | taken | taken |
    /// | key, not required | taken | taken | refused |
    /// | key required | refused | taken if fresh | refused |
    pub fn judge(&self, packet: &[u8], tag: Option<&[u8; TAG_LEN]>) -> Result<Trust, BadTag> {
        let has_key = self.key.is_some() || self.also.is_some();
        match tag {
            Some(tag) if has_key => {
                let signed = packet.split_last_chunk::<TAG_LEN>().map_or(packet, |(signed, _)| signed);
                let mut keys = [self.key, self.also].into_iter().flatten();
                match keys.any(|key| is_right(key, signed, tag)) {
                    true if self.is_required => Ok(Trust::MustBeFresh),
                    true => Ok(Trust::Keyed),
                    false => Err(BadTag),
                }
            }
            _ if self.is_required => Err(BadTag),
            _ => Ok(Trust::Anyone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The values are those of Python's `hashlib.blake2s(data, digest_size=16, key=key)`.
    #[test]
    fn tags_are_keyed_blake2s() {
        let key: Key = core::array::from_fn(|n| n as u8);
        let data: Vec<u8> = (0..=255).collect();
        assert_eq!(tag(&key, b""), EMPTY);
        assert_eq!(tag(&key, b"abc"), ABC);
        assert_eq!(tag(&key, &data), LONG);
    }

    const EMPTY: [u8; 16] = hex("9536f9b267655743dee97b8a670f9f53");
    const ABC: [u8; 16] = hex("61ba5f165c194692e09d12520cc4c74a");
    const LONG: [u8; 16] = hex("d5a40ec316c751a63cd0d91157fa1ebb");

    const fn hex(text: &str) -> [u8; 16] {
        const fn digit(byte: u8) -> u8 {
            if byte <= b'9' {
                byte - b'0'
            } else {
                byte - b'a' + 10
            }
        }
        let (text, mut bytes, mut n) = (text.as_bytes(), [0; 16], 0);
        while n < 16 {
            bytes[n] = digit(text[2 * n]) << 4 | digit(text[2 * n + 1]);
            n += 1;
        }
        bytes
    }

    const A: Key = [1; 32];
    const B: Key = [2; 32];

    fn sealed(key: &Key) -> Vec<u8> {
        let mut packet = vec![7; 100];
        seal(key, &mut packet);
        packet
    }

    fn judge(keys: Keys, packet: &[u8], has_tag: bool) -> Result<Trust, BadTag> {
        keys.judge(packet, packet.last_chunk().filter(|_| has_tag))
    }

    #[test]
    fn the_table_holds() {
        let (good, bad) = (sealed(&A), sealed(&B));
        let keys = |key, is_required| Keys { key, also: None, is_required };
        for (keys, no_tag, right, wrong) in [
            (keys(None, false), Ok(Trust::Anyone), Ok(Trust::Anyone), Ok(Trust::Anyone)),
            (keys(Some(&A), false), Ok(Trust::Anyone), Ok(Trust::Keyed), Err(BadTag)),
            (keys(Some(&A), true), Err(BadTag), Ok(Trust::MustBeFresh), Err(BadTag)),
            // A key that is required and not set refuses everything.
            (keys(None, true), Err(BadTag), Err(BadTag), Err(BadTag)),
        ] {
            assert_eq!(judge(keys, &good, false), no_tag);
            assert_eq!(judge(keys, &good, true), right);
            assert_eq!(judge(keys, &bad, true), wrong);
        }
    }

    #[test]
    fn either_of_two_keys_is_right() {
        let keys = Keys { key: Some(&A), also: Some(&B), is_required: true };
        for key in [&A, &B] {
            assert_eq!(judge(keys, &sealed(key), true), Ok(Trust::MustBeFresh));
        }
        assert_eq!(judge(keys, &sealed(&[3; 32]), true), Err(BadTag));
    }

    proptest! {
        #[test]
        fn every_bit_counts(mut packet in proptest::collection::vec(any::<u8>(), 16..300), bit in 0..2400usize) {
            let keys = Keys { key: Some(&A), also: None, is_required: true };
            seal(&A, &mut packet);
            prop_assert_eq!(judge(keys, &packet, true), Ok(Trust::MustBeFresh));
            let bit = bit % (packet.len() * 8);
            packet[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(judge(keys, &packet, true), Err(BadTag));
        }
    }
}
