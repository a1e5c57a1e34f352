//! Requesting a bulk update: the whole table of the peers. carp(4) is demoted
//! until it has arrived. `bulk_answer` is the other side.

use crate::driver::instance;
use crate::driver::kernel::epoch;
use crate::driver::kernel::error::{Errno, Result};
use crate::driver::kernel::{carp, time};
use crate::driver::probe::{self, Awaited};
use crate::driver::softc::Softc;
use crate::driver::storage;
use crate::engine::bulk::Tick;
use crate::wire::BulkStatus;

/// Requests a bulk update, and demotes carp until it is complete.
pub fn start(softc: &Softc) {
    // What could not be added must not be taken off later.
    let demotion = if carp::is_loaded() { storage::settings().carp_demotion } else { 0 };
    let added = softc.bulk_request.lock().ask(time::uptime(), demotion);
    carp::demote(added, c"pfsync bulk start");
    send_request(softc);
}

/// An operator requests a bulk update (`net.pfsync.bulk_request`). `EINVAL`
/// unless `pfsync0` is up and has a sync interface.
pub fn start_by_operator() -> Result<()> {
    epoch::enter(|epoch| {
        let softc = instance::current(epoch).ok_or(Errno::EINVAL)?;
        if softc.link(epoch).is_none() || !softc.ifp.is_running() {
            return Err(Errno::EINVAL);
        }
        start(softc);
        Ok(())
    })
}

fn send_request(softc: &Softc) {
    probe::bulk_awaited(Awaited::Asked);
    softc.control.lock().request_all();
    storage::schedule_sender();
    softc.bulk_request_timer.arm(time::SECOND);
}

/// Stops waiting for a bulk update.
pub fn cancel(softc: &Softc) {
    let taken = softc.bulk_request.lock().cancel();
    if let Some(taken) = taken {
        probe::bulk_awaited(Awaited::Cancelled);
        carp::demote(taken.saturating_neg(), c"pfsync bulk cancelled");
    }
}

/// A peer sent whole states, which may belong to the bulk update.
pub fn states_received(softc: &Softc) {
    softc.bulk_request.lock().progress(time::uptime());
}

/// A peer sent the start mark or the end mark of a bulk update.
pub fn mark_received(softc: &Softc, status: &BulkStatus) {
    let taken = softc.bulk_request.lock().mark(status, time::uptime());
    if let Some(taken) = taken {
        probe::bulk_awaited(Awaited::Done);
        carp::demote(taken.saturating_neg(), c"pfsync bulk done");
    }
}

/// The function of the interface's bulk request timer, which runs once a second
/// while a bulk update is awaited.
pub fn tick(_index: usize) {
    epoch::enter(|epoch| {
        let Some(softc) = instance::current(epoch) else { return };
        let tick = softc.bulk_request.lock().tick(time::uptime());
        match tick {
            Tick::Idle => {}
            Tick::Wait => softc.bulk_request_timer.arm(time::SECOND),
            Tick::Ask => send_request(softc),
            Tick::GiveUp { demotion } => {
                probe::bulk_awaited(Awaited::GivenUp);
                carp::demote(demotion.saturating_neg(), c"pfsync bulk fail");
            }
        }
    });
}
