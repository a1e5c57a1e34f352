//! pf's rules: their lock, and the hooks that it protects.

use core::marker::PhantomData;
use sys_bindings as sys;

/// Shows that pf's rules are locked for reading (`PF_RULES_RLOCK`). It cannot
/// be kept: it is lent to the closure that runs inside.
pub struct Rules {
    thread: PhantomData<*const ()>,
}

/// Runs `inside` with the rules locked. Must not be nested.
pub fn read<R>(inside: impl FnOnce(&Rules) -> R) -> R {
    // SAFETY: a tracker needs no initial value.
    let mut tracker = unsafe { core::mem::zeroed::<sys::rm_priotracker>() };
    // SAFETY: the tracker stays where it is until the lock is given back
    // below; nothing in between unwinds.
    unsafe { sys::pfs_pf_rules_rlock(&mut tracker) };
    let result = inside(&Rules { thread: PhantomData });
    // SAFETY: taken above with this tracker.
    unsafe { sys::pfs_pf_rules_runlock(&mut tracker) };
    result
}

/// Runs `inside` for a caller that holds the rules already, which INVARIANTS
/// checks.
///
/// # Safety
///
/// The thread holds the rules for reading.
pub unsafe fn held<R>(inside: impl FnOnce(&Rules) -> R) -> R {
    if sys::pfs_invariants != 0 {
        // SAFETY: an assertion without arguments.
        unsafe { sys::pfs_pf_rules_rassert() };
    }
    inside(&Rules { thread: PhantomData })
}

/// What pf calls when something happens to a state.
pub type Hooks = sys::pfs_hooks;

/// No hooks.
pub const NO_HOOKS: Hooks =
    Hooks { import: None, insert: None, update: None, remove: None, clear: None, defer: None };

/// Has pf call these hooks from now on, in the current network stack. Takes
/// the rules' lock for writing. A call of the hooks that were set before may
/// still be under way.
pub fn set_hooks(hooks: &Hooks) {
    // SAFETY: the pointers are copied; hooks are functions of this module,
    // which takes them back before it goes.
    unsafe { sys::pfs_pf_set_hooks(hooks) };
}
