// SPDX-License-Identifier: BSD-2-Clause
//! What is in the prompt queues of all buckets.

use super::{FrameSize, Queue, QUEUES};
use crate::atomic::{AtomicUsize, Ordering};
use crate::wire::{RawCompressedUpdate, RawId, Subheader};

/// How many states are in each prompt queue of all buckets.
///
/// Threads share it without a lock. A state is counted with its bucket locked: a thread
/// that reads the count and then locks the bucket finds the state, unless another thread
/// has taken it out.
pub struct Backlog {
    counts: [AtomicUsize; QUEUES],
}

impl Backlog {
    /// All queues are empty.
    pub const fn new() -> Backlog {
        Backlog { counts: [const { AtomicUsize::new(0) }; QUEUES] }
    }

    /// What counts the states in a queue. `None` for that of the updates that wait.
    fn count(&self, queue: Queue) -> Option<&AtomicUsize> {
        match queue {
            Queue::Waiting => None,
            _ => self.counts.get(queue as usize),
        }
    }

    /// Number of states in a prompt queue of all buckets.
    pub fn len(&self, queue: Queue) -> usize {
        self.count(queue).map_or(0, |count| count.load(Ordering::Acquire))
    }

    /// Whether all prompt queues are empty.
    pub fn is_empty(&self) -> bool {
        Queue::PROMPT.iter().all(|queue| self.len(*queue) == 0)
    }

    /// Whether the messages fill a frame: with one more of the largest of them, they would
    /// not fit any more.
    pub fn fills(&self, frame_size: FrameSize) -> bool {
        let (mut len, mut largest) = (0usize, 0);
        let mut add = |queue, message_len: usize| {
            let count = self.len(queue);
            if count > 0 {
                len = len
                    .saturating_add(count.saturating_mul(message_len))
                    .saturating_add(size_of::<Subheader>());
                largest = message_len;
            }
        };
        add(Queue::Delete, size_of::<RawId>());
        add(Queue::Ack, size_of::<RawId>());
        add(Queue::Compressed, size_of::<RawCompressedUpdate>());
        add(Queue::Update, frame_size.state_len);
        add(Queue::Insert, frame_size.state_len);
        len.saturating_add(largest) > frame_size.payload_len
    }

    /// Counts states that were put into a queue.
    pub(super) fn add(&self, queue: Queue, count: usize) {
        if let Some(counted) = self.count(queue) {
            counted.fetch_add(count, Ordering::AcqRel);
        }
    }

    /// Counts a state that was taken out of a queue.
    pub(super) fn remove(&self, queue: Queue) {
        if let Some(counted) = self.count(queue) {
            counted.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Default for Backlog {
    fn default() -> Backlog {
        Backlog::new()
    }
}
