// SPDX-License-Identifier: BSD-2-Clause
//! Whole states. Each format has a module with its layout.

mod checked;
mod common;
mod content;
mod format1301;
mod format1400;
mod format1500;
#[cfg(test)]
mod tests;

pub use checked::CheckedState;
pub use common::RawCommon;
pub use content::{Changes, Content};
pub use format1301::RawState1301;
pub use format1400::RawState1400;
pub use format1500::RawState1500;

use super::{Action, Endpoint, Invalid, StateId};
use bitflags::bitflags;
use core::fmt::{self, Display, Formatter, Write};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Whether states use this timeout (`PFTM_*` in `netpfil/pf/pf.h`). The numbers
/// between TCP and SCTP are for fragments, source nodes and the like.
pub(super) fn is_state_timeout(timeout: u8) -> bool {
    /// `PFTM_OTHER_MULTIPLE`.
    const LAST_BEFORE_SCTP: u8 = 13;
    /// `PFTM_SCTP_FIRST_PACKET` to `PFTM_SCTP_CLOSED`.
    const SCTP: core::ops::RangeInclusive<u8> = 20..=24;
    timeout <= LAST_BEFORE_SCTP || SCTP.contains(&timeout)
}

/// A state key (`struct pfsync_state_key`, 36 bytes): the addresses and ports
/// of a connection. All bytes are as in the packets, in network byte order.
#[derive(Clone, Copy, Debug, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Key {
    /// Addresses. An IPv4 address is in the first four bytes.
    pub addr: [[u8; 16]; 2],
    /// Ports. For ICMP, the identifier or the type.
    pub port: [[u8; 2]; 2],
}

impl PartialEq for Key {
    /// Compares words, not bytes: keys are compared for each state that is received.
    #[inline]
    fn eq(&self, other: &Key) -> bool {
        let [addr, other_addr] = [self, other].map(|key| key.addr.map(u128::from_ne_bytes));
        let ([one, two], [other_one, other_two]) = (addr, other_addr);
        (one ^ other_one) | (two ^ other_two) == 0 && self.port == other.port
    }
}

impl Key {
    /// Whether both keys have the same addresses and ports. For IPv4, the bytes
    /// after the address do not matter.
    pub fn is_same(&self, other: &Key, family: Family) -> bool {
        let inet = |[a, b, c, d, ..]: [u8; 16]| [a, b, c, d];
        match family {
            Family::Inet => self.port == other.port && self.addr.map(inet) == other.addr.map(inet),
            Family::Inet6 => self == other,
        }
    }
}

/// The layout of a state on the wire (`PFSYNC_MSG_VERSION_*`). A later format
/// carries all that an earlier one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum Format {
    /// Format 1301, since FreeBSD 13.1.
    V1301 = 1301,
    /// Format 1400, since FreeBSD 14.0.
    V1400 = 1400,
    /// Format 1500, since FreeBSD 15.0.
    V1500 = 1500,
}

impl Format {
    /// The newest format that this module reads, on every FreeBSD.
    pub const NEWEST: Format = Format::V1500;

    /// The number in the header of a frame that announces this format.
    pub const fn announcement(self) -> u8 {
        match self {
            Format::V1301 => 1,
            Format::V1400 => 2,
            Format::V1500 => 3,
        }
    }

    /// The format that a number in the header of a frame announces. `None` for
    /// 0, which announces nothing. A sender that announces a format newer than
    /// [`Format::NEWEST`] reads at least that one.
    pub const fn announced_as(number: u8) -> Option<Format> {
        match number {
            1 => Some(Format::V1301),
            2 => Some(Format::V1400),
            0 => None,
            _ => Some(Format::NEWEST),
        }
    }

    /// The format with this number, if there is one.
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

    /// The action of an insert in this format.
    pub const fn insert(self) -> Action {
        match self {
            Format::V1301 => Action::Insert1301,
            Format::V1400 => Action::Insert1400,
            Format::V1500 => Action::Insert1500,
        }
    }

    /// The action of an update in this format.
    pub const fn update(self) -> Action {
        match self {
            Format::V1301 => Action::Update1301,
            Format::V1400 => Action::Update1400,
            Format::V1500 => Action::Update1500,
        }
    }
}

/// The name of an interface: 1 to 15 bytes other than 0, as an operator may choose
/// them (`ifconfig em0 name`). `Display` shows the name as one word of printable
/// ASCII: any other byte, and a backslash, as `\x` and two hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfName([u8; 16]);

impl IfName {
    /// The name in a field of `IFNAMSIZ` bytes. Bytes after the terminator are
    /// dropped.
    ///
    /// Fails with [`Invalid::InterfaceName`] if the name is empty or
    /// unterminated.
    #[inline]
    pub fn new(bytes: &[u8; 16]) -> Result<IfName, Invalid> {
        // A name is read for each state that is sent or received: eight bytes at once.
        let name = u128::from_le_bytes(*bytes);
        let (low, high) = (name as u64, (name >> 64) as u64);
        let name = match before_terminator(low) {
            Some(0) => return Err(Invalid::InterfaceName),
            Some(mask) => u128::from(low & mask),
            None => {
                let mask = before_terminator(high).ok_or(Invalid::InterfaceName)?;
                u128::from(high & mask) << 64 | u128::from(low)
            }
        };
        Ok(IfName(name.to_le_bytes()))
    }

    /// The name, filled up with zeros. The last byte is always 0.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The name without its terminator.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// The bits of a word of text that lie before its first byte 0. `None` if it has none. The
/// first byte of the text is the lowest of the word.
fn before_terminator(word: u64) -> Option<u64> {
    /// The lowest bit of each byte.
    const ONES: u64 = u64::MAX / 255;
    // The lowest bit that is set is the highest bit of the terminator.
    let terminators = word.wrapping_sub(ONES) & !word & (ONES << 7);
    let first = terminators & terminators.wrapping_neg();
    (terminators != 0).then(|| first.wrapping_sub(1) >> 7)
}

impl Display for IfName {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        show(self.as_bytes(), f)
    }
}

/// Shows bytes as one word of printable ASCII: any other byte, and a backslash, as
/// `\x` and two hexadecimal digits.
fn show(bytes: &[u8], f: &mut Formatter) -> fmt::Result {
    bytes.iter().try_for_each(|byte| match byte {
        b'!'..=b'~' if *byte != b'\\' => f.write_char(char::from(*byte)),
        _ => write!(f, "\\x{byte:02x}"),
    })
}

/// The name of a tag that pf puts on packets (`tag` in pf.conf(5)): 1 to 63
/// bytes other than 0. `Display` shows it as that of an [`IfName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagName([u8; TagName::SIZE]);

impl TagName {
    /// Bytes of the field, with the terminator (`PF_TAG_NAME_SIZE`).
    pub const SIZE: usize = 64;

    /// The name in a field, `None` if it is empty. Bytes after the terminator
    /// are dropped.
    ///
    /// Fails with [`Invalid::Tag`] if the name is unterminated.
    pub fn new(bytes: &[u8; TagName::SIZE]) -> Result<Option<TagName>, Invalid> {
        match bytes {
            [0, ..] => return Ok(None),
            _ if !bytes.contains(&0) => return Err(Invalid::Tag),
            _ => {}
        }
        let mut name = [0; TagName::SIZE];
        let text = bytes.iter().take_while(|byte| **byte != 0);
        name.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
        Ok(Some(TagName(name)))
    }

    /// The name, filled up with zeros. The last byte is always 0.
    pub fn bytes(&self) -> &[u8; TagName::SIZE] {
        &self.0
    }
}

impl Display for TagName {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        show(self.0.split(|byte| *byte == 0).next().unwrap_or_default(), f)
    }
}

/// The address family of a state key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Family {
    /// IPv4 (`AF_INET`).
    Inet = 2,
    /// IPv6 (`AF_INET6` with FreeBSD's number).
    Inet6 = 28,
}

/// The direction of the packet that created a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// It arrived on an interface (`PF_IN`).
    In = 1,
    /// It left through an interface (`PF_OUT`).
    Out = 2,
}

bitflags! {
    /// Flags of a state (`PFSTATE_*` in `netpfil/pf/pf.h`). The words in
    /// quotation marks are those of pf.conf(5).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct StateFlags: u16 {
        /// Packets with IP options pass ("allow-opts").
        const ALLOWOPTS = 0x0001;
        /// pf does not check TCP sequence numbers ("sloppy").
        const SLOPPY = 0x0002;
        /// pflow(4) reports the state ("pflow"). Since FreeBSD 15.
        const PFLOW = 0x0004;
        /// pfsync does not send the state ("no-sync").
        const NOSYNC = 0x0008;
        /// A packet is deferred until the insert is acknowledged. On the wire:
        /// the sender waits for the acknowledgement.
        const ACK = 0x0010;
        /// pf clears the flag "don't fragment" ("no-df").
        const NODF = 0x0020;
        /// pf sets the type of service ("set-tos").
        const SETTOS = 0x0040;
        /// pf replaces the IPv4 identification ("random-id").
        const RANDOMID = 0x0080;
        /// pf normalises TCP ("reassemble tcp").
        const SCRUB_TCP = 0x0100;
        /// pf sets the priority of packets ("set prio").
        const SETPRIO = 0x0200;
        /// `dnpipe` and `dnrpipe` are numbers of dummynet pipes ("dnpipe").
        const DN_IS_PIPE = 0x4000;
        /// `dnpipe` and `dnrpipe` are numbers of dummynet queues ("dnqueue").
        const DN_IS_QUEUE = 0x8000;
    }
}

/// How pf routes the packets of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTo {
    /// By the routing table (`PF_NOPFROUTE`).
    No,
    /// Through an interface that a rule names. The gateway is [`State::rt_addr`].
    Via {
        /// `PF_FASTROUTE` (1), `PF_ROUTETO` (2), `PF_DUPTO` (3) or
        /// `PF_REPLYTO` (4).
        kind: u8,
        /// The interface.
        ifname: IfName,
        /// Address family of the gateway.
        family: Family,
    },
}

impl RouteTo {
    /// Address family of the gateway, if there is a route.
    pub fn gateway_family(&self) -> Option<Family> {
        match self {
            RouteTo::No => None,
            RouteTo::Via { family, .. } => Some(*family),
        }
    }
}

/// What the rule that created a state has pf do with its packets
/// (`struct pf_rule_actions`). Formats 1400 and 1500 carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleActions {
    /// Number of the ALTQ queue, 0 for none.
    pub qid: u16,
    /// Number of the ALTQ queue for packets with low delay or without payload,
    /// 0 for none.
    pub pqid: u16,
    /// Number of the dummynet pipe or queue, 0 for none.
    pub dnpipe: u16,
    /// Number of the dummynet pipe or queue for the opposite direction, 0 for
    /// none.
    pub dnrpipe: u16,
    /// Number of the routing table, -1 if the rule names none. The receiver must
    /// check that it has the table.
    pub rtableid: i32,
    /// The TTL below which pf raises that of packets, 0 for none.
    pub min_ttl: u8,
    /// Type of service for [`StateFlags::SETTOS`].
    pub set_tos: u8,
    /// The largest maximum segment size that pf lets an endpoint announce, in
    /// bytes. 0 for no limit.
    pub max_mss: u16,
    /// Priorities for [`StateFlags::SETPRIO`], 0 to 7: for packets, and for TCP
    /// acknowledgements and packets with low delay.
    pub set_prio: [u8; 2],
    /// How pf routes the packets.
    pub route: RouteTo,
}

/// The checked content of an insert or update: a whole state, in host byte
/// order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The identity of the state.
    pub id: StateId,
    /// The interface that the state is bound to, "all" for a floating state.
    pub ifname: IfName,
    /// The interface on which the state was created. Absent before format 1500.
    pub orig_ifname: Option<IfName>,
    /// The key of packets on the wire (`PF_SK_WIRE`).
    pub wire: Key,
    /// The key of packets in the network stack (`PF_SK_STACK`). It differs from
    /// the wire key if pf translates the connection.
    pub stack: Key,
    /// Address family of the wire key.
    pub family: Family,
    /// IP protocol number of the wire key.
    pub proto: u8,
    /// Address family of the stack key. It differs in the state of an `af-to`
    /// rule.
    pub stack_family: Family,
    /// IP protocol number of the stack key. It differs if an `af-to` rule
    /// translates ICMP.
    pub stack_proto: u8,
    /// Direction of the packet that created the state.
    pub direction: Direction,
    /// The source endpoint.
    pub src: Endpoint,
    /// The destination endpoint.
    pub dst: Endpoint,
    /// Address of the gateway for [`RouteTo::Via`], in network byte order. An
    /// IPv4 address is in the first four bytes.
    pub rt_addr: [u8; 16],
    /// Number of the rule that created the state, if any.
    pub rule: Option<u32>,
    /// Number of the anchor that the rule is in, if any.
    pub anchor: Option<u32>,
    /// Number of the rule that translates the connection, if any.
    pub nat_rule: Option<u32>,
    /// Seconds since the state was created.
    pub age: u32,
    /// Seconds until the state expires.
    pub expires_in: u32,
    /// Packets in the direction of the first packet, and in the other.
    pub packets: [u64; 2],
    /// Bytes in the direction of the first packet, and in the other.
    pub bytes: [u64; 2],
    /// What pflog(4) shows of the state (`PF_LOG*`).
    pub log: u8,
    /// Flags.
    pub flags: StateFlags,
    /// The timeout that applies now, one that states use (`PFTM_*`).
    pub timeout: u8,
    /// Which source nodes the state has (`PFSYNC_FLAG_*` in `net/pfvar.h`). 0 in
    /// format 1500.
    pub sync_flags: u8,
    /// How many updates were collapsed, as the stock module counts. 0 in format
    /// 1500.
    pub updates: u8,
    /// What the rule has pf do with the packets. Absent in format 1301.
    pub rule_actions: Option<RuleActions>,
    /// The tag that pf puts on the packets. Absent before format 1500.
    pub tag: Option<TagName>,
}

impl<'a> CheckedState<'a> {
    /// Reads and checks a message, and leaves it where it lies. `None` if its length is
    /// not that of the format.
    pub fn read(format: Format, message: &'a [u8]) -> Option<Result<CheckedState<'a>, Invalid>> {
        match format {
            Format::V1301 => RawState1301::ref_from_bytes(message).ok().map(RawState1301::checked),
            Format::V1400 => RawState1400::ref_from_bytes(message).ok().map(RawState1400::checked),
            Format::V1500 => RawState1500::ref_from_bytes(message).ok().map(RawState1500::checked),
        }
    }
}

impl State {
    /// Reads and checks a message. `None` if its length is not that of the
    /// format.
    pub fn read(format: Format, message: &[u8]) -> Option<Result<State, Invalid>> {
        CheckedState::read(format, message).map(|checked| checked.map(|state| State::of(&state)))
    }
}
