// SPDX-License-Identifier: BSD-2-Clause
//! What the module's files ask of FreeBSD and pf, under the names that bindgen gives: the
//! network epoch, states, and the rows of the id hash.

use crate::atomic::{fence, AtomicPtr, AtomicU8, AtomicUsize, Content, Ordering, PerRun};
use loom::sync::{Mutex, MutexGuard};
use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Lets other threads run.
pub(crate) fn pfs_pause() {
    loom::thread::yield_now();
}

#[allow(non_camel_case_types)]
pub(crate) type epoch_tracker = u8;

/// Threads in the network epoch. Unlike FreeBSD, this waits also for those that enter later,
/// which allows no more than FreeBSD does: they see what was stored before the wait.
static IN_EPOCH: AtomicUsize = AtomicUsize::new(0);

/// Mutant: nobody waits for threads in the epoch.
pub(crate) static EPOCH_WAITS: AtomicBool = AtomicBool::new(true);

pub(crate) unsafe fn pfs_net_epoch_enter(_tracker: &mut epoch_tracker) {
    IN_EPOCH.fetch_add(1, Ordering::Relaxed);
    // As ck_epoch_begin.
    fence(Ordering::SeqCst);
}

pub(crate) unsafe fn pfs_net_epoch_exit(_tracker: &mut epoch_tracker) {
    fence(Ordering::Release);
    IN_EPOCH.fetch_sub(1, Ordering::Relaxed);
}

pub(crate) unsafe fn pfs_net_epoch_wait() {
    if !EPOCH_WAITS.load(Relaxed) {
        return;
    }
    // As ck_epoch_synchronize.
    fence(Ordering::SeqCst);
    while IN_EPOCH.load(Ordering::Relaxed) > 0 {
        pfs_pause();
    }
    fence(Ordering::SeqCst);
}

#[allow(non_upper_case_globals)]
pub(crate) const pfs_invariants: i32 = 0;

pub(crate) unsafe fn pfs_net_epoch_assert() {}

pub(crate) const PDROP: u32 = 0;

/// The model has no thread that was displaced from its CPU.
pub(crate) unsafe fn quiesce_all_cpus(_name: *const std::ffi::c_char, _flags: i32) {}

// net/if_pfsync.h
pub(crate) const PFSYNC_S_INS: u32 = 0x00;
pub(crate) const PFSYNC_S_IACK: u32 = 0x01;
pub(crate) const PFSYNC_S_UPD: u32 = 0x02;
pub(crate) const PFSYNC_S_UPD_C: u32 = 0x03;
pub(crate) const PFSYNC_S_DEL_C: u32 = 0x04;
pub(crate) const PFSYNC_S_NONE: u32 = 0xff;

/// The links of a tail queue.
pub(crate) struct Links {
    pub(crate) tqe_next: *mut pf_kstate,
    pub(crate) tqe_prev: *mut *mut pf_kstate,
}

/// The link of a list.
pub(crate) struct Entry {
    pub(crate) le_next: *mut pf_kstate,
}

/// A state of pf.
#[allow(non_camel_case_types)]
pub(crate) struct pf_kstate {
    pub(crate) sync_state: AtomicU8,
    pub(crate) sync_updates: AtomicU8,
    pub(crate) sync_list: Links,
    pub(crate) entry: Entry,
    /// What messages tell, which belongs to the lock of the row.
    pub(crate) content: Content,
}

/// The list of a row.
pub(crate) struct States {
    pub(crate) lh_first: AtomicPtr<pf_kstate>,
}

/// A row of the id hash.
#[allow(non_camel_case_types)]
pub(crate) struct pf_idhash {
    pub(crate) states: States,
    lock: Mutex<()>,
    /// What whoever locked the row must drop.
    guard: Cell<Option<MutexGuard<'static, ()>>>,
}

// SAFETY: the guard belongs to whoever has the row locked.
unsafe impl Sync for pf_idhash {}
// SAFETY: as above.
unsafe impl Send for pf_idhash {}

/// The only row.
static ROW: PerRun<&'static pf_idhash> = PerRun::new();

/// The only row. Its memory is never freed.
pub(crate) fn row() -> &'static pf_idhash {
    *ROW.get(|| {
        let row = pf_idhash {
            states: States { lh_first: AtomicPtr::new(ptr::null_mut()) },
            lock: Mutex::new(()),
            guard: Cell::new(None),
        };
        row.states.lh_first.load(Ordering::Relaxed);
        Box::leak(Box::new(row))
    })
}

impl pf_kstate {
    /// A state that is in no queue and in no list, and whose memory is never freed.
    pub(crate) fn leak() -> &'static mut pf_kstate {
        // Its row is made before there are threads.
        row();
        Box::leak(Box::new(pf_kstate {
            sync_state: AtomicU8::new(PFSYNC_S_NONE as u8),
            sync_updates: AtomicU8::new(0),
            sync_list: Links { tqe_next: ptr::null_mut(), tqe_prev: ptr::null_mut() },
            entry: Entry { le_next: ptr::null_mut() },
            content: Content::new(0),
        }))
    }
}

pub(crate) unsafe fn pfs_pf_hashmask() -> u64 {
    0
}

pub(crate) unsafe fn pfs_pf_idhash() -> *mut pf_idhash {
    ptr::from_ref(row()).cast_mut()
}

pub(crate) unsafe fn pfs_pf_row_of(_state: *mut pf_kstate) -> *mut pf_idhash {
    ptr::from_ref(row()).cast_mut()
}

pub(crate) unsafe fn pfs_pf_row_lock(row: *mut pf_idhash) {
    // SAFETY: the row is never freed.
    let row: &'static pf_idhash = unsafe { &*row };
    let guard = row.lock.lock().unwrap();
    row.guard.set(Some(guard));
}

pub(crate) unsafe fn pfs_pf_row_unlock(row: *mut pf_idhash) {
    // SAFETY: as above.
    drop(unsafe { &*row }.guard.take());
}
