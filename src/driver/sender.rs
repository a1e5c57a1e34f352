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
use crate::driver::pf::status;
use crate::driver::queues::{write_in_order, SharedQueues, BATCH};
use crate::driver::repair;
use crate::driver::softc::{Bucket, Softc};
use crate::driver::storage;
use crate::engine::bucket::Queue;
use crate::wire::{Action, Clear, Format, FrameWriter, RawClear, RawCompressedUpdate, RawId};
use core::ffi::c_void;

/// Frames of one bucket that leave before the other buckets have their turn.
const FRAMES_PER_BUCKET: usize = 64;

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

/// The function of a bucket's timer: everything in the queues leaves.
pub(crate) fn bucket_timeout(index: usize) {
    epoch::enter(|epoch| {
        let Some(softc) = instance::current(epoch) else { return };
        let Some(bucket) = softc.buckets.get(index) else { return };
        format::pass_time(softc);
        let wake = bucket.queues.lock().timer_expired();
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
    for bucket in softc.buckets.iter() {
        if bucket.queues.take_request() {
            send_bucket(softc, bucket, link, epoch);
        }
        deferral::send_released(softc, epoch);
    }
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

/// Sends what is ready in a bucket, up to [`FRAMES_PER_BUCKET`].
fn send_bucket(softc: &Softc, bucket: &Bucket, link: Option<&Link>, epoch: &NetEpoch) {
    for _ in 0..FRAMES_PER_BUCKET {
        if softc.clear_waits.load(Ordering::Acquire) {
            break;
        }
        let frame_size = softc.frame_size(link);
        if !softc.has_audience(link) || !frame_size.fits_a_state() {
            return discard(bucket);
        }
        let is_ready = bucket.queues.lock().is_ready(frame_size);
        if !is_ready {
            return;
        }
        let sent = output::send_frame(softc, link, epoch, |writer| write_bucket(softc, bucket, writer));
        if sent == Sent::Later {
            softc.sender_timer.arm(time::tick());
            bucket.queues.request_send();
            return;
        }
    }
    // A clear, or the other buckets, have their turn before the rest of this one.
    bucket.queues.request_send();
    storage::schedule_sender();
}

/// Empties the queues of a bucket.
fn discard(bucket: &Bucket) {
    loop {
        // The bucket is unlocked again before the reference to the state is dropped.
        let Some(_state) = bucket.queues.lock().pop_any() else { return };
    }
}

/// Writes the messages of a bucket that are ready, and before them the deletes of all
/// buckets.
fn write_bucket(softc: &Softc, bucket: &Bucket, writer: &mut FrameWriter) {
    let all = softc.buckets.iter().map(|bucket| &bucket.queues);
    write_in_order(all, &bucket.queues, |queues, queue, most| {
        write_queue(softc, queues, queue, most, writer)
    });
}

/// Writes as many states of a queue as fit, up to `most`. Takes states out of the queue in
/// batches, so that the bucket is never locked together with the row of a state.
fn write_queue(softc: &Softc, queues: &SharedQueues, queue: Queue, most: usize, writer: &mut FrameWriter) {
    let (action, size) = message(softc.options.format(), queue);
    let mut left = most;
    loop {
        let fits = writer.fits(action, size).min(BATCH).min(left);
        left = left.saturating_sub(fits);
        let mut batch = [const { None }; BATCH];
        if !queues.take_batch(queue, &softc.clear_waits, batch.get_mut(..fits).unwrap_or_default()) {
            return;
        }
        for state in batch.iter().flatten() {
            // It fits: the batch is not larger than the space.
            let _ = output::write_state(action, state, writer);
        }
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
