// SPDX-License-Identifier: BSD-2-Clause
//! pf's rules: their lock, and the hooks that it protects.

use core::marker::PhantomData;
use sys_bindings as sys;

/// Proves that the thread holds pf's rules locked for reading (`PF_RULES_RLOCK`). It
/// is lent to a closure, which cannot keep it.
pub(crate) struct Rules {
    thread: PhantomData<*const ()>,
}

/// Runs `inside` with the rules locked. Must not be nested.
pub(crate) fn read<R>(inside: impl FnOnce(&Rules) -> R) -> R {
    // SAFETY: a tracker needs no initial value.
    let mut tracker = unsafe { core::mem::zeroed::<sys::rm_priotracker>() };
    // SAFETY: the tracker stays where it is until the lock is released below.
    // Nothing in between unwinds, since panics abort.
    unsafe { sys::pfs_pf_rules_rlock(&mut tracker) };
    let result = inside(&Rules { thread: PhantomData });
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
    inside(&Rules { thread: PhantomData })
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
