//! Where a thread may sleep, and the network epoch.

use super::thread;
use super::violation::violation;

/// Ends the run unless the current thread may sleep.
pub fn may_sleep(what: &str) {
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

/// Leaves the network epoch.
pub fn epoch_exit() {
    let thread = thread::current();
    match thread.epoch.get().checked_sub(1) {
        Some(depth) => thread.epoch.set(depth),
        None => violation("leaves the network epoch without being in it".into()),
    }
    if thread.epoch.get() == 0 {
        thread.kernel.world().preemption_point();
    }
}

/// Ends the run unless the current thread is in the network epoch.
pub fn epoch_assert(what: &str) {
    if thread::current().epoch.get() == 0 {
        violation(format!("{what} outside the network epoch"));
    }
}

/// Sleeps until every thread has left the network epoch that is in it now.
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

/// Ends the run if the current thread holds a lock. FreeBSD allows sx locks to
/// be held while user memory is copied; but that may lie in a file on a server
/// that does not answer, and who waits for the lock would wait too.
pub fn hold_nothing(what: &str) {
    let held = thread::current().held.borrow().first().map(|held| held.class.clone());
    if let Some(class) = held {
        violation(format!("{what} with the lock {class} held"));
    }
}
