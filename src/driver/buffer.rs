// SPDX-License-Identifier: BSD-2-Clause
//! The sender's buffer, in which it builds every packet.

use crate::driver::kernel::alloc::{KSlice, Wait};
use crate::driver::kernel::error::Result;
use crate::driver::link::HEADER_MAX;

/// The largest packet in bytes, IP header included: the largest length that an IPv4
/// header can state.
pub(crate) const PACKET_MAX: usize = 65535;

/// A buffer for one frame with its IP header.
///
/// The buffer is larger than any packet. Nothing asks for bytes beyond its end, and if
/// something did, it would get none: the module must not contain a panic.
pub(crate) struct Buffer {
    /// [`HEADER_MAX`] bytes for an IP header, then [`PACKET_MAX`] bytes for a frame.
    bytes: KSlice<u8>,
    /// The length of a frame that stays in the buffer, because the sync interface had no
    /// space for it.
    pub(crate) unsent: Option<usize>,
    /// How often in a row the sync interface had no space.
    pub(crate) refusals: u8,
}

impl Buffer {
    /// An empty buffer. May sleep.
    pub(crate) fn new() -> Result<Buffer> {
        let bytes = KSlice::new(HEADER_MAX + PACKET_MAX, Wait::Sleep, |_| Ok(0))?;
        Ok(Buffer { bytes, unsent: None, refusals: 0 })
    }

    /// The bytes of an IP header. The header ends where they end.
    pub(crate) fn header_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..HEADER_MAX).unwrap_or_default()
    }

    /// The bytes of a frame of `len` bytes, for writing it.
    pub(crate) fn frame_mut(&mut self, len: usize) -> &mut [u8] {
        self.bytes.get_mut(HEADER_MAX..HEADER_MAX.saturating_add(len)).unwrap_or_default()
    }

    /// A frame of `len` bytes.
    pub(crate) fn frame(&self, len: usize) -> &[u8] {
        self.packet(HEADER_MAX, len)
    }

    /// A frame of `frame_len` bytes with its IP header, which begins at `start`.
    pub(crate) fn packet(&self, start: usize, frame_len: usize) -> &[u8] {
        self.bytes.get(start..HEADER_MAX.saturating_add(frame_len)).unwrap_or_default()
    }
}
