// SPDX-License-Identifier: BSD-2-Clause
//! The lock of the configuration. Using it while it is not initialised panics.

use crate::atomic::{Content, PerRun};
use loom::sync::{Mutex, MutexGuard};
use std::ffi::CStr;

struct Lock {
    mutex: Mutex<()>,
    /// 1 while it is initialised. Whoever uses the lock reads this.
    is_initialised: Content,
}

static LOCK: PerRun<&'static Lock> = PerRun::new();

/// The only lock.
pub(crate) struct Sx(&'static Lock);

pub(crate) struct Guard {
    lock: &'static Lock,
    guard: Option<MutexGuard<'static, ()>>,
}

impl Sx {
    pub(crate) fn the_only_one() -> Sx {
        let make = || Lock { mutex: Mutex::new(()), is_initialised: Content::new(0) };
        Sx(*LOCK.get(|| Box::leak(Box::new(make()))))
    }

    pub(crate) unsafe fn init(self, _name: &CStr) {
        self.0.is_initialised.write(1);
    }

    pub(crate) unsafe fn destroy(self) {
        self.0.is_initialised.write(0);
    }

    pub(crate) fn lock(self) -> Guard {
        assert_eq!(self.0.is_initialised.read(), 1);
        let guard = Some(self.0.mutex.lock().unwrap());
        Guard { lock: self.0, guard }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.guard.take());
        assert_eq!(self.lock.is_initialised.read(), 1);
    }
}
