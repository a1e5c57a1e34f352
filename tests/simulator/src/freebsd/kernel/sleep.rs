// SPDX-License-Identifier: BSD-2-Clause
//! Sleeping, and the network epoch.

use super::thread;
use super::violation::violation;

/// Reports a violation unless the current thread may sleep.
pub(crate) fn may_sleep(what: &str) {
    let thread = thread::current();
    let lock = thread.unsleepable_lock();
    if let Some(lock) = lock {
        violation(format!("{what}, which may sleep, with {lock} held"));
    }
    if thread.epoch.get() > 0 {
        violation(format!("{what}, which may sleep, in the network epoch"));
    }
    let reason = thread.no_sleep.borrow().last().copied();
    if let Some(reason) = reason {
        violation(format!("{what}, which may sleep, in {reason}"));
    }
}

/// Enters the network epoch.
pub fn epoch_enter() {
    let thread = thread::current();
    if thread.epoch.get() == 0 {
        thread.sections.set(thread.sections.get() + 1);
    }
    thread.epoch.set(thread.epoch.get() + 1);
}

/// Exits the network epoch.
pub(crate) fn epoch_exit() {
    let thread = thread::current();
    match thread.epoch.get().checked_sub(1) {
        Some(depth) => thread.epoch.set(depth),
        None => violation("exits the network epoch without being in it".into()),
    }
    if thread.epoch.get() == 0 {
        thread.kernel.world().preemption_point();
    }
}

/// Reports a violation unless the current thread is in the network epoch.
pub(crate) fn epoch_assert(what: &str) {
    if thread::current().epoch.get() == 0 {
        violation(format!("{what} outside the network epoch"));
    }
}

/// Sleeps until every thread that is in the network epoch now has exited it.
pub fn epoch_wait() {
    may_sleep("epoch_wait");
    let thread = thread::current();
    let waited_for: Vec<_> = thread.kernel.world().threads_of(&thread.kernel);
    let waited_for: Vec<_> = waited_for
        .into_iter()
        .filter(|other| other.epoch.get() > 0)
        .map(|other| (other.sections.get(), other))
        .collect();
    thread.wait("the network epoch", move || {
        waited_for.iter().all(|(section, other)| other.epoch.get() == 0 || other.sections.get() != *section)
    });
}

/// Reports a violation if the current thread holds a lock. FreeBSD allows a thread
/// to hold sx locks while it copies user memory. But that memory may be a file on a
/// server that does not answer, and every thread that wants the lock would wait too.
pub(crate) fn hold_nothing(what: &str) {
    let held = thread::current().held.borrow().first().map(|held| held.class.clone());
    if let Some(class) = held {
        violation(format!("{what} with the lock {class} held"));
    }
}
