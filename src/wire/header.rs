//! The frame header, the subheader and the list of actions.

use super::Format;
use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Protocol version in [`Header::version`] (`PFSYNC_VERSION`).
pub const VERSION: u8 = 5;

/// `struct pfsync_header`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`VERSION`].
    pub version: u8,
    pub pad: u8,
    /// Bytes from this header to the end of the frame.
    pub len: U16,
    /// MD5 over the sender's ruleset: rule numbers mean the same on both sides
    /// only where it is equal.
    pub pfcksum: [u8; 16],
}

/// `struct pfsync_subheader`: what follows it, and how many of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Subheader {
    /// An [`Action`].
    pub action: u8,
    pub pad: u8,
    /// Number of messages.
    pub count: U16,
}

/// Number of actions (`PFSYNC_ACT_MAX`).
pub const ACTIONS: usize = 17;

/// Kinds of messages (`PFSYNC_ACT_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Action {
    Clear = 0,
    Insert1301 = 1,
    InsertAck = 2,
    Update1301 = 3,
    UpdateCompressed = 4,
    UpdateRequest = 5,
    Delete = 6,
    DeleteCompressed = 7,
    InsertFragment = 8,
    DeleteFragment = 9,
    BulkStatus = 10,
    Tdb = 11,
    Eof = 12,
    Insert1400 = 13,
    Update1400 = 14,
    Insert1500 = 15,
    Update1500 = 16,
}

impl Action {
    /// Every action, in the order of its number.
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

    /// The action of that number, if there is one.
    pub fn from_number(number: u8) -> Option<Action> {
        Action::ALL.get(usize::from(number)).copied()
    }

    /// The format of the states that it carries, if it carries whole states.
    pub fn format(self) -> Option<Format> {
        match self {
            Action::Insert1301 | Action::Update1301 => Some(Format::V1301),
            Action::Insert1400 | Action::Update1400 => Some(Format::V1400),
            Action::Insert1500 | Action::Update1500 => Some(Format::V1500),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_stand_at_their_number() {
        for (number, action) in Action::ALL.iter().enumerate() {
            assert_eq!(*action as usize, number);
            assert_eq!(Action::from_number(number as u8), Some(*action));
        }
        assert_eq!(Action::from_number(ACTIONS as u8), None);
        assert_eq!(Action::from_number(255), None);
    }

    #[test]
    fn sizes_are_the_headers() {
        assert_eq!(size_of::<Header>(), 20);
        assert_eq!(size_of::<Subheader>(), 4);
    }
}
