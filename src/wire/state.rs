//! A whole state. How it travels is in a module for each message format.

mod common;
mod format1301;
mod format1400;
mod format1500;
#[cfg(test)]
mod tests;

pub use common::RawCommon;
pub use format1301::RawState1301;
pub use format1400::RawState1400;
pub use format1500::RawState1500;

use super::{Action, Invalid, Peer, StateId};
use bitflags::bitflags;
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

/// Which layout a state travels in. A later one says all that an earlier does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum Format {
    /// `PFSYNC_MSG_VERSION_1301`
    V1301 = 1301,
    /// `PFSYNC_MSG_VERSION_1400`
    V1400 = 1400,
    /// `PFSYNC_MSG_VERSION_1500`
    V1500 = 1500,
}

impl Format {
    /// The format of that number, if there is one.
    pub const fn from_number(number: i64) -> Option<Format> {
        match number {
            1301 => Some(Format::V1301),
            1400 => Some(Format::V1400),
            1500 => Some(Format::V1500),
            _ => None,
        }
    }

    /// Bytes of a state.
    pub const fn size(self) -> usize {
        match self {
            Format::V1301 => size_of::<RawState1301>(),
            Format::V1400 => size_of::<RawState1400>(),
            Format::V1500 => size_of::<RawState1500>(),
        }
    }

    /// The action of an insert.
    pub const fn insert(self) -> Action {
        match self {
            Format::V1301 => Action::Insert1301,
            Format::V1400 => Action::Insert1400,
            Format::V1500 => Action::Insert1500,
        }
    }

    /// The action of an update.
    pub const fn update(self) -> Action {
        match self {
            Format::V1301 => Action::Update1301,
            Format::V1400 => Action::Update1400,
            Format::V1500 => Action::Update1500,
        }
    }
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

/// The name of a tag that pf gives packets (`tag` in pf.conf): terminated, not
/// empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagName([u8; TagName::SIZE]);

impl TagName {
    /// `PF_TAG_NAME_SIZE`
    pub const SIZE: usize = 64;

    /// Checks a name; `None` for an empty one. What follows the terminator is
    /// dropped.
    pub fn new(bytes: &[u8; TagName::SIZE]) -> Result<Option<TagName>, Invalid> {
        if !bytes.contains(&0) {
            return Err(Invalid::Tag);
        }
        let mut name = [0; TagName::SIZE];
        let text = bytes.iter().take_while(|byte| **byte != 0);
        name.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
        Ok((name != [0; TagName::SIZE]).then_some(TagName(name)))
    }

    /// The name with its terminator and zeroes to the end.
    pub fn bytes(&self) -> &[u8; TagName::SIZE] {
        &self.0
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
        /// Reported by pflow(4), from FreeBSD 15 on.
        const PFLOW = 0x0004;
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
    Fast {
        kind: u8,
        ifname: IfName,
        /// Address family of the gateway.
        family: Family,
    },
}

/// What formats 1400 and 1500 have: the actions that a rule gave to the state.
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
    /// The interface that made the state, which `ifname` does not tell of a
    /// floating state. Absent before format 1500.
    pub orig_ifname: Option<IfName>,
    pub wire: Key,
    pub stack: Key,
    /// Address family and protocol of the wire key.
    pub family: Family,
    pub proto: u8,
    /// Those of the stack key: others in a state of an `af-to` rule.
    pub stack_family: Family,
    pub stack_proto: u8,
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
    /// `PFSYNC_FLAG_*`: the state has source nodes. 0 in format 1500.
    pub sync_flags: u8,
    pub updates: u8,
    /// Absent in format 1301.
    pub extra: Option<Extra>,
    /// The tag of its packets. Absent before format 1500.
    pub tag: Option<TagName>,
}

impl State {
    /// Reads a message of a format, if there are as many bytes.
    pub fn read(format: Format, bytes: &[u8]) -> Option<Result<State, Invalid>> {
        match format {
            Format::V1301 => RawState1301::ref_from_bytes(bytes).ok().map(RawState1301::check),
            Format::V1400 => RawState1400::ref_from_bytes(bytes).ok().map(RawState1400::check),
            Format::V1500 => RawState1500::ref_from_bytes(bytes).ok().map(RawState1500::check),
        }
    }

    /// Whether a format can say what the state is. Of one whose keys are of
    /// different families the earlier ones know only half.
    pub fn fits(&self, format: Format) -> bool {
        format >= Format::V1500 || self.stack_family == self.family
    }
}
