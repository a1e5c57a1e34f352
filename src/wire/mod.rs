#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]
//! The bytes that firewalls exchange: protocol version 5, message formats 1301,
//! 1400 and 1500.
//!
//! A frame is what follows the IP header (protocol 240), or what bpf(4) shows
//! as `DLT_PFSYNC`: a [`Header`], then runs of messages of one kind, each run
//! behind a [`Subheader`], the last of them [`Action::Eof`]. [`Frame`] reads
//! one without copying, [`FrameWriter`] fills a caller's buffer.
//!
//! Layouts are in the modules of the messages; each has the raw layout, the
//! checked type a reader may trust, and the conversions between them. Layouts
//! and constants come from FreeBSD's `net/if_pfsync.h` and `net/pfvar.h`.
//! All integers are in network byte order unless said otherwise.

mod frame;
mod header;
mod ip;
mod message;
mod peer;
mod state;

pub use frame::{Frame, FrameError, FrameWriter, Full, HeaderError, Run};
pub use header::{Action, Header, Subheader, ACTIONS, VERSION};
pub use ip::{Ipv4Header, Ipv6Header};
pub use message::{
    BulkMark, BulkStatus, Clear, CompressedUpdate, RawBulkStatus, RawClear, RawCompressedUpdate, RawId,
    RawTdb,
};
pub use peer::{Peer, RawPeer, Scrub};
pub use state::{
    Direction, Extra, Family, Format, IfName, Key, RawCommon, RawState1301, RawState1400, RawState1500,
    RouteTo, State, StateFlags, TagName,
};

/// IP protocol number of pfsync.
pub const IPPROTO_PFSYNC: u8 = 240;

/// IP protocol numbers of what pf keeps in ways of their own.
pub const IPPROTO_TCP: u8 = 6;
pub const IPPROTO_SCTP: u8 = 132;

/// The TTL or hop limit of every packet: one that was routed is refused.
pub const TTL: u8 = 255;

/// A state's identity: the number its creator gave it, and the creator's host
/// id. Both are kept as the bytes they have in the kernel and on the wire
/// (network byte order), since they are only compared and shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub struct StateId {
    /// Number, in network byte order.
    pub id: [u8; 8],
    /// Host id of the firewall that created the state, in network byte order.
    pub creator: [u8; 4],
}

impl StateId {
    /// What an update request carries to ask for the whole table.
    pub const ALL: StateId = StateId { id: [0; 8], creator: [0; 4] };
}

/// Why a message was refused: the field whose value is impossible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Invalid {
    /// Neither IPv4 nor IPv6.
    Family,
    /// Neither in nor out.
    Direction,
    /// Not one of pf's state timeouts (`PFTM_*` below `PFTM_MAX`).
    Timeout,
    /// A connection state that the protocol does not have.
    PeerState,
    /// A window scale beyond RFC 7323's 14, flags aside.
    WindowScale,
    /// Protocols of wire key and stack key that no state has together.
    Protocol,
    /// A creator id of zero.
    Creator,
    /// Not a terminated, printable name.
    InterfaceName,
    /// A kind of routing that pf does not have.
    RouteTo,
    /// A routing table number below -1.
    RoutingTable,
    /// A priority beyond 7, in a state that sets one.
    Priority,
    /// Not a terminated name of a tag.
    Tag,
    /// A bulk status other than start and end.
    BulkStatus,
}
