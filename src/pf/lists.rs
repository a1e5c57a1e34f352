//! The queues of a bucket, linked through the states themselves.

use super::state::{Locked, State, StateRef};
use crate::engine::bucket::{self, Change, Lists, Queue, QUEUES};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU8, Ordering};
use sys_bindings as sys;

/// One queue. `tqe_prev` of a state points at the link that points at it, or
/// is null for the first: so the head may move.
#[derive(Clone, Copy)]
struct Head {
    first: *mut sys::pf_kstate,
    /// The last state's link, null when there is none.
    last: *mut *mut sys::pf_kstate,
    len: usize,
}

/// `pf_kstate.sync_state` of a state that stands in no queue.
const NOWHERE: u8 = sys::PFSYNC_S_NONE as u8;

/// What `pf_kstate.sync_state` is in each queue, by the queue's number.
/// [`Queue::Compressed`] has no name in C.
const SYNC_STATE: [(Queue, u8); QUEUES] = [
    (Queue::Insert, sys::PFSYNC_S_INS as u8),
    (Queue::Ack, sys::PFSYNC_S_IACK as u8),
    (Queue::Update, sys::PFSYNC_S_UPD as u8),
    (Queue::Compressed, 0x05),
    (Queue::Waiting, sys::PFSYNC_S_UPD_C as u8),
    (Queue::Delete, sys::PFSYNC_S_DEL_C as u8),
];

/// The queue that each value of `pf_kstate.sync_state` means: those in
/// `SYNC_STATE` are the first numbers, without a gap.
const PLACES: [Option<Queue>; QUEUES] = {
    let mut places = [None; QUEUES];
    let mut index = 0;
    while index < QUEUES {
        let (queue, number) = SYNC_STATE[index];
        places[number as usize] = Some(queue);
        index += 1;
    }
    places
};

/// `pf_kstate.sync_state`: written with the bucket's lock.
fn sync_state(state: &State) -> &AtomicU8 {
    // SAFETY: the field lives as long as the state, and is used in no other
    // way while the state can be found.
    unsafe { AtomicU8::from_ptr(&raw mut (*state.as_ptr()).sync_state) }
}

/// `pf_kstate.sync_updates`: how many more updates may be collapsed into the
/// queued message.
fn sync_updates(state: &State) -> &AtomicU8 {
    // SAFETY: as for `sync_state`.
    unsafe { AtomicU8::from_ptr(&raw mut (*state.as_ptr()).sync_updates) }
}

fn place(state: &State) -> Option<Queue> {
    let number = sync_state(state).load(Ordering::Relaxed);
    PLACES.get(usize::from(number)).copied().flatten()
}

/// Collapses an update into the message that is queued for a state, without
/// the bucket's lock. Returns false if that takes a change in the bucket.
///
/// The sender takes a state out of its queue first, and then locks its row to
/// read it. Here the row is locked: a state that still stands in a queue will
/// be read after this.
pub fn collapse(state: &Locked, change: Change) -> bool {
    let left = sync_updates(state).load(Ordering::Relaxed);
    if !bucket::collapses(place(state), change, left) {
        return false;
    }
    if change.tcp {
        // The timer may begin a new count meanwhile, which is then lost: the
        // next message leaves some updates early.
        sync_updates(state).store(left.saturating_sub(1), Ordering::Relaxed);
    }
    true
}

/// All queues of a bucket. Its links and the `sync_list` of every state that
/// hashes to the bucket belong to it, so that having it exclusively, by the
/// bucket's lock, is having those.
pub struct StateLists {
    heads: [Head; QUEUES],
    maxupd: u8,
}

// SAFETY: the lists own a reference to each state in them, and states may be
// referenced from any thread.
unsafe impl Send for StateLists {}

impl StateLists {
    /// Empty lists, for states of which `maxupd` updates may be collapsed.
    pub const fn new(maxupd: u8) -> StateLists {
        let heads = [Head { first: ptr::null_mut(), last: ptr::null_mut(), len: 0 }; QUEUES];
        StateLists { heads, maxupd }
    }

    fn head(&mut self, queue: Queue) -> &mut Head {
        let [insert, ack, update, compressed, waiting, delete] = &mut self.heads;
        match queue {
            Queue::Insert => insert,
            Queue::Ack => ack,
            Queue::Update => update,
            Queue::Compressed => compressed,
            Queue::Waiting => waiting,
            Queue::Delete => delete,
        }
    }

    /// Links a state at the end of a queue.
    ///
    /// # Safety
    ///
    /// `st` stands in no queue, and the caller hands over a reference.
    unsafe fn link(&mut self, queue: Queue, st: *mut sys::pf_kstate) {
        let number =
            SYNC_STATE.iter().find(|(other, _)| *other == queue).map_or(NOWHERE, |(_, number)| *number);
        let maxupd = self.maxupd;
        let head = self.head(queue);
        // SAFETY: the state lives, by the caller's reference; its links belong
        // to the lists.
        unsafe {
            let state = &*st.cast::<State>();
            sync_state(state).store(number, Ordering::Relaxed);
            sync_updates(state).store(maxupd, Ordering::Relaxed);
            (*st).sync_list.tqe_next = ptr::null_mut();
            (*st).sync_list.tqe_prev = head.last;
            match head.last.as_mut() {
                Some(link) => *link = st,
                None => head.first = st,
            }
            head.last = &raw mut (*st).sync_list.tqe_next;
        }
        head.len += 1;
    }

    /// Unlinks a state, whose reference passes to the caller.
    ///
    /// # Safety
    ///
    /// `st` stands in `queue`.
    unsafe fn unlink(&mut self, queue: Queue, st: *mut sys::pf_kstate) -> Option<StateRef> {
        let head = self.head(queue);
        // SAFETY: the links belong to the lists, which have a reference to the
        // state, and the state's neighbours are in the same queue.
        unsafe {
            sync_state(&*st.cast::<State>()).store(NOWHERE, Ordering::Relaxed);
            let next = (*st).sync_list.tqe_next;
            let prev = (*st).sync_list.tqe_prev;
            match prev.as_mut() {
                Some(link) => *link = next,
                None => head.first = next,
            }
            match next.as_mut() {
                Some(next) => next.sync_list.tqe_prev = prev,
                None => head.last = prev,
            }
            head.len = head.len.saturating_sub(1);
            NonNull::new(st).map(|st| StateRef::from_raw(st))
        }
    }
}

impl Lists for StateLists {
    type State = State;
    type Ref = StateRef;

    fn place(&self, state: &State) -> Option<Queue> {
        place(state)
    }

    fn append(&mut self, queue: Queue, state: &State) {
        // SAFETY: `place` is None, as the trait demands; the queue gets a
        // reference of its own.
        unsafe { self.link(queue, state.reference().into_raw()) };
    }

    fn remove(&mut self, state: &State) {
        if let Some(queue) = self.place(state) {
            // SAFETY: the state stands there.
            drop(unsafe { self.unlink(queue, state.as_ptr()) });
        }
    }

    fn transfer(&mut self, state: &State, to: Queue) {
        let Some(from) = self.place(state) else { return };
        // SAFETY: the state stands there, and its reference goes along.
        unsafe {
            if let Some(reference) = self.unlink(from, state.as_ptr()) {
                self.link(to, reference.into_raw());
            }
        }
    }

    fn append_all(&mut self, from: Queue, to: Queue) {
        while let Some(state) = self.pop(from) {
            // SAFETY: the state was popped, and its reference goes along.
            unsafe { self.link(to, state.into_raw()) };
        }
    }

    fn pop(&mut self, queue: Queue) -> Option<StateRef> {
        let first = self.head(queue).first;
        if first.is_null() {
            return None;
        }
        // SAFETY: the first of the queue stands in it.
        unsafe { self.unlink(queue, first) }
    }

    fn len(&self, queue: Queue) -> usize {
        let [insert, ack, update, compressed, waiting, delete] = &self.heads;
        match queue {
            Queue::Insert => insert.len,
            Queue::Ack => ack.len,
            Queue::Update => update.len,
            Queue::Compressed => compressed.len,
            Queue::Waiting => waiting.len,
            Queue::Delete => delete.len,
        }
    }

    fn set_maxupd(&mut self, maxupd: u8) {
        self.maxupd = maxupd;
    }

    fn count_update(&mut self, state: &State) -> u8 {
        let left = sync_updates(state).load(Ordering::Relaxed).saturating_sub(1);
        sync_updates(state).store(left, Ordering::Relaxed);
        left
    }
}

impl Drop for StateLists {
    fn drop(&mut self) {
        for (queue, _) in SYNC_STATE {
            while self.pop(queue).is_some() {}
        }
    }
}
