// SPDX-License-Identifier: BSD-2-Clause
//! The queues of a bucket as threads share them: behind a mutex, with flags that tell the
//! sender where to look.
//!
//! A flag is set after the queues were changed and unlocked, and cleared before they are
//! locked to look. So whoever clears it also sees the change that it was set for: had the
//! queues been looked at before that change, the flag would have been set after it was
//! cleared, and would still be set. The mutex alone ensures this. The flags have orderings of
//! their own all the same, so that a reader need not know how the mutex orders them.

use crate::atomic::{AtomicBool, Ordering};
use crate::driver::kernel::mutex::{Guard, Mutex};
use crate::driver::pf::{Kstate, StateLists, StateRef};
use crate::engine::bucket::{FrameSize, Queue, Queues, Wake};

/// States that the sender takes out of a queue at once.
pub(crate) const BATCH: usize = 16;

/// The queues of a bucket.
pub(crate) struct SharedQueues {
    queues: Mutex<Queues<StateLists>>,
    /// Set after a delete was queued. The sender clears it before it looks.
    has_deletes: AtomicBool,
    /// Asks the sender to look at the queues. Set before the sender's interrupt is scheduled,
    /// which orders this before the run of the sender.
    send_requested: AtomicBool,
}

impl SharedQueues {
    /// Queues that no thread uses yet.
    pub(crate) fn new(queues: Mutex<Queues<StateLists>>) -> SharedQueues {
        SharedQueues { queues, has_deletes: AtomicBool::new(false), send_requested: AtomicBool::new(false) }
    }

    /// Locks the queues.
    pub(crate) fn lock(&self) -> Guard<'_, Queues<StateLists>> {
        self.queues.lock()
    }

    /// pf deletes a state.
    pub(crate) fn delete(&self, state: &Kstate, frame_size: FrameSize) -> Wake {
        let wake = self.lock().delete(state, frame_size);
        self.has_deletes.store(true, Ordering::Release);
        wake
    }

    /// Asks the sender to look at the queues. The caller then schedules the sender.
    pub(crate) fn request_send(&self) {
        self.send_requested.store(true, Ordering::Release);
    }

    /// Whether the sender is asked to look at the queues. The sender then looks.
    pub(crate) fn take_request(&self) -> bool {
        self.send_requested.swap(false, Ordering::AcqRel)
    }

    /// Takes states out of a queue, as many as `batch` has places, and returns true; or takes
    /// none if the queue is empty, or if a clear waits, which must leave before every state
    /// that was queued since.
    ///
    /// With the queues locked, `clear_waits` shows each clear that is older than a state in
    /// them: whoever stored it did so before the state was queued, and the mutex orders that
    /// before this.
    pub(crate) fn take_batch(
        &self,
        queue: Queue,
        clear_waits: &AtomicBool,
        batch: &mut [Option<StateRef>],
    ) -> bool {
        let mut queues = self.lock();
        if clear_waits.load(Ordering::Acquire) {
            return false;
        }
        for slot in batch.iter_mut() {
            *slot = queues.pop(queue);
            if slot.is_none() {
                break;
            }
        }
        drop(queues);
        batch.first().is_some_and(Option::is_some)
    }
}

/// Has `write` write the queues of a bucket, each up to a number of states, and before them
/// the deletes of all buckets. Stops if `write` leaves deletes in a queue.
///
/// A new connection may have the same ends as one whose state has just ended, and peers
/// refuse its insert while they have the old state. The two states are in different buckets.
/// So no insert leaves before the deletes that were queued before it. An insert that is
/// counted here was queued with the bucket locked, and pf made its state after the end of the
/// other one, with a lock of its own: so the flag for that end is set when this looks at it.
pub(crate) fn write_in_order<'a>(
    all: impl Iterator<Item = &'a SharedQueues>,
    own: &SharedQueues,
    mut write: impl FnMut(&SharedQueues, Queue, usize),
) {
    // Inserts that are queued from now on may follow deletes that the loop does not see.
    let inserts = own.lock().len(Queue::Insert);
    for other in all.filter(|other| other.has_deletes.swap(false, Ordering::AcqRel)) {
        write(other, Queue::Delete, usize::MAX);
        if other.lock().len(Queue::Delete) > 0 {
            other.has_deletes.store(true, Ordering::Release);
            return;
        }
    }
    write(own, Queue::Insert, inserts);
    for queue in [Queue::Ack, Queue::Update, Queue::Compressed] {
        write(own, queue, usize::MAX);
    }
}
