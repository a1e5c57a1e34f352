// SPDX-License-Identifier: BSD-2-Clause
//! IPv4 and IPv6: output to the simulated network, and multicast membership.

use super::mbuf::{bytes_of, free_chain, packet_len};
use super::{memory, symbols};
use crate::freebsd::kernel::sleep::{epoch_assert, may_sleep};
use crate::freebsd::kernel::violation::violation;
use crate::freebsd::kernel::{interface, thread, Kernel};
use std::ffi::c_void;
use std::ptr;
use sys_bindings as sys;

/// pfsync's IP protocol.
const PFSYNC: u8 = 240;

/// Takes a packet from the module and checks it.
fn take(m: *mut sys::mbuf) -> Vec<u8> {
    epoch_assert("IP output");
    let thread = thread::current();
    if let Some(lock) = thread.unsleepable_lock() {
        // The kernel allows this, but if pf filters the packet on its way out, it
        // may call a hook that takes a second lock of pfsync's: a deadlock.
        violation(format!("sends a packet with {lock} held"));
    }
    thread.kernel.world().preemption_point();
    let bytes = bytes_of(m);
    if bytes.len() != packet_len(m) {
        violation(format!("sends a packet of {} bytes that says it has {}", bytes.len(), packet_len(m)));
    }
    // `free_chain` does not report a deferred packet as dropped.
    free_chain(m);
    bytes
}

/// Sends a packet of pfsync's by an interface.
fn send(mut bytes: Vec<u8>, ifp: Option<*mut sys::ifnet>) -> i32 {
    let kernel = thread::current().kernel.clone();
    if kernel.heap.fails() {
        return sys::ENOBUFS as i32;
    }
    let vnet = Kernel::current_vnet();
    let network = &kernel.world().network;
    let Some(ifp) = ifp.or_else(|| network.route(&vnet, &bytes)) else { return sys::EHOSTUNREACH as i32 };
    if !interface::is_up(ifp) {
        return sys::ENETDOWN as i32;
    }
    // SAFETY: the interface is attached, or referenced by the caller.
    if bytes.len() > unsafe { (*ifp).if_mtu } as usize {
        return sys::EMSGSIZE as i32;
    }
    if bytes[0] >> 4 == 4 && bytes[12..16] == [0; 4] {
        if let Some(addr) = vnet.interfaces.get(ifp, |interface| interface.addr4) {
            bytes[12..16].copy_from_slice(&addr);
        }
    }
    if bytes[0] >> 4 == 6 {
        let source = bytes[8..24].try_into().expect("16 bytes");
        if !vnet.interfaces.is_usable(&source) {
            violation(format!("sends a packet from the address {source:02x?}, which may not be used"));
        }
        clear_scope(&mut bytes[8..24]);
        clear_scope(&mut bytes[24..40]);
    }
    network.transmit(&kernel.world(), ifp, bytes);
    0
}

/// Removes the zone, which is not in addresses on the wire.
fn clear_scope(addr: &mut [u8]) {
    if has_zone(addr) {
        addr[2..4].fill(0);
    }
}

/// Whether the kernel embeds a zone in an address: whether its scope is a link.
fn has_zone(addr: &[u8]) -> bool {
    matches!(addr, [0xfe, 0x80..=0xbf, ..]) || matches!(addr, [0xff, scope, ..] if scope & 0xf == 2)
}

fn check_pfsync4(bytes: &[u8]) {
    let total = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
    if bytes[0] != 0x45 || total != bytes.len() || bytes[8] != 255 {
        violation(format!("sends a malformed IPv4 header: {:02x?}", &bytes[..20]));
    }
}

fn check_pfsync6(bytes: &[u8]) {
    let payload = usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
    if payload + 40 != bytes.len() || bytes[7] != 255 {
        violation(format!("sends a malformed IPv6 header: {:02x?}", &bytes[..40]));
    }
}

/// The module sends a deferred packet on.
fn forward(bytes: Vec<u8>) -> i32 {
    let kernel = thread::current().kernel.clone();
    kernel.world().network.forwarded(&kernel, bytes);
    0
}

/// Joins a multicast group. Returns an errno or 0.
///
/// # Safety
///
/// `membership` points to the caller's variable.
unsafe fn join<T>(ifp: *mut sys::ifnet, group: &[u8], kind: &'static str, membership: *mut *mut T) -> i32 {
    may_sleep("joining a multicast group");
    let kernel = thread::current().kernel.clone();
    if kernel.heap.fails() {
        return sys::ENOBUFS as i32;
    }
    let joined = memory::allocate(size_of::<T>(), kind, (sys::M_WAITOK | sys::M_ZERO) as i32);
    kernel.world().network.join(ifp, group, joined, kind);
    // SAFETY: as the caller promises.
    unsafe { *membership = joined as *mut T };
    0
}

fn leave(membership: usize, kind: &'static str) {
    may_sleep("leaving a multicast group");
    let kernel = thread::current().kernel.clone();
    kernel.world().network.leave(membership);
    kernel.heap.free(membership, kind);
}

const MULTI4: &str = "in_multi";
const MULTI6: &str = "in6_multi";
const FILTER4: &str = "in_mfilter";
const FILTER6: &str = "in6_mfilter";

symbols! {
    pub unsafe extern "C" fn ip_output(
        m: *mut sys::mbuf,
        _options: *mut sys::mbuf,
        _route: *mut c_void,
        flags: i32,
        multicast: *mut sys::ip_moptions,
        _pcb: *mut c_void,
    ) -> i32 {
        let bytes = take(m);
        if flags as u32 & sys::IP_RAWOUTPUT == 0 {
            return forward(bytes);
        }
        check_pfsync4(&bytes);
        // SAFETY: the caller's options are valid during the call.
        send(bytes, unsafe { multicast.as_ref() }.map(|multicast| multicast.imo_multicast_ifp))
    }

    pub unsafe extern "C" fn ip6_output(
        m: *mut sys::mbuf,
        _options: *mut c_void,
        _route: *mut c_void,
        _flags: i32,
        multicast: *mut sys::ip6_moptions,
        _ifpp: *mut *mut sys::ifnet,
        _pcb: *mut c_void,
    ) -> i32 {
        let bytes = take(m);
        if bytes.get(6) != Some(&PFSYNC) {
            return forward(bytes);
        }
        check_pfsync6(&bytes);
        // SAFETY: as above.
        send(bytes, unsafe { multicast.as_ref() }.map(|multicast| multicast.im6o_multicast_ifp))
    }

    pub unsafe extern "C" fn in_joingroup(
        ifp: *mut sys::ifnet,
        group: *const sys::in_addr,
        _filter: *mut c_void,
        membership: *mut *mut sys::in_multi,
    ) -> i32 {
        // SAFETY: the caller's address and variable.
        unsafe { join(ifp, &(*group).s_addr.to_ne_bytes(), MULTI4, membership) }
    }

    pub unsafe extern "C" fn in_leavegroup(membership: *mut sys::in_multi, _filter: *mut c_void) -> i32 {
        leave(membership as usize, MULTI4);
        0
    }

    pub unsafe extern "C" fn in6_joingroup(
        ifp: *mut sys::ifnet,
        group: *const sys::in6_addr,
        _filter: *mut c_void,
        membership: *mut *mut sys::in6_multi,
        _delay: i32,
    ) -> i32 {
        // SAFETY: the caller's address, 16 bytes.
        let mut group = unsafe { *group.cast::<[u8; 16]>() };
        clear_scope(&mut group);
        // SAFETY: the caller's variable.
        unsafe { join(ifp, &group, MULTI6, membership) }
    }

    pub unsafe extern "C" fn in6_leavegroup(membership: *mut sys::in6_multi, _filter: *mut c_void) -> i32 {
        leave(membership as usize, MULTI6);
        0
    }

    pub unsafe extern "C" fn ip_mfilter_alloc(flags: i32, _from: i32, _to: i32) -> *mut sys::in_mfilter {
        memory::allocate(size_of::<sys::in_mfilter>(), FILTER4, flags | sys::M_ZERO as i32) as *mut _
    }

    pub unsafe extern "C" fn ip_mfilter_free(filter: *mut sys::in_mfilter) {
        thread::current().kernel.heap.free(filter as usize, FILTER4);
    }

    pub unsafe extern "C" fn ip6_mfilter_alloc(flags: i32, _from: i32, _to: i32) -> *mut sys::in6_mfilter {
        memory::allocate(size_of::<sys::in6_mfilter>(), FILTER6, flags | sys::M_ZERO as i32) as *mut _
    }

    pub unsafe extern "C" fn ip6_mfilter_free(filter: *mut sys::in6_mfilter) {
        thread::current().kernel.heap.free(filter as usize, FILTER6);
    }

    pub unsafe extern "C" fn ip_fillid(header: *mut sys::ip) {
        // SAFETY: the caller's header.
        unsafe {
            (*header).ip_id = match u32::from(u16::from_be((*header).ip_off)) & sys::IP_DF {
                0 => thread::current().kernel.world().random(1 << 16) as u16,
                _ => 0,
            };
        }
    }

    pub unsafe extern "C" fn in_localip(addr: sys::in_addr) -> bool {
        epoch_assert("in_localip");
        Kernel::current_vnet().interfaces.have_address(&addr.s_addr.to_ne_bytes())
    }

    pub unsafe extern "C" fn in6_localip(addr: *const sys::in6_addr) -> i32 {
        // SAFETY: the caller's address, 16 bytes.
        let addr = unsafe { *addr.cast::<[u8; 16]>() };
        Kernel::current_vnet().interfaces.have_address(&addr).into()
    }

    pub unsafe extern "C" fn in6_setscope(
        addr: *mut sys::in6_addr,
        _ifp: *mut sys::ifnet,
        _zone: *mut u32,
    ) -> i32 {
        /// The index of every interface in the simulator.
        const ZONE: u8 = 1;
        // SAFETY: the caller's address, 16 bytes.
        let bytes = unsafe { &mut *addr.cast::<[u8; 16]>() };
        if has_zone(bytes) {
            bytes[3] = ZONE;
        }
        0
    }

    pub unsafe extern "C" fn in6_selectsrc_addr(
        _fib: u32,
        _to: *const sys::in6_addr,
        _scope: u32,
        ifp: *mut sys::ifnet,
        source: *mut sys::in6_addr,
        _hops: *mut i32,
    ) -> i32 {
        epoch_assert("in6_selectsrc_addr");
        let interfaces = &Kernel::current_vnet().interfaces;
        let addr = interfaces.get(ifp, |interface| interface.addr6);
        let Some(addr) = addr.filter(|addr| interfaces.is_usable(addr)) else {
            return sys::EADDRNOTAVAIL as i32;
        };
        // SAFETY: the caller's variable, 16 bytes.
        unsafe { ptr::write(source.cast(), addr) };
        0
    }
}
