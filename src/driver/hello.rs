// SPDX-License-Identifier: BSD-2-Clause
//! Hellos: frames without messages, which say what is missing here and what was told again.

use crate::atomic::Ordering;
use crate::driver::bulk_request;
use crate::driver::instance;
use crate::driver::kernel::epoch::{self, NetEpoch};
use crate::driver::kernel::time;
use crate::driver::link::Link;
use crate::driver::output::{self, Sent};
use crate::driver::pf::status;
use crate::driver::softc::Softc;
use crate::driver::stats::{count, Stat};
use crate::driver::storage;

/// Sends a hello if one is due, and has the timer let the sender run when the next is. Only
/// the sender calls this.
#[inline(never)]
pub(crate) fn send_due(softc: &Softc, link: Option<&Link>, epoch: &NetEpoch) {
    let is_listening = softc.ifp.is_running() && status::is_running();
    let Some(link) = link.filter(|_| is_listening && storage::is_numbered()) else { return };
    let mut now = time::now();
    let mut due = next(softc, now);
    if due <= now {
        match output::send_hello(softc, link, epoch) {
            Sent::Yes => {
                due = next(softc, now);
                request_refused(softc);
                if softc.agreement.lock().take_listener() {
                    bulk_request::ask_again(softc);
                }
            }
            Sent::Empty | Sent::Later => now = now.saturating_sub(time::milliseconds(100)),
        }
    }
    // The timer stays armed for an earlier time.
    let armed = softc.hello_armed.load(Ordering::Relaxed);
    if due < armed || armed <= now {
        softc.hello_armed.store(due, Ordering::Relaxed);
        softc.hello_timer.arm(due.saturating_sub(now).max(time::tick()));
    }
}

/// Requests the states about which messages were refused, because the states had just ended
/// or there was no memory for them.
fn request_refused(softc: &Softc) {
    let now = time::uptime();
    loop {
        let next = softc.ended.lock().next_to_request(now);
        let Some(state) = next else { return };
        if softc.control.lock().request(state).is_err() {
            bulk_request::state_not_requested(softc);
            return count(Stat::NoMemory, 1);
        }
        storage::schedule_sender();
    }
}

/// When the next hello is due.
fn next(softc: &Softc, now: time::Sbt) -> time::Sbt {
    let is_bulk = softc.bulk_answer.lock().is_busy() || !softc.bulk_request.lock().is_idle();
    softc.agreement.lock().hello_due(is_bulk, now)
}

/// The function of the hello timer.
pub(crate) fn timeout(_index: usize) {
    epoch::enter(|epoch| {
        if let Some(softc) = instance::current(epoch) {
            softc.hello_armed.store(0, Ordering::Relaxed);
            storage::schedule_sender();
        }
    });
}
