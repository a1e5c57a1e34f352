// SPDX-License-Identifier: BSD-2-Clause
//! A model of the configuration that pfsync(4) documents.

use pfsync_simulator::freebsd::nv::{List, Value};
use pfsync_simulator::lab::{GROUP6, OUTSIDE, SYNC};
use std::ffi::CStr;
use sys_bindings as sys;

/// The interfaces that exist.
pub(crate) const INTERFACES: [&str; 3] = [SYNC, OUTSIDE, "pfsync0"];
/// The newest message format, which is the default.
const NEWEST: u64 = sys::PFSYNC_MSG_VERSION_NEWEST as u64;
/// pfsync's multicast group of IPv4.
pub(crate) const GROUP4: [u8; 4] = [224, 0, 0, 240];

/// A sync peer; with IPv6, address and scope id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SyncPeer {
    Inet([u8; 4]),
    Inet6([u8; 16], u32),
}

/// A configuration, as it reads back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Settings {
    pub(crate) syncdev: Option<String>,
    pub(crate) syncpeer: Option<SyncPeer>,
    pub(crate) maxupd: u64,
    pub(crate) defer: bool,
    pub(crate) version: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { syncdev: None, syncpeer: None, maxupd: 128, defer: false, version: NEWEST }
    }
}

impl Settings {
    /// The configuration after a request with an nvlist; `None` if it must be refused.
    pub(crate) fn asked_by(&self, list: &List) -> Option<Settings> {
        let syncdev = match list.get(c"syncdev") {
            None => None,
            Some(Value::String(name)) => {
                Some(name.to_str().ok()?.to_string()).filter(|name| !name.is_empty())
            }
            Some(_) => return None,
        };
        let syncpeer = match list.get(c"syncpeer") {
            None => None,
            Some(Value::List(syncpeer)) => parse_syncpeer(syncpeer)?,
            Some(_) => return None,
        };
        // The version that was shown is set only as the last element.
        let is_last = list.pairs.last().is_some_and(|(name, _)| name.as_c_str() == c"version");
        let version = match list.get(c"version") {
            None => None,
            Some(Value::Number(version)) => Some(*version).filter(|other| is_last || *other != self.version),
            Some(_) => return None,
        };
        let defer = list.number(c"flags")? & u64::from(sys::PFSYNCF_DEFER) != 0;
        self.changed(syncdev, syncpeer, list.number(c"maxupdates")?, version, defer)
    }

    /// The configuration after an old request; `None` if it must be refused.
    pub(crate) fn asked_by_old(&self, old: &sys::pfsyncreq) -> Option<Settings> {
        let bytes = old.pfsyncr_syncdev.map(|byte| byte as u8);
        let name = CStr::from_bytes_until_nul(&bytes).ok()?.to_str().ok()?;
        let address = old.pfsyncr_syncpeer.s_addr.to_ne_bytes();
        let syncpeer = (address != [0; 4]).then_some(SyncPeer::Inet(address));
        let defer = old.pfsyncr_defer as u32 & sys::PFSYNCF_DEFER != 0;
        let maxupd = u64::try_from(old.pfsyncr_maxupdates).ok()?;
        self.changed((!name.is_empty()).then(|| name.to_string()), syncpeer, maxupd, None, defer)
    }

    fn changed(
        &self,
        syncdev: Option<String>,
        syncpeer: Option<SyncPeer>,
        maxupd: u64,
        version: Option<u64>,
        defer: bool,
    ) -> Option<Settings> {
        if syncdev.as_ref().is_some_and(|name| !INTERFACES.contains(&name.as_str())) || maxupd > 255 {
            return None;
        }
        let version = match version {
            None => self.version,
            Some(0) => NEWEST,
            Some(version @ (1301 | 1400 | 1500)) if version <= NEWEST => version,
            Some(_) => return None,
        };
        let syncpeer = match syncpeer {
            Some(SyncPeer::Inet([0, 0, 0, 0])) => Some(SyncPeer::Inet(GROUP4)),
            Some(SyncPeer::Inet6(addr, scope)) if addr == [0; 16] => Some(SyncPeer::Inet6(GROUP6, scope)),
            Some(syncpeer) => Some(syncpeer),
            None if syncdev.is_some() => Some(SyncPeer::Inet(GROUP4)),
            None => self.syncpeer,
        };
        let to_group = match syncpeer {
            Some(SyncPeer::Inet([first, ..])) => (224..240).contains(&first),
            Some(SyncPeer::Inet6([first, ..], _)) => first == 0xff,
            None => false,
        };
        // pfsync0 itself has no multicast.
        let possible = syncdev.as_deref() != Some("pfsync0") || !to_group;
        possible.then_some(Settings { syncdev, syncpeer, maxupd, defer, version })
    }
}

/// The sync peer in an nvlist, if it has one. The outer `None` refuses the nvlist.
pub(crate) fn parse_syncpeer(list: &List) -> Option<Option<SyncPeer>> {
    let Some(Value::Binary(address)) = list.get(c"address") else { return None };
    match u32::try_from(list.number(c"af")?).ok()? {
        sys::AF_UNSPEC => Some(Some(SyncPeer::Inet([0; 4]))),
        sys::AF_INET if address.len() == 16 => Some(Some(SyncPeer::Inet(address[4..8].try_into().ok()?))),
        sys::AF_INET6 if address.len() == 28 => {
            let scope = u32::from_le_bytes(address[24..28].try_into().ok()?);
            Some(Some(SyncPeer::Inet6(address[8..24].try_into().ok()?, scope)))
        }
        _ => None,
    }
}
