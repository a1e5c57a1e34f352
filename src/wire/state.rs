//! A whole state, in message formats 1301 (FreeBSD 13) and 1400 (FreeBSD 14).

use super::{Invalid, Peer, RawPeer, StateId};
use bitflags::bitflags;
use zerocopy::byteorder::big_endian::{I32, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Whether a number is one of pf's timeouts (`PFTM_*`) that states use. The
/// ones between are for fragments, source nodes and the like.
pub(super) fn is_state_timeout(timeout: u8) -> bool {
    /// `PFTM_OTHER_MULTIPLE`
    const LAST_BEFORE_SCTP: u8 = 13;
    /// `PFTM_SCTP_FIRST_PACKET` and `PFTM_SCTP_CLOSED`
    const SCTP: core::ops::RangeInclusive<u8> = 20..=24;
    timeout <= LAST_BEFORE_SCTP || SCTP.contains(&timeout)
}

/// `struct pfsync_state_key`. Addresses are as in packets; an IPv4 address
/// takes the first four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Key {
    pub addr: [[u8; 16]; 2],
    /// In network byte order, as pf keeps them.
    pub port: [[u8; 2]; 2],
}

impl Key {
    /// Whether both are between the same ends. Of an IPv4 address only the four
    /// bytes count that it has.
    pub fn joins_same(&self, other: &Key, family: Family) -> bool {
        let inet = |[a, b, c, d, ..]: [u8; 16]| [a, b, c, d];
        match family {
            Family::Inet => self.port == other.port && self.addr.map(inet) == other.addr.map(inet),
            Family::Inet6 => self == other,
        }
    }
}

/// What `struct pfsync_state_1301` and `struct pfsync_state_1400` begin with.
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
    pub af: u8,
    pub proto: u8,
    pub direction: u8,
}

/// `struct pfsync_state_1301`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawState1301 {
    pub common: RawCommon,
    pub spare: [u8; 2],
    pub log: u8,
    /// The low byte of [`StateFlags`].
    pub state_flags: u8,
    pub timeout: u8,
    pub sync_flags: u8,
    pub updates: u8,
}

/// `struct pfsync_state_1400`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawState1400 {
    pub common: RawCommon,
    pub state_flags: U16,
    pub log: u8,
    pub spare: u8,
    pub timeout: u8,
    pub sync_flags: u8,
    pub updates: u8,
    pub qid: U16,
    pub pqid: U16,
    pub dnpipe: U16,
    pub dnrpipe: U16,
    pub rtableid: I32,
    pub min_ttl: u8,
    pub set_tos: u8,
    pub max_mss: U16,
    pub set_prio: [u8; 2],
    pub rt: u8,
    pub rt_ifname: [u8; 16],
}

/// Which layout a state travels in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Format {
    /// `PFSYNC_MSG_VERSION_1301`
    V1301 = 1301,
    /// `PFSYNC_MSG_VERSION_1400`
    V1400 = 1400,
}

/// An interface's name: terminated, not empty, printable ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfName([u8; 16]);

impl IfName {
    /// Checks a name; what follows the terminator is dropped.
    pub fn new(bytes: &[u8; 16]) -> Result<IfName, Invalid> {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(0);
        let (text, _) = bytes.split_at_checked(end).ok_or(Invalid::InterfaceName)?;
        if text.is_empty() || !text.iter().all(u8::is_ascii_graphic) {
            return Err(Invalid::InterfaceName);
        }
        let mut name = [0; 16];
        name.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
        Ok(IfName(name))
    }

    /// The name with its terminator and zeroes to the end.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub fn as_str(&self) -> &str {
        let len = self.0.iter().position(|byte| *byte == 0).unwrap_or(0);
        self.0.get(..len).and_then(|name| core::str::from_utf8(name).ok()).unwrap_or("")
    }
}

/// Address family of a state's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Family {
    /// `AF_INET`
    Inet = 2,
    /// `AF_INET6`, as FreeBSD numbers it
    Inet6 = 28,
}

/// Direction of the packet that created a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// `PF_IN`
    In = 1,
    /// `PF_OUT`
    Out = 2,
}

bitflags! {
    /// `PFSTATE_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct StateFlags: u16 {
        const ALLOWOPTS = 0x0001;
        const SLOPPY = 0x0002;
        /// Not to be synchronised.
        const NOSYNC = 0x0008;
        /// The sender waits for an acknowledgement of the insert.
        const ACK = 0x0010;
        const NODF = 0x0020;
        const SETTOS = 0x0040;
        const RANDOMID = 0x0080;
        const SCRUB_TCP = 0x0100;
        const SETPRIO = 0x0200;
        const DN_IS_PIPE = 0x4000;
        const DN_IS_QUEUE = 0x8000;
    }
}

/// How pf routes packets of a state (`PF_NOPFROUTE` and following).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTo {
    No,
    Fast { kind: u8, ifname: IfName },
}

/// What format 1400 adds: the actions that a rule gave to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extra {
    pub qid: u16,
    pub pqid: u16,
    pub dnpipe: u16,
    pub dnrpipe: u16,
    /// A routing table, or -1 for the default. The receiver must compare it
    /// with the number of tables it has.
    pub rtableid: i32,
    pub min_ttl: u8,
    pub set_tos: u8,
    pub max_mss: u16,
    pub set_prio: [u8; 2],
    pub route: RouteTo,
}

/// A whole state with values that pf can have, in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub id: StateId,
    pub ifname: IfName,
    pub wire: Key,
    pub stack: Key,
    pub family: Family,
    pub proto: u8,
    pub direction: Direction,
    pub src: Peer,
    pub dst: Peer,
    pub rt_addr: [u8; 16],
    /// Rule numbers, if any.
    pub rule: Option<u32>,
    pub anchor: Option<u32>,
    pub nat_rule: Option<u32>,
    /// Seconds since the state was created.
    pub age: u32,
    /// Seconds until it expires.
    pub expires_in: u32,
    pub packets: [u64; 2],
    pub bytes: [u64; 2],
    pub log: u8,
    pub flags: StateFlags,
    /// `PFTM_*`, one that states use.
    pub timeout: u8,
    /// `PFSYNC_FLAG_*`: the state has source nodes.
    pub sync_flags: u8,
    pub updates: u8,
    /// Absent in format 1301.
    pub extra: Option<Extra>,
}

/// `PF_REPLYTO`, the highest kind of routing.
const ROUTE_MAX: u8 = 4;
/// `PF_PRIO_MAX`, the highest 802.1Q priority.
const PRIO_MAX: u8 = 7;
/// A rule number that says there is none.
const NO_RULE: u32 = u32::MAX;

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

/// The fields that lie elsewhere in each format.
struct Tail {
    log: u8,
    flags: u16,
    timeout: u8,
    sync_flags: u8,
    updates: u8,
    extra: Option<Extra>,
}

impl RawCommon {
    pub fn state_id(&self) -> StateId {
        StateId { id: self.id, creator: self.creator }
    }

    fn check(&self, tail: Tail) -> Result<State, Invalid> {
        if self.creator == [0; 4] {
            return Err(Invalid::Creator);
        }
        if !is_state_timeout(tail.timeout) {
            return Err(Invalid::Timeout);
        }
        let [wire, stack] = self.key;
        let [packets0, packets1] = self.packets;
        let [bytes0, bytes1] = self.bytes;
        Ok(State {
            id: self.state_id(),
            ifname: IfName::new(&self.ifname)?,
            wire,
            stack,
            family: match self.af {
                2 => Family::Inet,
                28 => Family::Inet6,
                _ => return Err(Invalid::Family),
            },
            proto: self.proto,
            direction: match self.direction {
                1 => Direction::In,
                2 => Direction::Out,
                _ => return Err(Invalid::Direction),
            },
            src: self.src.check(Some(self.proto))?,
            dst: self.dst.check(Some(self.proto))?,
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
        })
    }
}

impl From<&State> for RawCommon {
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
            af: state.family as u8,
            proto: state.proto,
            direction: state.direction as u8,
        }
    }
}

impl RawState1301 {
    /// The state, if pf can have it.
    pub fn check(&self) -> Result<State, Invalid> {
        self.common.check(Tail {
            log: self.log,
            flags: u16::from(self.state_flags),
            timeout: self.timeout,
            sync_flags: self.sync_flags,
            updates: self.updates,
            extra: None,
        })
    }
}

impl RawState1400 {
    /// The state, if pf can have it.
    pub fn check(&self) -> Result<State, Invalid> {
        self.common.check(Tail {
            log: self.log,
            flags: self.state_flags.get(),
            timeout: self.timeout,
            sync_flags: self.sync_flags,
            updates: self.updates,
            extra: Some(self.extra()?),
        })
    }

    fn extra(&self) -> Result<Extra, Invalid> {
        let rtableid = self.rtableid.get();
        if rtableid < -1 {
            return Err(Invalid::RoutingTable);
        }
        let flags = StateFlags::from_bits_truncate(self.state_flags.get());
        if flags.contains(StateFlags::SETPRIO) && self.set_prio.iter().any(|prio| *prio > PRIO_MAX) {
            return Err(Invalid::Priority);
        }
        Ok(Extra {
            qid: self.qid.get(),
            pqid: self.pqid.get(),
            dnpipe: self.dnpipe.get(),
            dnrpipe: self.dnrpipe.get(),
            rtableid,
            min_ttl: self.min_ttl,
            set_tos: self.set_tos,
            max_mss: self.max_mss.get(),
            set_prio: self.set_prio,
            route: match self.rt {
                0 => RouteTo::No,
                kind @ 1..=ROUTE_MAX => RouteTo::Fast { kind, ifname: IfName::new(&self.rt_ifname)? },
                _ => return Err(Invalid::RouteTo),
            },
        })
    }
}

impl From<&State> for RawState1301 {
    fn from(state: &State) -> RawState1301 {
        RawState1301 {
            common: state.into(),
            spare: [0; 2],
            log: state.log,
            state_flags: state.flags.bits() as u8,
            timeout: state.timeout,
            sync_flags: state.sync_flags,
            updates: state.updates,
        }
    }
}

/// What format 1400 says of a state that came without it.
const NO_EXTRA: Extra = Extra {
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

impl From<&State> for RawState1400 {
    fn from(state: &State) -> RawState1400 {
        let extra = state.extra.unwrap_or(NO_EXTRA);
        let (rt, rt_ifname) = match extra.route {
            RouteTo::No => (0, [0; 16]),
            RouteTo::Fast { kind, ifname } => (kind, *ifname.bytes()),
        };
        RawState1400 {
            common: state.into(),
            state_flags: U16::new(state.flags.bits()),
            log: state.log,
            spare: 0,
            timeout: state.timeout,
            sync_flags: state.sync_flags,
            updates: state.updates,
            qid: U16::new(extra.qid),
            pqid: U16::new(extra.pqid),
            dnpipe: U16::new(extra.dnpipe),
            dnrpipe: U16::new(extra.dnrpipe),
            rtableid: I32::new(extra.rtableid),
            min_ttl: extra.min_ttl,
            set_tos: extra.set_tos,
            max_mss: U16::new(extra.max_mss),
            set_prio: extra.set_prio,
            rt,
            rt_ifname,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    /// The smallest state that passes the checks.
    fn plain() -> RawState1400 {
        let mut raw = RawState1400::new_zeroed();
        raw.common.creator = [1, 2, 3, 4];
        raw.common.ifname[..3].copy_from_slice(b"em0");
        raw.common.af = 2;
        raw.common.proto = 6;
        raw.common.direction = 1;
        raw.rtableid = I32::new(-1);
        raw
    }

    fn refused(change: impl FnOnce(&mut RawState1400)) -> Option<Invalid> {
        let mut raw = plain();
        change(&mut raw);
        raw.check().err()
    }

    /// Expects that for a state that sets a priority.
    fn check_with_setprio(change: &mut dyn FnMut(&mut RawState1400), expected: Option<Invalid>) {
        let with_flag = |s: &mut RawState1400| {
            s.state_flags = U16::new(StateFlags::SETPRIO.bits());
            change(s);
        };
        assert_eq!(refused(with_flag), expected);
    }

    #[test]
    fn sizes_are_the_headers() {
        assert_eq!(size_of::<RawState1301>(), 242);
        assert_eq!(size_of::<RawState1400>(), 277);
    }

    #[test]
    fn every_impossible_field_is_refused() {
        assert_eq!(refused(|_| ()), None);
        assert_eq!(refused(|s| s.common.af = 10), Some(Invalid::Family));
        assert_eq!(refused(|s| s.common.direction = 0), Some(Invalid::Direction));
        assert_eq!(refused(|s| s.common.direction = 3), Some(Invalid::Direction));
        for timeout in [14, 19, 25, 255] {
            assert_eq!(refused(|s| s.timeout = timeout), Some(Invalid::Timeout));
        }
        assert_eq!(refused(|s| s.timeout = 24), None);
        assert_eq!(refused(|s| s.common.src.state = 13), Some(Invalid::PeerState));
        assert_eq!(refused(|s| s.common.dst.state = 13), Some(Invalid::PeerState));
        assert_eq!(refused(|s| s.common.dst.wscale = 15), Some(Invalid::WindowScale));
        assert_eq!(refused(|s| s.common.creator = [0; 4]), Some(Invalid::Creator));
        assert_eq!(refused(|s| s.common.ifname = [b'a'; 16]), Some(Invalid::InterfaceName));
        assert_eq!(refused(|s| s.common.ifname = [0; 16]), Some(Invalid::InterfaceName));
        assert_eq!(refused(|s| s.common.ifname[1] = b'\n'), Some(Invalid::InterfaceName));
        assert_eq!(refused(|s| s.rt = 5), Some(Invalid::RouteTo));
        assert_eq!(refused(|s| s.rt = 2), Some(Invalid::InterfaceName));
        assert_eq!(refused(|s| s.rtableid = I32::new(-2)), Some(Invalid::RoutingTable));
        assert_eq!(refused(|s| s.set_prio = [8, 0]), None);
        check_with_setprio(&mut |s| s.set_prio = [8, 0], Some(Invalid::Priority));
        check_with_setprio(&mut |s| s.set_prio = [7, 7], None);
    }

    #[test]
    fn a_name_ends_at_its_terminator() {
        let mut bytes = *b"em0\0garbage.....";
        assert_eq!(IfName::new(&bytes).unwrap().bytes(), b"em0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        bytes[3] = b'x';
        assert_eq!(IfName::new(&bytes), Err(Invalid::InterfaceName));
    }

    #[test]
    fn format_1301_keeps_the_low_flags() {
        let mut state = plain().check().unwrap();
        state.flags = StateFlags::SCRUB_TCP | StateFlags::NODF;
        assert_eq!(RawState1301::from(&state).check().unwrap().flags, StateFlags::NODF);
        assert_eq!(RawState1400::from(&state).check().unwrap().flags, state.flags);
    }
}
