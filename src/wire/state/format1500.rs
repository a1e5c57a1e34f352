//! Format 1500: FreeBSD 15.

use super::common::{route, RawCommon, Tail, NO_EXTRA};
use super::{Extra, IfName, RouteTo, State, TagName};
use crate::wire::Invalid;
use zerocopy::byteorder::big_endian::{I32, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `struct pfsync_state_1500`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawState1500 {
    pub common: RawCommon,
    /// Empty for none.
    pub tagname: [u8; TagName::SIZE],
    pub rt_ifname: [u8; 16],
    pub orig_ifname: [u8; 16],
    pub rtableid: I32,
    pub state_flags: U16,
    pub qid: U16,
    pub pqid: U16,
    pub dnpipe: U16,
    pub dnrpipe: U16,
    pub max_mss: U16,
    pub wire_af: u8,
    pub stack_af: u8,
    /// Of `rt_addr`.
    pub rt_af: u8,
    pub wire_proto: u8,
    pub stack_proto: u8,
    pub log: u8,
    pub timeout: u8,
    pub direction: u8,
    pub rt: u8,
    pub min_ttl: u8,
    pub set_tos: u8,
    pub set_prio: [u8; 2],
    pub spare: [u8; 3],
}

impl RawState1500 {
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
            route: route(self.rt, &self.rt_ifname, self.rt_af)?,
        };
        self.common.check(Tail {
            families: [self.wire_af, self.stack_af],
            protos: [self.wire_proto, self.stack_proto],
            orig_ifname: Some(IfName::new(&self.orig_ifname)?),
            direction: self.direction,
            log: self.log,
            flags: self.state_flags.get(),
            timeout: self.timeout,
            sync_flags: 0,
            updates: 0,
            extra: Some(extra.check(self.state_flags.get())?),
            tag: TagName::new(&self.tagname)?,
        })
    }
}

impl From<&State> for RawState1500 {
    fn from(state: &State) -> RawState1500 {
        let extra = state.extra.unwrap_or(NO_EXTRA);
        let (rt, rt_ifname, rt_af) = match extra.route {
            RouteTo::No => (0, [0; 16], 0),
            RouteTo::Fast { kind, ifname, family } => (kind, *ifname.bytes(), family as u8),
        };
        RawState1500 {
            common: state.into(),
            tagname: state.tag.map_or([0; TagName::SIZE], |tag| *tag.bytes()),
            rt_ifname,
            orig_ifname: *state.orig_ifname.unwrap_or(state.ifname).bytes(),
            rtableid: I32::new(extra.rtableid),
            state_flags: U16::new(state.flags.bits()),
            qid: U16::new(extra.qid),
            pqid: U16::new(extra.pqid),
            dnpipe: U16::new(extra.dnpipe),
            dnrpipe: U16::new(extra.dnrpipe),
            max_mss: U16::new(extra.max_mss),
            wire_af: state.family as u8,
            stack_af: state.stack_family as u8,
            rt_af,
            wire_proto: state.proto,
            stack_proto: state.stack_proto,
            log: state.log,
            timeout: state.timeout,
            direction: state.direction as u8,
            rt,
            min_ttl: extra.min_ttl,
            set_tos: extra.set_tos,
            set_prio: extra.set_prio,
            spare: [0; 3],
        }
    }
}
