// SPDX-License-Identifier: BSD-2-Clause
//! FreeBSD's interfaces: the epoch and the counted callers are the module's, the rest is played.

pub(crate) mod alloc;
#[path = "../../../../src/driver/kernel/callers.rs"]
pub(crate) mod callers;
#[path = "../../../../src/driver/kernel/epoch.rs"]
pub(crate) mod epoch;
pub(crate) mod mutex;
pub(crate) mod sx;

/// The clock.
pub(crate) mod time {
    pub(crate) fn pause(_name: &std::ffi::CStr) {
        crate::pfs_pause();
    }
}

/// Interfaces.
pub(crate) mod ifnet {
    use crate::atomic::PerRun;
    use loom::sync::{Mutex, MutexGuard};

    static LOCK: PerRun<&'static Mutex<()>> = PerRun::new();

    /// `ifnet_detach_sxlock`
    pub(crate) struct DetachLock {
        _guard: MutexGuard<'static, ()>,
    }

    impl DetachLock {
        pub(crate) fn lock() -> DetachLock {
            let lock = *LOCK.get(|| Box::leak(Box::new(Mutex::new(()))));
            DetachLock { _guard: lock.lock().unwrap() }
        }
    }
}

/// Vnets: there is one.
pub(crate) mod vnet {
    #[derive(Clone, Copy)]
    pub(crate) struct Vnet;

    impl Vnet {
        pub(crate) fn find(wanted: impl Fn() -> bool) -> Option<Vnet> {
            wanted().then_some(Vnet)
        }

        pub(crate) fn with<R>(self, inside: impl FnOnce() -> R) -> R {
            inside()
        }
    }
}
