//! What ifconfig(8) asks of the interface: its ioctls, in the structures and
//! nvlists of `net/if_pfsync.h` and `net/pfvar.h`.
//!
//! User memory is read before the configuration is locked and written after,
//! since either may wait for a file system for as long as that likes.

use crate::configuration::{self, Settings};
use crate::engine::config::{Request, SyncPeer};
use crate::kernel::alloc::{Slice, Wait};
use crate::kernel::error::{to_c, Errno, Result};
use crate::kernel::nvlist::{NvList, Values};
use crate::kernel::user;
use crate::wire::IfName;
use core::ffi::{c_int, c_ulong, c_void, CStr};
use sys_bindings as sys;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The interface's ioctl function.
pub unsafe extern "C" fn ioctl(ifp: *mut sys::ifnet, command: c_ulong, data: *mut i8) -> c_int {
    let request = data.cast::<sys::ifreq>();
    // SAFETY: what each command's argument is was settled with ifconfig: a
    // request of that kind, valid during the call.
    to_c(unsafe {
        match command {
            sys::pfs_SIOCSIFFLAGS => configuration::follow_flags(ifp),
            sys::pfs_SIOCSIFMTU => configuration::set_mtu(ifp, (*request).ifr_ifru.ifru_mtu),
            sys::pfs_SIOCGETPFSYNC => get_old(ifp, (*request).ifr_ifru.ifru_data.cast()),
            sys::pfs_SIOCSETPFSYNC => set_old(ifp, (*request).ifr_ifru.ifru_data.cast()),
            sys::pfs_SIOCGETPFSYNCNV => get(ifp, &mut (*request).ifr_ifru.ifru_nv),
            sys::pfs_SIOCSETPFSYNCNV => set(ifp, &(*request).ifr_ifru.ifru_nv),
            _ => Err(Errno::ENOTTY),
        }
    })
}

/// `struct pfsyncreq`, what old programs exchange.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct OldRequest {
    syncdev: [u8; 16],
    syncpeer: [u8; 4],
    maxupdates: i32,
    flags: i32,
}

const _: () = assert!(size_of::<OldRequest>() == size_of::<sys::pfsyncreq>());

/// `struct sockaddr_in` as bytes.
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

/// `struct sockaddr_in6` as bytes.
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

/// `PFSYNCF_OK` and `PFSYNCF_DEFER`
const FLAG_OK: u64 = sys::PFSYNCF_OK as u64;
const FLAG_DEFER: u64 = sys::PFSYNCF_DEFER as u64;

fn flags(settings: &Settings) -> u64 {
    let ok = if settings.ok { FLAG_OK } else { 0 };
    let defer = if settings.config.defer { FLAG_DEFER } else { 0 };
    ok | defer
}

/// `SIOCGETPFSYNC`
fn get_old(ifp: *const sys::ifnet, to: *mut c_void) -> Result<()> {
    let settings = configuration::read(ifp)?;
    let reply = OldRequest {
        syncdev: settings.syncdev,
        syncpeer: match settings.config.peer {
            Some(SyncPeer::Inet(addr)) => addr,
            _ => [0; 4],
        },
        maxupdates: settings.config.maxupd.into(),
        flags: flags(&settings) as i32,
    };
    user::copy_out_value(&reply, to)
}

/// `SIOCSETPFSYNC`
fn set_old(ifp: *const sys::ifnet, from: *const c_void) -> Result<()> {
    user::may_configure_pf()?;
    let old: OldRequest = user::copy_in_value(from)?;
    let request = Request {
        syncdev: parse_name(&old.syncdev)?,
        peer: (old.syncpeer != [0; 4]).then_some(SyncPeer::Inet(old.syncpeer)),
        maxupd: old.maxupdates.into(),
        version: 0,
        defer: old.flags as u64 & FLAG_DEFER != 0,
    };
    configuration::apply(ifp, &request)
}

/// `SIOCGETPFSYNCNV`
fn get(ifp: *const sys::ifnet, buffer: &mut sys::ifreq_nv_req) -> Result<()> {
    let settings = configuration::read(ifp)?;
    let packed = to_list(&settings)?.pack()?;
    buffer.length = packed.len() as u32;
    if packed.len() > buffer.buf_length as usize {
        buffer.buffer = core::ptr::null_mut();
        return Err(Errno::EFBIG);
    }
    user::copy_out(&packed, buffer.buffer)
}

/// `SIOCSETPFSYNCNV`
fn set(ifp: *const sys::ifnet, buffer: &sys::ifreq_nv_req) -> Result<()> {
    user::may_configure_pf()?;
    if buffer.length > sys::IFR_CAP_NV_MAXBUFSIZE {
        return Err(Errno::EINVAL);
    }
    let mut bytes = Slice::new(buffer.length as usize, Wait::Sleep, |_| Ok(0u8))?;
    user::copy_in(buffer.buffer, &mut bytes)?;
    let list = NvList::unpack(&bytes)?;
    configuration::apply(ifp, &parse_request(list.values())?)
}

fn to_list(settings: &Settings) -> Result<NvList> {
    let mut list = NvList::new()?;
    if let Ok(name) = CStr::from_bytes_until_nul(&settings.syncdev) {
        if !name.is_empty() {
            list.add_string(c"syncdev", name);
        }
    }
    list.add_number(c"maxupdates", settings.config.maxupd.into());
    list.add_number(c"flags", flags(settings));
    list.add_number(c"version", settings.config.format as u64);
    if let Some(peer) = settings.config.peer {
        list.add_list(c"syncpeer", peer_to_list(peer)?);
    }
    Ok(list)
}

/// An interface name of an ioctl; empty for none.
fn parse_name(name: &[u8; 16]) -> Result<Option<IfName>> {
    match name {
        [0, ..] => Ok(None),
        name => IfName::new(name).map(Some).map_err(|_| Errno::EINVAL),
    }
}

fn parse_request(values: Values) -> Result<Request> {
    let number = |name| values.number(name).map(|value| i64::try_from(value).unwrap_or(i64::MAX));
    let version = match number(c"version") {
        Some(version) => version,
        None if values.has(c"version") => return Err(Errno::EINVAL),
        None => 0,
    };
    Ok(Request {
        syncdev: parse_syncdev(values)?,
        peer: parse_peer(values)?,
        maxupd: number(c"maxupdates").ok_or(Errno::EINVAL)?,
        version,
        defer: values.number(c"flags").ok_or(Errno::EINVAL)? & FLAG_DEFER != 0,
    })
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

/// The peer that a list names. ifconfig says "none" by an address family of 0.
fn parse_peer(values: Values) -> Result<Option<SyncPeer>> {
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

fn peer_to_list(peer: SyncPeer) -> Result<NvList> {
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
