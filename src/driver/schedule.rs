// SPDX-License-Identifier: BSD-2-Clause
//! When the sender sends what is in the prompt queues. One schedule serves all buckets.
//!
//! The sender sends a frame as soon as the messages of all buckets fill one. What does not
//! fill a frame leaves with the next tick of the clock, all buckets together. If full frames
//! have carried all that was queued before, what was queued since may wait for one more tick:
//! it is younger than a tick, and probably becomes part of a full frame. So within a tick either
//! full frames leave or one other, apart from what threads queue while the sender writes. A
//! message in a prompt queue waits for two ticks at most.

use crate::atomic::{AtomicBool, Ordering};
use crate::engine::bucket::Backlog;

/// What threads that queue messages, the timer of the tick and the sender tell each other.
///
/// `awaits_tick` is only ever swapped, so that whoever swaps it second knows what the other
/// did before. A thread queues, and then finds that the timer is armed: the timer, when it
/// swaps later, knows of the message and has the sender look. Or the thread finds that it is
/// not, and arms it. `flush_requested` is set before the sender's interrupt is scheduled, which
/// orders it. `is_rest_young` is a hint that nothing orders: a stale value costs one more packet
/// or one more tick.
pub(crate) struct Schedule {
    /// What is in the prompt queues of all buckets.
    pub(crate) backlog: Backlog,
    /// The timer of the tick is armed.
    awaits_tick: AtomicBool,
    /// Since the last tick, full frames have carried all that was queued when the sender began
    /// with them.
    is_rest_young: AtomicBool,
    /// Asks the sender to send all that is in the prompt queues, in whatever frames.
    flush_requested: AtomicBool,
}

/// What to do when a tick has passed.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Tick {
    /// Nothing is in the prompt queues.
    Rest,
    /// Wait for another tick.
    Wait,
    /// Have the sender run. All prompt queues leave.
    Send,
}

impl Schedule {
    /// Nothing is queued.
    pub(crate) const fn new() -> Schedule {
        Schedule {
            backlog: Backlog::new(),
            awaits_tick: AtomicBool::new(false),
            is_rest_young: AtomicBool::new(false),
            flush_requested: AtomicBool::new(false),
        }
    }

    /// A message was queued that may wait for a tick. Returns whether the caller must arm the
    /// timer of the tick.
    pub(crate) fn await_tick(&self) -> bool {
        !self.awaits_tick.swap(true, Ordering::AcqRel)
    }

    /// The timer of the tick has expired.
    pub(crate) fn tick_passed(&self) -> Tick {
        if self.is_rest_young.swap(false, Ordering::AcqRel) {
            return Tick::Wait;
        }
        self.awaits_tick.swap(false, Ordering::AcqRel);
        if self.backlog.is_empty() {
            return Tick::Rest;
        }
        self.request_flush();
        Tick::Send
    }

    /// Frames that were full have carried all that was queued when the sender began with them.
    pub(crate) fn note_emptied(&self) {
        self.is_rest_young.store(true, Ordering::Release);
    }

    /// Asks the sender to send all prompt queues. The caller then schedules the sender.
    pub(crate) fn request_flush(&self) {
        self.flush_requested.store(true, Ordering::Release);
    }

    /// Whether the sender is asked to send all prompt queues. The sender then does.
    pub(crate) fn take_flush(&self) -> bool {
        self.flush_requested.swap(false, Ordering::AcqRel)
    }
}
