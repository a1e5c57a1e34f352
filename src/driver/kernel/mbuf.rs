// SPDX-License-Identifier: BSD-2-Clause
//! mbuf(9): owned packets.

use super::alloc::{KSlice, Wait};
use super::error::{Errno, Result};
use core::ops::Deref;
use core::ptr::{self, NonNull};
use core::slice;
use sys_bindings as sys;

/// An owned packet: a chain of mbufs with a packet header. Dropping it frees it.
pub(crate) struct Packet(NonNull<sys::mbuf>);

// SAFETY: the Packet is the only owner of its mbufs.
unsafe impl Send for Packet {}

impl Packet {
    /// Takes a packet over from the kernel.
    ///
    /// # Safety
    ///
    /// `m` starts a chain with a packet header that no other code uses or frees.
    pub(crate) unsafe fn from_raw(m: NonNull<sys::mbuf>) -> Packet {
        Packet(m)
    }

    /// Hands the packet over to the kernel.
    pub(crate) fn into_raw(self) -> *mut sys::mbuf {
        let m = self.0.as_ptr();
        core::mem::forget(self);
        m
    }

    fn header(&self) -> &sys::pkthdr {
        // SAFETY: the first mbuf of a packet has a packet header.
        unsafe { &(*self.0.as_ptr()).__bindgen_anon_3.__bindgen_anon_1.as_ref().__bindgen_anon_1.m_pkthdr }
    }

    /// Number of bytes in the packet.
    pub(crate) fn len(&self) -> usize {
        self.header().len.try_into().unwrap_or(0)
    }

    /// The interface that received the packet, only for comparing.
    pub(crate) fn received_by(&self) -> *const sys::ifnet {
        // SAFETY: a received packet carries its interface here.
        unsafe { self.header().__bindgen_anon_1.rcvif }
    }

    /// Whether ipsec(4) authenticated or decrypted the packet
    /// (`PACKET_TAG_IPSEC_IN_DONE`).
    pub(crate) fn was_decrypted(&self) -> bool {
        // SAFETY: the first mbuf of a packet has the packet's tags.
        let tag = unsafe {
            sys::m_tag_locate(
                self.0.as_ptr(),
                sys::MTAG_ABI_COMPAT,
                sys::PACKET_TAG_IPSEC_IN_DONE as u16,
                ptr::null_mut(),
            )
        };
        !tag.is_null()
    }

    /// Has the packet pass the packet filter unseen, or not (`M_SKIP_FIREWALL`).
    pub(crate) fn set_skip_firewall(&mut self, on: bool) {
        // SAFETY: the packet is owned.
        unsafe {
            let m = self.0.as_ptr();
            let flags = (*m).m_flags() & !sys::M_SKIP_FIREWALL;
            (*m).set_m_flags(flags | if on { sys::M_SKIP_FIREWALL } else { 0 });
        }
    }

    fn first_mbuf(&self) -> &[u8] {
        // SAFETY: the data of an mbuf are `m_len` bytes from `m_data` on.
        unsafe {
            let m = self.0.as_ptr();
            slice::from_raw_parts((*m).m_data.cast::<u8>(), (*m).m_len.try_into().unwrap_or(0))
        }
    }

    /// The first byte, if the first mbuf has any.
    pub(crate) fn first_byte(&self) -> Option<u8> {
        self.first_mbuf().first().copied()
    }

    /// The bytes from `offset` on in one piece: borrowed if they lie in the first
    /// mbuf, else copied. `EINVAL` if the packet is shorter than `offset`, `ENOMEM` if
    /// there is no memory for a copy.
    pub(crate) fn contiguous(&self, offset: usize) -> Result<Bytes<'_>> {
        let len = self.len().checked_sub(offset).ok_or(Errno::EINVAL)?;
        match self.first_mbuf().get(offset..).and_then(|bytes| bytes.get(..len)) {
            Some(bytes) => Ok(Bytes::Borrowed(bytes)),
            None => self.copy(offset, len),
        }
    }

    fn copy(&self, offset: usize, len: usize) -> Result<Bytes<'_>> {
        let mut bytes = KSlice::new(len, Wait::No, |_| Ok(0u8))?;
        // SAFETY: `offset + len` is the packet's length, and `bytes` takes `len`
        // bytes.
        unsafe { sys::m_copydata(self.0.as_ptr(), offset as i32, len as i32, bytes.as_mut_ptr().cast()) };
        Ok(Bytes::Owned(bytes))
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: the packet is owned.
        unsafe { sys::m_freem(self.0.as_ptr()) };
    }
}

/// Whether a packet of the kernel goes to many receivers (`M_BCAST`, `M_MCAST`).
///
/// # Safety
///
/// `m` is a valid mbuf.
pub(crate) unsafe fn is_multicast(m: *const sys::mbuf) -> bool {
    // SAFETY: the caller promises that the mbuf is valid.
    unsafe { (*m).m_flags() & (sys::M_BCAST | sys::M_MCAST) != 0 }
}

/// The bytes of a packet in one piece.
pub(crate) enum Bytes<'a> {
    /// They lie in the first mbuf.
    Borrowed(&'a [u8]),
    /// They were copied from several mbufs.
    Owned(KSlice<u8>),
}

impl Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Borrowed(bytes) => bytes,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

/// Memory for a packet that is not written yet. Once it is allocated, making the
/// packet cannot fail.
pub(crate) struct EmptyPacket {
    packet: Packet,
    len: usize,
}

impl EmptyPacket {
    /// Memory for `len` bytes behind a link header, in clusters of at most a page.
    /// Does not sleep. `ENOBUFS` if there is no memory.
    pub(crate) fn new(len: usize) -> Result<EmptyPacket> {
        // SAFETY: the kernel sets this word at boot, before modules run.
        let link = unsafe { ptr::addr_of!(sys::max_linkhdr).read() };
        let total = u32::try_from(len)
            .ok()
            .and_then(|len| len.checked_add(link))
            .and_then(|sum| i32::try_from(sum).ok());
        let total = total.ok_or(Errno::ENOBUFS)?;
        // SAFETY: without a chain to extend, the kernel returns a fresh one.
        let m = unsafe {
            sys::m_getm2(
                ptr::null_mut(),
                total,
                sys::M_NOWAIT as i32,
                sys::MT_DATA as i16,
                sys::M_PKTHDR as i32,
            )
        };
        let m = NonNull::new(m).ok_or(Errno::ENOBUFS)?;
        // SAFETY: the first mbuf has at least MHLEN bytes, which is more than any
        // link header.
        unsafe { (*m.as_ptr()).m_data = (*m.as_ptr()).m_data.add(link as usize) };
        Ok(EmptyPacket { packet: Packet(m), len })
    }

    /// Makes the packet. Bytes beyond the length that was allocated are cut off, and
    /// mbufs that are not needed are freed.
    pub(crate) fn fill(self, bytes: &[u8]) -> Packet {
        let EmptyPacket { packet, len } = self;
        let bytes = bytes.get(..len).unwrap_or(bytes);
        let mut rest = bytes;
        let mut m = packet.0.as_ptr();
        loop {
            // SAFETY: the chain is owned. M_TRAILINGSPACE says how many bytes are free
            // behind an mbuf's data.
            unsafe {
                let space: usize = sys::pfs_m_trailingspace(m).try_into().unwrap_or(0);
                let (now, later) = rest.split_at_checked(space).unwrap_or((rest, &[]));
                ptr::copy_nonoverlapping(now.as_ptr(), (*m).m_data.cast(), now.len());
                (*m).m_len = now.len() as i32;
                rest = later;
                let next = (*m).__bindgen_anon_1.m_next;
                if rest.is_empty() || next.is_null() {
                    (*m).__bindgen_anon_1.m_next = ptr::null_mut();
                    sys::m_freem(next);
                    break;
                }
                m = next;
            }
        }
        // SAFETY: the first mbuf of a packet has a packet header.
        unsafe {
            let first = packet.0.as_ptr();
            (*first).__bindgen_anon_3.__bindgen_anon_1.as_mut().__bindgen_anon_1.m_pkthdr.len =
                bytes.len() as i32;
        }
        packet
    }
}

/// A queue of packets, linked through the packets themselves.
pub(crate) struct PacketQueue {
    first: *mut sys::mbuf,
    last: *mut sys::mbuf,
}

// SAFETY: the queue owns its packets.
unsafe impl Send for PacketQueue {}

impl PacketQueue {
    /// An empty queue.
    pub(crate) const fn new() -> PacketQueue {
        PacketQueue { first: ptr::null_mut(), last: ptr::null_mut() }
    }

    /// Appends a packet.
    pub(crate) fn append(&mut self, packet: Packet) {
        let m = packet.into_raw();
        // SAFETY: the queue owns `m` and what it links.
        unsafe {
            (*m).__bindgen_anon_2.m_nextpkt = ptr::null_mut();
            match self.last.as_mut() {
                Some(last) => last.__bindgen_anon_2.m_nextpkt = m,
                None => self.first = m,
            }
        }
        self.last = m;
    }

    /// Takes out the first packet.
    pub(crate) fn pop(&mut self) -> Option<Packet> {
        let m = NonNull::new(self.first)?;
        // SAFETY: the queue owns `m`.
        unsafe {
            self.first = (*m.as_ptr()).__bindgen_anon_2.m_nextpkt;
            (*m.as_ptr()).__bindgen_anon_2.m_nextpkt = ptr::null_mut();
        }
        if self.first.is_null() {
            self.last = ptr::null_mut();
        }
        Some(Packet(m))
    }
}

impl Drop for PacketQueue {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
