//! Format 1400: FreeBSD 14.

use super::common::{route, RawCommon, Tail, NO_EXTRA};
use super::{Extra, RouteTo, State};
use crate::wire::Invalid;
use zerocopy::byteorder::big_endian::{I32, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `struct pfsync_state_1400`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawState1400 {
    pub common: RawCommon,
    pub af: u8,
    pub proto: u8,
    pub direction: u8,
    pub state_flags: U16,
    pub log: u8,
    pub spare: u8,
    pub timeout: u8,
    pub sync_flags: u8,
    pub updates: u8,
    pub qid: U16,
    pub pqid: U16,
    pub dnpipe: U16,
    pub dnrpipe: U16,
    pub rtableid: I32,
    pub min_ttl: u8,
    pub set_tos: u8,
    pub max_mss: U16,
    pub set_prio: [u8; 2],
    pub rt: u8,
    pub rt_ifname: [u8; 16],
}

impl RawState1400 {
    /// The state, if pf can have it.
    pub fn check(&self) -> Result<State, Invalid> {
        let extra = Extra {
            qid: self.qid.get(),
            pqid: self.pqid.get(),
            dnpipe: self.dnpipe.get(),
            dnrpipe: self.dnrpipe.get(),
            rtableid: self.rtableid.get(),
            min_ttl: self.min_ttl,
            set_tos: self.set_tos,
            max_mss: self.max_mss.get(),
            set_prio: self.set_prio,
            route: route(self.rt, &self.rt_ifname, self.af)?,
        };
        self.common.check(Tail {
            families: [self.af; 2],
            protos: [self.proto; 2],
            orig_ifname: None,
            direction: self.direction,
            log: self.log,
            flags: self.state_flags.get(),
            timeout: self.timeout,
            sync_flags: self.sync_flags,
            updates: self.updates,
            extra: Some(extra.check(self.state_flags.get())?),
            tag: None,
        })
    }
}

impl From<&State> for RawState1400 {
    fn from(state: &State) -> RawState1400 {
        let extra = state.extra.unwrap_or(NO_EXTRA);
        let (rt, rt_ifname) = match extra.route {
            RouteTo::No => (0, [0; 16]),
            RouteTo::Fast { kind, ifname, .. } => (kind, *ifname.bytes()),
        };
        RawState1400 {
            common: state.into(),
            af: state.family as u8,
            proto: state.proto,
            direction: state.direction as u8,
            state_flags: U16::new(state.flags.bits()),
            log: state.log,
            spare: 0,
            timeout: state.timeout,
            sync_flags: state.sync_flags,
            updates: state.updates,
            qid: U16::new(extra.qid),
            pqid: U16::new(extra.pqid),
            dnpipe: U16::new(extra.dnpipe),
            dnrpipe: U16::new(extra.dnrpipe),
            rtableid: I32::new(extra.rtableid),
            min_ttl: extra.min_ttl,
            set_tos: extra.set_tos,
            max_mss: U16::new(extra.max_mss),
            set_prio: extra.set_prio,
            rt,
            rt_ifname,
        }
    }
}
