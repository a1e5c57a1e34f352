// SPDX-License-Identifier: BSD-2-Clause
//! Requesting a bulk update from the peers: their whole tables. carp(4) is demoted until
//! the states have arrived, because a firewall that lacks states should not be master.
//!
//! `bulk_answer` answers the request of a peer.

use crate::atomic::Ordering;
use crate::driver::agreement;
use crate::driver::instance;
use crate::driver::kernel::epoch;
use crate::driver::kernel::error::{Errno, Result};
use crate::driver::kernel::{carp, time};
use crate::driver::link::Link;
use crate::driver::pf::status;
use crate::driver::probe::{self, BulkRequestEvent};
use crate::driver::softc::Softc;
use crate::driver::storage;
use crate::engine::bulk::{Answerer, Tick};
use crate::engine::limit;
use crate::wire::BulkStatus;
use core::ffi::CStr;

/// Requests a bulk update from the peers behind the link. If states may be missing here,
/// demotes carp until the bulk update is complete, cancelled or given up.
pub(crate) fn start(softc: &Softc) {
    let Some(audience) = epoch::enter(|epoch| softc.link(epoch).map(Link::audience)) else { return };
    // A demotion that carp did not add must not be given back later.
    let demotion = if carp::is_loaded() { storage::sysctls().carp_demotion_factor } else { 0 };
    let added = softc.bulk_request.lock().request(time::uptime(), demotion, audience);
    carp::demote(added, c"pfsync bulk start");
    send_request(softc);
}

/// Requests a bulk update because the link leads to peers that this firewall has not heard
/// before.
pub(crate) fn start_with_new_peers(softc: &Softc) {
    softc.bulk_request.lock().mark_incomplete();
    start(softc);
}

/// Notes that the link leads to peers that this firewall has not heard before. When
/// `pfsync0` comes up, it requests a bulk update from them.
pub(crate) fn expect_new_peers(softc: &Softc) {
    cancel(softc);
    softc.bulk_request.lock().mark_incomplete();
}

/// Requests a bulk update again if states may be missing: earlier requests may not have
/// reached the peers.
pub(crate) fn repeat(softc: &Softc) {
    let is_complete = softc.bulk_request.lock().is_complete();
    if !is_complete && softc.ifp.is_running() {
        start(softc);
    }
}

/// A peer begins to listen: if a bulk update is awaited, sends the request again.
pub(crate) fn ask_again(softc: &Softc) {
    let is_idle = softc.bulk_request.lock().is_idle();
    if !is_idle {
        send_request(softc);
    }
}

/// A peer lacks a request: sends it again. The wait may have ended without that peer; then
/// another begins.
pub(crate) fn request_missed(softc: &Softc) {
    let is_awaited = softc.bulk_request.lock().request_missed();
    if is_awaited {
        send_request(softc);
    } else {
        start(softc);
    }
}

/// Requests a bulk update for an operator (`net.pfsync.bulk_request`). `EINVAL` unless
/// `pfsync0` is up and has a sync interface.
pub(crate) fn start_by_operator() -> Result<()> {
    epoch::enter(|epoch| {
        let softc = instance::current(epoch).ok_or(Errno::EINVAL)?;
        if softc.link(epoch).is_none() || !softc.ifp.is_running() {
            return Err(Errno::EINVAL);
        }
        start(softc);
        Ok(())
    })
}

/// Queues the request if somebody may take it, and starts the timer that watches over the wait.
/// Where a key is required, the first peer that has heard a hello gets it.
fn send_request(softc: &Softc) {
    probe::bulk_awaited(BulkRequestEvent::Requested);
    if agreement::has_audience(softc) {
        softc.control.lock().request_all();
    }
    storage::schedule_sender();
    softc.bulk_request_timer.arm(time::SECOND);
}

/// Stops waiting for a bulk update. States that were missing still are.
pub(crate) fn cancel(softc: &Softc) {
    let taken = softc.bulk_request.lock().cancel();
    give_back(taken, BulkRequestEvent::Cancelled, c"pfsync bulk cancelled");
}

/// Stops waiting for a bulk update because there are no peers any more.
pub(crate) fn forget(softc: &Softc) {
    let taken = softc.bulk_request.lock().forget();
    give_back(taken, BulkRequestEvent::Cancelled, c"pfsync bulk cancelled");
}

/// Takes off carp's demotion what a wait had added, if one has ended.
fn give_back(taken: Option<i32>, event: BulkRequestEvent, reason: &'static CStr) {
    if let Some(taken) = taken {
        probe::bulk_awaited(event);
        carp::demote(taken.saturating_neg(), reason);
    }
}

/// Notes that a peer sent whole updates, which may belong to its answer.
pub(crate) fn states_received(softc: &Softc, from: Answerer, states: usize) {
    softc.bulk_request.lock().receive_states(from, states, time::uptime());
}

/// Notes whether numbers are missing here: as long as they are, a bulk update is not complete.
pub(crate) fn numbers_received(softc: &Softc) {
    let is_idle = softc.bulk_request.lock().is_idle();
    if !is_idle {
        let are_missing = !agreement::is_whole(softc);
        let taken = softc.bulk_request.lock().note_numbers(are_missing, time::uptime());
        give_back(taken, BulkRequestEvent::Complete, c"pfsync bulk done");
    }
}

/// Notes the start mark or the end mark that a peer sent. `number` is that of the frame, if the
/// peer numbers its frames.
pub(crate) fn mark_received(softc: &Softc, from: Answerer, number: Option<u64>, status: &BulkStatus) {
    let taken = softc.bulk_request.lock().receive_mark(from, number, status, time::uptime());
    give_back(taken, BulkRequestEvent::Complete, c"pfsync bulk done");
}

/// Notes that a frame was dropped unread, because pf or `pfsync0` is down.
pub(crate) fn frame_missed(softc: &Softc) {
    softc.bulk_request.lock().miss(time::uptime());
    softc.bulk_request_timer.arm(time::SECOND);
}

/// Notes that a limit or a lack of memory may have kept out a state that a peer has. A bulk
/// update is requested later that brings it, if there is room.
pub(crate) fn state_kept_out(softc: &Softc) {
    let starts_timer = softc.bulk_request.lock().keep_out(time::uptime());
    watch(softc, starts_timer);
}

/// Notes that a state that a peer has cannot be requested. Unless a bulk update is awaited, it
/// counts as kept out.
pub(crate) fn state_not_requested(softc: &Softc) {
    let starts_timer = softc.bulk_request.lock().leave_out(time::uptime());
    watch(softc, starts_timer);
}

/// Starts the timer that watches over what was kept out, if it has to be started.
fn watch(softc: &Softc, starts_timer: bool) {
    if starts_timer {
        softc.bulk_request_timer.arm(time::SECOND);
    }
}

/// Notes that more states were refused than can be requested one by one, the last in a frame with
/// this number, if the peer numbers them. A bulk update has to bring the others.
pub(crate) fn states_refused(softc: &Softc, from: Answerer, number: Option<u64>) {
    let refuse = || softc.bulk_request.lock().refuse(from, number, time::uptime());
    let is_idle = refuse();
    softc.bulk_request_timer.arm(time::SECOND);
    if is_idle {
        start(softc);
        // A start mark that is still on its way is not that of the answer.
        let _ = refuse();
    }
}

/// Notes that an operator cleared states. The operator's will stands: this requests
/// nothing, unless pf is being restarted, which the timer watches for.
pub(crate) fn states_cleared(softc: &Softc) {
    if epoch::enter(|epoch| softc.link(epoch).is_some()) {
        softc.bulk_request.lock().miss(time::uptime());
        softc.bulk_request_timer.arm(time::SECOND);
    }
}

/// Requests a bulk update if pf was started again since the last call.
pub(crate) fn check_pf(softc: &Softc) {
    let since = status::since();
    if softc.pf_since.load(Ordering::Relaxed) == since || !status::is_running() {
        return;
    }
    if softc.pf_since.swap(since, Ordering::Relaxed) != since && softc.ifp.is_running() {
        start(softc);
    }
}

/// Follows the sync interface, which went up or down, or got or lost its link. `is_down`
/// tells that packets cannot pass from now on. While it is down, messages are missed.
pub(crate) fn follow_interface(softc: &Softc, link: &Link, is_down: bool) {
    let (is_up, was_up) = link.follow_interface(is_down);
    if is_up != was_up {
        softc.bulk_request.lock().miss(time::uptime());
    }
    if is_up && !was_up && softc.ifp.is_running() {
        start(softc);
    }
}

/// Whether the bulk update that is awaited has ended, and another is needed: its start mark
/// was lost, or something was lost since that cannot be told again.
fn has_ended_in_vain(softc: &Softc) -> bool {
    let has_ended = softc.bulk_request.lock().has_ended(time::uptime());
    has_ended && agreement::needs_bulk(softc)
}

/// Whether a state of a peer would be taken in now.
fn has_room(softc: &Softc) -> bool {
    let share = storage::sysctls().peer_share;
    status::is_running()
        && softc.ifp.is_running()
        && limit::share_left(status::states(), status::state_limit(), share) > 0
}

/// The function of the bulk request timer. It runs once a second during the wait for a bulk
/// update, while pf is down and states may be missing, and after a state was kept out.
pub(crate) fn tick(_index: usize) {
    epoch::enter(|epoch| {
        let Some(softc) = instance::current(epoch) else { return };
        check_pf(softc);
        let most_states = u32::try_from(status::state_limit()).unwrap_or(u32::MAX);
        let tick = softc.bulk_request.lock().tick(time::uptime(), most_states);
        match tick {
            Tick::Idle if status::is_running() || softc.bulk_request.lock().is_complete() => {}
            Tick::Wait if has_ended_in_vain(softc) => start(softc),
            Tick::Retry if has_room(softc) => start(softc),
            Tick::Retry | Tick::Idle | Tick::Wait => softc.bulk_request_timer.arm(time::SECOND),
            Tick::Request => send_request(softc),
            Tick::Done { demotion } => {
                give_back(Some(demotion), BulkRequestEvent::Complete, c"pfsync bulk done");
                // States may have been kept out meanwhile.
                softc.bulk_request_timer.arm(time::SECOND);
            }
            Tick::GiveUp { demotion } => {
                give_back(Some(demotion), BulkRequestEvent::GivenUp, c"pfsync bulk fail");
                if softc.link(epoch).is_some_and(|link| !link.interface().is_up())
                    || softc.lost_without_source.load(Ordering::Relaxed)
                {
                    // Nobody was asked.
                    softc.bulk_request.lock().mark_incomplete();
                }
                softc.bulk_request_timer.arm(time::SECOND);
            }
        }
    });
}
