// SPDX-License-Identifier: BSD-2-Clause
//! The queues of a bucket: which changes of states are sent, and when.
//!
//! States are spread over buckets by their id, and each bucket has its own
//! lock. A state is in at most one queue of its bucket.
//!
//! Inserts and deletes leave as soon as the messages of all buckets fill a frame, or
//! with a tick of the clock (see [`Backlog`]). Acknowledgements and
//! requested updates leave at once. A compressed update *waits* instead: further
//! changes to the state collapse into it and need no message of their own. It leaves
//! when the state has changed `maxupd` times, or when a peer needs it. The first
//! update that waits in a bucket starts a one-second timer. When it expires, the
//! updates that wait in the bucket and all prompt queues are sent.
//!
//! All queues but that of the updates that wait are *prompt*. A [`Backlog`] counts the
//! states in the prompt queues of all buckets. Each method that may change one of these
//! takes it as an argument.
//!
//! # Examples
//!
//! The queues of a bucket over a model of the lists: states are numbers, and lists
//! are vectors. In the kernel, the states themselves are the links.
//!
//! ```
//! use pfsync::engine::bucket::{Backlog, Change, FrameSize, Lists, Queue, Queues, QUEUES};
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
//!     fn move_first(&mut self, from: Queue, to: Queue) -> bool {
//!         let first = self.pop(from);
//!         self.0[to as usize].extend(first);
//!         first.is_some()
//!     }
//!     fn swap_compressed(&mut self) {
//!         self.0.swap(Queue::Waiting as usize, Queue::Compressed as usize);
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
//! let (mut queues, backlog) = (Queues::new(Numbers::default()), Backlog::new());
//! let frame_size = FrameSize { payload_len: 1_456, state_len: 277 };
//! let change = Change { tcp: true, split: false };
//!
//! // A new state does not fill a frame. It leaves with the next tick.
//! queues.insert(&1, &backlog);
//! assert!(!backlog.is_empty() && !backlog.fills(frame_size));
//! assert_eq!(queues.pop(Queue::Insert, &backlog), Some(1));
//! assert!(backlog.is_empty());
//!
//! // A change of another state waits. A second change collapses into the first.
//! assert!(queues.update(&2, change, &backlog).timer);
//! let _ = queues.update(&2, change, &backlog);
//! assert!(!queues.has_prompt());
//!
//! // The timer expires, and the sender takes the update out.
//! assert!(queues.timer_expired(&backlog).sender);
//! assert_eq!(queues.pop(Queue::Compressed, &backlog), Some(2));
//! ```

mod backlog;

pub use backlog::Backlog;

use crate::wire::Subheader;

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
    /// Takes the first state out of a queue and appends it to another. Returns whether there was one.
    fn move_first(&mut self, from: Queue, to: Queue) -> bool;
    /// From now on, the states of [`Queue::Waiting`] are in [`Queue::Compressed`], and the other way
    /// round. Takes the same time for any number of states.
    fn swap_compressed(&mut self);
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

/// How much a frame carries, which decides when the backlog fills one.
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
        self.states() > 0
    }

    /// How many whole states a frame holds that has nothing else.
    pub fn states(&self) -> usize {
        let for_states = self.payload_len.saturating_sub(size_of::<Subheader>());
        for_states.checked_div(self.state_len).unwrap_or(0)
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
    /// Run the sender: all prompt queues leave now.
    pub sender: bool,
}

/// The queues of a bucket. The caller holds the bucket's lock.
pub struct Queues<L> {
    lists: L,
    /// The timer runs. An update waits until it expires.
    timer: bool,
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
        Queues { lists, timer: false }
    }

    /// pf created a state.
    pub fn insert(&mut self, state: &L::State, backlog: &Backlog) {
        if self.lists.place(state).is_none() {
            self.append(Queue::Insert, state, backlog);
        }
    }

    /// Sets how many updates of a TCP state may collapse into one message.
    pub fn set_maxupd(&mut self, maxupd: u8) {
        self.lists.set_maxupd(maxupd);
    }

    /// pf changed a state.
    pub fn update(&mut self, state: &L::State, change: Change, backlog: &Backlog) -> Wake {
        match self.lists.place(state) {
            None => self.append(Queue::Waiting, state, backlog),
            Some(Queue::Ack) => self.transfer(state, Queue::Ack, Queue::Waiting, backlog),
            Some(Queue::Delete) => return Wake::default(),
            Some(_) => {
                let is_last = change.tcp && self.lists.count_update(state) == 0;
                if !is_last && !change.split {
                    return Wake::default();
                }
                return self.send_update(state, backlog);
            }
        }
        if change.split {
            return self.send_update(state, backlog);
        }
        self.wait()
    }

    /// The update that is queued for a state waits no longer.
    fn send_update(&mut self, state: &L::State, backlog: &Backlog) -> Wake {
        if self.lists.place(state) == Some(Queue::Waiting) {
            self.transfer(state, Queue::Waiting, Queue::Compressed, backlog);
        }
        FLUSH
    }

    /// A peer needs the whole state at once.
    pub fn request(&mut self, state: &L::State, backlog: &Backlog) -> Wake {
        match self.lists.place(state) {
            None => self.append(Queue::Update, state, backlog),
            Some(from @ (Queue::Ack | Queue::Compressed | Queue::Waiting)) => {
                self.transfer(state, from, Queue::Update, backlog);
            }
            Some(Queue::Insert | Queue::Update) => {}
            Some(Queue::Delete) => return Wake::default(),
        }
        FLUSH
    }

    /// pf deletes a state. Returns whether the peers will hear of it: they do not if the
    /// state's insert is still queued.
    pub fn delete(&mut self, state: &L::State, backlog: &Backlog) -> bool {
        match self.lists.place(state) {
            Some(Queue::Insert) => {
                self.remove(state, Queue::Insert, backlog);
                return false;
            }
            None => self.append(Queue::Delete, state, backlog),
            Some(Queue::Delete) => {}
            Some(from) => self.transfer(state, from, Queue::Delete, backlog),
        }
        true
    }

    /// A peer sent a new state and waits for the acknowledgement.
    pub fn acknowledge(&mut self, state: &L::State, backlog: &Backlog) -> Wake {
        match self.lists.place(state) {
            None => self.append(Queue::Ack, state, backlog),
            // An update acknowledges too: it shows that the state is known here.
            Some(Queue::Waiting) => self.transfer(state, Queue::Waiting, Queue::Compressed, backlog),
            Some(_) => {}
        }
        FLUSH
    }

    /// Nothing is sent about the state any more.
    pub fn forget(&mut self, state: &L::State, backlog: &Backlog) {
        if let Some(queue) = self.lists.place(state) {
            self.remove(state, queue, backlog);
        }
    }

    /// The timer expired: the updates that wait are sent, and so are all prompt queues. If the
    /// sender is still busy with the updates of the last second, those that wait go on waiting,
    /// so that more changes collapse into them.
    pub fn timer_expired(&mut self, backlog: &Backlog) -> Wake {
        self.timer = !self.stop_waiting(backlog);
        Wake { timer: self.timer, sender: self.has_prompt() }
    }

    /// Takes the next state out of a queue, to write its message.
    pub fn pop(&mut self, queue: Queue, backlog: &Backlog) -> Option<L::Ref> {
        let state = self.lists.pop(queue)?;
        backlog.remove(queue);
        Some(state)
    }

    /// Takes one state out of any queue. `None` when all queues are empty.
    pub fn pop_any(&mut self, backlog: &Backlog) -> Option<L::Ref> {
        self.stop_waiting(backlog);
        Queue::PROMPT.iter().find_map(|queue| self.pop(*queue, backlog))
    }

    /// Number of states in a queue.
    pub fn len(&self, queue: Queue) -> usize {
        self.lists.len(queue)
    }

    /// Whether a state is in a prompt queue.
    pub fn has_prompt(&self) -> bool {
        Queue::PROMPT.iter().any(|queue| self.lists.len(*queue) > 0)
    }

    fn append(&mut self, queue: Queue, state: &L::State, backlog: &Backlog) {
        self.lists.append(queue, state);
        backlog.add(queue, 1);
    }

    fn remove(&mut self, state: &L::State, queue: Queue, backlog: &Backlog) {
        self.lists.remove(state);
        backlog.remove(queue);
    }

    fn transfer(&mut self, state: &L::State, from: Queue, to: Queue, backlog: &Backlog) {
        self.lists.transfer(state, to);
        backlog.remove(from);
        backlog.add(to, 1);
    }

    /// Those updates that wait leave with the next frame, unless more than [`FEW`] others are still to
    /// leave. Returns whether no update waits any more.
    fn stop_waiting(&mut self, backlog: &Backlog) -> bool {
        let count = self.lists.len(Queue::Waiting);
        if self.lists.len(Queue::Compressed) > FEW {
            return count == 0;
        }
        while self.lists.move_first(Queue::Compressed, Queue::Waiting) {}
        self.lists.swap_compressed();
        backlog.add(Queue::Compressed, count);
        true
    }

    /// An update waits. Starts the timer unless it runs already.
    fn wait(&mut self) -> Wake {
        let timer = !self.timer;
        self.timer = true;
        Wake { timer, sender: false }
    }
}

/// How many states may change their queue at once, with the bucket locked. More would keep the
/// threads waiting that forward packets.
const FEW: usize = 64;

/// All prompt queues leave now.
const FLUSH: Wake = Wake { timer: false, sender: true };

// The models compile this file a second time, with atomics of a model checker.
#[cfg(all(test, not(modelled)))]
mod tests;
