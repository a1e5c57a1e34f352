// SPDX-License-Identifier: BSD-2-Clause
//! Whether a state that a peer tells of comes in, and what is noted if it does not.

use super::{reject, reject_limited, Context};
use crate::driver::bulk_request;
use crate::driver::import;
use crate::driver::kernel::time;
use crate::driver::pf::Refused;
use crate::driver::probe::Rejected;
use crate::driver::softc::Ending;
use crate::driver::stats::{count, PeerLimit, Stat};
use crate::driver::storage;
use crate::wire::{Action, Changes, CheckedState, StateId};

/// Imports a state that came with an action, within the limits. Returns whether it was
/// inserted.
pub(super) fn import_state(context: &Context, state: &CheckedState, action: Action) -> bool {
    if has_ended(context, state.id()) {
        count(Stat::Stale, 1);
        return false;
    }
    let rates = &context.softc.rates;
    let imported = if !rates.inserts.allows(time::uptime(), context.sysctls.peer_inserts) {
        Err(Refusal::Limit(PeerLimit::Inserts))
    } else if !context.takes_share() {
        Err(Refusal::Limit(PeerLimit::Share))
    } else {
        import::from_peer(context.softc, state, context.same_rules, context.rules).map_err(Refusal::from)
    };
    match imported {
        Ok(()) => return true,
        Err(Refusal::Message(reason)) => reject(Some(action), reason),
        Err(Refusal::Limit(limit)) => {
            bulk_request::state_kept_out(context.softc);
            reject_limited(action, limit);
        }
        Err(Refusal::NoMemory) => {
            bulk_request::state_kept_out(context.softc);
            if context.number.is_some() {
                context.softc.ended.lock().miss(state.id(), time::uptime());
            }
            reject(Some(action), Rejected::State);
        }
    }
    false
}

/// Why a state was not taken in.
enum Refusal {
    Message(Rejected),
    Limit(PeerLimit),
    NoMemory,
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Refusal {
        match refused {
            Refused::Row => Refusal::Limit(PeerLimit::Row),
            Refused::RoutingTable => Refusal::Message(Rejected::Value),
            Refused::NoMemory => Refusal::NoMemory,
            _ => Refusal::Message(Rejected::State),
        }
    }
}

/// Requests a state from the peers, one of which has sent a compressed update of it.
pub(super) fn request_state(context: &Context, state: StateId) {
    if has_ended(context, state) {
        return count(Stat::Stale, 1);
    }
    if !context.softc.rates.requests.allows(time::uptime(), context.sysctls.peer_requests) {
        bulk_request::state_not_requested(context.softc);
        return reject_limited(Action::UpdateCompressed, PeerLimit::Requests);
    }
    if context.softc.control.lock().request(state).is_err() {
        bulk_request::state_not_requested(context.softc);
        count(Stat::NoMemory, 1);
    }
    storage::schedule_sender();
}

/// Notes that a state ended at a numbered peer, so that older messages about it are refused.
pub(super) fn note_end(context: &Context, state: StateId) {
    if context.number.is_some() {
        context.softc.ended.lock().note(state, time::uptime());
    }
}

/// Whether a state ended a moment ago. Where only stock peers are heard, nobody looks.
fn has_ended(context: &Context, state: StateId) -> bool {
    if context.number.is_none() && context.softc.options.ending() == Ending::Mark {
        return false;
    }
    let from = context.number.map(|frame| frame.epoch);
    let mut ended = context.softc.ended.lock();
    let is_refused = ended.refuses(state, from, time::uptime());
    let has_overflowed = ended.take_overflow();
    drop(ended);
    if has_overflowed {
        let number = context.number.map(|frame| frame.number);
        bulk_request::states_refused(context.softc, context.answerer(), number);
    }
    is_refused
}
