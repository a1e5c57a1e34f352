// SPDX-License-Identifier: BSD-2-Clause
//! The header of a frame, the subheader of a run, and the actions.

use super::Format;
use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The protocol version in [`Header::version`] (`PFSYNC_VERSION`).
pub const VERSION: u8 = 5;

/// The header of a frame (`struct pfsync_header`, 20 bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`VERSION`].
    pub version: u8,
    /// The number of the newest format that the sender reads; see
    /// [`Format::announced_as`]. FreeBSD calls the field `pad`: its own module
    /// sends 0 and ignores it.
    pub reads: u8,
    /// Bytes from the beginning of this header to the end of the frame.
    pub len: U16,
    /// The MD5 checksum of the sender's ruleset. Rule numbers mean the same on
    /// two firewalls only if their checksums are equal.
    pub pfcksum: [u8; 16],
}

/// The subheader of a run (`struct pfsync_subheader`, 4 bytes): the action and
/// the number of the messages that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Subheader {
    /// The number of an [`Action`].
    pub action: u8,
    /// Sent as 0 and ignored.
    pub pad: u8,
    /// Number of messages in the run.
    pub count: U16,
}

/// Number of actions (`PFSYNC_ACT_MAX` of FreeBSD 15).
pub const ACTIONS: usize = 17;

/// The kind of a message (`PFSYNC_ACT_*` in `net/if_pfsync.h`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Action {
    /// All states of a creator are gone: [`RawClear`](super::RawClear).
    Clear = 0,
    /// The creator has a new state: [`RawState1301`](super::RawState1301).
    Insert1301 = 1,
    /// The sender received an insert with the flag
    /// [`StateFlags::ACK`](super::StateFlags::ACK): [`RawId`](super::RawId).
    InsertAck = 2,
    /// A whole state, sent on request or in a bulk update:
    /// [`RawState1301`](super::RawState1301).
    Update1301 = 3,
    /// The part of a state that changes during its life:
    /// [`RawCompressedUpdate`](super::RawCompressedUpdate).
    UpdateCompressed = 4,
    /// The sender needs an update of a state, or of all states:
    /// [`RawId`](super::RawId).
    UpdateRequest = 5,
    /// Not in use. Receivers refuse it.
    Delete = 6,
    /// A state is gone: [`RawId`](super::RawId).
    DeleteCompressed = 7,
    /// Not in use. Receivers refuse it.
    InsertFragment = 8,
    /// Not in use. Receivers refuse it.
    DeleteFragment = 9,
    /// A bulk update starts or ends: [`RawBulkStatus`](super::RawBulkStatus).
    BulkStatus = 10,
    /// An IPsec replay counter of OpenBSD: [`RawTdb`](super::RawTdb). Receivers
    /// skip it.
    Tdb = 11,
    /// The end mark: no message follows, although the count is 1.
    Eof = 12,
    /// Like [`Action::Insert1301`], with a
    /// [`RawState1400`](super::RawState1400).
    Insert1400 = 13,
    /// Like [`Action::Update1301`], with a
    /// [`RawState1400`](super::RawState1400).
    Update1400 = 14,
    /// Like [`Action::Insert1301`], with a
    /// [`RawState1500`](super::RawState1500).
    Insert1500 = 15,
    /// Like [`Action::Update1301`], with a
    /// [`RawState1500`](super::RawState1500).
    Update1500 = 16,
}

impl Action {
    /// Every action, in the order of the numbers.
    pub const ALL: [Action; ACTIONS] = [
        Action::Clear,
        Action::Insert1301,
        Action::InsertAck,
        Action::Update1301,
        Action::UpdateCompressed,
        Action::UpdateRequest,
        Action::Delete,
        Action::DeleteCompressed,
        Action::InsertFragment,
        Action::DeleteFragment,
        Action::BulkStatus,
        Action::Tdb,
        Action::Eof,
        Action::Insert1400,
        Action::Update1400,
        Action::Insert1500,
        Action::Update1500,
    ];

    /// The action with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Action> {
        Action::ALL.get(usize::from(number)).copied()
    }

    /// The format of the states in the messages. `None` if the messages are not
    /// whole states.
    pub fn format(self) -> Option<Format> {
        match self {
            Action::Insert1301 | Action::Update1301 => Some(Format::V1301),
            Action::Insert1400 | Action::Update1400 => Some(Format::V1400),
            Action::Insert1500 | Action::Update1500 => Some(Format::V1500),
            _ => None,
        }
    }

    /// Whether this is the update of whole states in some format: see [`Format::update`].
    pub const fn is_whole_update(self) -> bool {
        matches!(self, Action::Update1301 | Action::Update1400 | Action::Update1500)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_listed_by_number() {
        for (number, action) in Action::ALL.iter().enumerate() {
            assert_eq!(*action as usize, number);
            assert_eq!(Action::from_number(number as u8), Some(*action));
        }
        assert_eq!(Action::from_number(ACTIONS as u8), None);
        assert_eq!(Action::from_number(255), None);
    }

    #[test]
    fn sizes_match_the_c_headers() {
        assert_eq!(size_of::<Header>(), 20);
        assert_eq!(size_of::<Subheader>(), 4);
    }
}
