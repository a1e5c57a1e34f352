// SPDX-License-Identifier: BSD-2-Clause
//! What the formats have in common: the fields that they begin with, and the
//! checks.

use super::{
    is_state_timeout, Direction, Family, IfName, Key, RouteTo, RuleActions, State, StateFlags, TagName,
};
use crate::wire::{Invalid, RawEndpoint, StateId};
use zerocopy::byteorder::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The fields that a state begins with in every format (`struct pfsync_state_1301`
/// in `net/pfvar.h` up to `creatorid`, 232 bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawCommon {
    /// Number of the state.
    pub id: [u8; 8],
    /// Name of the interface that the state is bound to, "all" for a floating
    /// state.
    pub ifname: [u8; 16],
    /// The wire key and the stack key.
    pub key: [Key; 2],
    /// The source endpoint.
    pub src: RawEndpoint,
    /// The destination endpoint.
    pub dst: RawEndpoint,
    /// Address of the gateway. An IPv4 address is in the first four bytes.
    pub rt_addr: [u8; 16],
    /// Number of the rule that created the state, -1 for none.
    pub rule: U32,
    /// Number of the anchor that the rule is in, -1 for none.
    pub anchor: U32,
    /// Number of the rule that translates the connection, -1 for none.
    pub nat_rule: U32,
    /// Seconds since the state was created.
    pub creation: U32,
    /// Seconds until the state expires.
    pub expire: U32,
    /// Packets in the direction of the first packet and in the other. Each
    /// counter is two halves, the high one first.
    pub packets: [[U32; 2]; 2],
    /// Bytes in the direction of the first packet and in the other. Each counter
    /// is two halves, the high one first.
    pub bytes: [[U32; 2]; 2],
    /// Host id of the state's creator.
    pub creator: [u8; 4],
}

/// `PF_REPLYTO`, the highest kind of routing.
const ROUTE_MAX: u8 = 4;
/// `PF_PRIO_MAX`, the highest 802.1Q priority.
const PRIO_MAX: u8 = 7;
/// The rule number that stands for no rule (-1).
const NO_RULE: u32 = u32::MAX;
/// IP protocol number of ICMP for IPv4.
const IPPROTO_ICMP: u8 = 1;
/// IP protocol number of ICMP for IPv6.
const IPPROTO_ICMPV6: u8 = 58;

fn rule(number: U32) -> Option<u32> {
    Some(number.get()).filter(|number| *number != NO_RULE)
}

fn counter(halves: [U32; 2]) -> u64 {
    let [high, low] = halves;
    u64::from(high.get()) << 32 | u64::from(low.get())
}

fn halves(counter: u64) -> [U32; 2] {
    [U32::new((counter >> 32) as u32), U32::new(counter as u32)]
}

fn family(number: u8) -> Result<Family, Invalid> {
    const INET: u8 = Family::Inet as u8;
    const INET6: u8 = Family::Inet6 as u8;
    match number {
        INET => Ok(Family::Inet),
        INET6 => Ok(Family::Inet6),
        _ => Err(Invalid::Family),
    }
}

fn direction(number: u8) -> Result<Direction, Invalid> {
    const IN: u8 = Direction::In as u8;
    const OUT: u8 = Direction::Out as u8;
    match number {
        IN => Ok(Direction::In),
        OUT => Ok(Direction::Out),
        _ => Err(Invalid::Direction),
    }
}

pub(super) fn route(kind: u8, ifname: &[u8; 16], af: u8) -> Result<RouteTo, Invalid> {
    match kind {
        0 => Ok(RouteTo::No),
        1..=ROUTE_MAX => Ok(RouteTo::Via { kind, ifname: IfName::new(ifname)?, family: family(af)? }),
        _ => Err(Invalid::RouteTo),
    }
}

/// The fields after [`RawCommon`], which each format lays out in its own way.
/// The raw ones are not checked yet.
pub(super) struct FormatFields {
    /// Raw address families of the wire key and the stack key.
    pub(super) families: [u8; 2],
    /// Protocols of the wire key and the stack key.
    pub(super) protos: [u8; 2],
    pub(super) orig_ifname: Option<IfName>,
    /// Raw: `PF_IN` or `PF_OUT`.
    pub(super) direction: u8,
    pub(super) log: u8,
    /// Raw: `PFSTATE_*`.
    pub(super) flags: u16,
    /// Raw: `PFTM_*`.
    pub(super) timeout: u8,
    pub(super) sync_flags: u8,
    pub(super) updates: u8,
    pub(super) rule_actions: Option<RuleActions>,
    pub(super) tag: Option<TagName>,
}

/// Whether the keys of a state can have these protocols. The protocol is the
/// same, except that `af-to` translates ICMP for IPv4 to ICMP for IPv6, and back.
fn belong_together(protos: [u8; 2], is_translated: bool) -> bool {
    let [wire, stack] = protos;
    match (wire, stack) {
        (IPPROTO_ICMP, IPPROTO_ICMPV6) | (IPPROTO_ICMPV6, IPPROTO_ICMP) => is_translated,
        (wire, stack) => wire == stack,
    }
}

impl RawCommon {
    /// The identity of the state.
    pub fn state_id(&self) -> StateId {
        StateId { id: self.id, creator: self.creator }
    }

    /// The content of a state with these fields and those of its format.
    ///
    /// Inlined into the `check` of each format, so that the fields that a format
    /// lacks are not copied.
    #[inline(always)]
    pub(super) fn check(&self, fields: FormatFields) -> Result<State, Invalid> {
        if self.creator == [0; 4] {
            return Err(Invalid::Creator);
        }
        if !is_state_timeout(fields.timeout) {
            return Err(Invalid::Timeout);
        }
        let [wire_af, stack_af] = fields.families;
        let (wire_family, stack_family) = (family(wire_af)?, family(stack_af)?);
        if !belong_together(fields.protos, wire_family != stack_family) {
            return Err(Invalid::Protocol);
        }
        let [proto, stack_proto] = fields.protos;
        let [wire, stack] = self.key;
        Ok(State {
            id: self.state_id(),
            ifname: IfName::new(&self.ifname)?,
            orig_ifname: fields.orig_ifname,
            wire,
            stack,
            family: wire_family,
            proto,
            stack_family,
            stack_proto,
            direction: direction(fields.direction)?,
            src: self.src.check(Some(proto))?,
            dst: self.dst.check(Some(proto))?,
            rt_addr: self.rt_addr,
            rule: rule(self.rule),
            anchor: rule(self.anchor),
            nat_rule: rule(self.nat_rule),
            age: self.creation.get(),
            expires_in: self.expire.get(),
            packets: self.packets.map(counter),
            bytes: self.bytes.map(counter),
            log: fields.log,
            flags: StateFlags::from_bits_truncate(fields.flags),
            timeout: fields.timeout,
            sync_flags: fields.sync_flags,
            updates: fields.updates,
            rule_actions: fields.rule_actions,
            tag: fields.tag,
        })
    }
}

impl From<&State> for RawCommon {
    /// Inlined, so that the stack does not hold the fields a second time.
    #[inline(always)]
    fn from(state: &State) -> RawCommon {
        RawCommon {
            id: state.id.id,
            ifname: *state.ifname.bytes(),
            key: [state.wire, state.stack],
            src: (&state.src).into(),
            dst: (&state.dst).into(),
            rt_addr: state.rt_addr,
            rule: U32::new(state.rule.unwrap_or(NO_RULE)),
            anchor: U32::new(state.anchor.unwrap_or(NO_RULE)),
            nat_rule: U32::new(state.nat_rule.unwrap_or(NO_RULE)),
            creation: U32::new(state.age),
            expire: U32::new(state.expires_in),
            packets: state.packets.map(halves),
            bytes: state.bytes.map(halves),
            creator: state.id.creator,
        }
    }
}

impl RuleActions {
    /// What formats 1400 and 1500 say of a state that came in format 1301.
    pub(super) const NONE: RuleActions = RuleActions {
        qid: 0,
        pqid: 0,
        dnpipe: 0,
        dnrpipe: 0,
        rtableid: -1,
        min_ttl: 0,
        set_tos: 0,
        max_mss: 0,
        set_prio: [0; 2],
        route: RouteTo::No,
    };

    /// These actions, if a state with these raw flags can have them.
    pub(super) fn check(self, flags: u16) -> Result<RuleActions, Invalid> {
        if self.rtableid < -1 {
            return Err(Invalid::RoutingTable);
        }
        let flags = StateFlags::from_bits_truncate(flags);
        if flags.contains(StateFlags::SETPRIO) && self.set_prio.iter().any(|prio| *prio > PRIO_MAX) {
            return Err(Invalid::Priority);
        }
        Ok(self)
    }
}

/// Reads and checks the rule actions of a raw state in format 1400 or 1500.
/// A macro, because the formats have the same fields in different places.
macro_rules! check_rule_actions {
    ($raw:expr, route_af: $route_af:expr) => {
        RuleActions {
            qid: $raw.qid.get(),
            pqid: $raw.pqid.get(),
            dnpipe: $raw.dnpipe.get(),
            dnrpipe: $raw.dnrpipe.get(),
            rtableid: $raw.rtableid.get(),
            min_ttl: $raw.min_ttl,
            set_tos: $raw.set_tos,
            max_mss: $raw.max_mss.get(),
            set_prio: $raw.set_prio,
            route: route($raw.rt, &$raw.rt_ifname, $route_af)?,
        }
        .check($raw.state_flags.get())?
    };
}

/// Builds a raw state in format 1400 or 1500 from the fields that both formats
/// have and the format's own fields. A macro for the same reason.
macro_rules! raw_state {
    ($Raw:ident, $state:expr, $actions:expr, { $($own_fields:tt)* }) => {
        $Raw {
            common: $state.into(),
            direction: $state.direction as u8,
            state_flags: U16::new($state.flags.bits()),
            log: $state.log,
            timeout: $state.timeout,
            qid: U16::new($actions.qid),
            pqid: U16::new($actions.pqid),
            dnpipe: U16::new($actions.dnpipe),
            dnrpipe: U16::new($actions.dnrpipe),
            rtableid: I32::new($actions.rtableid),
            min_ttl: $actions.min_ttl,
            set_tos: $actions.set_tos,
            max_mss: U16::new($actions.max_mss),
            set_prio: $actions.set_prio,
            $($own_fields)*
        }
    };
}

pub(super) use {check_rule_actions, raw_state};
