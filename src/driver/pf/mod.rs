//! A safe view of pf's state table.
//!
//! pf's rules, and the types that carry them:
//! - a state's contents belong to the lock of its row in the id hash:
//!   [`Locked`] shows that it is held, [`Found`] and [`Row`] hold it;
//! - a state lives as long as it is referenced: [`StateRef`] is a reference;
//! - what a state remembers of pfsync's queues belongs to the bucket's lock,
//!   by way of [`StateLists`]; who has the row locked may look at it, and does
//!   so in [`collapse`];
//! - rule numbers and interface names stay valid while the rules are locked:
//!   [`rules::Rules`] shows that they are.

mod export;
mod import;
mod lists;
pub mod rules;
mod state;
pub mod status;
pub mod table;

use crate::wire::Format;
use sys_bindings as sys;

/// The newest message format that pf knows in this FreeBSD.
pub const NEWEST_FORMAT: Format = match Format::from_number(sys::PFSYNC_MSG_VERSION_NEWEST as i64) {
    Some(format) => format,
    None => panic!("a message format that src/wire does not have"),
};

pub use import::{import, knows_interface, Origin, Refused};
pub use lists::{collapse, StateLists};
pub use state::{End, Found, Locked, State, StateRef};
