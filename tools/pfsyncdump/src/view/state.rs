// SPDX-License-Identifier: BSD-2-Clause
//! Whole states, in inserts and updates.

use std::fmt::{self, Display, Formatter};

use pfsync::wire::{Direction, Family, State, StateFlags};
use serde::Serialize;

use super::endpoint::endpoints;
use super::{optional, unless, words, ActionsView, EndpointView, IdView, KeyView, RouteView, Words};
use crate::names::{self, ProtocolKind};

/// A state. The keys are in the order of the connection.
#[derive(Serialize)]
pub(crate) struct StateView {
    #[serde(flatten)]
    pub(crate) id: IdView,
    pub(crate) interface: String,
    /// The interface on which the state was created, if it differs: the state
    /// floats. Only in format 1500, like `stack_proto` and `tag`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) made_by: Option<String>,
    pub(crate) direction: &'static str,
    pub(crate) family: &'static str,
    pub(crate) proto: String,
    pub(crate) wire: KeyView,
    /// The stack key, if it differs from the wire key: pf translates the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stack: Option<KeyView>,
    /// The protocol of the stack key, if it differs from `proto`: an `af-to` rule
    /// translates ICMP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stack_proto: Option<String>,
    pub(crate) src: EndpointView,
    pub(crate) dst: EndpointView,
    pub(crate) timeout: &'static str,
    pub(crate) age: u32,
    pub(crate) expires: u32,
    pub(crate) packets: [u64; 2],
    pub(crate) bytes: [u64; 2],
    pub(crate) rule: Option<u32>,
    pub(crate) anchor: Option<u32>,
    pub(crate) nat_rule: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) route: Option<RouteView>,
    pub(crate) flags: Words,
    pub(crate) log: Words,
    pub(crate) sync_flags: Words,
    pub(crate) updates: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<String>,
    /// Absent in format 1301.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rule_actions: Option<ActionsView>,
}

impl From<&State> for StateView {
    fn from(state: &State) -> StateView {
        let kind = ProtocolKind::of_protocol(state.proto);
        let wire = KeyView::new(&state.wire, state.family, state.direction);
        let stack = KeyView::new(&state.stack, state.stack_family, state.direction);
        StateView {
            id: state.id.into(),
            interface: state.ifname.to_string(),
            made_by: unless(state.orig_ifname.unwrap_or(state.ifname), state.ifname)
                .map(|name| name.to_string()),
            direction: direction(state.direction),
            family: family(state.family),
            proto: names::protocol(state.proto),
            stack: (stack != wire).then_some(stack),
            stack_proto: unless(state.stack_proto, state.proto).map(names::protocol),
            wire,
            src: EndpointView::new(&state.src, kind),
            dst: EndpointView::new(&state.dst, kind),
            timeout: names::timeout(state.timeout),
            age: state.age,
            expires: state.expires_in,
            packets: state.packets,
            bytes: state.bytes,
            rule: state.rule,
            anchor: state.anchor,
            nat_rule: state.nat_rule,
            route: RouteView::of(state),
            flags: flags(state.flags),
            log: names::bits(state.log, &names::LOG),
            sync_flags: names::bits(state.sync_flags, &names::SYNC_FLAGS),
            updates: state.updates,
            tag: state.tag.map(|tag| tag.to_string()),
            rule_actions: state.rule_actions.as_ref().map(ActionsView::from),
        }
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
    }
}

fn family(family: Family) -> &'static str {
    match family {
        Family::Inet => "inet",
        Family::Inet6 => "inet6",
    }
}

/// The names of the flags (`PFSTATE_*`) in lower case.
fn flags(flags: StateFlags) -> Words {
    let mut named = flags.iter_names();
    let mut words: Words = named.by_ref().map(|(name, _)| name.to_lowercase().into()).collect();
    let rest = named.remaining().bits();
    if rest != 0 {
        words.push(format!("{rest:#x}").into());
    }
    words
}

impl Display for StateView {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{} on {}", self.id, self.interface)?;
        optional(f, "made-by", self.made_by.as_ref())?;
        write!(f, " {} {} {}", self.direction, self.proto, self.wire)?;
        optional(f, "stack", self.stack.as_ref())?;
        optional(f, "stack-proto", self.stack_proto.as_ref())?;
        endpoints(f, &self.src, &self.dst)?;
        write!(f, " timeout {} age {}s expires {}s", self.timeout, self.age, self.expires)?;
        write!(f, " packets {}:{}", self.packets[0], self.packets[1])?;
        write!(f, " bytes {}:{}", self.bytes[0], self.bytes[1])?;
        optional(f, "rule", self.rule)?;
        optional(f, "anchor", self.anchor)?;
        optional(f, "nat-rule", self.nat_rule)?;
        if let Some(route) = &self.route {
            write!(f, " {route}")?;
        }
        words(f, "flags", &self.flags)?;
        words(f, "log", &self.log)?;
        words(f, "sync-flags", &self.sync_flags)?;
        optional(f, "updates", unless(self.updates, 0))?;
        optional(f, "tag", self.tag.as_ref())?;
        self.rule_actions.as_ref().map_or(Ok(()), |actions| actions.fmt(f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfsync::wire::{RawState1400, RawState1500};
    use zerocopy::FromZeros;

    /// A connection that pf translates and routes.
    fn raw() -> RawState1400 {
        let mut raw = RawState1400::new_zeroed();
        raw.common.id = 0x6b02_0b3d_u64.to_be_bytes();
        raw.common.creator = [0xef, 7, 0xe1, 0xd1];
        raw.common.ifname[..3].copy_from_slice(b"em0");
        raw.af = Family::Inet as u8;
        raw.proto = 17;
        raw.direction = Direction::Out as u8;
        for (key, client) in raw.common.key.iter_mut().zip([[203, 0, 113, 1], [198, 51, 100, 2]]) {
            key.addr[0][..4].copy_from_slice(&[192, 0, 2, 53]);
            key.addr[1][..4].copy_from_slice(&client);
            key.port = [[0, 53], [4, 0]];
        }
        raw.common.rt_addr[..4].copy_from_slice(&[192, 0, 2, 9]);
        raw.common.rule = 4.into();
        raw.common.anchor = u32::MAX.into();
        raw.common.nat_rule = 2.into();
        raw.rt = 2;
        raw.rt_ifname[..3].copy_from_slice(b"em1");
        raw.state_flags = (StateFlags::SLOPPY | StateFlags::ACK).bits().into();
        raw.log = 3;
        raw.sync_flags = 4;
        raw.updates = 9;
        raw.dnpipe = 5.into();
        raw
    }

    #[test]
    fn every_field_has_its_word() {
        let view = StateView::from(&raw().check().unwrap());
        let expected =
            "id 000000006b020b3d creator ef07e1d1 on em0 out udp 203.0.113.1:1024 -> 192.0.2.53:53 \
            stack 198.51.100.2:1024 -> 192.0.2.53:53 NO_TRAFFIC:NO_TRAFFIC timeout tcp.first age 0s \
            expires 0s packets 0:0 bytes 0:0 rule 4 nat-rule 2 route-to 192.0.2.9@em1 flags sloppy,ack \
            log log,all sync-flags src-node updates 9 dnpipe 5 rtable 0";
        assert_eq!(view.to_string(), expected);
    }

    #[test]
    fn format_1500_has_words_of_its_own() {
        let mut raw = RawState1500::from(&raw().check().unwrap());
        (raw.wire_proto, raw.stack_proto, raw.stack_af, raw.rt_af) = (1, 58, 28, 28);
        raw.orig_ifname[..3].copy_from_slice(b"em2");
        raw.tagname[..3].copy_from_slice(b"lan");
        let text = StateView::from(&raw.check().unwrap()).to_string();
        for words in [
            " on em0 made-by em2 out icmp ",
            " stack c633:6402::[1024] -> c000:235::[53] stack-proto ipv6-icmp ",
            " route-to c000:209::@em1 ",
            " tag lan ",
        ] {
            assert!(text.contains(words), "no '{words}' in {text}");
        }
    }

    #[test]
    fn unnamed_flags_are_shown_as_a_number() {
        assert_eq!(flags(StateFlags::from_bits_retain(0x0402)), ["sloppy", "0x400"]);
    }

    #[test]
    fn an_incoming_connection_is_read_the_other_way() {
        let mut raw = raw();
        raw.direction = Direction::In as u8;
        let view = StateView::from(&raw.check().unwrap());
        assert_eq!(view.wire.to_string(), "192.0.2.53:53 -> 203.0.113.1:1024");
    }
}
