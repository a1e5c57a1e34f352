// SPDX-License-Identifier: BSD-2-Clause
//! pf's states. The queues and the rows are the module's.

#[path = "../../../../src/driver/pf/lists.rs"]
mod lists;
#[path = "../../../../src/driver/pf/row.rs"]
pub(crate) mod row;
mod state;

pub(crate) use lists::{collapse, StateLists};
pub(crate) use state::{Kstate, StateRef};
