// SPDX-License-Identifier: BSD-2-Clause
//! The ioctls of ifconfig(8), in the structures and nvlists of net/if_pfsync.h and
//! net/pfvar.h.
//!
//! User memory is read before the configuration is locked, and written after it is
//! unlocked: either may wait for a file system, for any length of time.

use crate::driver::configuration::{self, Snapshot};
use crate::driver::kernel::alloc::{KSlice, Wait};
use crate::driver::kernel::error::{to_c, Errno, Result};
use crate::driver::kernel::nvlist::{NvList, Values};
use crate::driver::kernel::user;
use crate::driver::lifecycle;
use crate::engine::config::{Settings, SyncPeer};
use crate::wire::IfName;
use core::ffi::{c_char, c_int, c_ulong, c_void, CStr};
use sys_bindings as sys;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The ioctl function of the interface. `ENOTTY` for a command that pfsync does not know.
pub(crate) unsafe extern "C" fn ioctl(ifp: *mut sys::ifnet, command: c_ulong, data: *mut c_char) -> c_int {
    lifecycle::call(|| {
        // SAFETY: the kernel passes an ifreq that is valid during the call.
        to_c(unsafe { handle(ifp, command, data.cast()) })
    })
}

/// # Safety
///
/// `request` is valid.
unsafe fn handle(ifp: *mut sys::ifnet, command: c_ulong, request: *mut sys::ifreq) -> Result<()> {
    // SAFETY: which member of the request's union is in use depends on the command, as net/if.h
    // and net/if_pfsync.h define it.
    unsafe {
        match command {
            sys::pfs_SIOCSIFFLAGS => configuration::follow_flags(ifp),
            sys::pfs_SIOCSIFMTU => configuration::set_mtu(ifp, (*request).ifr_ifru.ifru_mtu),
            sys::pfs_SIOCGETPFSYNC => get_old(ifp, user::pointer((*request).ifr_ifru.ifru_data.cast())),
            sys::pfs_SIOCSETPFSYNC => set_old(ifp, user::pointer((*request).ifr_ifru.ifru_data.cast())),
            sys::pfs_SIOCGETPFSYNCNV => get(ifp, &mut (*request).ifr_ifru.ifru_nv),
            sys::pfs_SIOCSETPFSYNCNV => set(ifp, &(*request).ifr_ifru.ifru_nv),
            _ => Err(Errno::ENOTTY),
        }
    }
}

/// `struct pfsyncreq` of net/if_pfsync.h, which older programs use.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct OldRequest {
    syncdev: [u8; 16],
    syncpeer: [u8; 4],
    maxupdates: i32,
    flags: i32,
}

const _: () = assert!(size_of::<OldRequest>() == size_of::<sys::pfsyncreq>());

/// `struct sockaddr_in` of netinet/in.h as bytes: port and address in network byte order.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct SockaddrIn {
    len: u8,
    family: u8,
    port: [u8; 2],
    addr: [u8; 4],
    zero: [u8; 8],
}

const _: () = assert!(size_of::<SockaddrIn>() == size_of::<sys::sockaddr_in>());

/// `struct sockaddr_in6` of netinet6/in6.h as bytes: all but the scope in network byte
/// order.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct SockaddrIn6 {
    len: u8,
    family: u8,
    port: [u8; 2],
    flow: [u8; 4],
    addr: [u8; 16],
    scope: u32,
}

const _: () = assert!(size_of::<SockaddrIn6>() == size_of::<sys::sockaddr_in6>());

const FLAG_OK: u64 = sys::PFSYNCF_OK as u64;
const FLAG_DEFER: u64 = sys::PFSYNCF_DEFER as u64;

/// The flags (`PFSYNCF_*`) that ifconfig(8) shows.
fn flags(snapshot: &Snapshot) -> u64 {
    let ok = if snapshot.ok { FLAG_OK } else { 0 };
    let defer = if snapshot.config.defer { FLAG_DEFER } else { 0 };
    ok | defer
}

/// `SIOCGETPFSYNC`
fn get_old(ifp: *const sys::ifnet, to: *mut c_void) -> Result<()> {
    let snapshot = configuration::read(ifp)?;
    let reply = OldRequest {
        syncdev: snapshot.syncdev,
        syncpeer: match snapshot.config.syncpeer {
            Some(SyncPeer::Inet(addr)) => addr,
            _ => [0; 4],
        },
        maxupdates: snapshot.config.maxupd.into(),
        flags: flags(&snapshot) as i32,
    };
    user::copy_out_value(&reply, to)
}

/// `SIOCSETPFSYNC`
fn set_old(ifp: *const sys::ifnet, from: *const c_void) -> Result<()> {
    user::may_configure_pf()?;
    let old: OldRequest = user::copy_in_value(from)?;
    let settings = Settings {
        syncdev: parse_name(&old.syncdev)?,
        syncpeer: (old.syncpeer != [0; 4]).then_some(SyncPeer::Inet(old.syncpeer)),
        maxupd: old.maxupdates.into(),
        version: None,
        defer: old.flags as u64 & FLAG_DEFER != 0,
    };
    configuration::apply(ifp, &settings)
}

/// `SIOCGETPFSYNCNV`
fn get(ifp: *const sys::ifnet, buffer: &mut sys::ifreq_nv_req) -> Result<()> {
    let snapshot = configuration::read(ifp)?;
    let packed = to_list(&snapshot)?.pack()?;
    buffer.length = packed.len() as u32;
    if packed.len() > buffer.buf_length as usize {
        buffer.buffer = core::ptr::null_mut();
        return Err(Errno::EFBIG);
    }
    user::copy_out(&packed, user::pointer(buffer.buffer))
}

/// `SIOCSETPFSYNCNV`
fn set(ifp: *const sys::ifnet, buffer: &sys::ifreq_nv_req) -> Result<()> {
    user::may_configure_pf()?;
    if buffer.length > sys::IFR_CAP_NV_MAXBUFSIZE {
        return Err(Errno::EINVAL);
    }
    let mut bytes = KSlice::new(buffer.length as usize, Wait::Sleep, |_| Ok(0u8))?;
    user::copy_in(user::pointer(buffer.buffer), &mut bytes)?;
    let list = NvList::unpack(&bytes)?;
    let shown = configuration::shown_format(ifp)?;
    configuration::apply(ifp, &parse_settings(list.values(), shown)?)
}

/// The nvlist that describes the configuration. The version comes first: see
/// [`parse_version`].
fn to_list(snapshot: &Snapshot) -> Result<NvList> {
    let mut list = NvList::new()?;
    list.add_number(c"version", snapshot.format as u64);
    if let Ok(name) = CStr::from_bytes_until_nul(&snapshot.syncdev) {
        if !name.is_empty() {
            list.add_string(c"syncdev", name);
        }
    }
    list.add_number(c"maxupdates", snapshot.config.maxupd.into());
    list.add_number(c"flags", flags(snapshot));
    if let Some(peer) = snapshot.config.syncpeer {
        list.add_list(c"syncpeer", syncpeer_to_list(peer)?);
    }
    Ok(list)
}

/// An interface name of an ioctl, `None` if it is empty.
fn parse_name(name: &[u8; 16]) -> Result<Option<IfName>> {
    match name {
        [0, ..] => Ok(None),
        name => IfName::new(name).map(Some).map_err(|_| Errno::EINVAL),
    }
}

/// The settings in an nvlist. `EINVAL` if a value is absent or has another type. Only the
/// version, the sync interface and the sync peer may be absent. `shown` is the version that
/// the operator saw last.
fn parse_settings(values: Values, shown: u16) -> Result<Settings> {
    let number = |name| values.number(name).map(|value| i64::try_from(value).unwrap_or(i64::MAX));
    Ok(Settings {
        syncdev: parse_syncdev(values)?,
        syncpeer: parse_syncpeer(values)?,
        maxupd: number(c"maxupdates").ok_or(Errno::EINVAL)?,
        version: parse_version(values, shown)?,
        defer: values.number(c"flags").ok_or(Errno::EINVAL)? & FLAG_DEFER != 0,
    })
}

/// The version that the operator sets, if any. ifconfig(8) sends back the whole list that
/// it got, with the element that the operator sets at the end. So a version that was shown
/// and is not the last element was not set by the operator.
fn parse_version(values: Values, shown: u16) -> Result<Option<i64>> {
    let Some(version) = values.number(c"version") else {
        return if values.has(c"version") { Err(Errno::EINVAL) } else { Ok(None) };
    };
    let is_set = values.last_name() == Some(c"version") || version != u64::from(shown);
    Ok(is_set.then(|| i64::try_from(version).unwrap_or(i64::MAX)))
}

fn parse_syncdev(values: Values) -> Result<Option<IfName>> {
    let Some(string) = values.string(c"syncdev") else {
        return if values.has(c"syncdev") { Err(Errno::EINVAL) } else { Ok(None) };
    };
    let mut name = [0; 16];
    let bytes = string.to_bytes();
    name.get_mut(..bytes.len()).ok_or(Errno::EINVAL)?.copy_from_slice(bytes);
    parse_name(&name)
}

/// The sync peer that a list names. ifconfig(8) sends address family 0 for `-syncpeer`.
fn parse_syncpeer(values: Values) -> Result<Option<SyncPeer>> {
    let Some(list) = values.list_of(c"syncpeer") else {
        return if values.has(c"syncpeer") { Err(Errno::EINVAL) } else { Ok(None) };
    };
    let family = list.number(c"af").ok_or(Errno::EINVAL)?;
    let address = list.binary(c"address").ok_or(Errno::EINVAL)?;
    match u32::try_from(family) {
        Ok(sys::AF_UNSPEC) => Ok(Some(SyncPeer::UNSPECIFIED)),
        Ok(sys::AF_INET) => {
            let address = SockaddrIn::ref_from_bytes(address).map_err(|_| Errno::EINVAL)?;
            Ok(Some(SyncPeer::Inet(address.addr)))
        }
        Ok(sys::AF_INET6) => {
            let address = SockaddrIn6::read_from_bytes(address).map_err(|_| Errno::EINVAL)?;
            Ok(Some(SyncPeer::Inet6 { addr: address.addr, scope: address.scope }))
        }
        _ => Err(Errno::EINVAL),
    }
}

/// A sync peer as a list: address family and socket address.
fn syncpeer_to_list(peer: SyncPeer) -> Result<NvList> {
    let mut list = NvList::new()?;
    match peer {
        SyncPeer::Inet(addr) => {
            let address = SockaddrIn {
                len: size_of::<SockaddrIn>() as u8,
                family: sys::AF_INET as u8,
                port: [0; 2],
                addr,
                zero: [0; 8],
            };
            list.add_number(c"af", sys::AF_INET.into());
            list.add_binary(c"address", address.as_bytes());
        }
        SyncPeer::Inet6 { addr, scope } => {
            let address = SockaddrIn6 {
                len: size_of::<SockaddrIn6>() as u8,
                family: sys::AF_INET6 as u8,
                port: [0; 2],
                flow: [0; 4],
                addr,
                scope,
            };
            list.add_number(c"af", sys::AF_INET6.into());
            list.add_binary(c"address", address.as_bytes());
        }
    }
    Ok(list)
}
