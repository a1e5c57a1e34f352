// SPDX-License-Identifier: BSD-2-Clause
//! Format 1500, since FreeBSD 15.0.

use super::checked::{ActionFields, CheckedState, OwnFields};
use super::common::{check_actions, read_rule_actions, route, write_fields, RawCommon};
use super::content::Content;
use super::{IfName, RouteTo, RuleActions, State, StateFlags, TagName};
use crate::wire::Invalid;
use zerocopy::byteorder::big_endian::{I32, U16};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

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
    /// [`StateFlags`].
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
        self.checked().map(|state| State::of(&state))
    }

    /// The content, where it lies. Fails with the [`Invalid`] field.
    pub fn checked(&self) -> Result<CheckedState<'_>, Invalid> {
        let flags = StateFlags::from_bits_truncate(self.state_flags.get());
        let gateway_family = self.route()?.gateway_family();
        check_actions(flags, self.rtableid.get(), self.set_prio)?;
        let own = OwnFields {
            protos: [self.wire_proto, self.stack_proto],
            orig_ifname: Some(IfName::new(&self.orig_ifname)?),
            log: self.log,
            flags,
            timeout: self.timeout,
            sync_flags: 0,
            updates: 0,
            rule_actions: ActionFields::V1500(self),
            gateway_family,
            tag: match self.tagname {
                [0, ..] => None,
                _ if !self.tagname.contains(&0) => return Err(Invalid::Tag),
                _ => Some(&self.tagname),
            },
        };
        self.common.checked([self.wire_af, self.stack_af], self.direction, own)
    }

    fn route(&self) -> Result<RouteTo, Invalid> {
        route(self.rt, &self.rt_ifname, self.rt_af)
    }

    /// The rule actions, after the checks.
    #[inline(always)]
    pub(super) fn rule_actions(&self) -> RuleActions {
        read_rule_actions!(self, self.route().unwrap_or(RouteTo::No))
    }

    /// Writes every field of the message.
    pub fn write(&mut self, content: &impl Content) {
        let route = write_fields!(self, content);
        (self.rt, self.rt_ifname, self.rt_af) = match route {
            RouteTo::No => (0, [0; 16], 0),
            RouteTo::Via { kind, ifname, family } => (kind, *ifname.bytes(), family as u8),
        };
        self.tagname = content.tag().map_or([0; TagName::SIZE], |tag| *tag.bytes());
        self.orig_ifname = *content.orig_ifname().unwrap_or_else(|| content.ifname()).bytes();
        self.wire_af = content.family() as u8;
        self.stack_af = content.stack_family() as u8;
        self.wire_proto = content.proto();
        self.stack_proto = content.stack_proto();
        self.spare = [0; 3];
    }
}

impl From<&State> for RawState1500 {
    fn from(state: &State) -> RawState1500 {
        let mut raw = RawState1500::new_zeroed();
        raw.write(state);
        raw
    }
}
