// SPDX-License-Identifier: BSD-2-Clause
//! Format 1500, since FreeBSD 15.0.

use super::common::{check_rule_actions, raw_state, route, FormatFields, RawCommon};
use super::{IfName, RouteTo, RuleActions, State, TagName};
use crate::wire::Invalid;
use zerocopy::byteorder::big_endian::{I32, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A state in format 1500 (`struct pfsync_state_1500` in `net/pfvar.h`, 360
/// bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawState1500 {
    /// The fields that every format begins with.
    pub common: RawCommon,
    /// Name of the tag that pf puts on the packets. Empty for none.
    pub tagname: [u8; TagName::SIZE],
    /// Name of the interface that the packets are routed to.
    pub rt_ifname: [u8; 16],
    /// Name of the interface on which the state was created.
    pub orig_ifname: [u8; 16],
    /// See [`RuleActions::rtableid`].
    pub rtableid: I32,
    /// [`StateFlags`](super::StateFlags).
    pub state_flags: U16,
    /// See [`RuleActions::qid`].
    pub qid: U16,
    /// See [`RuleActions::pqid`].
    pub pqid: U16,
    /// See [`RuleActions::dnpipe`].
    pub dnpipe: U16,
    /// See [`RuleActions::dnrpipe`].
    pub dnrpipe: U16,
    /// See [`RuleActions::max_mss`].
    pub max_mss: U16,
    /// Address family of the wire key (`AF_*`).
    pub wire_af: u8,
    /// Address family of the stack key (`AF_*`).
    pub stack_af: u8,
    /// Address family of the gateway (`AF_*`).
    pub rt_af: u8,
    /// IP protocol number of the wire key.
    pub wire_proto: u8,
    /// IP protocol number of the stack key.
    pub stack_proto: u8,
    /// `PF_LOG*`.
    pub log: u8,
    /// `PFTM_*`.
    pub timeout: u8,
    /// `PF_IN` (1) or `PF_OUT` (2).
    pub direction: u8,
    /// Kind of routing (`PF_NOPFROUTE` to `PF_REPLYTO`).
    pub rt: u8,
    /// See [`RuleActions::min_ttl`].
    pub min_ttl: u8,
    /// See [`RuleActions::set_tos`].
    pub set_tos: u8,
    /// See [`RuleActions::set_prio`].
    pub set_prio: [u8; 2],
    /// Sent as 0 and ignored.
    pub spare: [u8; 3],
}

impl RawState1500 {
    /// The content. Fails with the [`Invalid`] field.
    pub fn check(&self) -> Result<State, Invalid> {
        let rule_actions = check_rule_actions!(self, route_af: self.rt_af);
        self.common.check(FormatFields {
            families: [self.wire_af, self.stack_af],
            protos: [self.wire_proto, self.stack_proto],
            orig_ifname: Some(IfName::new(&self.orig_ifname)?),
            direction: self.direction,
            log: self.log,
            flags: self.state_flags.get(),
            timeout: self.timeout,
            sync_flags: 0,
            updates: 0,
            rule_actions: Some(rule_actions),
            tag: TagName::new(&self.tagname)?,
        })
    }
}

impl From<&State> for RawState1500 {
    fn from(state: &State) -> RawState1500 {
        let actions = state.rule_actions.unwrap_or(RuleActions::NONE);
        let (rt, rt_ifname, rt_af) = match actions.route {
            RouteTo::No => (0, [0; 16], 0),
            RouteTo::Via { kind, ifname, family } => (kind, *ifname.bytes(), family as u8),
        };
        raw_state!(RawState1500, state, actions, {
            tagname: state.tag.map_or([0; TagName::SIZE], |tag| *tag.bytes()),
            orig_ifname: *state.orig_ifname.unwrap_or(state.ifname).bytes(),
            wire_af: state.family as u8,
            stack_af: state.stack_family as u8,
            wire_proto: state.proto,
            stack_proto: state.stack_proto,
            rt,
            rt_ifname,
            rt_af,
            spare: [0; 3],
        })
    }
}
