// SPDX-License-Identifier: BSD-2-Clause
//! Format 1400, since FreeBSD 14.0.

use super::checked::{ActionFields, CheckedState, OwnFields};
use super::common::{check_actions, read_rule_actions, route, write_fields, RawCommon};
use super::content::Content;
use super::{RouteTo, RuleActions, State, StateFlags};
use crate::wire::Invalid;
use zerocopy::byteorder::big_endian::{I32, U16};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A state in format 1400 (`struct pfsync_state_1400` in `net/pfvar.h`, 277
/// bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawState1400 {
    /// The fields that every format begins with.
    pub common: RawCommon,
    /// Address family of the keys and of the gateway (`AF_*`).
    pub af: u8,
    /// IP protocol number of the keys.
    pub proto: u8,
    /// `PF_IN` (1) or `PF_OUT` (2).
    pub direction: u8,
    /// [`StateFlags`].
    pub state_flags: U16,
    /// `PF_LOG*`.
    pub log: u8,
    /// Sent as 0 and ignored.
    pub spare: u8,
    /// `PFTM_*`.
    pub timeout: u8,
    /// `PFSYNC_FLAG_*`.
    pub sync_flags: u8,
    /// See [`State::updates`].
    pub updates: u8,
    /// See [`RuleActions::qid`].
    pub qid: U16,
    /// See [`RuleActions::pqid`].
    pub pqid: U16,
    /// See [`RuleActions::dnpipe`].
    pub dnpipe: U16,
    /// See [`RuleActions::dnrpipe`].
    pub dnrpipe: U16,
    /// See [`RuleActions::rtableid`].
    pub rtableid: I32,
    /// See [`RuleActions::min_ttl`].
    pub min_ttl: u8,
    /// See [`RuleActions::set_tos`].
    pub set_tos: u8,
    /// See [`RuleActions::max_mss`].
    pub max_mss: U16,
    /// See [`RuleActions::set_prio`].
    pub set_prio: [u8; 2],
    /// Kind of routing (`PF_NOPFROUTE` to `PF_REPLYTO`).
    pub rt: u8,
    /// Name of the interface that the packets are routed to.
    pub rt_ifname: [u8; 16],
}

impl RawState1400 {
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
            protos: [self.proto; 2],
            orig_ifname: None,
            log: self.log,
            flags,
            timeout: self.timeout,
            sync_flags: self.sync_flags,
            updates: self.updates,
            rule_actions: ActionFields::V1400(self),
            gateway_family,
            tag: None,
        };
        self.common.checked([self.af; 2], self.direction, own)
    }

    fn route(&self) -> Result<RouteTo, Invalid> {
        route(self.rt, &self.rt_ifname, self.af)
    }

    /// The rule actions, after the checks.
    #[inline(always)]
    pub(super) fn rule_actions(&self) -> RuleActions {
        read_rule_actions!(self, self.route().unwrap_or(RouteTo::No))
    }

    /// Writes every field of the message.
    pub fn write(&mut self, content: &impl Content) {
        let route = write_fields!(self, content);
        (self.rt, self.rt_ifname) = match route {
            RouteTo::No => (0, [0; 16]),
            RouteTo::Via { kind, ifname, .. } => (kind, *ifname.bytes()),
        };
        self.af = content.family() as u8;
        self.proto = content.proto();
        self.spare = 0;
        self.sync_flags = content.sync_flags();
        self.updates = content.updates();
    }
}

impl From<&State> for RawState1400 {
    fn from(state: &State) -> RawState1400 {
        let mut raw = RawState1400::new_zeroed();
        raw.write(state);
        raw
    }
}
