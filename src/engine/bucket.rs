// SPDX-License-Identifier: BSD-2-Clause
//! The queues of a bucket: which changes of states are sent, and when.
//!
//! States are spread over buckets by their id, and each bucket has its own
//! lock. A state is in at most one queue of its bucket.
//!
//! Inserts, deletes, acknowledgements and requested updates are *prompt*: they
//! are sent as soon as they fill a frame. A compressed update *waits* instead:
//! further changes to the state collapse into it and need no message of their own.
//! It becomes prompt when the state has changed `maxupd` times, or when a peer
//! needs it.
//!
//! The first change in an idle bucket starts a one-second timer. When it
//! expires, everything queued is sent.
//!
//! # Examples
//!
//! The queues of a bucket over a model of the lists: states are numbers, and lists
//! are vectors. In the kernel, the states themselves are the links.
//!
//! ```
//! use pfsync::engine::bucket::{Change, FrameSize, Lists, Queue, Queues, QUEUES};
//!
//! #[derive(Default)]
//! struct Numbers([Vec<u32>; QUEUES]);
//!
//! impl Lists for Numbers {
//!     type State = u32;
//!     type Ref = u32;
//!
//!     fn place(&self, state: &u32) -> Option<Queue> {
//!         Queue::ALL.into_iter().find(|queue| self.0[*queue as usize].contains(state))
//!     }
//!     fn append(&mut self, queue: Queue, state: &u32) {
//!         self.0[queue as usize].push(*state);
//!     }
//!     fn remove(&mut self, state: &u32) {
//!         self.0.iter_mut().for_each(|list| list.retain(|other| other != state));
//!     }
//!     fn transfer(&mut self, state: &u32, to: Queue) {
//!         self.remove(state);
//!         self.append(to, state);
//!     }
//!     fn append_all(&mut self, from: Queue, to: Queue) {
//!         let states = std::mem::take(&mut self.0[from as usize]);
//!         self.0[to as usize].extend(states);
//!     }
//!     fn pop(&mut self, queue: Queue) -> Option<u32> {
//!         let list = &mut self.0[queue as usize];
//!         (!list.is_empty()).then(|| list.remove(0))
//!     }
//!     fn len(&self, queue: Queue) -> usize {
//!         self.0[queue as usize].len()
//!     }
//!     fn set_maxupd(&mut self, _maxupd: u8) {}
//!     fn count_update(&mut self, _state: &u32) -> u8 {
//!         128
//!     }
//! }
//!
//! let mut queues = Queues::new(Numbers::default());
//! let frame_size = FrameSize { payload_len: 1_456, state_len: 277 };
//! let change = Change { tcp: true, split: false };
//!
//! // A new state does not fill a frame. The caller starts the timer.
//! let wake = queues.insert(&1, frame_size);
//! assert!(wake.timer && !wake.sender);
//! // A change of another state waits. A second change collapses into the first.
//! let _ = queues.update(&2, change);
//! let _ = queues.update(&2, change);
//! assert!(!queues.is_ready(frame_size));
//!
//! // The timer expires: both leave, and the sender takes them out.
//! assert!(queues.timer_expired().sender);
//! assert!(queues.is_ready(frame_size));
//! assert_eq!(queues.pop(Queue::Insert), Some(1));
//! assert_eq!(queues.pop(Queue::Compressed), Some(2));
//! assert!(!queues.is_ready(frame_size));
//! ```

use crate::wire::{RawCompressedUpdate, RawId, Subheader};

/// A queue of a bucket.
///
/// The numbers are an interface: they are the argument `queue` of the DTrace
/// probe `pfsync::state:queued`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Queue {
    /// The state is new. The peers do not know it yet.
    Insert = 0,
    /// A peer sent the state and waits for the acknowledgement.
    Ack = 1,
    /// A peer requested the whole state.
    Update = 2,
    /// A compressed update that leaves with the next frame.
    Compressed = 3,
    /// A compressed update that waits for further changes to collapse into it.
    Waiting = 4,
    /// The state is gone.
    Delete = 5,
}

/// Number of queues.
pub const QUEUES: usize = 6;

impl Queue {
    /// Every queue, in the order of the numbers.
    pub const ALL: [Queue; QUEUES] =
        [Queue::Insert, Queue::Ack, Queue::Update, Queue::Compressed, Queue::Waiting, Queue::Delete];

    /// The prompt queues, in the order in which a frame carries their messages.
    pub const PROMPT: [Queue; 5] =
        [Queue::Delete, Queue::Insert, Queue::Ack, Queue::Update, Queue::Compressed];
}

/// The lists behind the queues of a bucket.
///
/// In the kernel, the states themselves are the links. Tests use a model. What a
/// state remembers of its place belongs to the lists, and so to the bucket's
/// lock.
pub trait Lists {
    /// A state as pf shows it to a hook.
    type State: ?Sized;
    /// A counted reference to a state. A queue holds one for each of its states.
    type Ref;

    /// The queue that a state is in.
    fn place(&self, state: &Self::State) -> Option<Queue>;
    /// Appends a state that is in no queue, with a new reference.
    fn append(&mut self, queue: Queue, state: &Self::State);
    /// Takes a state out of its queue, if it is in one, and drops the queue's
    /// reference.
    fn remove(&mut self, state: &Self::State);
    /// Takes a state out of its queue and appends it to another.
    fn transfer(&mut self, state: &Self::State, to: Queue);
    /// Appends all states of one queue to another.
    fn append_all(&mut self, from: Queue, to: Queue);
    /// Takes the first state out of a queue.
    fn pop(&mut self, queue: Queue) -> Option<Self::Ref>;
    /// Number of states in a queue.
    fn len(&self, queue: Queue) -> usize;
    /// Sets how many updates of a state may collapse into one message, for
    /// states that are appended from now on.
    fn set_maxupd(&mut self, maxupd: u8);
    /// Counts an update that collapses into the queued message of a state.
    /// Returns how many more may.
    fn count_update(&mut self, state: &Self::State) -> u8;
}

/// How much a frame carries, which decides when the prompt queues fill one.
#[derive(Clone, Copy, Debug)]
pub struct FrameSize {
    /// Bytes for runs and their subheaders: the frame without its header and its end
    /// mark.
    pub payload_len: usize,
    /// Bytes of a whole state in the format that is sent.
    pub state_len: usize,
}

impl FrameSize {
    /// Whether a whole state fits. It is the largest message.
    pub fn fits_a_state(&self) -> bool {
        self.payload_len >= self.state_len.saturating_add(size_of::<Subheader>())
    }
}

/// A change of a state, as pf reports it.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// Whether this is a TCP state. `maxupd` applies only to these, as in the C
    /// module.
    pub tcp: bool,
    /// Whether the traffic of the state is split between this firewall and a peer.
    /// The peer sent an update a moment ago, and needs this one at once.
    pub split: bool,
}

/// What the caller must do after a change, inside or outside the bucket's lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct Wake {
    /// Start the bucket's timer, to expire after one second.
    pub timer: bool,
    /// Run the sender: a frame is ready.
    pub sender: bool,
}

/// The queues of a bucket. The caller holds the bucket's lock.
pub struct Queues<L> {
    lists: L,
    /// The timer runs. When it expires, everything queued is sent.
    timer: bool,
    /// The prompt queues are being sent, whether or not they fill a frame.
    flushing: bool,
}

/// Whether an update collapses into the message that is queued for its state
/// without touching the bucket. For callers that can see only the state and do not
/// hold the bucket's lock.
///
/// `left` is how many more updates may collapse into the message.
pub fn collapses(place: Option<Queue>, change: Change, left: u8) -> bool {
    matches!(place, Some(Queue::Insert | Queue::Update | Queue::Compressed | Queue::Waiting))
        && !change.split
        && (!change.tcp || left > 1)
}

/// Whether the message that is queued for a state carries all of it or says that it is gone. A
/// bulk update then leaves the state out.
pub fn announces(place: Option<Queue>) -> bool {
    matches!(place, Some(Queue::Insert | Queue::Update | Queue::Delete))
}

impl<L: Lists> Queues<L> {
    /// The queues of an idle bucket, over empty lists.
    pub const fn new(lists: L) -> Queues<L> {
        Queues { lists, timer: false, flushing: false }
    }

    /// pf created a state.
    pub fn insert(&mut self, state: &L::State, frame_size: FrameSize) -> Wake {
        if self.lists.place(state).is_none() {
            self.lists.append(Queue::Insert, state);
        }
        self.wake_if_full(frame_size)
    }

    /// Sets how many updates of a TCP state may collapse into one message.
    pub fn set_maxupd(&mut self, maxupd: u8) {
        self.lists.set_maxupd(maxupd);
    }

    /// pf changed a state.
    pub fn update(&mut self, state: &L::State, change: Change) -> Wake {
        let mut flush = change.split;
        match self.lists.place(state) {
            None => self.lists.append(Queue::Waiting, state),
            Some(Queue::Ack) => self.lists.transfer(state, Queue::Waiting),
            Some(Queue::Delete) => return Wake::default(),
            Some(_) => flush |= change.tcp && self.lists.count_update(state) == 0,
        }
        if !flush {
            return self.wake(false);
        }
        if self.lists.place(state) == Some(Queue::Waiting) {
            self.lists.transfer(state, Queue::Compressed);
        }
        self.flush()
    }

    /// A peer needs the whole state at once.
    pub fn request(&mut self, state: &L::State) -> Wake {
        match self.lists.place(state) {
            None => self.lists.append(Queue::Update, state),
            Some(Queue::Ack | Queue::Compressed | Queue::Waiting) => {
                self.lists.transfer(state, Queue::Update);
            }
            Some(Queue::Insert | Queue::Update) => {}
            Some(Queue::Delete) => return Wake::default(),
        }
        self.flush()
    }

    /// pf deletes a state. If its insert is still queued, the peers hear nothing
    /// of it.
    pub fn delete(&mut self, state: &L::State, frame_size: FrameSize) -> Wake {
        match self.lists.place(state) {
            Some(Queue::Insert) => {
                self.lists.remove(state);
                return Wake::default();
            }
            None => self.lists.append(Queue::Delete, state),
            Some(Queue::Delete) => {}
            Some(_) => self.lists.transfer(state, Queue::Delete),
        }
        self.wake_if_full(frame_size)
    }

    /// A peer sent a new state and waits for the acknowledgement.
    pub fn acknowledge(&mut self, state: &L::State) -> Wake {
        match self.lists.place(state) {
            None => self.lists.append(Queue::Ack, state),
            // An update acknowledges too: it shows that the state is known here.
            Some(Queue::Waiting) => self.lists.transfer(state, Queue::Compressed),
            Some(_) => {}
        }
        self.flush()
    }

    /// Nothing is sent about the state any more.
    pub fn forget(&mut self, state: &L::State) {
        self.lists.remove(state);
    }

    /// The timer expired: everything queued is sent.
    pub fn timer_expired(&mut self) -> Wake {
        self.timer = false;
        self.lists.append_all(Queue::Waiting, Queue::Compressed);
        self.flushing = self.prompt_len() != 0;
        Wake { timer: false, sender: self.flushing }
    }

    /// Sends all prompt queues now, even if they do not fill a frame.
    pub fn flush(&mut self) -> Wake {
        self.flushing = true;
        self.wake(true)
    }

    /// Whether to send a frame now: the prompt queues fill one, or are being
    /// flushed.
    pub fn is_ready(&mut self, frame_size: FrameSize) -> bool {
        self.flushing &= self.prompt_len() != 0;
        self.flushing || self.is_full(frame_size)
    }

    /// Takes the next state out of a queue, to write its message.
    pub fn pop(&mut self, queue: Queue) -> Option<L::Ref> {
        self.lists.pop(queue)
    }

    /// Takes one state out of any queue. `None` when all queues are empty.
    pub fn pop_any(&mut self) -> Option<L::Ref> {
        self.lists.append_all(Queue::Waiting, Queue::Compressed);
        Queue::PROMPT.iter().find_map(|queue| self.lists.pop(*queue))
    }

    /// Number of states in a queue.
    pub fn len(&self, queue: Queue) -> usize {
        self.lists.len(queue)
    }

    /// Number of states in the prompt queues.
    fn prompt_len(&self) -> usize {
        Queue::PROMPT.iter().map(|queue| self.lists.len(*queue)).sum()
    }

    /// Whether the messages of the prompt queues fill a frame.
    fn is_full(&self, frame_size: FrameSize) -> bool {
        let run_len = |queue, message_len: usize| match self.lists.len(queue) {
            0 => 0,
            count => count.saturating_mul(message_len).saturating_add(size_of::<Subheader>()),
        };
        let len = run_len(Queue::Insert, frame_size.state_len)
            .saturating_add(run_len(Queue::Ack, size_of::<RawId>()))
            .saturating_add(run_len(Queue::Update, frame_size.state_len))
            .saturating_add(run_len(Queue::Compressed, size_of::<RawCompressedUpdate>()))
            .saturating_add(run_len(Queue::Delete, size_of::<RawId>()));
        len >= frame_size.payload_len
    }

    fn wake_if_full(&mut self, frame_size: FrameSize) -> Wake {
        let sender = self.is_full(frame_size);
        self.wake(sender)
    }

    /// Starts the timer unless it runs already.
    fn wake(&mut self, sender: bool) -> Wake {
        let timer = !self.timer;
        self.timer = true;
        Wake { timer, sender }
    }
}

#[cfg(test)]
mod tests;
