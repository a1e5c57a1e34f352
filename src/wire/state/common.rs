// SPDX-License-Identifier: BSD-2-Clause
//! What the formats have in common: the fields that they begin with, and the
//! checks.

use super::checked::{CheckedState, OwnFields};
use super::content::Content;
use super::{is_state_timeout, Direction, Family, IfName, Key, RouteTo, RuleActions, StateFlags};
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

pub(super) fn rule(number: U32) -> Option<u32> {
    Some(number.get()).filter(|number| *number != NO_RULE)
}

pub(super) fn counter(halves: [U32; 2]) -> u64 {
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

    /// The state with these fields and those of its format, if they pass the checks. The
    /// families, of the wire key and the stack key, and the direction are raw.
    ///
    /// Inlined into the `checked` of each format, so that the fields that a format
    /// lacks are not copied.
    #[inline(always)]
    pub(super) fn checked<'a>(
        &'a self,
        raw_families: [u8; 2],
        raw_direction: u8,
        own: OwnFields<'a>,
    ) -> Result<CheckedState<'a>, Invalid> {
        if self.creator == [0; 4] {
            return Err(Invalid::Creator);
        }
        if !is_state_timeout(own.timeout) {
            return Err(Invalid::Timeout);
        }
        let [wire, stack] = raw_families;
        let (wire, stack) = (family(wire)?, family(stack)?);
        if !belong_together(own.protos, wire != stack) {
            return Err(Invalid::Protocol);
        }
        let [proto, _] = own.protos;
        let ifname = IfName::new(&self.ifname)?;
        let direction = direction(raw_direction)?;
        self.src.verify(Some(proto))?;
        self.dst.verify(Some(proto))?;
        Ok(CheckedState { common: self, ifname, families: [wire, stack], direction, own })
    }

    /// Writes what every format has in the same place.
    #[inline(always)]
    pub(super) fn write(&mut self, content: &impl Content) {
        let StateId { id, creator } = content.id();
        self.id = id;
        self.creator = creator;
        self.ifname = *content.ifname().bytes();
        let [wire, stack] = &mut self.key;
        *wire = content.wire();
        *stack = content.stack();
        self.src.write(&content.src());
        self.dst.write(&content.dst());
        self.rt_addr = content.rt_addr();
        self.rule = U32::new(content.rule().unwrap_or(NO_RULE));
        self.anchor = U32::new(content.anchor().unwrap_or(NO_RULE));
        self.nat_rule = U32::new(content.nat_rule().unwrap_or(NO_RULE));
        self.creation = U32::new(content.age());
        self.expire = U32::new(content.expires_in());
        self.packets = content.packets().map(halves);
        self.bytes = content.bytes().map(halves);
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
}

/// Whether a state with these flags can have this routing table and these priorities.
pub(super) fn check_actions(flags: StateFlags, rtableid: i32, set_prio: [u8; 2]) -> Result<(), Invalid> {
    if rtableid < -1 {
        return Err(Invalid::RoutingTable);
    }
    if flags.contains(StateFlags::SETPRIO) && set_prio.iter().any(|prio| *prio > PRIO_MAX) {
        return Err(Invalid::Priority);
    }
    Ok(())
}

/// Reads the rule actions of a raw state in format 1400 or 1500 that passed the checks.
/// A macro, because the formats have the same fields in different places.
macro_rules! read_rule_actions {
    ($raw:expr, $route:expr) => {
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
            route: $route,
        }
    };
}

/// Writes the fields that formats 1400 and 1500 have in different places, and returns the
/// route. A macro for the same reason.
macro_rules! write_fields {
    ($raw:expr, $content:expr) => {{
        $raw.common.write($content);
        $raw.direction = $content.direction() as u8;
        $raw.state_flags = U16::new($content.flags().bits());
        $raw.log = $content.log();
        $raw.timeout = $content.timeout();
        let actions = $content.rule_actions().unwrap_or(RuleActions::NONE);
        $raw.qid = U16::new(actions.qid);
        $raw.pqid = U16::new(actions.pqid);
        $raw.dnpipe = U16::new(actions.dnpipe);
        $raw.dnrpipe = U16::new(actions.dnrpipe);
        $raw.rtableid = I32::new(actions.rtableid);
        $raw.min_ttl = actions.min_ttl;
        $raw.set_tos = actions.set_tos;
        $raw.max_mss = U16::new(actions.max_mss);
        $raw.set_prio = actions.set_prio;
        actions.route
    }};
}

pub(super) use {read_rule_actions, write_fields};
