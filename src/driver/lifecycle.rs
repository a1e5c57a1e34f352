// SPDX-License-Identifier: BSD-2-Clause
//! Which vnets have a part of the module: an interrupt, a cloner and an interface.
//! `tests/models` has models of this.

use crate::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::driver::kernel::callers::{Callers, Inside};
use crate::driver::kernel::ifnet::DetachLock;
use crate::driver::kernel::time;
use crate::driver::kernel::vnet::Vnet;
use crate::driver::storage;

/// The number of vnets that have a part of the module, or are about to find out whether
/// they get one. Sequentially consistent, as [`UNLOADING`]: a vnet that starts counts itself
/// before it looks there, and unload sets that before it looks here.
static VNETS: AtomicUsize = AtomicUsize::new(0);

/// Set when unload begins: from then on no vnet gets a part of the module.
static UNLOADING: AtomicBool = AtomicBool::new(false);

/// The threads in functions that are called with no lock held.
static CALLERS: Callers = Callers::new();

/// Runs `inside`, a function that is called with no lock or reference that unload could wait
/// for: an ioctl, the making or destroying of an interface, pf's hook for clears, or the
/// function for an interface that departs or is renamed.
pub(crate) fn call<R>(inside: impl FnOnce() -> R) -> R {
    let _inside = called();
    inside()
}

/// Counts the thread as one that is in such a function, as long as the result lives. The
/// handlers of sysctls begin with this.
pub(crate) fn called() -> Inside<'static> {
    CALLERS.enter()
}

/// Waits until no thread is counted by [`call`] or [`called`]. May sleep.
pub(crate) fn wait_for_callers() {
    CALLERS.wait();
}

/// Whether unload has begun.
pub(crate) fn is_unloading() -> bool {
    UNLOADING.load(Ordering::SeqCst)
}

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
    // Release: whoever takes the part down finds it complete.
    storage::present().store(1, Ordering::Release);
}

/// Has `stop` take down the current vnet's part, unless another thread does so or has
/// done so. May sleep.
pub(crate) fn leave(stop: impl FnOnce()) {
    // One thread alone gets the 1, and acquires what `enter` did.
    if storage::present().swap(0, Ordering::AcqRel) != 0 {
        stop();
        VNETS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Has `stop` take down the part of every vnet. May sleep.
pub(crate) fn leave_all(stop: impl Fn()) {
    UNLOADING.store(true, Ordering::SeqCst);
    // A cloner that is detached destroys the interfaces that it has. One that a thread is
    // making now would stay.
    wait_for_callers();
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
