//! Asking for full updates, and carp's demotion while one is awaited.

use crate::engine::bulk::Tick;
use crate::kernel::epoch;
use crate::kernel::{carp, time};
use crate::probe::{self, Awaited};
use crate::softc::Softc;
use crate::vnet;
use crate::wire::BulkStatus;

impl Softc {
    /// Asks the peers for everything.
    pub fn request_bulk(&self) {
        // What could not be added must not be taken off later.
        let demotion = if carp::is_loaded() { vnet::carp_demotion() } else { 0 };
        let added = self.bulk_receiver.lock().request(time::uptime(), demotion);
        carp::demote(added, c"pfsync bulk start");
        self.send_bulk_request();
    }

    fn send_bulk_request(&self) {
        probe::bulk_awaited(Awaited::Asked);
        self.control.lock().request_all();
        vnet::schedule_sender();
        self.receiver_timer.arm(time::SECOND);
    }

    /// Stops waiting for a full update.
    pub fn cancel_bulk(&self) {
        let taken = self.bulk_receiver.lock().cancel();
        if let Some(taken) = taken {
            probe::bulk_awaited(Awaited::Cancelled);
            carp::demote(taken.saturating_neg(), c"pfsync bulk cancelled");
        }
    }

    /// A peer begins a full update, or has ended it.
    pub fn bulk_mark(&self, status: &BulkStatus) {
        let taken = self.bulk_receiver.lock().receive_mark(status, time::uptime());
        if let Some(taken) = taken {
            probe::bulk_awaited(Awaited::Done);
            carp::demote(taken.saturating_neg(), c"pfsync bulk done");
        }
    }
}

/// The receiver's timer, once a second while a full update is awaited.
pub fn tick(_index: usize) {
    epoch::enter(|epoch| {
        let Some(softc) = vnet::softc(epoch) else { return };
        let tick = softc.bulk_receiver.lock().tick(time::uptime());
        match tick {
            Tick::Idle => {}
            Tick::Wait => softc.receiver_timer.arm(time::SECOND),
            Tick::Request => softc.send_bulk_request(),
            Tick::GiveUp { demotion } => {
                probe::bulk_awaited(Awaited::GivenUp);
                carp::demote(demotion.saturating_neg(), c"pfsync bulk fail");
            }
        }
    });
}
