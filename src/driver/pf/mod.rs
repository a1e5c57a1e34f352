// SPDX-License-Identifier: BSD-2-Clause
//! pf's state table as safe types.
//!
//! pf's rules, and the types that keep them:
//! - The content of a state belongs to the lock of its row in the id hash.
//!   [`Locked`] proves that the row is locked; [`Found`] and [`row::Row`] hold the
//!   lock.
//! - A state lives as long as it is referenced. [`StateRef`] is a reference.
//! - A state's place in a queue belongs to the lock of its bucket, through
//!   [`StateLists`]. A thread that has the state's row locked may look at the place,
//!   which [`collapse`] does.
//! - Rule numbers and interface names stay valid while the rules are locked.
//!   [`rules::Rules`] proves that they are.

mod export;
mod import;
mod lists;
pub(crate) mod row;
pub(crate) mod rules;
mod state;
pub(crate) mod status;
pub(crate) mod table;

use crate::wire::Format;
use sys_bindings as sys;

/// The newest message format that pf knows in this release of FreeBSD.
pub(crate) const NEWEST_FORMAT: Format = match Format::from_number(sys::PFSYNC_MSG_VERSION_NEWEST as i64) {
    Some(format) => format,
    None => panic!("src/wire lacks this message format"),
};

pub(crate) use import::{import, knows_interface, Origin, Refused};
pub(crate) use lists::{collapse, is_announced, StateLists};
pub(crate) use state::{Found, Kstate, Locked, Side, StateRef};
