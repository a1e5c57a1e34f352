// SPDX-License-Identifier: BSD-2-Clause
//! pf's rules: their lock, and the hooks that it protects.

use crate::wire::IfName;
use core::cell::Cell;
use core::marker::PhantomData;
use core::ptr::NonNull;
use sys_bindings as sys;

/// A kif: an interface as pf knows it. It stays what it is while the rules are locked.
pub(crate) type Kif = NonNull<sys::pfi_kkif>;

/// The kif that was asked for last. The states of a frame name the same interfaces again and
/// again, and pf compares names to find a kif.
#[derive(Default)]
pub(crate) struct LastKif(Cell<Option<(IfName, Kif)>>);

impl LastKif {
    /// The kif with that name. Asks pf only if the name differs from the last one.
    pub(crate) fn find(&self, name: &IfName, rules: &Rules) -> Option<Kif> {
        match self.0.get() {
            Some((last, kif)) if last == *name => Some(kif),
            _ => {
                let kif = rules.kif(name)?;
                self.0.set(Some((*name, kif)));
                Some(kif)
            }
        }
    }
}

/// Proves that the thread holds pf's rules locked for reading (`PF_RULES_RLOCK`). It
/// is lent to a closure, which cannot keep it.
pub(crate) struct Rules {
    thread: PhantomData<*const ()>,
    /// The kif that the last state was bound to.
    pub(super) bound: LastKif,
    /// The kif that the last state was created on.
    pub(super) original: LastKif,
}

impl Rules {
    /// Neither kif is known yet.
    ///
    /// # Safety
    ///
    /// The thread holds the rules locked for reading as long as the value lives.
    unsafe fn locked() -> Rules {
        Rules { thread: PhantomData, bound: LastKif::default(), original: LastKif::default() }
    }

    /// The kif with that name.
    pub(crate) fn kif(&self, name: &IfName) -> Option<Kif> {
        // SAFETY: an IfName is terminated. `self` proves that this thread holds the lock of the
        // rules, which protects the kifs.
        NonNull::new(unsafe { sys::pfi_kkif_find(name.bytes().as_ptr().cast()) })
    }
}

/// Runs `inside` with the rules locked. Must not be nested.
pub(crate) fn read<R>(inside: impl FnOnce(&Rules) -> R) -> R {
    // SAFETY: a tracker needs no initial value.
    let mut tracker = unsafe { core::mem::zeroed::<sys::rm_priotracker>() };
    // SAFETY: the tracker stays where it is until the lock is released below.
    // Nothing in between unwinds, since panics abort.
    unsafe { sys::pfs_pf_rules_rlock(&mut tracker) };
    // SAFETY: the lock was taken above.
    let result = inside(&unsafe { Rules::locked() });
    // SAFETY: the lock was taken above with this tracker.
    unsafe { sys::pfs_pf_rules_runlock(&mut tracker) };
    result
}

/// Runs `inside` for a caller that holds the rules locked already. A module built
/// with INVARIANTS checks that.
///
/// # Safety
///
/// The thread holds the rules locked for reading.
pub(crate) unsafe fn held<R>(inside: impl FnOnce(&Rules) -> R) -> R {
    if sys::pfs_invariants != 0 {
        // SAFETY: the assertion takes no arguments.
        unsafe { sys::pfs_pf_rules_rassert() };
    }
    // SAFETY: the caller holds the lock.
    inside(&unsafe { Rules::locked() })
}

/// The functions that pf calls when something happens to a state.
pub(crate) type Hooks = sys::pfs_hooks;

/// No hooks.
pub(crate) const NO_HOOKS: Hooks =
    Hooks { import: None, insert: None, update: None, remove: None, clear: None, defer: None };

/// Has pf call these hooks from now on in the current vnet. Locks the rules for
/// writing. Another thread may still be calling a hook that was set before.
pub(crate) fn set_hooks(hooks: &Hooks) {
    // SAFETY: pf copies the pointers. The hooks are functions of this module, which
    // takes them back before it is unloaded.
    unsafe { sys::pfs_pf_set_hooks(hooks) };
}
