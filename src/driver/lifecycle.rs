// SPDX-License-Identifier: BSD-2-Clause
//! Which vnets have a part of the module: an interrupt, a cloner and an interface.

use crate::driver::kernel::ifnet::DetachLock;
use crate::driver::kernel::time;
use crate::driver::kernel::vnet::Vnet;
use crate::driver::storage;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The number of vnets that have a part of the module, or are about to find out whether
/// they get one.
static VNETS: AtomicUsize = AtomicUsize::new(0);

/// Set when unload begins: from then on no vnet gets a part of the module.
static UNLOADING: AtomicBool = AtomicBool::new(false);

/// Gives the current vnet its part of the module, which `start` sets up, unless the
/// module is being unloaded.
pub(crate) fn enter(start: impl FnOnce()) {
    // Either this thread sees that unload began, or unload sees this count.
    VNETS.fetch_add(1, Ordering::SeqCst);
    if UNLOADING.load(Ordering::SeqCst) {
        VNETS.fetch_sub(1, Ordering::SeqCst);
        return;
    }
    start();
    storage::present().store(1, Ordering::Release);
}

/// Has `stop` take down the current vnet's part, unless another thread does so or has
/// done so. May sleep.
pub(crate) fn leave(stop: impl FnOnce()) {
    if storage::present().swap(0, Ordering::AcqRel) != 0 {
        stop();
        VNETS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Has `stop` take down the part of every vnet. May sleep.
pub(crate) fn leave_all(stop: impl Fn()) {
    UNLOADING.store(true, Ordering::SeqCst);
    while VNETS.load(Ordering::SeqCst) > 0 {
        // The kernel holds this lock while it ends a vnet. So no vnet ends while its part
        // is being taken down here, and a thread that ends a vnet never has to wait for
        // this one while it holds the lock.
        let detaching = DetachLock::lock();
        let found = Vnet::find(|| storage::present().load(Ordering::Acquire) != 0);
        if let Some(vnet) = found {
            vnet.with(|| leave(&stop));
        }
        drop(detaching);
        if found.is_none() {
            // The list lacks a vnet that is starting, and one that is ending.
            time::pause(c"pfsync");
        }
    }
}
