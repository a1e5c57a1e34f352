// SPDX-License-Identifier: BSD-2-Clause
//! Requesting a bulk update from the peers: their whole tables. carp(4) is demoted until
//! the states have arrived, because a firewall that lacks states should not be master.
//!
//! `bulk_answer` answers the request of a peer.

use crate::driver::instance;
use crate::driver::kernel::epoch;
use crate::driver::kernel::error::{Errno, Result};
use crate::driver::kernel::{carp, time};
use crate::driver::probe::{self, BulkRequestEvent};
use crate::driver::softc::Softc;
use crate::driver::storage;
use crate::engine::bulk::Tick;
use crate::wire::BulkStatus;

/// Requests a bulk update, and demotes carp until it is complete, cancelled or given up.
pub(crate) fn start(softc: &Softc) {
    // A demotion that carp did not add must not be given back later.
    let demotion = if carp::is_loaded() { storage::sysctls().carp_demotion_factor } else { 0 };
    let added = softc.bulk_request.lock().request(time::uptime(), demotion);
    carp::demote(added, c"pfsync bulk start");
    send_request(softc);
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

/// Queues the request, and starts the timer that watches over the wait.
fn send_request(softc: &Softc) {
    probe::bulk_awaited(BulkRequestEvent::Requested);
    softc.control.lock().request_all();
    storage::schedule_sender();
    softc.bulk_request_timer.arm(time::SECOND);
}

/// Stops waiting for a bulk update.
pub(crate) fn cancel(softc: &Softc) {
    let taken = softc.bulk_request.lock().cancel();
    if let Some(taken) = taken {
        probe::bulk_awaited(BulkRequestEvent::Cancelled);
        carp::demote(taken.saturating_neg(), c"pfsync bulk cancelled");
    }
}

/// Notes that a peer sent whole updates, which may belong to the bulk update.
pub(crate) fn updates_received(softc: &Softc) {
    softc.bulk_request.lock().progress(time::uptime());
}

/// Notes the start mark or the end mark that a peer sent.
pub(crate) fn mark_received(softc: &Softc, status: &BulkStatus) {
    let taken = softc.bulk_request.lock().receive_mark(status, time::uptime());
    if let Some(taken) = taken {
        probe::bulk_awaited(BulkRequestEvent::Complete);
        carp::demote(taken.saturating_neg(), c"pfsync bulk done");
    }
}

/// The function of the bulk request timer, which runs once a second during the wait for a
/// bulk update.
pub(crate) fn tick(_index: usize) {
    epoch::enter(|epoch| {
        let Some(softc) = instance::current(epoch) else { return };
        let tick = softc.bulk_request.lock().tick(time::uptime());
        match tick {
            Tick::Idle => {}
            Tick::Wait => softc.bulk_request_timer.arm(time::SECOND),
            Tick::Request => send_request(softc),
            Tick::GiveUp { demotion } => {
                probe::bulk_awaited(BulkRequestEvent::GivenUp);
                carp::demote(demotion.saturating_neg(), c"pfsync bulk fail");
            }
        }
    });
}
