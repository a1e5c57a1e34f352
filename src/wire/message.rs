// SPDX-License-Identifier: BSD-2-Clause
//! The messages that are not whole states.

use super::{Changes, Endpoint, IfName, Invalid, RawEndpoint, StateId};
use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A clear (`struct pfsync_clr`, 20 bytes): all states of a creator are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawClear {
    /// Name of the interface whose states were cleared. Empty for every
    /// interface.
    pub ifname: [u8; 16],
    /// Host id of the creator.
    pub creator: [u8; 4],
}

/// The checked content of a [`RawClear`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clear {
    /// The interface whose states were cleared. `None` for every interface.
    pub ifname: Option<IfName>,
    /// Host id of the creator, in network byte order.
    pub creator: [u8; 4],
}

impl RawClear {
    /// The content. Fails with [`Invalid::InterfaceName`].
    pub fn check(&self) -> Result<Clear, Invalid> {
        let ifname = match self.ifname {
            [0, ..] => None,
            name => Some(IfName::new(&name)?),
        };
        Ok(Clear { ifname, creator: self.creator })
    }
}

impl From<&Clear> for RawClear {
    fn from(clear: &Clear) -> RawClear {
        RawClear { ifname: clear.ifname.map_or([0; 16], |name| *name.bytes()), creator: clear.creator }
    }
}

/// A message that only names a state (12 bytes): `struct pfsync_ins_ack`,
/// `struct pfsync_upd_req` and `struct pfsync_del_c` have the same layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawId {
    /// Number of the state.
    pub id: [u8; 8],
    /// Host id of its creator.
    pub creator: [u8; 4],
}

impl From<RawId> for StateId {
    fn from(raw: RawId) -> StateId {
        StateId { id: raw.id, creator: raw.creator }
    }
}

impl From<StateId> for RawId {
    fn from(id: StateId) -> RawId {
        RawId { id: id.id, creator: id.creator }
    }
}

/// A compressed update (`struct pfsync_upd_c`, 84 bytes): the part of a state that
/// changes during its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawCompressedUpdate {
    /// Number of the state.
    pub id: [u8; 8],
    /// The source endpoint.
    pub src: RawEndpoint,
    /// The destination endpoint.
    pub dst: RawEndpoint,
    /// Host id of the state's creator.
    pub creator: [u8; 4],
    /// Sent as 0, as by the stock module, and ignored.
    pub expire: U32,
    /// `PFTM_*`.
    pub timeout: u8,
    /// Sent as 0 and ignored.
    pub pad: [u8; 3],
}

impl RawCompressedUpdate {
    /// The state that changed.
    pub fn state_id(&self) -> StateId {
        StateId { id: self.id, creator: self.creator }
    }

    /// The content, checked for a state of IP protocol `proto`. The message does
    /// not carry the protocol: pass `None` until the state is found.
    ///
    /// Fails with [`Invalid::Timeout`], [`Invalid::EndpointState`] or
    /// [`Invalid::WindowScale`].
    pub fn check(&self, proto: Option<u8>) -> Result<CompressedUpdate, Invalid> {
        self.checked(proto).map(|update| CompressedUpdate {
            id: update.id(),
            src: update.src(),
            dst: update.dst(),
            timeout: update.timeout(),
        })
    }

    /// The same content, where it lies.
    pub fn checked(&self, proto: Option<u8>) -> Result<CheckedUpdate<'_>, Invalid> {
        if !super::state::is_state_timeout(self.timeout) {
            return Err(Invalid::Timeout);
        }
        self.src.verify(proto)?;
        self.dst.verify(proto)?;
        Ok(CheckedUpdate { id: self.state_id(), src: &self.src, dst: &self.dst, timeout: self.timeout })
    }

    /// Writes every field of the message.
    #[inline]
    pub fn write(&mut self, changes: &impl Changes) {
        let StateId { id, creator } = changes.id();
        self.id = id;
        self.src.write(&changes.src());
        self.dst.write(&changes.dst());
        self.creator = creator;
        self.expire = U32::new(0);
        self.timeout = changes.timeout();
        self.pad = [0; 3];
    }
}

/// What an update says about a state, in a message that passed the checks: the part that
/// changes during the life of a state. The endpoints are read where they lie.
#[derive(Clone, Copy, Debug)]
pub struct CheckedUpdate<'a> {
    pub(super) id: StateId,
    pub(super) src: &'a RawEndpoint,
    pub(super) dst: &'a RawEndpoint,
    pub(super) timeout: u8,
}

impl Changes for CheckedUpdate<'_> {
    fn id(&self) -> StateId {
        self.id
    }

    fn src(&self) -> Endpoint {
        self.src.content()
    }

    fn dst(&self) -> Endpoint {
        self.dst.content()
    }

    fn timeout(&self) -> u8 {
        self.timeout
    }
}

/// The checked content of a [`RawCompressedUpdate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressedUpdate {
    /// The state that changed.
    pub id: StateId,
    /// The source endpoint.
    pub src: Endpoint,
    /// The destination endpoint.
    pub dst: Endpoint,
    /// The timeout that applies now, one that states use (`PFTM_*`).
    pub timeout: u8,
}

impl From<&CompressedUpdate> for RawCompressedUpdate {
    fn from(update: &CompressedUpdate) -> RawCompressedUpdate {
        let mut raw = RawCompressedUpdate::new_zeroed();
        raw.write(update);
        raw
    }
}

/// A bulk status (`struct pfsync_bus`, 12 bytes): a bulk update starts or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawBulkStatus {
    /// Host id of the sender.
    pub creator: [u8; 4],
    /// Seconds since the sender received the request that it answers.
    pub endtime: U32,
    /// The number of a [`BulkMark`].
    pub status: u8,
    /// Sent as 0 and ignored.
    pub pad: [u8; 3],
}

/// The two marks of a bulk update (`PFSYNC_BUS_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BulkMark {
    /// The states follow.
    Start = 1,
    /// All states were sent.
    End = 2,
}

/// The checked content of a [`RawBulkStatus`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkStatus {
    /// Host id of the sender, in network byte order.
    pub creator: [u8; 4],
    /// Seconds since the sender received the request that it answers.
    pub age: u32,
    /// Start or end.
    pub mark: BulkMark,
}

impl RawBulkStatus {
    /// The content. Fails with [`Invalid::BulkStatus`].
    pub fn check(&self) -> Result<BulkStatus, Invalid> {
        let mark = match self.status {
            1 => BulkMark::Start,
            2 => BulkMark::End,
            _ => return Err(Invalid::BulkStatus),
        };
        Ok(BulkStatus { creator: self.creator, age: self.endtime.get(), mark })
    }
}

impl From<&BulkStatus> for RawBulkStatus {
    fn from(status: &BulkStatus) -> RawBulkStatus {
        RawBulkStatus {
            creator: status.creator,
            endtime: U32::new(status.age),
            status: status.mark as u8,
            pad: [0; 3],
        }
    }
}

/// An IPsec replay counter of OpenBSD (`struct pfsync_tdb`, 48 bytes). FreeBSD
/// counts and skips it, so it is never checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawTdb {
    /// Security parameter index.
    pub spi: U32,
    /// Destination address: `union sockaddr_union`, which has the size of a
    /// `struct sockaddr_in6`.
    pub dst: [u8; 28],
    /// Replay counter.
    pub rpl: U32,
    /// Bytes processed.
    pub cur_bytes: U64,
    /// IP protocol number: ESP or AH.
    pub sproto: u8,
    /// How many updates of the counter the message stands for.
    pub updates: u8,
    /// Sent as 0 and ignored.
    pub pad: [u8; 2],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_match_the_c_headers() {
        assert_eq!(size_of::<RawClear>(), 20);
        assert_eq!(size_of::<RawId>(), 12);
        assert_eq!(size_of::<RawCompressedUpdate>(), 84);
        assert_eq!(size_of::<RawBulkStatus>(), 12);
        assert_eq!(size_of::<RawTdb>(), 48);
    }

    #[test]
    fn a_compressed_update_checks_timeout_and_endpoints() {
        let mut raw = RawCompressedUpdate::new_zeroed();
        raw.timeout = 24;
        assert!(raw.check(None).is_ok());
        raw.timeout = 25;
        assert_eq!(raw.check(None), Err(Invalid::Timeout));
        raw.timeout = 0;
        raw.dst.state = 3;
        assert!(raw.check(Some(6)).is_ok());
        assert_eq!(raw.check(Some(17)), Err(Invalid::EndpointState));
    }

    #[test]
    fn every_byte_of_a_compressed_update_is_written() {
        let update = RawCompressedUpdate::new_zeroed().check(None).unwrap();
        let mut raw = RawCompressedUpdate::read_from_bytes(&[0xaa; 84]).unwrap();
        raw.write(&update);
        assert_eq!(raw, RawCompressedUpdate::new_zeroed());
    }

    #[test]
    fn a_bulk_status_is_start_or_end() {
        let mut raw = RawBulkStatus::new_zeroed();
        assert_eq!(raw.check(), Err(Invalid::BulkStatus));
        raw.status = 2;
        raw.endtime = U32::new(7);
        let status = raw.check().unwrap();
        assert_eq!((status.mark, status.age), (BulkMark::End, 7));
        assert_eq!(RawBulkStatus::from(&status), raw);
        raw.status = 3;
        assert_eq!(raw.check(), Err(Invalid::BulkStatus));
    }

    #[test]
    fn a_clear_names_an_interface_or_all() {
        let mut raw = RawClear::new_zeroed();
        assert_eq!(raw.check().unwrap().ifname, None);
        raw.ifname[..4].copy_from_slice(b"em0\0");
        assert_eq!(raw.check().unwrap().ifname.unwrap().as_bytes(), b"em0");
        raw.ifname = [b'x'; 16];
        assert_eq!(raw.check(), Err(Invalid::InterfaceName));
    }
}
