// SPDX-License-Identifier: BSD-2-Clause
//! mbuf(9): packets with clusters, on the kernel's own structure.

use super::memory::allocate;
use super::symbols;
use crate::freebsd::kernel::violation::violation;
use crate::freebsd::kernel::{thread, Kernel};
use crate::freebsd::native;
use std::ffi::{c_char, c_void};
use std::ptr;
use sys_bindings as sys;

const MBUF: &str = "mbuf";
const CLUSTER: &str = "cluster";
const TAG: &str = "mbuf_tags";

/// Bytes of data in an mbuf with a packet header (`MHLEN`).
const HEADER_SPACE: usize =
    size_of::<sys::mbuf>() - std::mem::offset_of!(sys::mbuf, __bindgen_anon_3) - size_of::<sys::pkthdr>();
/// Bytes of data in an mbuf without one (`MLEN`).
const PLAIN_SPACE: usize = HEADER_SPACE + size_of::<sys::pkthdr>();

/// The packet header of a first mbuf.
///
/// # Safety
///
/// `m` is a live mbuf with a packet header.
unsafe fn header(m: *mut sys::mbuf) -> *mut sys::pkthdr {
    // SAFETY: as the caller promises.
    unsafe {
        &raw mut (*(&raw mut (*m).__bindgen_anon_3).cast::<sys::mbuf__bindgen_ty_3__bindgen_ty_1>())
            .__bindgen_anon_1
            .m_pkthdr
    }
}

/// The external storage of an mbuf.
///
/// # Safety
///
/// `m` is a live mbuf.
unsafe fn storage(m: *mut sys::mbuf) -> *mut sys::m_ext {
    // SAFETY: as the caller promises.
    unsafe {
        let anonymous = &raw mut (*(&raw mut (*m).__bindgen_anon_3)
            .cast::<sys::mbuf__bindgen_ty_3__bindgen_ty_1>())
        .__bindgen_anon_2;
        anonymous.cast()
    }
}

/// One mbuf, with a cluster if `cluster` is not 0.
fn get(flags: i32, with_header: bool, cluster: usize) -> Option<*mut sys::mbuf> {
    let m = allocate(size_of::<sys::mbuf>(), MBUF, flags) as *mut sys::mbuf;
    if m.is_null() {
        return None;
    }
    // SAFETY: fresh memory of that size. As in the kernel, only the fields
    // that m_init sets are set.
    unsafe {
        (*m).__bindgen_anon_1.m_next = ptr::null_mut();
        (*m).__bindgen_anon_2.m_nextpkt = ptr::null_mut();
        (*m).m_len = 0;
        (*m).set_m_type(sys::MT_DATA);
        (*m).set_m_flags(if with_header { sys::M_PKTHDR } else { 0 });
        let data = &raw mut (*m).__bindgen_anon_3;
        (*m).m_data = data.cast::<c_char>().add(if with_header { size_of::<sys::pkthdr>() } else { 0 });
        if with_header {
            header(m).write_bytes(0, 1);
        }
    }
    if cluster == 0 {
        return Some(m);
    }
    let buffer = allocate(cluster, CLUSTER, flags);
    if buffer == 0 {
        thread::current().kernel.heap.free(m as usize, MBUF);
        return None;
    }
    // SAFETY: as above.
    unsafe {
        let ext = storage(m);
        ext.write_bytes(0, 1);
        (*ext).__bindgen_anon_1.ext_count = 1;
        (*ext).ext_size = cluster as u32;
        (*ext).set_ext_flags(native::EXT_FLAG_EMBREF);
        (*ext).set_ext_type(if cluster > native::MCLBYTES as usize {
            native::EXT_JUMBOP
        } else {
            native::EXT_CLUSTER
        });
        set_buffer(ext, buffer);
        (*m).m_data = buffer as *mut c_char;
        (*m).set_m_flags((*m).m_flags() | sys::M_EXT);
    }
    Some(m)
}

/// # Safety
///
/// `ext` is the storage of a live mbuf.
unsafe fn set_buffer(ext: *mut sys::m_ext, buffer: usize) {
    // SAFETY: as the caller promises.
    unsafe { (*ext).__bindgen_anon_2.__bindgen_anon_1.ext_buf = buffer as *mut c_char };
}

/// The bytes of a packet.
pub(crate) fn bytes_of(m: *mut sys::mbuf) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut next = m;
    while !next.is_null() {
        // SAFETY: the chain is live; each mbuf has that many bytes of data.
        unsafe {
            bytes
                .extend_from_slice(std::slice::from_raw_parts((*next).m_data.cast(), (*next).m_len as usize));
            next = (*next).__bindgen_anon_1.m_next;
        }
    }
    bytes
}

/// The length of a packet according to its header.
pub(crate) fn packet_len(m: *mut sys::mbuf) -> usize {
    // SAFETY: a packet begins with a packet header.
    unsafe { (*header(m)).len as usize }
}

/// A packet that an interface received, in pieces of at most `piece` bytes.
pub(crate) fn received(bytes: &[u8], ifp: *mut sys::ifnet, piece: usize) -> *mut sys::mbuf {
    let mut first: *mut sys::mbuf = ptr::null_mut();
    let mut last: *mut sys::mbuf = ptr::null_mut();
    for chunk in bytes.chunks(piece.clamp(1, native::MJUMPAGESIZE as usize)) {
        let cluster = if chunk.len() > HEADER_SPACE { native::MJUMPAGESIZE as usize } else { 0 };
        // A driver allocates this memory in advance, so that it does not fail here.
        let m = thread::without_failures(|| get(sys::M_NOWAIT as i32, first.is_null(), cluster));
        let m = m.expect("failures are off");
        // SAFETY: fresh mbufs with enough space.
        unsafe {
            ptr::copy_nonoverlapping(chunk.as_ptr(), (*m).m_data.cast(), chunk.len());
            (*m).m_len = chunk.len() as i32;
            match last.as_mut() {
                Some(last) => last.__bindgen_anon_1.m_next = m,
                None => first = m,
            }
        }
        last = m;
    }
    // SAFETY: the first mbuf has a packet header.
    unsafe {
        (*header(first)).len = bytes.len() as i32;
        (*header(first)).__bindgen_anon_1.rcvif = ifp;
    }
    first
}

/// Marks a packet as decrypted by ipsec(4).
pub(crate) fn mark_decrypted(m: *mut sys::mbuf) {
    let flags = sys::M_NOWAIT | sys::M_ZERO;
    let tag = thread::without_failures(|| allocate(size_of::<sys::m_tag>(), TAG, flags as i32));
    let tag = tag as *mut sys::m_tag;
    // SAFETY: the first mbuf of a packet has a packet header; the tag is fresh
    // memory.
    unsafe {
        (*tag).m_tag_cookie = sys::MTAG_ABI_COMPAT;
        (*tag).m_tag_id = sys::PACKET_TAG_IPSEC_IN_DONE as u16;
        (*tag).m_tag_link.sle_next = (*header(m)).tags.slh_first;
        (*header(m)).tags.slh_first = tag;
    }
}

/// Frees a packet's tags.
///
/// # Safety
///
/// `m` is a live mbuf with a packet header.
unsafe fn free_tags(m: *mut sys::mbuf) {
    // SAFETY: as the caller promises; each tag lives until it is freed here.
    unsafe {
        let mut tag = (*header(m)).tags.slh_first;
        while let Some(found) = tag.as_ref() {
            let next = found.m_tag_link.sle_next;
            thread::current().kernel.heap.free(tag as usize, TAG);
            tag = next;
        }
    }
}

/// Frees a chain.
pub(crate) fn free_chain(m: *mut sys::mbuf) {
    let heap = &thread::current().kernel.heap;
    let mut next = m;
    while !next.is_null() {
        // SAFETY: the chain is live until each is freed here; a cluster is
        // referenced by its mbuf alone.
        unsafe {
            let m = next;
            next = (*m).__bindgen_anon_1.m_next;
            if heap.is(m as usize, MBUF) && (*m).m_flags() & sys::M_EXT != 0 {
                heap.free((*storage(m)).__bindgen_anon_2.__bindgen_anon_1.ext_buf as usize, CLUSTER);
            }
            if heap.is(m as usize, MBUF) && (*m).m_flags() & sys::M_PKTHDR != 0 {
                free_tags(m);
            }
            heap.free(m as usize, MBUF);
        }
    }
}

impl Kernel {
    /// How many mbufs are in use.
    pub fn mbufs(&self) -> usize {
        self.heap.count(MBUF)
    }
}

symbols! {
    pub unsafe extern "C" fn m_getm2(
        m: *mut sys::mbuf,
        len: i32,
        flags: i32,
        _kind: i16,
        wanted: i32,
    ) -> *mut sys::mbuf {
        let mut left = usize::try_from(len).unwrap_or(0);
        let mut first: *mut sys::mbuf = ptr::null_mut();
        let mut last: *mut sys::mbuf = ptr::null_mut();
        while left > 0 {
            let with_header = first.is_null() && m.is_null() && wanted as u32 & sys::M_PKTHDR != 0;
            let cluster = match left {
                len if len > native::MCLBYTES as usize => native::MJUMPAGESIZE as usize,
                len if len > HEADER_SPACE => native::MCLBYTES as usize,
                _ => 0,
            };
            let Some(new) = get(flags, with_header, cluster) else {
                free_chain(first);
                return ptr::null_mut();
            };
            let space = match (cluster, with_header) {
                (0, true) => HEADER_SPACE,
                (0, false) => PLAIN_SPACE,
                (size, _) => size,
            };
            left = left.saturating_sub(space);
            // SAFETY: the chain is ours.
            match unsafe { last.as_mut() } {
                Some(last) => last.__bindgen_anon_1.m_next = new,
                None => first = new,
            }
            last = new;
        }
        first
    }

    pub unsafe extern "C" fn m_freem(m: *mut sys::mbuf) {
        if !m.is_null() && is_deferred(m) {
            violation("drops a deferred packet".into());
        }
        free_chain(m);
    }

    pub unsafe extern "C" fn m_tag_locate(
        m: *mut sys::mbuf,
        cookie: u32,
        id: u16,
        after: *mut sys::m_tag,
    ) -> *mut sys::m_tag {
        // SAFETY: the module's packet has a packet header, and its tags live.
        unsafe {
            let mut tag = after.as_ref().map_or((*header(m)).tags.slh_first, |tag| tag.m_tag_link.sle_next);
            while let Some(found) = tag.as_ref() {
                if (found.m_tag_cookie, found.m_tag_id) == (cookie, id) {
                    break;
                }
                tag = found.m_tag_link.sle_next;
            }
            tag
        }
    }

    pub unsafe extern "C" fn m_copydata(m: *mut sys::mbuf, offset: i32, len: i32, to: *mut c_void) {
        let bytes = bytes_of(m);
        let (offset, len) = (offset as usize, len as usize);
        match bytes.get(offset..offset + len) {
            // SAFETY: the caller has space for so many bytes.
            Some(bytes) => unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.cast(), len) },
            None => violation("copies beyond the end of a packet".into()),
        }
    }
}

/// Whether pf gave the packet to the module to defer it.
fn is_deferred(m: *mut sys::mbuf) -> bool {
    let heap = &thread::current().kernel.heap;
    // SAFETY: the mbuf is live if the heap knows it.
    heap.is(m as usize, MBUF) && unsafe { (*m).m_flags() & sys::M_SKIP_FIREWALL != 0 }
}
