// SPDX-License-Identifier: BSD-2-Clause
//! Contradictions between what a peer says and what is known here. Their causes are two
//! firewalls with one host id, and ids of states that begin anew.
//!
//! A compressed update carries no addresses. So once two connections have one id, an update
//! of one changes the other, and no check of the update can tell. Whole states and the
//! peers' own host ids do tell, before or after.

use crate::driver::kernel::console;
use crate::driver::pf::{status, table};
use crate::driver::probe;
use crate::driver::stats::{count_conflict, Conflict};
use crate::wire::{Changes, CheckedState, StateId};

/// Looks at a state that a peer has made, and at whether it could be inserted here. Only
/// the firewall that made a state sends its insert.
pub(crate) fn check_insert(state: &CheckedState, is_inserted: bool, own_host_id: [u8; 4]) {
    let id = state.id();
    let known = if is_inserted { None } else { table::find(id).map(|found| found.is_same(state)) };
    if known == Some(false) {
        report(id, Conflict::State);
    }
    // An operator may have loaded this firewall's states at the peer (`pfctl -L`).
    if known != Some(true) {
        check_host_id(id.creator, id, own_host_id);
    }
}

/// Looks at the host id that a peer gives as its own, in a message about a state or about
/// none ([`StateId::ALL`]). `creator` and `own` host id are in network byte order.
pub(crate) fn check_host_id(creator: [u8; 4], state: StateId, own: [u8; 4]) {
    if creator == own {
        report(state, Conflict::HostId);
    }
}

/// Counts a conflict, and says the first of each kind on the console.
pub(crate) fn report(state: StateId, conflict: Conflict) {
    probe::conflict(state, conflict);
    if !count_conflict(conflict) {
        return;
    }
    match conflict {
        Conflict::HostId => console::say_number(
            c"pfsync: a peer has the host id 0x%08x of this firewall: set another hostid\n",
            u32::from_be_bytes(status::host_id()),
        ),
        Conflict::State => console::say_numbers(
            c"pfsync: a peer's state 0x%016lx of creator 0x%08x is another connection here\n",
            u64::from_be_bytes(state.id),
            u32::from_be_bytes(state.creator),
        ),
    }
}
