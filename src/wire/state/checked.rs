// SPDX-License-Identifier: BSD-2-Clause
//! Whole states in messages that passed the checks.

use super::common::{counter, rule, RawCommon};
use super::content::{Changes, Content};
use super::{Direction, Family, IfName, Key, RawState1400, RawState1500, RuleActions, StateFlags, TagName};
use crate::wire::message::CheckedUpdate;
use crate::wire::{Endpoint, StateId};

/// A whole state in a message that passed the checks: the values that every format
/// has in the same place are read where they lie, and this holds the others.
#[derive(Clone, Copy, Debug)]
pub struct CheckedState<'a> {
    pub(super) common: &'a RawCommon,
    pub(super) ifname: IfName,
    pub(super) families: [Family; 2],
    pub(super) direction: Direction,
    pub(super) own: OwnFields<'a>,
}

/// The fields after [`RawCommon`], which each format lays out in its own way.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnFields<'a> {
    /// Protocols of the wire key and the stack key.
    pub(super) protos: [u8; 2],
    pub(super) orig_ifname: Option<IfName>,
    pub(super) log: u8,
    pub(super) flags: StateFlags,
    pub(super) timeout: u8,
    pub(super) sync_flags: u8,
    pub(super) updates: u8,
    pub(super) rule_actions: ActionFields<'a>,
    /// Address family of the gateway, if there is a route.
    pub(super) gateway_family: Option<Family>,
    /// The name of the tag, which is terminated.
    pub(super) tag: Option<&'a [u8; TagName::SIZE]>,
}

/// Where the rule actions lie.
#[derive(Clone, Copy, Debug)]
pub(super) enum ActionFields<'a> {
    /// Format 1301 has none.
    None,
    V1400(&'a RawState1400),
    V1500(&'a RawState1500),
}

impl CheckedState<'_> {
    /// What changes during the life of the state.
    pub fn update(&self) -> CheckedUpdate<'_> {
        let RawCommon { src, dst, .. } = self.common;
        CheckedUpdate { id: self.id(), src, dst, timeout: self.own.timeout }
    }

    /// The wire key, where it lies.
    pub fn wire_key(&self) -> &Key {
        let [wire, _] = &self.common.key;
        wire
    }

    /// The stack key, where it lies.
    pub fn stack_key(&self) -> &Key {
        let [_, stack] = &self.common.key;
        stack
    }
}

impl Changes for CheckedState<'_> {
    fn id(&self) -> StateId {
        self.common.state_id()
    }

    fn src(&self) -> Endpoint {
        self.common.src.content()
    }

    fn dst(&self) -> Endpoint {
        self.common.dst.content()
    }

    fn timeout(&self) -> u8 {
        self.own.timeout
    }
}

impl Content for CheckedState<'_> {
    fn ifname(&self) -> IfName {
        self.ifname
    }

    fn orig_ifname(&self) -> Option<IfName> {
        self.own.orig_ifname
    }

    fn wire(&self) -> Key {
        *self.wire_key()
    }

    fn stack(&self) -> Key {
        *self.stack_key()
    }

    fn family(&self) -> Family {
        let [wire, _] = self.families;
        wire
    }

    fn proto(&self) -> u8 {
        let [wire, _] = self.own.protos;
        wire
    }

    fn stack_family(&self) -> Family {
        let [_, stack] = self.families;
        stack
    }

    fn stack_proto(&self) -> u8 {
        let [_, stack] = self.own.protos;
        stack
    }

    fn direction(&self) -> Direction {
        self.direction
    }

    fn rt_addr(&self) -> [u8; 16] {
        self.common.rt_addr
    }

    fn rule(&self) -> Option<u32> {
        rule(self.common.rule)
    }

    fn anchor(&self) -> Option<u32> {
        rule(self.common.anchor)
    }

    fn nat_rule(&self) -> Option<u32> {
        rule(self.common.nat_rule)
    }

    fn age(&self) -> u32 {
        self.common.creation.get()
    }

    fn expires_in(&self) -> u32 {
        self.common.expire.get()
    }

    fn packets(&self) -> [u64; 2] {
        self.common.packets.map(counter)
    }

    fn bytes(&self) -> [u64; 2] {
        self.common.bytes.map(counter)
    }

    fn log(&self) -> u8 {
        self.own.log
    }

    fn flags(&self) -> StateFlags {
        self.own.flags
    }

    fn sync_flags(&self) -> u8 {
        self.own.sync_flags
    }

    fn updates(&self) -> u8 {
        self.own.updates
    }

    #[inline(always)]
    fn rule_actions(&self) -> Option<RuleActions> {
        match self.own.rule_actions {
            ActionFields::None => None,
            ActionFields::V1400(raw) => Some(raw.rule_actions()),
            ActionFields::V1500(raw) => Some(raw.rule_actions()),
        }
    }

    fn gateway_family(&self) -> Option<Family> {
        self.own.gateway_family
    }

    fn has_tag(&self) -> bool {
        self.own.tag.is_some()
    }

    fn is_translated(&self) -> bool {
        let [wire, stack] = self.families;
        self.wire_key() != self.stack_key() || wire != stack
    }

    fn tag(&self) -> Option<TagName> {
        // It is terminated: the checks have seen to that.
        TagName::new(self.own.tag?).ok().flatten()
    }
}
