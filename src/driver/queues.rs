// SPDX-License-Identifier: BSD-2-Clause
//! The queues of a bucket as threads share them: behind a mutex, with a flag that lets the
//! sender pass by a bucket without locking it.

use crate::atomic::{AtomicBool, Ordering};
use crate::driver::kernel::mutex::{Guard, Mutex};
use crate::driver::pf::{Kstate, StateLists, StateRef};
use crate::engine::bucket::{Backlog, Queue, Queues, Wake};

/// States that the sender takes out of a queue at once.
const BATCH: usize = 16;

/// The queues of a bucket.
pub(crate) struct SharedQueues {
    queues: Mutex<Queues<StateLists>>,
    /// Whether a prompt queue has a state. Written with the queues locked. `insert` and `delete`
    /// set it before the backlog counts the state, so that a thread that reads the count sees
    /// this. `change` sets it after that; its caller then has the sender run.
    has_prompt: AtomicBool,
}

/// The frame that the sender writes.
pub(crate) trait FrameOfStates {
    /// How many messages of a queue fit.
    fn fits(&self, queue: Queue) -> usize;
    /// Writes the message of a state from a queue. It fits.
    fn write(&mut self, queue: Queue, state: &StateRef);
}

/// How far a bucket was written.
#[derive(PartialEq, Eq)]
enum Written {
    /// The queues that were asked for are empty.
    All,
    /// Deletes must leave first.
    DeletesFirst,
    /// The frame is full, or a clear must leave first.
    Stopped,
}

impl SharedQueues {
    /// Queues that no thread uses yet.
    pub(crate) fn new(queues: Mutex<Queues<StateLists>>) -> SharedQueues {
        SharedQueues { queues, has_prompt: AtomicBool::new(false) }
    }

    /// Locks the queues, for what puts no state into a prompt queue.
    pub(crate) fn lock(&self) -> Guard<'_, Queues<StateLists>> {
        self.queues.lock()
    }

    /// Changes the queues.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Queues<StateLists>) -> Wake) -> Wake {
        let mut queues = self.queues.lock();
        let wake = change(&mut queues);
        if wake.sender {
            self.has_prompt.store(true, Ordering::Release);
        }
        wake
    }

    /// pf created a state.
    pub(crate) fn insert(&self, state: &Kstate, backlog: &Backlog) {
        let mut queues = self.queues.lock();
        self.has_prompt.store(true, Ordering::Release);
        queues.insert(state, backlog);
    }

    /// pf deletes a state. Returns whether the peers will hear of it.
    pub(crate) fn delete(&self, state: &Kstate, backlog: &Backlog) -> bool {
        let mut queues = self.queues.lock();
        self.has_prompt.store(true, Ordering::Release);
        queues.delete(state, backlog)
    }

    /// Writes what is in the queues `from`, until the frame is full or something else must leave
    /// first.
    fn write(
        &self,
        from: &[Queue],
        backlog: &Backlog,
        clear_waits: &AtomicBool,
        frame: &mut impl FrameOfStates,
    ) -> Written {
        while self.has_prompt.load(Ordering::Acquire) {
            let mut batch = [const { None }; BATCH];
            match self.take(from, backlog, clear_waits, |queue| frame.fits(queue), &mut batch) {
                Ok(queue) => batch.iter().flatten().for_each(|state| frame.write(queue, state)),
                Err(written) => return written,
            }
        }
        Written::All
    }

    /// Takes states out of the first of the queues `from` that has any, as many as fit and
    /// `batch` has places for. Returns which queue it was.
    ///
    /// With the queues locked, `clear_waits` shows each clear that is older than a state in
    /// them, and `backlog` each delete: whoever stored it did so before the state was queued,
    /// and the mutex orders that before this.
    fn take(
        &self,
        from: &[Queue],
        backlog: &Backlog,
        clear_waits: &AtomicBool,
        fits: impl FnOnce(Queue) -> usize,
        batch: &mut [Option<StateRef>],
    ) -> Result<Queue, Written> {
        let mut queues = self.queues.lock();
        let Some(queue) = from.iter().copied().find(|queue| queues.len(*queue) > 0) else {
            self.has_prompt.store(queues.has_prompt(), Ordering::Release);
            return Err(Written::All);
        };
        if clear_waits.load(Ordering::Acquire) {
            return Err(Written::Stopped);
        }
        if queue != Queue::Delete && backlog.len(Queue::Delete) > 0 {
            return Err(Written::DeletesFirst);
        }
        let fits = fits(queue);
        if fits == 0 {
            return Err(Written::Stopped);
        }
        for slot in batch.iter_mut().take(fits) {
            *slot = queues.pop(queue, backlog);
            if slot.is_none() {
                break;
            }
        }
        self.has_prompt.store(queues.has_prompt(), Ordering::Release);
        Ok(queue)
    }
}

/// Writes what is in the prompt queues of the buckets from the one with the index `first` on,
/// as far as it fits, and before it the deletes of all buckets. Returns the index of the bucket
/// at which it stopped, or the number of buckets.
///
/// A new connection may have the same ends as one whose state has just ended, and peers
/// refuse its insert while they have the old state. The two states are in different buckets.
/// So no insert leaves before the deletes that were queued before it. pf orders the two: it
/// makes the new state after the end of the old one, with a lock of its own.
pub(crate) fn write_in_order<'a>(
    bucket: impl Fn(usize) -> Option<&'a SharedQueues>,
    first: usize,
    backlog: &Backlog,
    clear_waits: &AtomicBool,
    frame: &mut impl FrameOfStates,
) -> usize {
    let mut index = first;
    loop {
        if backlog.len(Queue::Delete) > 0 {
            let all = (0..).map_while(&bucket);
            for queues in all {
                if queues.write(&[Queue::Delete], backlog, clear_waits, frame) == Written::Stopped {
                    return index;
                }
            }
        }
        let Some(queues) = bucket(index) else { return index };
        match queues.write(&AFTER_DELETES, backlog, clear_waits, frame) {
            Written::All => index = index.saturating_add(1),
            Written::DeletesFirst => {}
            Written::Stopped => return index,
        }
    }
}

/// The prompt queues but that of deletes, in the order in which a frame carries them.
const AFTER_DELETES: [Queue; 4] = [Queue::Insert, Queue::Ack, Queue::Update, Queue::Compressed];
