//! The queues of one bucket: which states have news for the peers, and when
//! the news leaves.
//!
//! States are spread over buckets by their id, each bucket behind a lock of
//! its own. A state stands in at most one queue. Inserts, deletes,
//! acknowledgements and requested updates are *prompt*: they leave as soon as
//! they fill a packet. A compressed update *waits*, however many wait, until
//! the bucket's second is over, `maxupd` is reached or a peer needs it; what
//! happens to the state meanwhile costs no further message.

use crate::wire::{RawCompressedUpdate, RawId, Subheader};

/// The queues, in the order in which a packet carries them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Queue {
    /// The peers do not know the state yet.
    Insert,
    /// The peer that sent the state wants to hear that it arrived.
    Ack,
    /// A peer asked for the whole state.
    Update,
    /// A compressed update that has to leave now.
    Due,
    /// A compressed update that may wait.
    Waiting,
    /// The state is gone.
    Delete,
}

/// Number of queues.
pub const QUEUES: usize = 6;

impl Queue {
    /// The prompt queues, in packet order.
    pub const PROMPT: [Queue; 5] = [Queue::Insert, Queue::Ack, Queue::Update, Queue::Due, Queue::Delete];
}

/// The lists behind a bucket's queues. The kernel links the states themselves;
/// tests use a model. What a state remembers of its place belongs to the
/// lists, and so to the bucket's lock.
pub trait Lists {
    /// A state as pf shows it to a hook.
    type State: ?Sized;
    /// A counted reference, as a queue holds it.
    type Ref;

    /// The queue that the state stands in.
    fn place(&self, state: &Self::State) -> Option<Queue>;
    /// Appends a state that stands in no queue, with a new reference.
    fn push(&mut self, queue: Queue, state: &Self::State);
    /// Takes a state out of the queue it stands in, if any, and gives up the
    /// queue's reference.
    fn remove(&mut self, state: &Self::State);
    /// Takes a state out of its queue and appends it to another.
    fn transfer(&mut self, state: &Self::State, to: Queue);
    /// Appends all of one queue to another.
    fn append(&mut self, from: Queue, to: Queue);
    /// Takes out the first of a queue.
    fn pop(&mut self, queue: Queue) -> Option<Self::Ref>;
    /// Number of states in a queue.
    fn len(&self, queue: Queue) -> usize;
    /// How many updates of a state may be collapsed into its message, for
    /// those that are queued from now on.
    fn set_maxupd(&mut self, maxupd: u8);
    /// Counts an update that is collapsed into the queued message. Returns how
    /// many more may be.
    fn count_update(&mut self, state: &Self::State) -> u8;
}

/// When the prompt queues fill a packet.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that a packet has for runs of messages, subheaders included.
    pub room: usize,
    /// Bytes of a whole state in the message format in use.
    pub state_len: usize,
}

/// A change that pf reports of an existing state.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// `maxupd` counts for TCP only.
    pub tcp: bool,
    /// A peer sent an update of this state a moment ago: its traffic is split
    /// between the firewalls and the peer cannot wait.
    pub split: bool,
}

/// What the caller has to do after a change, outside the bucket's lock or
/// within.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct Wake {
    /// Start the bucket's timer: one second.
    pub timer: bool,
    /// Let the sender run: something is due.
    pub sender: bool,
}

/// The queues of one bucket. The caller holds the bucket's lock.
pub struct Queues<L> {
    lists: L,
    /// The timer runs: what stands in the queues leaves within its second.
    timer: bool,
    /// All that is prompt leaves now, not only full packets.
    push: bool,
}

/// Whether an update is collapsed into the message that is queued for a state,
/// with nothing to do in the bucket: for who sees no more than the state.
/// `left` is how many more updates may be.
pub fn collapses(place: Option<Queue>, change: Change, left: u8) -> bool {
    matches!(place, Some(Queue::Insert | Queue::Update | Queue::Due | Queue::Waiting))
        && !change.split
        && (!change.tcp || left > 1)
}

impl Limits {
    /// Whether a packet can carry every kind of message at all.
    pub fn allow_messages(&self) -> bool {
        self.room >= self.state_len.saturating_add(size_of::<Subheader>())
    }
}

impl<L: Lists> Queues<L> {
    pub const fn new(lists: L) -> Queues<L> {
        Queues { lists, timer: false, push: false }
    }

    /// pf made a state.
    pub fn insert(&mut self, state: &L::State, limits: Limits) -> Wake {
        if self.lists.place(state).is_none() {
            self.lists.push(Queue::Insert, state);
        }
        self.wake_if_full(limits)
    }

    /// Sets how many updates of a TCP state may be collapsed into a message.
    pub fn set_maxupd(&mut self, maxupd: u8) {
        self.lists.set_maxupd(maxupd);
    }

    /// pf changed a state.
    pub fn update(&mut self, state: &L::State, change: Change) -> Wake {
        let mut push = change.split;
        match self.lists.place(state) {
            None => self.lists.push(Queue::Waiting, state),
            Some(Queue::Ack) => self.lists.transfer(state, Queue::Waiting),
            Some(Queue::Delete) => return Wake::default(),
            Some(_) => push |= change.tcp && self.lists.count_update(state) == 0,
        }
        if !push {
            return self.wake(false);
        }
        if self.lists.place(state) == Some(Queue::Waiting) {
            self.lists.transfer(state, Queue::Due);
        }
        self.push()
    }

    /// A peer needs the whole state, now.
    pub fn request(&mut self, state: &L::State) -> Wake {
        match self.lists.place(state) {
            None => self.lists.push(Queue::Update, state),
            Some(Queue::Ack | Queue::Due | Queue::Waiting) => self.lists.transfer(state, Queue::Update),
            Some(Queue::Insert | Queue::Update) => {}
            Some(Queue::Delete) => return Wake::default(),
        }
        self.push()
    }

    /// pf deletes a state. The peers never hear of one whose insert is still
    /// queued.
    pub fn delete(&mut self, state: &L::State, limits: Limits) -> Wake {
        match self.lists.place(state) {
            Some(Queue::Insert) => {
                self.lists.remove(state);
                return Wake::default();
            }
            None => self.lists.push(Queue::Delete, state),
            Some(Queue::Delete) => {}
            Some(_) => self.lists.transfer(state, Queue::Delete),
        }
        self.wake_if_full(limits)
    }

    /// The peer that sent a new state waits for an acknowledgement.
    pub fn acknowledge(&mut self, state: &L::State) -> Wake {
        match self.lists.place(state) {
            None => self.lists.push(Queue::Ack, state),
            // The update says that the state is known here.
            Some(Queue::Waiting) => self.lists.transfer(state, Queue::Due),
            Some(_) => {}
        }
        self.push()
    }

    /// The state is not to be shown any more.
    pub fn forget(&mut self, state: &L::State) {
        self.lists.remove(state);
    }

    /// Whether the peers get the whole state by what is queued already, or
    /// are told that it is gone.
    pub fn announces(&self, state: &L::State) -> bool {
        matches!(self.lists.place(state), Some(Queue::Insert | Queue::Update | Queue::Delete))
    }

    /// The timer ran out: everything leaves.
    pub fn timeout(&mut self) -> Wake {
        self.timer = false;
        self.lists.append(Queue::Waiting, Queue::Due);
        self.push = self.prompt() != 0;
        Wake { timer: false, sender: self.push }
    }

    /// All that is prompt leaves now.
    pub fn push(&mut self) -> Wake {
        self.push = true;
        self.wake(true)
    }

    /// Whether a packet has to be sent now: all that is prompt after a push,
    /// else as long as it fills a packet.
    pub fn due(&mut self, limits: Limits) -> bool {
        self.push &= self.prompt() != 0;
        self.push || self.full(limits)
    }

    /// Takes the next state of a queue for a packet.
    pub fn pop(&mut self, queue: Queue) -> Option<L::Ref> {
        self.lists.pop(queue)
    }

    /// Takes every state out of every queue.
    pub fn pop_any(&mut self) -> Option<L::Ref> {
        self.lists.append(Queue::Waiting, Queue::Due);
        Queue::PROMPT.iter().find_map(|queue| self.lists.pop(*queue))
    }

    /// Number of states that stand in prompt queues.
    fn prompt(&self) -> usize {
        Queue::PROMPT.iter().map(|queue| self.lists.len(*queue)).sum()
    }

    fn full(&self, limits: Limits) -> bool {
        let bytes = |queue, size: usize| match self.lists.len(queue) {
            0 => 0,
            count => count.saturating_mul(size).saturating_add(size_of::<Subheader>()),
        };
        let prompt = bytes(Queue::Insert, limits.state_len)
            .saturating_add(bytes(Queue::Ack, size_of::<RawId>()))
            .saturating_add(bytes(Queue::Update, limits.state_len))
            .saturating_add(bytes(Queue::Due, size_of::<RawCompressedUpdate>()))
            .saturating_add(bytes(Queue::Delete, size_of::<RawId>()));
        prompt >= limits.room
    }

    fn wake_if_full(&mut self, limits: Limits) -> Wake {
        let full = self.full(limits);
        self.wake(full)
    }

    fn wake(&mut self, sender: bool) -> Wake {
        let timer = !self.timer;
        self.timer = true;
        Wake { timer, sender }
    }
}

#[cfg(test)]
mod tests;
