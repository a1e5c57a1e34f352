// SPDX-License-Identifier: BSD-2-Clause
//! Answering a peer's request for a bulk update: a walk through pf's table, a few packets
//! at a time.
//!
//! `bulk_request` requests a bulk update from the peers.

use crate::driver::kernel::epoch::NetEpoch;
use crate::driver::kernel::time;
use crate::driver::link::Link;
use crate::driver::output::{self, Sent};
use crate::driver::pf::row::{Row, Rows};
use crate::driver::pf::{is_announced, status, Locked};
use crate::driver::probe;
use crate::driver::softc::Softc;
use crate::engine::bucket::FrameSize;
use crate::engine::bulk::{Position, Walk};
use crate::wire::{Action, BulkMark, BulkStatus, FrameWriter, Full, RawBulkStatus};

/// Packets that leave before other messages have their turn, however many the peers can take.
const PACKETS_PER_RUN: u64 = 256;

/// Notes that a peer requests a bulk update. The sender begins in a tick.
pub(crate) fn request_received(softc: &Softc) {
    softc.bulk_answer.lock().receive_request(time::now());
    softc.sender_timer.arm(time::tick());
}

/// Packets that may leave now: as many as the requesting peers can take, if they report what
/// arrives.
fn packets_allowed(softc: &Softc, frame_size: FrameSize, is_allowed: bool) -> u64 {
    let space = softc.agreement.lock().bulk_space(time::now());
    match space {
        Some(space) => space.min(PACKETS_PER_RUN),
        None if is_allowed => softc.bulk_answer.lock().packets_in_tick(time::tick(), frame_size.states()),
        None => 0,
    }
}

/// Sends the next packets of a bulk update, if a peer waits for one. `is_allowed`: a tick has
/// passed since the last packets.
#[inline(never)]
pub(crate) fn send_burst(softc: &Softc, link: Option<&Link>, epoch: &NetEpoch, is_allowed: bool) {
    if !softc.bulk_answer.lock().is_busy() {
        return;
    }
    let frame_size = softc.frame_size(link);
    if link.is_none() || !frame_size.fits_a_state() {
        return softc.bulk_answer.lock().cancel();
    }
    let rows = Rows::all();
    for _ in 0..packets_allowed(softc, frame_size, is_allowed) {
        let walk = softc.bulk_answer.lock().walk(time::now());
        let Some(walk) = walk else { break };
        let mut next = None;
        let sent = output::send_frame(softc, link, epoch, |writer| {
            next = write_packet(softc, rows, &walk, writer);
        });
        if sent == Sent::Later {
            break;
        }
        probe::bulk_sending(next.map_or(rows.count(), |position| position.row), rows.count());
        match next {
            Some(position) => softc.bulk_answer.lock().advance(position),
            None => {
                softc.bulk_answer.lock().finish();
                softc.agreement.lock().finish_bulk();
            }
        }
    }
    if softc.bulk_answer.lock().is_busy() {
        softc.sender_timer.arm(time::tick());
    }
}

/// Fills a packet of the bulk update. Returns where the next packet begins, or `None` if
/// this is the last.
fn write_packet(softc: &Softc, rows: Rows, walk: &Walk, writer: &mut FrameWriter) -> Option<Position> {
    if !walk.started {
        softc.agreement.lock().begin_bulk();
        let _ = writer.append(Action::BulkStatus, &mark(BulkMark::Start, walk));
        // The stock module looks only at the first mark of a run.
        writer.end_run();
    }
    let mut position = walk.position;
    while position.row < rows.count() {
        if let Some(row) = rows.lock(position.row) {
            if let Err(Full) = write_row(softc, &row, walk, &mut position, writer) {
                return Some(position);
            }
        }
        position = Position { row: position.row.saturating_add(1), after: None };
    }
    match writer.append(Action::BulkStatus, &mark(BulkMark::End, walk)) {
        Ok(()) => None,
        Err(Full) => Some(position),
    }
}

/// Writes the states of a row that follow the last state sent. If that state is gone,
/// writes the whole row again.
fn write_row(
    softc: &Softc,
    row: &Row,
    walk: &Walk,
    position: &mut Position,
    writer: &mut FrameWriter,
) -> Result<(), Full> {
    let action = softc.options.format().update();
    let sent = position.after.and_then(|last| row.states().position(|state| state.id() == last));
    for state in row.states().skip(sent.map_or(0, |index| index.saturating_add(1))) {
        if belongs_in(&state, walk) {
            output::write_whole(action, &state, writer)?;
        }
        position.after = Some(state.id());
    }
    Ok(())
}

/// Whether a bulk update carries a state. It leaves out a state that the peers must not
/// know, that a peer sent since the request, or whose insert, whole update or delete is
/// queued anyway.
fn belongs_in(state: &Locked, walk: &Walk) -> bool {
    state.is_alive()
        && !state.is_nosync()
        && state.last_news().is_none_or(|at| !walk.was_requested_before(at))
        && !is_announced(state)
}

/// A start mark or an end mark.
fn mark(mark: BulkMark, walk: &Walk) -> RawBulkStatus {
    // The clock is exact to a tick. If the age were too high, the peer would take the mark
    // for the answer to another request.
    let age = walk.age(time::now().saturating_sub(time::tick()));
    RawBulkStatus::from(&BulkStatus { creator: status::host_id(), age, mark })
}
