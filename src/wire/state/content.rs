// SPDX-License-Identifier: BSD-2-Clause
//! What a message says about a state, wherever that lies: in a message that was
//! read, in pf's table, or in a [`State`]. Each value is copied from there to
//! where it is needed, once.

use super::{Direction, Family, Format, IfName, Key, RuleActions, State, StateFlags, TagName};
use crate::wire::{CompressedUpdate, Endpoint, StateId};

/// The part of a state that changes during its life, in host byte order.
pub trait Changes {
    /// The identity of the state.
    fn id(&self) -> StateId;
    /// The source endpoint.
    fn src(&self) -> Endpoint;
    /// The destination endpoint.
    fn dst(&self) -> Endpoint;
    /// See [`State::timeout`].
    fn timeout(&self) -> u8;
}

/// A whole state, in host byte order. [`State`] says what each value means.
pub trait Content: Changes {
    /// See [`State::ifname`].
    fn ifname(&self) -> IfName;
    /// See [`State::orig_ifname`].
    fn orig_ifname(&self) -> Option<IfName>;
    /// See [`State::wire`].
    fn wire(&self) -> Key;
    /// See [`State::stack`].
    fn stack(&self) -> Key;
    /// See [`State::family`].
    fn family(&self) -> Family;
    /// See [`State::proto`].
    fn proto(&self) -> u8;
    /// See [`State::stack_family`].
    fn stack_family(&self) -> Family;
    /// See [`State::stack_proto`].
    fn stack_proto(&self) -> u8;
    /// See [`State::direction`].
    fn direction(&self) -> Direction;
    /// See [`State::rt_addr`].
    fn rt_addr(&self) -> [u8; 16];
    /// See [`State::rule`].
    fn rule(&self) -> Option<u32>;
    /// See [`State::anchor`].
    fn anchor(&self) -> Option<u32>;
    /// See [`State::nat_rule`].
    fn nat_rule(&self) -> Option<u32>;
    /// See [`State::age`].
    fn age(&self) -> u32;
    /// See [`State::expires_in`].
    fn expires_in(&self) -> u32;
    /// See [`State::packets`].
    fn packets(&self) -> [u64; 2];
    /// See [`State::bytes`].
    fn bytes(&self) -> [u64; 2];
    /// See [`State::log`].
    fn log(&self) -> u8;
    /// See [`State::flags`].
    fn flags(&self) -> StateFlags;
    /// See [`State::sync_flags`].
    fn sync_flags(&self) -> u8;
    /// See [`State::updates`].
    fn updates(&self) -> u8;
    /// See [`State::rule_actions`].
    fn rule_actions(&self) -> Option<RuleActions>;
    /// See [`State::tag`].
    fn tag(&self) -> Option<TagName>;

    /// Whether the address of a gateway is in the message, which only a state with
    /// a route has.
    fn has_gateway(&self) -> bool {
        let addr = self.rt_addr();
        let [a, b, c, d, ..] = addr;
        match self.family() {
            Family::Inet => [a, b, c, d] != [0; 4],
            Family::Inet6 => addr != [0; 16],
        }
    }

    /// Address family of the gateway, if the state has a route.
    fn gateway_family(&self) -> Option<Family> {
        self.rule_actions()?.route.gateway_family()
    }

    /// Whether the state has a tag.
    fn has_tag(&self) -> bool {
        self.tag().is_some()
    }

    /// Whether the keys differ.
    fn is_translated(&self) -> bool {
        self.wire() != self.stack() || self.family() != self.stack_family()
    }

    /// Whether a format can carry the state. Before format 1500, both keys and
    /// the gateway must have the same address family.
    fn is_expressible_in(&self, format: Format) -> bool {
        let family = self.family();
        let is_in_one_family = |gateway| self.stack_family() == family && gateway == family;
        format >= Format::V1500 || is_in_one_family(self.gateway_family().unwrap_or(family))
    }

    /// Whether pf can have the state on a FreeBSD whose newest format is
    /// `newest`. Before FreeBSD 15, states have no tag.
    fn is_possible_with(&self, newest: Format) -> bool {
        self.is_expressible_in(newest) && (newest >= Format::V1500 || !self.has_tag())
    }
}

/// Implements methods that return the field of the same name.
macro_rules! fields {
    ($($name:ident: $type:ty),* $(,)?) => {
        $(fn $name(&self) -> $type {
            self.$name
        })*
    };
}

impl Changes for CompressedUpdate {
    fields! { id: StateId, src: Endpoint, dst: Endpoint, timeout: u8 }
}

impl Changes for State {
    fields! { id: StateId, src: Endpoint, dst: Endpoint, timeout: u8 }
}

impl Content for State {
    fields! {
        ifname: IfName,
        orig_ifname: Option<IfName>,
        wire: Key,
        stack: Key,
        family: Family,
        proto: u8,
        stack_family: Family,
        stack_proto: u8,
        direction: Direction,
        rt_addr: [u8; 16],
        rule: Option<u32>,
        anchor: Option<u32>,
        nat_rule: Option<u32>,
        age: u32,
        expires_in: u32,
        packets: [u64; 2],
        bytes: [u64; 2],
        log: u8,
        flags: StateFlags,
        sync_flags: u8,
        updates: u8,
        rule_actions: Option<RuleActions>,
        tag: Option<TagName>,
    }
}

impl State {
    /// A copy of a state's content.
    pub fn of(content: &impl Content) -> State {
        State {
            id: content.id(),
            ifname: content.ifname(),
            orig_ifname: content.orig_ifname(),
            wire: content.wire(),
            stack: content.stack(),
            family: content.family(),
            proto: content.proto(),
            stack_family: content.stack_family(),
            stack_proto: content.stack_proto(),
            direction: content.direction(),
            src: content.src(),
            dst: content.dst(),
            rt_addr: content.rt_addr(),
            rule: content.rule(),
            anchor: content.anchor(),
            nat_rule: content.nat_rule(),
            age: content.age(),
            expires_in: content.expires_in(),
            packets: content.packets(),
            bytes: content.bytes(),
            log: content.log(),
            flags: content.flags(),
            timeout: content.timeout(),
            sync_flags: content.sync_flags(),
            updates: content.updates(),
            rule_actions: content.rule_actions(),
            tag: content.tag(),
        }
    }
}
