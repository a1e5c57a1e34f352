//! The messages that are not whole states.

use super::{IfName, Invalid, Peer, RawPeer, StateId};
use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `struct pfsync_clr`: forget all states of a creator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawClear {
    /// The interface whose states were cleared; empty for all.
    pub ifname: [u8; 16],
    pub creator: [u8; 4],
}

/// A checked [`RawClear`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clear {
    /// `None` for every interface.
    pub ifname: Option<IfName>,
    /// In network byte order.
    pub creator: [u8; 4],
}

impl RawClear {
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

/// `struct pfsync_ins_ack`, `pfsync_upd_req` and `pfsync_del_c`, which are the
/// same: the state that was inserted, is asked for, or was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawId {
    pub id: [u8; 8],
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

/// `struct pfsync_upd_c`: what changes in the life of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawCompressedUpdate {
    pub id: [u8; 8],
    pub src: RawPeer,
    pub dst: RawPeer,
    pub creator: [u8; 4],
    /// Never filled in by the C module, and ignored.
    pub expire: U32,
    /// `PFTM_*`.
    pub timeout: u8,
    pub pad: [u8; 3],
}

impl RawCompressedUpdate {
    pub fn state_id(&self) -> StateId {
        StateId { id: self.id, creator: self.creator }
    }

    /// The update, if it is one for a state of IP protocol `proto`; `None`
    /// when that is not known yet.
    pub fn check(&self, proto: Option<u8>) -> Result<CompressedUpdate, Invalid> {
        if !super::state::is_state_timeout(self.timeout) {
            return Err(Invalid::Timeout);
        }
        Ok(CompressedUpdate {
            id: self.state_id(),
            src: self.src.check(proto)?,
            dst: self.dst.check(proto)?,
            timeout: self.timeout,
        })
    }
}

/// A checked [`RawCompressedUpdate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressedUpdate {
    pub id: StateId,
    pub src: Peer,
    pub dst: Peer,
    /// `PFTM_*`, one that states use.
    pub timeout: u8,
}

impl From<&CompressedUpdate> for RawCompressedUpdate {
    fn from(update: &CompressedUpdate) -> RawCompressedUpdate {
        RawCompressedUpdate {
            id: update.id.id,
            src: (&update.src).into(),
            dst: (&update.dst).into(),
            creator: update.id.creator,
            expire: U32::new(0),
            timeout: update.timeout,
            pad: [0; 3],
        }
    }
}

/// `struct pfsync_bus`: a full update begins or is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawBulkStatus {
    pub creator: [u8; 4],
    pub endtime: U32,
    /// `PFSYNC_BUS_START` (1) or `PFSYNC_BUS_END` (2).
    pub status: u8,
    pub pad: [u8; 3],
}

/// Which end of a full update a [`BulkStatus`] marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BulkMark {
    Start = 1,
    End = 2,
}

/// A checked [`RawBulkStatus`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkStatus {
    /// Host id of the sender, in network byte order.
    pub creator: [u8; 4],
    /// Seconds since the sender received the request that it answers.
    pub age: u32,
    pub mark: BulkMark,
}

impl RawBulkStatus {
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

/// `struct pfsync_tdb`: an IPsec replay counter of OpenBSD's. FreeBSD counts
/// and skips it, so only its length matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawTdb {
    pub spi: U32,
    /// `union sockaddr_union`, the size of a `struct sockaddr_in6`.
    pub dst: [u8; 28],
    pub rpl: U32,
    pub cur_bytes: U64,
    pub sproto: u8,
    pub updates: u8,
    pub pad: [u8; 2],
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    #[test]
    fn sizes_are_the_headers() {
        assert_eq!(size_of::<RawClear>(), 20);
        assert_eq!(size_of::<RawId>(), 12);
        assert_eq!(size_of::<RawCompressedUpdate>(), 84);
        assert_eq!(size_of::<RawBulkStatus>(), 12);
        assert_eq!(size_of::<RawTdb>(), 48);
    }

    #[test]
    fn compressed_update_checks_timeout_and_peers() {
        let mut raw = RawCompressedUpdate::new_zeroed();
        raw.timeout = 24;
        assert!(raw.check(None).is_ok());
        raw.timeout = 25;
        assert_eq!(raw.check(None), Err(Invalid::Timeout));
        raw.timeout = 0;
        raw.dst.state = 3;
        assert!(raw.check(Some(6)).is_ok());
        assert_eq!(raw.check(Some(17)), Err(Invalid::PeerState));
    }

    #[test]
    fn bulk_status_is_start_or_end() {
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
    fn clear_names_an_interface_or_all() {
        let mut raw = RawClear::new_zeroed();
        assert_eq!(raw.check().unwrap().ifname, None);
        raw.ifname[..4].copy_from_slice(b"em0\0");
        assert_eq!(raw.check().unwrap().ifname.unwrap().as_str(), "em0");
        raw.ifname = [b'x'; 16];
        assert_eq!(raw.check(), Err(Invalid::InterfaceName));
    }
}
