// SPDX-License-Identifier: BSD-2-Clause
//! What requests lead to: a model of what pfsync(4) documents.

use pfsync_host::lab::{GROUP6, OUTSIDE, SYNC};
use pfsync_host::nv::{List, Value};
use std::ffi::CStr;
use sys_bindings as sys;

/// The interfaces that can be named.
pub const INTERFACES: [&str; 3] = [SYNC, OUTSIDE, "pfsync0"];
/// The newest message format, and the default.
const NEWEST: u64 = sys::PFSYNC_MSG_VERSION_NEWEST as u64;
/// 224.0.0.240
pub const GROUP4: [u8; 4] = [224, 0, 0, 240];

/// An address of a peer, as `af` and bytes of a sockaddr.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    Inet([u8; 4]),
    Inet6([u8; 16], u32),
}

/// What reads back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    pub syncdev: Option<String>,
    pub peer: Option<Peer>,
    pub maxupd: u64,
    pub defer: bool,
    pub version: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { syncdev: None, peer: None, maxupd: 128, defer: false, version: NEWEST }
    }
}

impl Settings {
    /// What a request in an nvlist leads to; `None` when it is to be refused.
    pub fn asked_by(&self, list: &List) -> Option<Settings> {
        let syncdev = match list.get(c"syncdev") {
            None => None,
            Some(Value::String(name)) => {
                Some(name.to_str().ok()?.to_string()).filter(|name| !name.is_empty())
            }
            Some(_) => return None,
        };
        let peer = match list.get(c"syncpeer") {
            None => None,
            Some(Value::List(peer)) => parse_peer(peer)?,
            Some(_) => return None,
        };
        let version = match list.get(c"version") {
            None => 0,
            Some(Value::Number(version)) => *version,
            Some(_) => return None,
        };
        let defer = list.number(c"flags")? & u64::from(sys::PFSYNCF_DEFER) != 0;
        self.changed(syncdev, peer, list.number(c"maxupdates")?, version, defer)
    }

    /// What an old request leads to.
    pub fn asked_by_old(&self, old: &sys::pfsyncreq) -> Option<Settings> {
        let bytes = old.pfsyncr_syncdev.map(|byte| byte as u8);
        let name = CStr::from_bytes_until_nul(&bytes).ok()?.to_str().ok()?;
        let address = old.pfsyncr_syncpeer.s_addr.to_ne_bytes();
        let peer = (address != [0; 4]).then_some(Peer::Inet(address));
        let defer = old.pfsyncr_defer as u32 & sys::PFSYNCF_DEFER != 0;
        let maxupd = u64::try_from(old.pfsyncr_maxupdates).ok()?;
        self.changed((!name.is_empty()).then(|| name.to_string()), peer, maxupd, 0, defer)
    }

    fn changed(
        &self,
        syncdev: Option<String>,
        peer: Option<Peer>,
        maxupd: u64,
        version: u64,
        defer: bool,
    ) -> Option<Settings> {
        if syncdev.as_ref().is_some_and(|name| !INTERFACES.contains(&name.as_str())) || maxupd > 255 {
            return None;
        }
        let version = match version {
            0 => NEWEST,
            1301 | 1400 | 1500 if version <= NEWEST => version,
            _ => return None,
        };
        let peer = match peer {
            Some(Peer::Inet([0, 0, 0, 0])) => Some(Peer::Inet(GROUP4)),
            Some(Peer::Inet6(addr, scope)) if addr == [0; 16] => Some(Peer::Inet6(GROUP6, scope)),
            Some(peer) => Some(peer),
            None if syncdev.is_some() => Some(Peer::Inet(GROUP4)),
            None => self.peer,
        };
        let to_group = match peer {
            Some(Peer::Inet([first, ..])) => (224..240).contains(&first),
            Some(Peer::Inet6([first, ..], _)) => first == 0xff,
            None => false,
        };
        // pfsync0 itself knows no multicast.
        let possible = syncdev.as_deref() != Some("pfsync0") || !to_group;
        possible.then_some(Settings { syncdev, peer, maxupd, defer, version })
    }
}

/// The peer in a list, if the list says one; outside, `None` refuses it.
pub fn parse_peer(list: &List) -> Option<Option<Peer>> {
    let Some(Value::Binary(address)) = list.get(c"address") else { return None };
    match u32::try_from(list.number(c"af")?).ok()? {
        sys::AF_UNSPEC => Some(Some(Peer::Inet([0; 4]))),
        sys::AF_INET if address.len() == 16 => Some(Some(Peer::Inet(address[4..8].try_into().ok()?))),
        sys::AF_INET6 if address.len() == 28 => {
            let scope = u32::from_le_bytes(address[24..28].try_into().ok()?);
            Some(Some(Peer::Inet6(address[8..24].try_into().ok()?, scope)))
        }
        _ => None,
    }
}
