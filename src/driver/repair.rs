// SPDX-License-Identifier: BSD-2-Clause
//! Repair: telling again what frames told that peers lack.

use crate::driver::bulk_answer;
use crate::driver::bulk_request;
use crate::driver::kernel::epoch::NetEpoch;
use crate::driver::kernel::time;
use crate::driver::link::Link;
use crate::driver::output::{self, Sent};
use crate::driver::pf::{status, table};
use crate::driver::probe;
use crate::driver::softc::Softc;
use crate::driver::storage;
use crate::engine::agreement::Told;
use crate::engine::bucket::FrameSize;
use crate::engine::bulk::{states_in_tick, Instant};
use crate::wire::{Action, BulkMark, BulkStatus, FrameWriter, Full, RawBulkStatus, RawClear, RawId, StateId};

/// Sends the next packets of a repair, if a peer lacks something. `is_allowed`: a tick has
/// passed since the last packets. Only the sender calls this.
#[inline(never)]
pub(crate) fn send_burst(softc: &Softc, link: Option<&Link>, epoch: &NetEpoch, is_allowed: bool) {
    if !storage::is_numbered() || !is_repairing(softc) {
        return;
    }
    let frame_size = softc.frame_size(link);
    if link.is_none() || !frame_size.fits_a_state() {
        return;
    }
    let mut burst = if is_allowed { space(softc, frame_size) } else { 0 };
    while burst > 0 && is_repairing(softc) {
        burst = burst.saturating_sub(1);
        let mut is_limited = false;
        let sent = output::send_frame(softc, link, epoch, |writer| is_limited = fill(softc, writer));
        if is_limited || sent == Sent::Later {
            break;
        }
    }
    if is_repairing(softc) {
        softc.sender_timer.arm(time::tick());
    }
}

/// How many packets may leave in this tick: as the reports of the peers allow, in a burst that is
/// no longer than one of a bulk update.
fn space(softc: &Softc, frame_size: FrameSize) -> u64 {
    let space = softc.agreement.lock().repair_space(time::now());
    let states = states_in_tick(time::tick()) >> 32;
    states.checked_div(frame_size.states() as u64).unwrap_or(0).max(1).min(space)
}

fn is_repairing(softc: &Softc) -> bool {
    softc.agreement.lock().is_repairing(time::now())
}

/// Fills a frame. Returns whether the limit on what is sent for peers ended it.
fn fill(softc: &Softc, writer: &mut FrameWriter) -> bool {
    let most_per_second = storage::sysctls().peer_requests;
    let format = softc.options.format();
    // No message is larger than a state.
    while writer.fits(format.update(), format.size()) > 0 && is_repairing(softc) {
        if !softc.rates.answers.allows(time::uptime(), most_per_second) {
            return true;
        }
        if let Some(told) = next(softc) {
            probe::retold(1);
            let _ = write(softc, told, writer);
        }
    }
    false
}

/// The next thing to tell again, if there is one.
#[inline(never)]
fn next(softc: &Softc) -> Option<Told> {
    let awaits_bulk = !softc.bulk_request.lock().is_idle();
    softc.agreement.lock().next_to_repair(awaits_bulk)
}

/// Writes what is true now of something that was told.
#[inline(never)]
fn write(softc: &Softc, told: Told, writer: &mut FrameWriter) -> Result<(), Full> {
    match told {
        Told::State(id) => write_state(softc, id, writer).unwrap_or(Ok(())),
        Told::Deleted(id) => write_state(softc, id, writer).unwrap_or_else(|| {
            // A peer has the state, and what it tells until it hears of the end is refused.
            softc.ended.lock().note(id, time::uptime());
            writer.append(Action::DeleteCompressed, &RawId::from(id))
        }),
        Told::Cleared(clear) => {
            // It also ends the states that were made since.
            bulk_answer::request_received(softc);
            softc.ended.lock().note_clear(clear.creator, None, time::uptime());
            writer.append(Action::Clear, &RawClear::from(&clear))
        }
        Told::Requested(StateId::ALL) => {
            bulk_request::request_missed(softc);
            Ok(())
        }
        Told::Requested(id) if table::find(id).is_some() => Ok(()),
        Told::Requested(id) => writer.append(Action::UpdateRequest, &RawId::from(id)),
        Told::BulkEnded(requested) => {
            writer.end_run();
            writer.append(Action::BulkStatus, &end_mark(requested))
        }
    }
}

/// Writes a state. `None` if there is none, or if it has ended.
fn write_state(softc: &Softc, id: StateId, writer: &mut FrameWriter) -> Option<Result<(), Full>> {
    let found = table::find(id).filter(|found| found.is_alive())?;
    if found.is_nosync() {
        return Some(Ok(()));
    }
    Some(output::write_whole(softc.options.format().update(), &found, writer))
}

/// The end mark of a bulk update that was requested at that time.
fn end_mark(requested: Instant) -> RawBulkStatus {
    // The age is rounded down, as in `bulk_answer`.
    let age = time::now().saturating_sub(time::tick()).saturating_sub(requested).max(0) >> 32;
    let age = u32::try_from(age).unwrap_or(u32::MAX);
    RawBulkStatus::from(&BulkStatus { creator: status::host_id(), age, mark: BulkMark::End })
}
