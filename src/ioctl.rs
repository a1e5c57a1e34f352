//! ifconfig(8)'s side: flags, MTU and configuration.

use crate::engine::config::{Config, Settings, SyncPeer};
use crate::hooks::HOOKS;
use crate::kernel::alloc::{Box, Slice, Wait};
use crate::kernel::error::{to_c, Errno, Result};
use crate::kernel::ifnet::IfnetRef;
use crate::kernel::nvlist::{NvList, Values};
use crate::kernel::{epoch, user};
use crate::link::Link;
use crate::pf::rules;
use crate::softc::{Softc, MTU_MIN};
use crate::vnet::{self, Configuration};
use crate::wire::IfName;
use core::ffi::{c_int, c_ulong, c_void, CStr};
use sys_bindings as sys;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The interface's ioctl function.
pub unsafe extern "C" fn ioctl(ifp: *mut sys::ifnet, command: c_ulong, data: *mut i8) -> c_int {
    let configuration = Configuration::lock();
    to_c(match configuration.softc() {
        Some(softc) if softc.ifp.as_ptr() == ifp => softc.ioctl(command, data.cast()),
        // Being made or destroyed, or moved to another network stack.
        _ => Err(Errno::ENXIO),
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

impl Softc {
    fn ioctl(&self, command: c_ulong, request: *mut sys::ifreq) -> Result<()> {
        // SAFETY: what each command's argument is, other than the first's, was
        // settled with ifconfig: a request of that kind, valid during the call.
        unsafe {
            match command {
                sys::pfs_SIOCSIFFLAGS => self.set_flags(),
                sys::pfs_SIOCSIFMTU => self.set_mtu((*request).ifr_ifru.ifru_mtu),
                sys::pfs_SIOCGETPFSYNC => self.get_old((*request).ifr_ifru.ifru_data.cast()),
                sys::pfs_SIOCSETPFSYNC => self.set_old((*request).ifr_ifru.ifru_data.cast()),
                sys::pfs_SIOCGETPFSYNCNV => self.get(&mut (*request).ifr_ifru.ifru_nv),
                sys::pfs_SIOCSETPFSYNCNV => self.set(&(*request).ifr_ifru.ifru_nv),
                _ => Err(Errno::ENOTTY),
            }
        }
    }

    /// The operator set the interface up or down.
    fn set_flags(&self) -> Result<()> {
        let config = *self.config.lock();
        let up = self.ifp.is_up();
        let was_up = self.ifp.is_running();
        self.ifp.set_running(up);
        if up && !was_up {
            rules::set_hooks(&HOOKS);
            if config.syncdev.is_some() {
                self.request_bulk();
            }
        } else if was_up && !up {
            rules::set_hooks(&rules::NO_HOOKS);
            self.cancel_bulk();
        }
        Ok(())
    }

    /// `EINVAL` without a sync interface, beyond that one's MTU, or when no
    /// state would fit.
    fn set_mtu(&self, mtu: c_int) -> Result<()> {
        let max = epoch::enter(|epoch| self.link(epoch).map(|link| link.interface().mtu()));
        let mtu = u32::try_from(mtu).map_err(|_| Errno::EINVAL)?;
        if (mtu as usize) < MTU_MIN || max.is_none_or(|max| mtu as usize > max) {
            return Err(Errno::EINVAL);
        }
        self.ifp.set_mtu(mtu);
        Ok(())
    }

    fn flags(&self) -> u64 {
        let ok = if self.bulk_receiver.lock().is_idle() { FLAG_OK } else { 0 };
        let defer =
            if self.options.defer.load(core::sync::atomic::Ordering::Relaxed) { FLAG_DEFER } else { 0 };
        ok | defer
    }

    fn get_old(&self, to: *mut c_void) -> Result<()> {
        let config = *self.config.lock();
        let reply = OldRequest {
            syncdev: self.syncdev_name(),
            syncpeer: match config.syncpeer {
                Some(SyncPeer::Inet(addr)) => addr,
                _ => [0; 4],
            },
            maxupdates: config.maxupd.into(),
            flags: self.flags() as i32,
        };
        user::copy_out_value(&reply, to)
    }

    fn set_old(&self, from: *const c_void) -> Result<()> {
        user::may_configure_pf()?;
        let old: OldRequest = user::copy_in_value(from)?;
        self.configure(&Settings {
            syncdev: parse_name(&old.syncdev)?,
            syncpeer: (old.syncpeer != [0; 4]).then_some(SyncPeer::Inet(old.syncpeer)),
            maxupd: old.maxupdates.into(),
            version: 0,
            defer: old.flags as u64 & FLAG_DEFER != 0,
        })
    }

    /// The sync interface's name as it is now.
    fn syncdev_name(&self) -> [u8; 16] {
        epoch::enter(|epoch| self.link(epoch).map_or([0; 16], |link| link.interface().name()))
    }

    fn get(&self, buffer: &mut sys::ifreq_nv_req) -> Result<()> {
        let config = *self.config.lock();
        let mut list = NvList::new()?;
        if let Ok(name) = CStr::from_bytes_until_nul(&self.syncdev_name()) {
            if !name.is_empty() {
                list.add_string(c"syncdev", name);
            }
        }
        list.add_number(c"maxupdates", config.maxupd.into());
        list.add_number(c"flags", self.flags());
        list.add_number(c"version", config.format as u64);
        if let Some(peer) = config.syncpeer {
            list.add_list(c"syncpeer", peer_to_list(peer)?);
        }
        let packed = list.pack()?;
        buffer.length = packed.len() as u32;
        if packed.len() > buffer.buf_length as usize {
            buffer.buffer = core::ptr::null_mut();
            return Err(Errno::EFBIG);
        }
        user::copy_out(&packed, buffer.buffer)
    }

    fn set(&self, buffer: &sys::ifreq_nv_req) -> Result<()> {
        user::may_configure_pf()?;
        if buffer.length > sys::IFR_CAP_NV_MAXBUFSIZE {
            return Err(Errno::EINVAL);
        }
        let mut bytes = Slice::new(buffer.length as usize, Wait::Sleep, |_| Ok(0u8))?;
        user::copy_in(buffer.buffer, &mut bytes)?;
        let list = NvList::unpack(&bytes)?;
        self.configure(&parse_request(list.values())?)
    }

    /// Applies a configuration. On an error nothing is changed. May sleep.
    fn configure(&self, request: &Settings) -> Result<()> {
        let mut old = *self.config.lock();
        // The interface may have another name by now, and another its name.
        old.syncdev = IfName::new(&self.syncdev_name()).ok();
        let new = old.with(request).map_err(|_| Errno::EINVAL)?;
        if !old.same_link(&new) {
            self.relink(&new)?;
        }
        *self.config.lock() = new;
        self.obey(&new);
        Ok(())
    }

    /// Replaces the link by the one that a configuration names.
    fn relink(&self, new: &Config) -> Result<()> {
        let link = match (new.syncdev, new.syncpeer) {
            (Some(name), Some(peer)) => {
                let ifp = IfnetRef::by_name(name.bytes()).ok_or(Errno::EINVAL)?;
                Some(Box::new(Link::open(ifp, peer)?, Wait::Sleep)?)
            }
            _ => None,
        };
        let linked = link.is_some();
        drop(self.link.replace(link));
        match linked && self.ifp.is_running() {
            true => self.request_bulk(),
            false => self.cancel_bulk(),
        }
        Ok(())
    }

    /// An interface goes away, or gets another name. Without the sync
    /// interface there is nobody to talk to. May sleep.
    pub fn interface_departs(&self, ifp: *mut sys::ifnet) {
        let name = epoch::enter(|epoch| {
            let link = self.link(epoch)?;
            (link.interface().as_ptr() == ifp).then(|| link.interface().name())
        });
        let Some(name) = name else { return };
        if IfnetRef::by_name(&name).is_some_and(|other| other.as_ptr() == ifp) {
            // Still there: it is only renamed.
            return;
        }
        self.config.lock().syncdev = None;
        if let Some(retired) = self.link.replace(None) {
            retired.reclaim().abandon();
        }
        self.cancel_bulk();
    }
}

/// `net.pfsync.bulk_request`: an operator wants a full update.
pub fn request_bulk_by_hand() -> Result<()> {
    epoch::enter(|epoch| {
        let softc = vnet::softc(epoch).ok_or(Errno::EINVAL)?;
        if softc.link(epoch).is_none() || !softc.ifp.is_running() {
            return Err(Errno::EINVAL);
        }
        softc.request_bulk();
        Ok(())
    })
}

/// An interface name of an ioctl; empty for none.
fn parse_name(name: &[u8; 16]) -> Result<Option<IfName>> {
    match name {
        [0, ..] => Ok(None),
        name => IfName::new(name).map(Some).map_err(|_| Errno::EINVAL),
    }
}

fn parse_request(values: Values) -> Result<Settings> {
    let number = |name| values.number(name).map(|value| i64::try_from(value).unwrap_or(i64::MAX));
    let version = match number(c"version") {
        Some(version) => version,
        None if values.has(c"version") => return Err(Errno::EINVAL),
        None => 0,
    };
    Ok(Settings {
        syncdev: parse_syncdev(values)?,
        syncpeer: parse_peer(values)?,
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
