//! Which vnets have their part of the module, from load to unload.

use crate::driver::kernel::ifnet::DetachLock;
use crate::driver::kernel::time;
use crate::driver::kernel::vnet::Vnet;
use crate::driver::storage;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Vnets that have their part of the module, or are about to find out whether
/// they get one.
static VNETS: AtomicUsize = AtomicUsize::new(0);

/// Set when unload begins: from then on no vnet gets a part of the module.
static UNLOADING: AtomicBool = AtomicBool::new(false);

/// Gives the current vnet its part of the module by `start`, unless the module is
/// being unloaded.
pub fn enter(start: impl FnOnce()) {
    // Either this sees that unload began, or unload sees the count.
    VNETS.fetch_add(1, Ordering::SeqCst);
    if UNLOADING.load(Ordering::SeqCst) {
        VNETS.fetch_sub(1, Ordering::SeqCst);
        return;
    }
    start();
    storage::present().store(1, Ordering::Release);
}

/// Takes down the current vnet's part by `stop`, unless another thread does or
/// did. May sleep.
pub fn leave(stop: impl FnOnce()) {
    if storage::present().swap(0, Ordering::AcqRel) != 0 {
        stop();
        VNETS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Takes down every vnet's part. May sleep.
pub fn leave_all(stop: impl Fn()) {
    UNLOADING.store(true, Ordering::SeqCst);
    while VNETS.load(Ordering::SeqCst) > 0 {
        // The kernel ends vnets with this lock held, so that none ends while it
        // is being left here. The thread that ends a vnet never waits for this
        // one, which the lock would turn into a deadlock.
        let detaching = DetachLock::lock();
        let found = Vnet::find(|| storage::present().load(Ordering::Acquire) != 0);
        if let Some(vnet) = found {
            vnet.with(|| leave(&stop));
        }
        drop(detaching);
        if found.is_none() {
            // A vnet that starts is not in the list yet, and one that ends is no
            // longer in it.
            time::pause(c"pfsync");
        }
    }
}
