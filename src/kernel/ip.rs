//! IPv4 and IPv6: sending, multicast groups, protocol handlers.

use super::alloc::{Box, Wait};
use super::epoch::NetEpoch;
use super::error::{Errno, Result};
use super::ifnet::{DetachLock, IfnetRef};
use super::mbuf::Packet;
use core::ffi::c_int;
use core::ptr::{self, NonNull};
use sys_bindings as sys;

/// An IPv6 address as the kernel's type.
fn in6(addr: &[u8; 16]) -> sys::in6_addr {
    // SAFETY: struct in6_addr is 16 bytes that may have any value.
    unsafe { core::mem::transmute::<[u8; 16], sys::in6_addr>(*addr) }
}

fn octets6(addr: &sys::in6_addr) -> [u8; 16] {
    // SAFETY: struct in6_addr is 16 bytes, and all of them are set.
    unsafe { core::mem::transmute::<sys::in6_addr, [u8; 16]>(*addr) }
}

/// Membership of an IPv4 group on one interface, with the options for sending
/// to it. It ends by [`Group4::leave`], or by [`Group4::abandon`] when the
/// interface has departed; dropped without either, it would stay until the
/// interface departs.
pub struct Group4 {
    options: Box<sys::ip_moptions>,
    filter: NonNull<sys::in_mfilter>,
}

// SAFETY: after joining the options are only read.
unsafe impl Send for Group4 {}
// SAFETY: nor are they written by who shares it.
unsafe impl Sync for Group4 {}

impl Group4 {
    /// Joins `group` on an interface; packets to it have that TTL and are not
    /// heard by their sender. May sleep.
    pub fn join(ifp: &IfnetRef, group: [u8; 4], ttl: u8) -> Result<Group4> {
        // SAFETY: all zeroes is an option set without membership.
        let mut options = Box::new(unsafe { core::mem::zeroed::<sys::ip_moptions>() }, Wait::Sleep)?;
        // SAFETY: allocates; the thread may sleep.
        let filter = NonNull::new(unsafe { sys::ip_mfilter_alloc(sys::M_WAITOK as i32, 0, 0) })
            .ok_or(Errno::ENOMEM)?;
        let addr = sys::in_addr { s_addr: u32::from_ne_bytes(group) };
        // SAFETY: interface and filter are valid; the membership is stored in
        // the filter.
        let joined = Errno::check(unsafe {
            sys::in_joingroup(ifp.as_ptr(), &addr, ptr::null_mut(), &mut (*filter.as_ptr()).imf_inm)
        });
        if let Err(error) = joined {
            // SAFETY: the filter was allocated above and joined nothing.
            unsafe { sys::ip_mfilter_free(filter.as_ptr()) };
            return Err(error);
        }
        options.imo_multicast_ifp = ifp.as_ptr();
        options.imo_multicast_vif = u64::MAX;
        options.imo_multicast_ttl = ttl;
        options.imo_multicast_loop = 0;
        // SAFETY: the list head lies in the box, where it stays.
        unsafe { sys::pfs_imo_join(options.as_ptr(), filter.as_ptr()) };
        Ok(Group4 { options, filter })
    }

    /// Leaves the group, unless the membership was abandoned. May sleep.
    pub fn leave(&mut self, _detaching: &DetachLock) {
        // SAFETY: the filter is ours. The membership was taken in `join` and
        // not abandoned; so its interface did not depart, and does not while
        // the lock is held.
        unsafe {
            let membership = ptr::replace(&raw mut (*self.filter.as_ptr()).imf_inm, ptr::null_mut());
            if !membership.is_null() {
                sys::in_leavegroup(membership, ptr::null_mut());
            }
        }
    }

    /// Forgets a membership that went away with its interface.
    pub fn abandon(&mut self) {
        // SAFETY: the filter is ours.
        unsafe { (*self.filter.as_ptr()).imf_inm = ptr::null_mut() };
    }
}

impl Drop for Group4 {
    fn drop(&mut self) {
        // SAFETY: the filter was allocated in `join`, and nobody else has it.
        unsafe { sys::ip_mfilter_free(self.filter.as_ptr()) };
    }
}

/// Membership of an IPv6 group; see [`Group4`].
pub struct Group6 {
    options: Box<sys::ip6_moptions>,
    filter: NonNull<sys::in6_mfilter>,
}

// SAFETY: after joining the options are only read.
unsafe impl Send for Group6 {}
// SAFETY: nor are they written by who shares it.
unsafe impl Sync for Group6 {}

impl Group6 {
    /// Joins `group`, whose scope is embedded already, on an interface. May
    /// sleep.
    pub fn join(ifp: &IfnetRef, group: &[u8; 16], hop_limit: u8) -> Result<Group6> {
        // SAFETY: all zeroes is an option set without membership.
        let mut options = Box::new(unsafe { core::mem::zeroed::<sys::ip6_moptions>() }, Wait::Sleep)?;
        // SAFETY: allocates; the thread may sleep.
        let filter = NonNull::new(unsafe { sys::ip6_mfilter_alloc(sys::M_WAITOK as i32, 0, 0) })
            .ok_or(Errno::ENOMEM)?;
        // SAFETY: interface and filter are valid; the membership is stored in
        // the filter.
        let joined = Errno::check(unsafe {
            sys::in6_joingroup(
                ifp.as_ptr(),
                &in6(group),
                ptr::null_mut(),
                &mut (*filter.as_ptr()).im6f_in6m,
                0,
            )
        });
        if let Err(error) = joined {
            // SAFETY: the filter was allocated above and joined nothing.
            unsafe { sys::ip6_mfilter_free(filter.as_ptr()) };
            return Err(error);
        }
        options.im6o_multicast_ifp = ifp.as_ptr();
        options.im6o_multicast_hlim = hop_limit;
        options.im6o_multicast_loop = 0;
        // SAFETY: the list head lies in the box, where it stays.
        unsafe { sys::pfs_im6o_join(options.as_ptr(), filter.as_ptr()) };
        Ok(Group6 { options, filter })
    }

    /// Leaves the group, unless the membership was abandoned. May sleep.
    pub fn leave(&mut self, _detaching: &DetachLock) {
        // SAFETY: the filter is ours. The membership was taken in `join` and
        // not abandoned; so its interface did not depart, and does not while
        // the lock is held.
        unsafe {
            let membership = ptr::replace(&raw mut (*self.filter.as_ptr()).im6f_in6m, ptr::null_mut());
            if !membership.is_null() {
                sys::in6_leavegroup(membership, ptr::null_mut());
            }
        }
    }

    /// Forgets a membership that went away with its interface.
    pub fn abandon(&mut self) {
        // SAFETY: the filter is ours.
        unsafe { (*self.filter.as_ptr()).im6f_in6m = ptr::null_mut() };
    }
}

impl Drop for Group6 {
    fn drop(&mut self) {
        // SAFETY: the filter was allocated in `join`, and nobody else has it.
        unsafe { sys::ip6_mfilter_free(self.filter.as_ptr()) };
    }
}

/// Sends an IPv4 packet whose header is complete but for its checksum. No lock
/// may be held.
pub fn output4(packet: Packet, group: Option<&Group4>, _epoch: &NetEpoch) -> Result<()> {
    let options = group.map_or(ptr::null_mut(), |group| group.options.as_ptr());
    let flags = sys::IP_RAWOUTPUT as c_int;
    // SAFETY: ip_output consumes the packet and only reads the options; the
    // network epoch is entered.
    Errno::check(unsafe {
        sys::ip_output(packet.into_raw(), ptr::null_mut(), ptr::null_mut(), flags, options, ptr::null_mut())
    })
}

/// Sends an IPv6 packet whose header is complete. No lock may be held.
pub fn output6(packet: Packet, group: Option<&Group6>, _epoch: &NetEpoch) -> Result<()> {
    let options = group.map_or(ptr::null_mut(), |group| group.options.as_ptr());
    // SAFETY: as in `output4`.
    Errno::check(unsafe {
        sys::ip6_output(
            packet.into_raw(),
            ptr::null_mut(),
            ptr::null_mut(),
            0,
            options,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    })
}

/// Sends on a packet of some connection that was held back, by the version in
/// its header. No lock may be held.
pub fn forward(packet: Packet, _epoch: &NetEpoch) -> Result<()> {
    let version = packet.first_byte().map(|first| first >> 4);
    // SAFETY: as in `output4`.
    Errno::check(unsafe {
        match version {
            Some(4) => sys::ip_output(
                packet.into_raw(),
                ptr::null_mut(),
                ptr::null_mut(),
                0,
                ptr::null_mut(),
                ptr::null_mut(),
            ),
            Some(6) => sys::ip6_output(
                packet.into_raw(),
                ptr::null_mut(),
                ptr::null_mut(),
                0,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
            ),
            _ => return Err(Errno::EINVAL),
        }
    })
}

/// A fresh value for an IPv4 header's identification field, in network byte
/// order.
pub fn identification() -> [u8; 2] {
    // SAFETY: all zeroes is a header; ip_fillid reads ip_off and sets ip_id.
    unsafe {
        let mut header = core::mem::zeroed::<sys::ip>();
        sys::pfs_ip_fillid(&mut header);
        header.ip_id.to_ne_bytes()
    }
}

/// The address with the interface's zone embedded, as the kernel keeps
/// link-local ones (RFC 4007).
pub fn embed_scope(addr: [u8; 16], ifp: &IfnetRef) -> Result<[u8; 16]> {
    let mut addr = in6(&addr);
    // SAFETY: both are valid; the zone is not asked for.
    Errno::check(unsafe { sys::in6_setscope(&mut addr, ifp.as_ptr(), ptr::null_mut()) })?;
    Ok(octets6(&addr))
}

/// The source address for packets to `to` by an interface; unspecified when
/// there is none.
pub fn select_source6(to: &[u8; 16], ifp: &IfnetRef, _epoch: &NetEpoch) -> [u8; 16] {
    let mut source = in6(&[0; 16]);
    // SAFETY: all pointers are valid, the hop limit is not asked for, and the
    // network epoch is entered. On error the source is left as it was.
    unsafe { sys::in6_selectsrc_addr(ifp.fib(), &in6(to), 0, ifp.as_ptr(), &mut source, ptr::null_mut()) };
    octets6(&source)
}

/// What the kernel calls for a received packet of a protocol.
pub type Input = unsafe extern "C" fn(*mut *mut sys::mbuf, *mut c_int, c_int) -> c_int;

/// Registers a handler for an IP protocol in both versions.
pub fn register(protocol: u8, input4: Input, input6: Input) -> Result<()> {
    // SAFETY: the handlers live until they are unregistered at unload.
    unsafe {
        Errno::check(sys::ipproto_register(protocol, Some(input4), None))?;
        Errno::check(sys::ip6proto_register(protocol, Some(input6), None)).inspect_err(|_| {
            sys::ipproto_unregister(protocol);
        })
    }
}

/// Takes back [`register`].
pub fn unregister(protocol: u8) {
    // SAFETY: no more than an entry in a table is reset.
    unsafe {
        sys::ipproto_unregister(protocol);
        sys::ip6proto_unregister(protocol);
    }
}
