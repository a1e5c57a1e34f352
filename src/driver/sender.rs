// SPDX-License-Identifier: BSD-2-Clause
//! The sender: one thread in each vnet that sends what is ready, and holds no lock while
//! it sends.

use crate::atomic::Ordering;
use crate::driver::agreement;
use crate::driver::bulk_answer;
use crate::driver::bulk_request;
use crate::driver::deferral;
use crate::driver::format;
use crate::driver::hello;
use crate::driver::instance;
use crate::driver::kernel::epoch::{self, NetEpoch};
use crate::driver::kernel::time;
use crate::driver::kernel::vnet::Vnet;
use crate::driver::link::Link;
use crate::driver::output::{self, Sent};
use crate::driver::pf::{status, StateRef};
use crate::driver::queues::{write_in_order, FrameOfStates};
use crate::driver::repair;
use crate::driver::softc::Softc;
use crate::driver::storage;
use crate::engine::bucket::Queue;
use crate::wire::{Action, Clear, Format, FrameWriter, RawClear, RawCompressedUpdate, RawId};
use core::ffi::c_void;

/// Frames that leave before other work of the sender has its turn.
const FRAMES_PER_TURN: usize = 64;

/// The function of the software interrupt.
pub(crate) extern "C" fn run(arg: *mut c_void) {
    // SAFETY: the argument is the vnet that the interrupt was registered for. The vnet
    // lives, because the module removes the interrupt before the vnet ends.
    let Some(vnet) = (unsafe { Vnet::from_ptr(arg) }) else { return };
    vnet.with(|| {
        epoch::enter(|epoch| {
            if let Some(softc) = instance::current(epoch) {
                send_all(softc, epoch);
            }
        });
    });
}

/// The function of the sender timer: lets the sender go on after a pause.
pub(crate) fn resume(_index: usize) {
    epoch::enter(|epoch| {
        if let Some(softc) = instance::current(epoch) {
            softc.bulk_burst_allowed.store(true, Ordering::Release);
            storage::schedule_sender();
        }
    });
}

/// The function of the timer of the tick.
pub(crate) fn tick_passed(_index: usize) {
    epoch::enter(|epoch| {
        let Some(softc) = instance::current(epoch) else { return };
        format::pass_time(softc);
        softc.tick_passed();
    });
}

/// The function of a bucket's timer: its updates that wait leave, and so do all prompt queues.
pub(crate) fn bucket_timeout(index: usize) {
    epoch::enter(|epoch| {
        let Some(softc) = instance::current(epoch) else { return };
        let Some(bucket) = softc.buckets.get(index) else { return };
        format::pass_time(softc);
        let wake = bucket.queues.change(|queues| queues.timer_expired(softc.backlog()));
        softc.wake(bucket, wake);
    });
}

/// Sends everything that is ready.
fn send_all(softc: &Softc, epoch: &NetEpoch) {
    let link = softc.link(epoch);
    follow_source(softc, link, epoch);
    output::send_unsent(softc, link, epoch);
    deferral::send_released(softc, epoch);
    agreement::choose_ending(softc, link);
    request_what_is_lost(softc);
    if !send_control(softc, link, epoch) {
        return;
    }
    send_backlog(softc, link, epoch);
    deferral::send_released(softc, epoch);
    let is_allowed = softc.bulk_burst_allowed.swap(false, Ordering::AcqRel);
    repair::send_burst(softc, link, epoch, is_allowed);
    bulk_answer::send_burst(softc, link, epoch, is_allowed);
    hello::send_due(softc, link, epoch);
}

/// Requests a bulk update if it alone brings what is missing here, and none is awaited.
#[inline(never)]
fn request_what_is_lost(softc: &Softc) {
    if agreement::needs_bulk(softc) && softc.ifp.is_running() {
        let is_idle = softc.bulk_request.lock().is_idle();
        if is_idle {
            bulk_request::start_with_new_peers(softc);
        }
    }
}

/// Makes up for frames that were lost because the sync interface had no address, once it has
/// one: requests what may be missing here, and sends the peers the whole table. No event
/// tells that an address of IPv6 is no longer tentative.
#[inline(never)]
fn follow_source(softc: &Softc, link: Option<&Link>, epoch: &NetEpoch) {
    if !softc.lost_without_source.load(Ordering::Relaxed) {
        return;
    }
    if link.is_some_and(|link| link.source(epoch).is_none()) {
        return softc.sender_timer.arm(time::SECOND);
    }
    softc.lost_without_source.store(false, Ordering::Relaxed);
    if link.is_some() {
        bulk_request::repeat(softc);
        bulk_answer::request_received(softc);
    }
}

/// Sends update requests and clears. If this returns false, one is left, for which there is
/// no memory; the sender timer is armed.
///
/// They leave before what is in the buckets: a clear ends the states that were made before
/// it, and must not end those that were made since.
#[inline(never)]
fn send_control(softc: &Softc, link: Option<&Link>, epoch: &NetEpoch) -> bool {
    while !softc.control.lock().is_empty() {
        let sent = output::send_frame(softc, link, epoch, |writer| {
            while writer.fits(Action::UpdateRequest, size_of::<RawId>()) > 0 {
                let Some(state) = softc.control.lock().next_request() else { break };
                let _ = writer.append(Action::UpdateRequest, &RawId::from(state));
            }
            while writer.fits(Action::Clear, size_of::<RawClear>()) > 0 {
                let Some(clear) = next_clear(softc) else { break };
                let _ = writer.append(Action::Clear, &RawClear::from(&clear));
            }
        });
        match sent {
            Sent::Yes => {}
            Sent::Empty => break,
            Sent::Later => {
                softc.sender_timer.arm(time::tick());
                return false;
            }
        }
    }
    true
}

/// Takes out the next clear.
fn next_clear(softc: &Softc) -> Option<Clear> {
    let mut control = softc.control.lock();
    let clear = control.next_clear(status::host_id());
    softc.clear_waits.store(control.has_clears(), Ordering::Release);
    drop(control);
    if let Some(clear) = &clear {
        softc.ended.lock().note_clear(clear.creator, None, time::uptime());
    }
    clear
}

/// Sends what is in the prompt queues, in frames that are filled from all buckets: the full
/// ones, and also the last one if that is asked for.
fn send_backlog(softc: &Softc, link: Option<&Link>, epoch: &NetEpoch) {
    let flushes = softc.schedule.take_flush();
    // All buckets before this one were empty since this began.
    let mut first = 0;
    for _ in 0..FRAMES_PER_TURN {
        if softc.clear_waits.load(Ordering::Acquire) {
            break;
        }
        if softc.backlog().is_empty() {
            return;
        }
        let frame_size = softc.frame_size(link);
        if !softc.has_audience(link) || !frame_size.fits_a_state() {
            return discard(softc);
        }
        if !flushes && !softc.backlog().fills(frame_size) {
            return;
        }
        let sent = output::send_frame(softc, link, epoch, |writer| {
            let mut frame = Messages { format: softc.options.format(), writer };
            let bucket = |index: usize| softc.buckets.get(index).map(|bucket| &bucket.queues);
            first = write_in_order(bucket, first, softc.backlog(), &softc.clear_waits, &mut frame);
        });
        if sent == Sent::Later {
            softc.sender_timer.arm(time::tick());
            return request_rest(softc, flushes);
        }
        if first >= softc.buckets.len() {
            if flushes {
                return;
            }
            softc.schedule.note_emptied();
            first = 0;
        }
    }
    // A clear, or other work, has its turn before the rest.
    request_rest(softc, flushes);
    storage::schedule_sender();
}

/// Asks again for what is left to be sent.
fn request_rest(softc: &Softc, flushes: bool) {
    if flushes {
        softc.schedule.request_flush();
    }
}

/// Empties the queues of all buckets.
fn discard(softc: &Softc) {
    for bucket in softc.buckets.iter() {
        // The bucket is unlocked again before the reference to the state is dropped.
        let next = || bucket.queues.lock().pop_any(softc.backlog());
        while next().is_some() {}
    }
}

/// A frame with messages about states.
struct Messages<'a, 'b> {
    format: Format,
    writer: &'a mut FrameWriter<'b>,
}

impl FrameOfStates for Messages<'_, '_> {
    fn fits(&self, queue: Queue) -> usize {
        let (action, size) = message(self.format, queue);
        self.writer.fits(action, size)
    }

    fn write(&mut self, queue: Queue, state: &StateRef) {
        let (action, _) = message(self.format, queue);
        // It fits: no more states are taken out of a queue.
        let _ = output::write_state(action, state, self.writer);
    }
}

/// The message that carries a state of a queue, and its size in bytes.
fn message(format: Format, queue: Queue) -> (Action, usize) {
    match queue {
        Queue::Insert => (format.insert(), format.size()),
        Queue::Update => (format.update(), format.size()),
        Queue::Compressed | Queue::Waiting => (Action::UpdateCompressed, size_of::<RawCompressedUpdate>()),
        Queue::Ack => (Action::InsertAck, size_of::<RawId>()),
        Queue::Delete => (Action::DeleteCompressed, size_of::<RawId>()),
    }
}
