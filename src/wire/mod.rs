// SPDX-License-Identifier: BSD-2-Clause
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
//! The wire format of pfsync version 5, with states in the formats 1301, 1400
//! and 1500.
//!
//! A *frame* follows the IP header of a packet (IP protocol 240). bpf(4) shows
//! the frame alone, with link type `DLT_PFSYNC`. A frame consists of a
//! [`Header`] and *runs*. A run consists of a [`Subheader`] and the *messages*
//! that it announces, all of the same [`Action`]. The last run is the end mark,
//! [`Action::Eof`], unless a [`trailer`] follows the frame.
//!
//! [`Frame`] reads a frame without copying it. [`FrameWriter`] writes one into
//! a buffer that the caller provides.
//!
//! Most messages have two types. The raw one, such as [`RawClear`], is the
//! layout on the wire, and any bytes of its size are a valid value. Its `check`
//! method returns the other, such as [`Clear`], which holds only values that pf
//! can have. `From` converts the checked type back. Whole states and compressed
//! updates can also be checked and read where they lie, by `checked`, and written
//! where they belong, by `write` and [`FrameWriter::append_state`]. [`Content`]
//! is what all forms of a state have in common.
//!
//! Layouts and constants come from FreeBSD's `net/if_pfsync.h`, `net/pfvar.h`
//! and `netpfil/pf/pf.h`. Structures are packed. Integers are in network byte
//! order in raw types and in host byte order in checked types, unless a field
//! says otherwise.
//!
//! # Examples
//!
//! Write a frame that requests a state from a peer:
//!
//! ```
//! use pfsync::wire::{Action, FrameWriter, Full, RawId};
//!
//! let mut buffer = [0; 1480];
//! let ruleset_checksum = [0; 16];
//! let mut writer = FrameWriter::new(&mut buffer, &ruleset_checksum)?;
//! writer.append(Action::UpdateRequest, &RawId { id: [0, 0, 0, 0, 0, 0, 0, 9], creator: [1, 2, 3, 4] })?;
//! let len = writer.finish();
//! assert_eq!(buffer[20..len], [
//!     5, 0, 0, 1, // an update request
//!     0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4,
//!     12, 0, 0, 1, // the end mark
//! ]);
//! # Ok::<(), Full>(())
//! ```
//!
//! Read a frame and check its content:
//!
//! ```
//! use pfsync::wire::{BulkMark, Frame, Run};
//!
//! let packet = [
//!     5, 0, 0, 40, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
//!     10, 0, 0, 1, // a bulk status
//!     1, 2, 3, 4, 0, 0, 0, 30, 2, 0, 0, 0,
//!     12, 0, 0, 1, // the end mark
//! ];
//! let frame = Frame::parse(&packet).expect("the header is valid");
//! assert_eq!(frame.checksum, &[7; 16]);
//! for run in frame {
//!     match run.expect("the run is whole") {
//!         Run::BulkStatus(messages) => {
//!             let status = messages[0].check().expect("the values are valid");
//!             assert_eq!((status.mark, status.age), (BulkMark::End, 30));
//!         }
//!         Run::Eof(_) => {}
//!         other => panic!("{other:?} was not sent"),
//!     }
//! }
//! ```

mod endpoint;
mod frame;
mod header;
mod ip;
mod message;
mod run;
mod state;
pub mod trailer;

pub use endpoint::{Endpoint, RawEndpoint, Scrub};
pub use frame::{Frame, FrameError, FrameWriter, Full, HeaderError};
pub use header::{Action, Header, Subheader, ACTIONS, VERSION};
pub use ip::{Arrival, Ipv4Header, Ipv6Header, PeerAddress};
pub use message::{
    BulkMark, BulkStatus, CheckedUpdate, Clear, CompressedUpdate, RawBulkStatus, RawClear,
    RawCompressedUpdate, RawId, RawTdb,
};
pub use run::{Run, States};
pub use state::{
    Changes, CheckedState, Content, Direction, Family, Format, IfName, Key, RawCommon, RawState1301,
    RawState1400, RawState1500, RouteTo, RuleActions, State, StateFlags, TagName,
};

/// IP protocol number of pfsync (`IPPROTO_PFSYNC` in `netinet/in.h`).
pub const IPPROTO_PFSYNC: u8 = 240;

/// IP protocol number of TCP.
pub const IPPROTO_TCP: u8 = 6;

/// IP protocol number of SCTP.
pub const IPPROTO_SCTP: u8 = 132;

/// The TTL or hop limit of every pfsync packet (`PFSYNC_DFLTTL` in
/// `net/if_pfsync.h`). A packet with any other value has passed a router and is
/// refused.
pub const TTL: u8 = 255;

/// The identity of a state: the number that its creator gave it, and the
/// creator's host id.
///
/// Both keep the byte order that they have in the kernel and on the wire, because
/// they are only compared and shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub struct StateId {
    /// The number, in network byte order.
    pub id: [u8; 8],
    /// The host id of the firewall that created the state, in network byte
    /// order.
    pub creator: [u8; 4],
}

impl StateId {
    /// The identity in an update request for the whole table.
    pub const ALL: StateId = StateId { id: [0; 8], creator: [0; 4] };

    /// A number whose upper half spreads states over the slots of a table, although firewalls
    /// count their ids up, and may have host ids that are alike.
    fn hash(self) -> u64 {
        let creator = u64::from(u32::from_be_bytes(self.creator));
        // 2^64 divided by the golden ratio: Knuth's multiplicative hashing.
        (u64::from_be_bytes(self.id) ^ creator.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// The place of a state in a table of `slots` slots. `None` if there are none.
    pub fn slot(self, slots: usize) -> Option<usize> {
        let index = (self.hash() >> 32).checked_rem(slots as u64)?;
        Some(index as usize)
    }
}

/// Why a message is refused: the field that has a value pf cannot have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Invalid {
    /// An address family is neither IPv4 nor IPv6.
    Family,
    /// The direction is neither in nor out.
    Direction,
    /// The timeout is not one that states use (`PFTM_*`).
    Timeout,
    /// An endpoint's state is not one of its protocol.
    EndpointState,
    /// A window scale shifts by more than 14 bits (RFC 7323, section 2.3).
    WindowScale,
    /// No state has these two protocols in its wire key and its stack key.
    Protocol,
    /// The creator id is 0.
    Creator,
    /// An interface name is empty or unterminated.
    InterfaceName,
    /// The kind of routing is not one of pf's (`PF_NOPFROUTE` to
    /// `PF_REPLYTO`).
    RouteTo,
    /// The routing table is below -1.
    RoutingTable,
    /// The state sets a priority above 7 (`PF_PRIO_MAX`).
    Priority,
    /// The name of the tag is unterminated.
    Tag,
    /// The bulk status is neither start nor end.
    BulkStatus,
    /// The value of a trailer's block does not have the length of its kind.
    BlockLength,
    /// The epoch of a peer is 0.
    Epoch,
    /// The number of a frame has more than 48 bits.
    Number,
    /// The gaps of a report are empty, touch each other, or end beyond what the
    /// report is about.
    Gaps,
}
