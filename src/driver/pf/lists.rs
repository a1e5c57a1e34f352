// SPDX-License-Identifier: BSD-2-Clause
//! The queues of a bucket, linked through the states themselves.

use super::state::{Kstate, Locked, StateRef};
use crate::atomic::{AtomicU8, Ordering};
use crate::engine::bucket::{self, Change, Lists, Queue, QUEUES};
use core::ptr::{self, NonNull};
use sys_bindings as sys;

// The values of `pf_kstate.sync_state` (`PFSYNC_S_*` in net/if_pfsync.h). The stock module
// has no queue of compressed updates that leave with the next frame: that one gets a
// value that C does not use.
const S_INSERT: u8 = sys::PFSYNC_S_INS as u8;
const S_ACK: u8 = sys::PFSYNC_S_IACK as u8;
const S_UPDATE: u8 = sys::PFSYNC_S_UPD as u8;
const S_COMPRESSED: u8 = 0x05;
const S_WAITING: u8 = sys::PFSYNC_S_UPD_C as u8;
const S_DELETE: u8 = sys::PFSYNC_S_DEL_C as u8;
const S_NONE: u8 = sys::PFSYNC_S_NONE as u8;

/// The value of `pf_kstate.sync_state` for a queue, unless [`StateLists::is_swapped`].
fn number(queue: Queue) -> u8 {
    match queue {
        Queue::Insert => S_INSERT,
        Queue::Ack => S_ACK,
        Queue::Update => S_UPDATE,
        Queue::Compressed => S_COMPRESSED,
        Queue::Waiting => S_WAITING,
        Queue::Delete => S_DELETE,
    }
}

/// The queue that a state stands in, unless [`StateLists::is_swapped`]. Only with the bucket locked
/// can [`Queue::Waiting`] and [`Queue::Compressed`] be told apart.
fn place(state: &Kstate) -> Option<Queue> {
    match sync_state(state).load(Ordering::Relaxed) {
        S_INSERT => Some(Queue::Insert),
        S_ACK => Some(Queue::Ack),
        S_UPDATE => Some(Queue::Update),
        S_COMPRESSED => Some(Queue::Compressed),
        S_WAITING => Some(Queue::Waiting),
        S_DELETE => Some(Queue::Delete),
        _ => None,
    }
}

/// `pf_kstate.sync_state`, which is written with the bucket locked. Only [`collapse`] reads it
/// without that lock, and says what orders that.
fn sync_state(state: &Kstate) -> &AtomicU8 {
    // SAFETY: the field lives as long as the state. While other threads can find the
    // state, the field is only used atomically.
    unsafe { AtomicU8::from_ptr(&raw mut (*state.as_ptr()).sync_state) }
}

/// `pf_kstate.sync_updates`: how many more updates may collapse into the queued
/// message. Nothing orders it: if [`collapse`] reads a count that is not the last one, a few
/// updates more or less collapse.
fn sync_updates(state: &Kstate) -> &AtomicU8 {
    // SAFETY: as in `sync_state`.
    unsafe { AtomicU8::from_ptr(&raw mut (*state.as_ptr()).sync_updates) }
}

/// Collapses an update into the message that is queued for a state, without locking
/// the bucket. Returns false if the update needs a change in the bucket.
///
/// No update is lost, because the sender takes a state out of its queue before it locks
/// the state's row to read it. The row is locked here: if the state still stands in a
/// queue, the sender will read it later.
///
/// The lock of the row orders this, on every machine: if the sender has had the row already,
/// it took the state out of its queue before, and this thread, which got the row after it,
/// sees that. So relaxed loads are enough. `tests/models` has a model of this.
pub(crate) fn collapse(state: &Locked, change: Change) -> bool {
    let left = sync_updates(state).load(Ordering::Relaxed);
    if !bucket::collapses(place(state), change, left) {
        return false;
    }
    if change.tcp {
        // If another thread starts a new count at this moment, this overwrites it: the next
        // message then leaves some updates early.
        sync_updates(state).store(left.saturating_sub(1), Ordering::Relaxed);
    }
    true
}

/// Whether a bulk update leaves a state out, because a queued message tells all of it. To be
/// asked by the sender.
///
/// Without the bucket's lock: the row is locked, so that no other thread puts the state into a
/// queue that matters here or deletes it, and only the sender takes it out.
pub(crate) fn is_announced(state: &Locked) -> bool {
    bucket::announces(place(state))
}

/// One queue. `tqe_prev` of a state points at the link that points at the state, and is
/// null for the first state, so that the head may move.
#[derive(Clone, Copy)]
struct Head {
    first: *mut sys::pf_kstate,
    /// The link of the last state, null if the queue is empty.
    last: *mut *mut sys::pf_kstate,
    len: usize,
}

/// All queues of a bucket. They own their links and the `sync_list` of every state
/// that belongs to the bucket, so that a thread that has the queues exclusively, by the
/// bucket's lock, has the links too.
pub(crate) struct StateLists {
    heads: [Head; QUEUES],
    /// [`Queue::Waiting`] has the number of [`Queue::Compressed`], and the other way round. To
    /// change this turns all updates that wait into updates that leave with the next frame, and
    /// leaves the states as they are.
    is_swapped: bool,
    maxupd: u8,
}

// SAFETY: the queues own a reference to each state in them, and any thread may
// reference a state of pf.
unsafe impl Send for StateLists {}

impl StateLists {
    /// Empty queues, for states of which `maxupd` updates may collapse into a message.
    pub(crate) const fn new(maxupd: u8) -> StateLists {
        let heads = [Head { first: ptr::null_mut(), last: ptr::null_mut(), len: 0 }; QUEUES];
        StateLists { heads, is_swapped: false, maxupd }
    }

    fn head(&mut self, queue: Queue) -> &mut Head {
        &mut self.heads[queue as usize]
    }

    /// The queue that has the number of this one, and the other way round.
    fn unswapped(&self, queue: Queue) -> Queue {
        match queue {
            Queue::Waiting if self.is_swapped => Queue::Compressed,
            Queue::Compressed if self.is_swapped => Queue::Waiting,
            _ => queue,
        }
    }

    /// Links a state at the end of a queue.
    ///
    /// # Safety
    ///
    /// `st` stands in no queue, and the caller hands over a reference to it.
    unsafe fn link(&mut self, queue: Queue, st: *mut sys::pf_kstate) {
        let (number, maxupd) = (number(self.unswapped(queue)), self.maxupd);
        let head = self.head(queue);
        // SAFETY: the caller's reference keeps the state, and the links belong to the
        // queues.
        unsafe {
            let state = &*st.cast::<Kstate>();
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

    /// Unlinks a state, and hands its reference over to the caller.
    ///
    /// # Safety
    ///
    /// `st` stands in `queue`.
    unsafe fn unlink(&mut self, queue: Queue, st: *mut sys::pf_kstate) -> Option<StateRef> {
        let head = self.head(queue);
        // SAFETY: the links belong to the queues, which own a reference to the state
        // and to its neighbours in the queue.
        unsafe {
            sync_state(&*st.cast::<Kstate>()).store(S_NONE, Ordering::Relaxed);
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
    type State = Kstate;
    type Ref = StateRef;

    fn place(&self, state: &Kstate) -> Option<Queue> {
        place(state).map(|queue| self.unswapped(queue))
    }

    fn append(&mut self, queue: Queue, state: &Kstate) {
        // SAFETY: the trait demands that the state stands in no queue. The queue gets a
        // reference of its own.
        unsafe { self.link(queue, state.reference().into_raw()) };
    }

    fn remove(&mut self, state: &Kstate) {
        if let Some(queue) = self.place(state) {
            // SAFETY: the state stands in that queue.
            drop(unsafe { self.unlink(queue, state.as_ptr()) });
        }
    }

    fn transfer(&mut self, state: &Kstate, to: Queue) {
        let Some(from) = self.place(state) else { return };
        // SAFETY: the state stands in `from`. Its reference goes along.
        unsafe {
            if let Some(reference) = self.unlink(from, state.as_ptr()) {
                self.link(to, reference.into_raw());
            }
        }
    }

    fn move_first(&mut self, from: Queue, to: Queue) -> bool {
        let Some(state) = self.pop(from) else { return false };
        // SAFETY: the state was taken out of its queue. Its reference goes along.
        unsafe { self.link(to, state.into_raw()) };
        true
    }

    fn swap_compressed(&mut self) {
        self.heads.swap(Queue::Waiting as usize, Queue::Compressed as usize);
        self.is_swapped = !self.is_swapped;
    }

    fn pop(&mut self, queue: Queue) -> Option<StateRef> {
        let first = self.head(queue).first;
        if first.is_null() {
            return None;
        }
        // SAFETY: the first state of a queue stands in it.
        unsafe { self.unlink(queue, first) }
    }

    fn len(&self, queue: Queue) -> usize {
        self.heads[queue as usize].len
    }

    fn set_maxupd(&mut self, maxupd: u8) {
        self.maxupd = maxupd;
    }

    fn count_update(&mut self, state: &Kstate) -> u8 {
        let left = sync_updates(state).load(Ordering::Relaxed).saturating_sub(1);
        sync_updates(state).store(left, Ordering::Relaxed);
        left
    }
}

impl Drop for StateLists {
    fn drop(&mut self) {
        for queue in Queue::ALL {
            while self.pop(queue).is_some() {}
        }
    }
}
