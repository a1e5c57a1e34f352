// SPDX-License-Identifier: BSD-2-Clause
//! IPv4 and IPv6: multicast groups, sending, and protocol handlers.

use super::alloc::{KBox, Wait};
use super::epoch::NetEpoch;
use super::error::{Errno, Result};
use super::ifnet::{DetachLock, IfnetRef};
use super::mbuf::Packet;
use core::ffi::c_int;
use core::ptr::{self, NonNull};
use sys_bindings as sys;

/// What the kernel names differently for multicast in IPv4 and IPv6.
pub(crate) trait Multicast {
    /// An address in network byte order.
    type Address;
    /// `struct ip_moptions`: how packets to a group are sent.
    type Options;
    /// `struct in_mfilter`: what the kernel links a membership with.
    type Filter;
    /// `struct in_multi`: a membership of a group.
    type Membership;

    /// Options for sending by an interface, with a TTL or hop limit, to be heard by other
    /// nodes only.
    fn options(ifp: &IfnetRef, ttl: u8) -> Self::Options;

    /// Where a filter has its membership.
    ///
    /// # Safety
    ///
    /// `filter` is valid.
    unsafe fn membership(filter: *mut Self::Filter) -> *mut *mut Self::Membership;

    /// A filter without a membership, or null. May sleep.
    fn allocate_filter() -> *mut Self::Filter;

    /// # Safety
    ///
    /// `filter` came from `allocate_filter` and is not used again.
    unsafe fn free_filter(filter: *mut Self::Filter);

    /// Makes a filter the only one of some options.
    ///
    /// # Safety
    ///
    /// Both are valid, and neither moves any more.
    unsafe fn link(options: *mut Self::Options, filter: *mut Self::Filter);

    /// Joins a group on an interface. May sleep.
    ///
    /// # Safety
    ///
    /// All three are valid.
    unsafe fn join(
        ifp: *mut sys::ifnet,
        group: &Self::Address,
        membership: *mut *mut Self::Membership,
    ) -> c_int;

    /// Ends a membership. May sleep.
    ///
    /// # Safety
    ///
    /// `membership` came from `join`, and is ended once. Its interface has not departed.
    unsafe fn leave(membership: *mut Self::Membership);
}

/// IPv4.
pub(crate) struct Inet;

impl Multicast for Inet {
    type Address = [u8; 4];
    type Options = sys::ip_moptions;
    type Filter = sys::in_mfilter;
    type Membership = sys::in_multi;

    fn options(ifp: &IfnetRef, ttl: u8) -> sys::ip_moptions {
        // SAFETY: all zeroes are options without a membership.
        let mut options = unsafe { core::mem::zeroed::<sys::ip_moptions>() };
        options.imo_multicast_ifp = ifp.as_ptr();
        options.imo_multicast_vif = u64::MAX;
        options.imo_multicast_ttl = ttl;
        options.imo_multicast_loop = 0;
        options
    }

    unsafe fn membership(filter: *mut sys::in_mfilter) -> *mut *mut sys::in_multi {
        // SAFETY: the caller promises that the filter is valid.
        unsafe { &raw mut (*filter).imf_inm }
    }

    fn allocate_filter() -> *mut sys::in_mfilter {
        // SAFETY: only allocates.
        unsafe { sys::ip_mfilter_alloc(sys::M_WAITOK as i32, 0, 0) }
    }

    unsafe fn free_filter(filter: *mut sys::in_mfilter) {
        // SAFETY: the caller promises what ip_mfilter_free asks for.
        unsafe { sys::ip_mfilter_free(filter) };
    }

    unsafe fn link(options: *mut sys::ip_moptions, filter: *mut sys::in_mfilter) {
        // SAFETY: the caller promises that both are valid and stay where they are.
        unsafe { sys::pfs_imo_join(options, filter) };
    }

    unsafe fn join(ifp: *mut sys::ifnet, group: &[u8; 4], membership: *mut *mut sys::in_multi) -> c_int {
        let group = sys::in_addr { s_addr: u32::from_ne_bytes(*group) };
        // SAFETY: the caller promises that all pointers are valid.
        unsafe { sys::in_joingroup(ifp, &group, ptr::null_mut(), membership) }
    }

    unsafe fn leave(membership: *mut sys::in_multi) {
        // SAFETY: the caller promises that the membership exists.
        unsafe { sys::in_leavegroup(membership, ptr::null_mut()) };
    }
}

/// IPv6. The scope is embedded in an address.
pub(crate) struct Inet6;

impl Multicast for Inet6 {
    type Address = [u8; 16];
    type Options = sys::ip6_moptions;
    type Filter = sys::in6_mfilter;
    type Membership = sys::in6_multi;

    fn options(ifp: &IfnetRef, hop_limit: u8) -> sys::ip6_moptions {
        // SAFETY: all zeroes are options without a membership.
        let mut options = unsafe { core::mem::zeroed::<sys::ip6_moptions>() };
        options.im6o_multicast_ifp = ifp.as_ptr();
        options.im6o_multicast_hlim = hop_limit;
        options.im6o_multicast_loop = 0;
        options
    }

    unsafe fn membership(filter: *mut sys::in6_mfilter) -> *mut *mut sys::in6_multi {
        // SAFETY: the caller promises that the filter is valid.
        unsafe { &raw mut (*filter).im6f_in6m }
    }

    fn allocate_filter() -> *mut sys::in6_mfilter {
        // SAFETY: only allocates.
        unsafe { sys::ip6_mfilter_alloc(sys::M_WAITOK as i32, 0, 0) }
    }

    unsafe fn free_filter(filter: *mut sys::in6_mfilter) {
        // SAFETY: the caller promises what ip6_mfilter_free asks for.
        unsafe { sys::ip6_mfilter_free(filter) };
    }

    unsafe fn link(options: *mut sys::ip6_moptions, filter: *mut sys::in6_mfilter) {
        // SAFETY: the caller promises that both are valid and stay where they are.
        unsafe { sys::pfs_im6o_join(options, filter) };
    }

    unsafe fn join(ifp: *mut sys::ifnet, group: &[u8; 16], membership: *mut *mut sys::in6_multi) -> c_int {
        // SAFETY: the caller promises that all pointers are valid.
        unsafe { sys::in6_joingroup(ifp, &in6(group), ptr::null_mut(), membership, 0) }
    }

    unsafe fn leave(membership: *mut sys::in6_multi) {
        // SAFETY: the caller promises that the membership exists.
        unsafe { sys::in6_leavegroup(membership, ptr::null_mut()) };
    }
}

/// An owned filter.
struct Filter<M: Multicast>(NonNull<M::Filter>);

impl<M: Multicast> Filter<M> {
    fn new() -> Result<Filter<M>> {
        NonNull::new(M::allocate_filter()).map(Filter).ok_or(Errno::ENOMEM)
    }

    fn membership(&self) -> *mut *mut M::Membership {
        // SAFETY: the filter is owned.
        unsafe { M::membership(self.0.as_ptr()) }
    }
}

impl<M: Multicast> Drop for Filter<M> {
    fn drop(&mut self) {
        // SAFETY: the filter is owned, and freed once.
        unsafe { M::free_filter(self.0.as_ptr()) };
    }
}

/// Membership of a multicast group on an interface, with the options for sending to the
/// group. Before it is dropped, [`Group::leave`] ends the membership, or
/// [`Group::abandon`] forgets it if the interface has departed. Otherwise the membership
/// would last until the interface departs.
pub(crate) struct Group<M: Multicast> {
    options: KBox<M::Options>,
    filter: Filter<M>,
}

/// Membership of an IPv4 group.
pub(crate) type Group4 = Group<Inet>;
/// Membership of an IPv6 group.
pub(crate) type Group6 = Group<Inet6>;

// SAFETY: after `join`, the options are only read. The kernel locks its own lists.
unsafe impl<M: Multicast> Send for Group<M> {}
// SAFETY: a shared Group only lends its options to the kernel, which reads them.
unsafe impl<M: Multicast> Sync for Group<M> {}

impl<M: Multicast> Group<M> {
    /// Joins a group on an interface. Packets to the group have that TTL or hop limit, and
    /// their sender does not hear them. May sleep. Fails as the kernel's function does, or
    /// with `ENOMEM`.
    pub(crate) fn join(ifp: &IfnetRef, group: &M::Address, ttl: u8) -> Result<Group<M>> {
        let options = KBox::new(M::options(ifp, ttl), Wait::Sleep)?;
        let filter = Filter::new()?;
        // SAFETY: the interface is referenced, and the filter is owned.
        Errno::check(unsafe { M::join(ifp.as_ptr(), group, filter.membership()) })?;
        // SAFETY: both are owned, and lie in memory of their own, where they stay.
        unsafe { M::link(options.as_ptr(), filter.0.as_ptr()) };
        Ok(Group { options, filter })
    }

    /// Leaves the group, unless the membership was abandoned. May sleep.
    pub(crate) fn leave(&mut self, _detaching: &DetachLock) {
        // SAFETY: the filter is owned. Its membership came from `join` and was not
        // abandoned, so that its interface has not departed. While the lock is held, it does
        // not depart.
        unsafe {
            let membership = ptr::replace(self.filter.membership(), ptr::null_mut());
            if !membership.is_null() {
                M::leave(membership);
            }
        }
    }

    /// Forgets a membership that departed with its interface.
    pub(crate) fn abandon(&mut self) {
        // SAFETY: the filter is owned.
        unsafe { self.filter.membership().write(ptr::null_mut()) };
    }
}

/// Sends an IPv4 packet whose header is complete but for its checksum, by the options of a
/// group if it goes to one. The thread must hold no lock. Fails as `ip_output` does.
pub(crate) fn output4(packet: Packet, group: Option<&Group4>, _epoch: &NetEpoch) -> Result<()> {
    let options = group.map_or(ptr::null_mut(), |group| group.options.as_ptr());
    let flags = sys::IP_RAWOUTPUT as c_int;
    // SAFETY: ip_output consumes the packet and only reads the options. The thread is in the
    // network epoch.
    Errno::check(unsafe {
        sys::ip_output(packet.into_raw(), ptr::null_mut(), ptr::null_mut(), flags, options, ptr::null_mut())
    })
}

/// Sends an IPv6 packet whose header is complete, by the options of a group if it goes to
/// one. The thread must hold no lock. Fails as `ip6_output` does.
pub(crate) fn output6(packet: Packet, group: Option<&Group6>, _epoch: &NetEpoch) -> Result<()> {
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

/// Sends on a packet of any connection, by the IP version in its header. The thread must
/// hold no lock. `EINVAL` if it is neither IPv4 nor IPv6.
pub(crate) fn forward(packet: Packet, _epoch: &NetEpoch) -> Result<()> {
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

/// An IPv6 address as the kernel's type.
fn in6(addr: &[u8; 16]) -> sys::in6_addr {
    // SAFETY: struct in6_addr is 16 bytes that may have any value.
    unsafe { core::mem::transmute::<[u8; 16], sys::in6_addr>(*addr) }
}

/// The bytes of an IPv6 address.
fn octets6(addr: &sys::in6_addr) -> [u8; 16] {
    // SAFETY: struct in6_addr is 16 bytes, all of them initialised.
    unsafe { core::mem::transmute::<sys::in6_addr, [u8; 16]>(*addr) }
}

/// The identification field of an IPv4 header with the flag "don't fragment", in network byte
/// order: 0, unless `net.inet.ip.rfc6864` is 0 (RFC 6864, section 4.1).
pub(crate) fn identification() -> [u8; 2] {
    // SAFETY: all zeroes are a header. ip_fillid reads ip_off and sets ip_id.
    unsafe {
        let mut header = core::mem::zeroed::<sys::ip>();
        header.ip_off = (sys::IP_DF as u16).to_be();
        sys::pfs_ip_fillid(&mut header);
        header.ip_id.to_ne_bytes()
    }
}

/// The address with the scope of the interface embedded, as the kernel keeps link-local
/// addresses (RFC 4007). Fails as `in6_setscope` does.
pub(crate) fn embed_scope(addr: [u8; 16], ifp: &IfnetRef) -> Result<[u8; 16]> {
    let mut addr = in6(&addr);
    // SAFETY: both are valid. A null pointer means that the scope is not asked for.
    Errno::check(unsafe { sys::in6_setscope(&mut addr, ifp.as_ptr(), ptr::null_mut()) })?;
    Ok(octets6(&addr))
}

/// Whether this vnet has the IPv4 address.
pub(crate) fn is_local4(addr: [u8; 4], _epoch: &NetEpoch) -> bool {
    // SAFETY: only looks the address up. The thread is in the network epoch.
    unsafe { sys::in_localip(sys::in_addr { s_addr: u32::from_ne_bytes(addr) }) }
}

/// Whether this vnet has the IPv6 address.
pub(crate) fn is_local6(addr: &[u8; 16], _epoch: &NetEpoch) -> bool {
    // SAFETY: only looks the address up. The thread is in the network epoch.
    unsafe { sys::in6_localip(&mut in6(addr)) != 0 }
}

/// The source address for packets to `to` by an interface, as it is now. Never one that is
/// tentative or that another node has. `None` if there is no other.
pub(crate) fn select_source6(to: &[u8; 16], ifp: &IfnetRef, _epoch: &NetEpoch) -> Option<[u8; 16]> {
    let mut source = in6(&[0; 16]);
    // SAFETY: all pointers are valid, and a null pointer means that the hop limit is not
    // asked for. The thread is in the network epoch.
    let error = unsafe {
        sys::in6_selectsrc_addr(ifp.fib(), &in6(to), 0, ifp.as_ptr(), &mut source, ptr::null_mut())
    };
    Errno::check(error).ok().map(|()| octets6(&source)).filter(|source| *source != [0; 16])
}

/// A protocol handler: the kernel calls it for a received packet.
pub(crate) type Input = unsafe extern "C" fn(*mut *mut sys::mbuf, *mut c_int, c_int) -> c_int;

/// Registers handlers for an IP protocol, for IPv4 and IPv6. Fails if the protocol has a
/// handler already.
pub(crate) fn register(protocol: u8, input4: Input, input6: Input) -> Result<()> {
    // SAFETY: the handlers live as long as the module, which unregisters them before it is
    // unloaded.
    unsafe {
        Errno::check(sys::ipproto_register(protocol, Some(input4), None))?;
        Errno::check(sys::ip6proto_register(protocol, Some(input6), None)).inspect_err(|_| {
            sys::ipproto_unregister(protocol);
        })
    }
}

/// Unregisters what [`register`] registered.
pub(crate) fn unregister(protocol: u8) {
    // SAFETY: only resets an entry of each table.
    unsafe {
        sys::ipproto_unregister(protocol);
        sys::ip6proto_unregister(protocol);
    }
}
