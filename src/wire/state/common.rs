//! What the formats have in common: how they begin, and the checks.

use super::{is_state_timeout, Direction, Extra, Family, IfName, Key, RouteTo, State, StateFlags, TagName};
use crate::wire::{Invalid, RawPeer, StateId};
use zerocopy::byteorder::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What every format begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawCommon {
    pub id: [u8; 8],
    pub ifname: [u8; 16],
    /// Wire key, then stack key.
    pub key: [Key; 2],
    pub src: RawPeer,
    pub dst: RawPeer,
    pub rt_addr: [u8; 16],
    /// Rule numbers; -1 for none.
    pub rule: U32,
    pub anchor: U32,
    pub nat_rule: U32,
    /// Seconds since the state was created.
    pub creation: U32,
    /// Seconds until it expires.
    pub expire: U32,
    pub packets: [[U32; 2]; 2],
    pub bytes: [[U32; 2]; 2],
    pub creator: [u8; 4],
}

/// `PF_REPLYTO`, the highest kind of routing.
const ROUTE_MAX: u8 = 4;
/// `PF_PRIO_MAX`, the highest 802.1Q priority.
const PRIO_MAX: u8 = 7;
/// A rule number that says there is none.
const NO_RULE: u32 = u32::MAX;
const IPPROTO_ICMP: u8 = 1;
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

fn family(af: u8) -> Result<Family, Invalid> {
    match af {
        2 => Ok(Family::Inet),
        28 => Ok(Family::Inet6),
        _ => Err(Invalid::Family),
    }
}

fn direction(number: u8) -> Result<Direction, Invalid> {
    match number {
        1 => Ok(Direction::In),
        2 => Ok(Direction::Out),
        _ => Err(Invalid::Direction),
    }
}

pub(super) fn route(kind: u8, ifname: &[u8; 16], af: u8) -> Result<RouteTo, Invalid> {
    match kind {
        0 => Ok(RouteTo::No),
        1..=ROUTE_MAX => Ok(RouteTo::Fast { kind, ifname: IfName::new(ifname)?, family: family(af)? }),
        _ => Err(Invalid::RouteTo),
    }
}

/// The fields that lie elsewhere in each format.
pub(super) struct Tail {
    /// Of wire key and stack key.
    pub families: [u8; 2],
    pub protos: [u8; 2],
    pub orig_ifname: Option<IfName>,
    pub direction: u8,
    pub log: u8,
    pub flags: u16,
    pub timeout: u8,
    pub sync_flags: u8,
    pub updates: u8,
    pub extra: Option<Extra>,
    pub tag: Option<TagName>,
}

impl Extra {
    /// The same, if a state with these flags can have it.
    pub(super) fn check(self, flags: u16) -> Result<Extra, Invalid> {
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

/// Whether both keys of a state can be of these protocols: ICMP is another one
/// in the other address family.
fn belong_together(protos: [u8; 2], is_translated: bool) -> bool {
    let [wire, stack] = protos;
    match (wire, stack) {
        (IPPROTO_ICMP, IPPROTO_ICMPV6) | (IPPROTO_ICMPV6, IPPROTO_ICMP) => is_translated,
        (wire, stack) => wire == stack,
    }
}

impl RawCommon {
    pub fn state_id(&self) -> StateId {
        StateId { id: self.id, creator: self.creator }
    }

    /// Inlined, for what a format lacks not to be copied.
    #[inline(always)]
    pub(super) fn check(&self, tail: Tail) -> Result<State, Invalid> {
        if self.creator == [0; 4] {
            return Err(Invalid::Creator);
        }
        if !is_state_timeout(tail.timeout) {
            return Err(Invalid::Timeout);
        }
        let [wire_af, stack_af] = tail.families;
        let (wire_family, stack_family) = (family(wire_af)?, family(stack_af)?);
        if !belong_together(tail.protos, wire_family != stack_family) {
            return Err(Invalid::Protocol);
        }
        let [proto, stack_proto] = tail.protos;
        let [wire, stack] = self.key;
        let [packets0, packets1] = self.packets;
        let [bytes0, bytes1] = self.bytes;
        Ok(State {
            id: self.state_id(),
            ifname: IfName::new(&self.ifname)?,
            orig_ifname: tail.orig_ifname,
            wire,
            stack,
            family: wire_family,
            proto,
            stack_family,
            stack_proto,
            direction: direction(tail.direction)?,
            src: self.src.check(Some(proto))?,
            dst: self.dst.check(Some(proto))?,
            rt_addr: self.rt_addr,
            rule: rule(self.rule),
            anchor: rule(self.anchor),
            nat_rule: rule(self.nat_rule),
            age: self.creation.get(),
            expires_in: self.expire.get(),
            packets: [counter(packets0), counter(packets1)],
            bytes: [counter(bytes0), counter(bytes1)],
            log: tail.log,
            flags: StateFlags::from_bits_truncate(tail.flags),
            timeout: tail.timeout,
            sync_flags: tail.sync_flags,
            updates: tail.updates,
            extra: tail.extra,
            tag: tail.tag,
        })
    }
}

impl From<&State> for RawCommon {
    /// Inlined, for the stack not to have it a second time.
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

/// What the later formats say of a state that came without it.
pub(super) const NO_EXTRA: Extra = Extra {
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
