// SPDX-License-Identifier: BSD-2-Clause
//! Locks, with the checks of WITNESS and INVARIANTS: owner, recursion, order,
//! and sleeping with a lock held that does not allow it.

use super::place::Place;
use super::thread::{self, Thread};
use super::violation::violation;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

/// A kind of lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Mutex,
    /// A lock that may be held while sleeping.
    Sx,
    /// A read-mostly lock.
    Rm,
    ReadWrite,
}

/// How a lock is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Shared,
    Exclusive,
}

/// Options that a lock is initialised with.
#[derive(Clone, Copy, Default)]
pub(crate) struct Flags {
    pub(crate) recursive: bool,
    /// A thread may hold several locks of the class.
    pub(crate) duplicates: bool,
}

struct Lock {
    class: Rc<str>,
    kind: Kind,
    flags: Flags,
    /// The thread that owns the lock, and how many times it took it.
    owner: Option<(usize, usize)>,
    readers: Vec<usize>,
}

/// A lock that a thread holds.
pub(crate) struct Held {
    address: usize,
    mode: Mode,
    kind: Kind,
    pub(crate) class: Rc<str>,
    /// Where the thread took it.
    pub(crate) place: Place,
}

/// For each class, the classes that were taken while it was held, and where.
type Orders = HashMap<Rc<str>, HashMap<Rc<str>, Place>>;

/// The locks of a kernel.
#[derive(Default)]
pub(crate) struct Locks {
    locks: RefCell<BTreeMap<usize, Lock>>,
    orders: RefCell<Orders>,
}

impl Locks {
    /// `mtx_init` and the like.
    pub(crate) fn init(&self, address: usize, class: &str, kind: Kind, flags: Flags) {
        let lock = Lock { class: class.into(), kind, flags, owner: None, readers: Vec::new() };
        if let Some(old) = self.locks.borrow_mut().insert(address, lock) {
            violation(format!("lock {} at {address:#x} is initialised twice", old.class));
        }
    }

    /// `mtx_destroy` and the like.
    pub(crate) fn destroy(&self, address: usize) {
        let Some(lock) = self.locks.borrow_mut().remove(&address) else {
            violation(format!("destroys a lock at {address:#x} that is not initialised"))
        };
        if lock.owner.is_some() || !lock.readers.is_empty() {
            violation(format!("destroys the lock {}, which is held", lock.class));
        }
    }

    /// Reports a violation if a lock lies in memory that is freed.
    pub(crate) fn check_freed(&self, address: usize, len: usize) {
        let locks = self.locks.borrow();
        if let Some((_, lock)) = locks.range(address..address + len).next() {
            let class = lock.class.clone();
            drop(locks);
            violation(format!("frees memory with the lock {class} in it"));
        }
    }

    /// Whether a lock is initialised.
    pub(crate) fn exists(&self, address: usize) -> bool {
        self.locks.borrow().contains_key(&address)
    }

    /// Takes a lock, and waits for it if necessary.
    pub(crate) fn lock(&self, address: usize, mode: Mode) {
        let thread = thread::current();
        thread.kernel.world().preemption_point();
        let (class, kind) = self.check(&thread, address, mode);
        if !self.try_take(&thread, address, mode) {
            let kernel = thread.kernel.clone();
            let me = thread.clone();
            if kind == Kind::Sx {
                super::sleep::may_sleep(&format!("waits for the lock {class}"));
            }
            thread.wait(&format!("lock {class}"), move || kernel.locks.is_free(&me, address, mode));
            let taken = self.try_take(&thread, address, mode);
            assert!(taken, "nobody runs between the wait and the lock");
        }
        let place = Place::here();
        thread.held.borrow_mut().push(Held { address, mode, kind, class, place });
    }

    /// Takes a lock if no other thread has it. The order of locks does not count: a thread
    /// that does not wait is in no deadlock.
    pub(crate) fn try_lock(&self, address: usize, mode: Mode) -> bool {
        let thread = thread::current();
        thread.kernel.world().preemption_point();
        let Some((class, kind)) =
            self.locks.borrow().get(&address).map(|lock| (lock.class.clone(), lock.kind))
        else {
            violation(format!("takes a lock at {address:#x} that is not initialised"))
        };
        let taken = self.try_take(&thread, address, mode);
        if taken {
            thread.held.borrow_mut().push(Held { address, mode, kind, class, place: Place::here() });
        }
        taken
    }

    /// The checks of WITNESS and INVARIANTS before a lock is taken.
    fn check(&self, thread: &Thread, address: usize, mode: Mode) -> (Rc<str>, Kind) {
        let locks = self.locks.borrow();
        let Some(lock) = locks.get(&address) else {
            drop(locks);
            violation(format!("takes a lock at {address:#x} that is not initialised"))
        };
        let (class, kind, flags) = (lock.class.clone(), lock.kind, lock.flags);
        let owned = lock.owner.is_some_and(|(owner, _)| owner == thread.id);
        let reads = lock.readers.contains(&thread.id);
        drop(locks);
        if (owned || reads) && (!flags.recursive || owned != (mode == Mode::Exclusive)) {
            violation(format!("takes the lock {class} again, which is not recursive"));
        }
        if owned || reads {
            return (class, kind);
        }
        if kind == Kind::Sx {
            super::sleep::may_sleep(&format!("takes the sleepable lock {class}"));
        }
        self.check_order(thread, &class, flags);
        (class, kind)
    }

    fn check_order(&self, thread: &Thread, class: &Rc<str>, flags: Flags) {
        let held: Vec<_> = thread.held.borrow().iter().map(|held| (held.class.clone(), held.place)).collect();
        for (other, place) in held {
            if other == *class {
                if !flags.duplicates {
                    violation(format!("takes a second lock of class {class}, holding one since {place}"));
                }
                continue;
            }
            if let Some(reverse) = self.find_order(class, &other) {
                violation(format!(
                    "lock order reversal: takes {class} with {other} held; the other way round {reverse}"
                ));
            }
            let mut orders = self.orders.borrow_mut();
            let taken_after = orders.entry(other).or_default();
            taken_after.entry(class.clone()).or_insert_with(Place::here);
        }
    }

    /// Where `after` was taken with `before` held, directly or by way of other classes.
    fn find_order(&self, before: &Rc<str>, after: &Rc<str>) -> Option<Place> {
        let orders = self.orders.borrow();
        let mut seen = HashSet::from([before.clone()]);
        let mut next = vec![before.clone()];
        while let Some(class) = next.pop() {
            for (taken, place) in orders.get(&class).into_iter().flatten() {
                if taken == after {
                    return Some(*place);
                }
                if seen.insert(taken.clone()) {
                    next.push(taken.clone());
                }
            }
        }
        None
    }

    fn is_free(&self, thread: &Thread, address: usize, mode: Mode) -> bool {
        let locks = self.locks.borrow();
        let Some(lock) = locks.get(&address) else { return true };
        match mode {
            Mode::Shared => lock.owner.is_none(),
            Mode::Exclusive => {
                lock.owner.is_none_or(|(owner, _)| owner == thread.id) && lock.readers.is_empty()
            }
        }
    }

    fn try_take(&self, thread: &Thread, address: usize, mode: Mode) -> bool {
        if !self.is_free(thread, address, mode) {
            return false;
        }
        let mut locks = self.locks.borrow_mut();
        let Some(lock) = locks.get_mut(&address) else {
            drop(locks);
            violation(format!("waits for a lock at {address:#x} that is destroyed meanwhile"))
        };
        match mode {
            Mode::Shared => lock.readers.push(thread.id),
            Mode::Exclusive => lock.owner = Some((thread.id, lock.owner.map_or(1, |(_, depth)| depth + 1))),
        }
        true
    }

    /// Releases a lock.
    pub(crate) fn unlock(&self, address: usize, mode: Mode) {
        let thread = thread::current();
        let index =
            thread.held.borrow().iter().rposition(|held| held.address == address && held.mode == mode);
        let Some(index) = index else {
            let class = self.locks.borrow().get(&address).map(|lock| lock.class.clone());
            violation(format!("unlocks the lock {class:?} at {address:#x} without holding it"))
        };
        thread.held.borrow_mut().remove(index);
        if let Some(lock) = self.locks.borrow_mut().get_mut(&address) {
            match mode {
                Mode::Shared => {
                    let reader = lock.readers.iter().position(|reader| *reader == thread.id);
                    reader.map(|reader| lock.readers.swap_remove(reader));
                }
                Mode::Exclusive => {
                    lock.owner =
                        lock.owner.filter(|(_, depth)| *depth > 1).map(|(owner, depth)| (owner, depth - 1));
                }
            }
        }
        thread.kernel.world().preemption_point();
    }

    /// `mtx_assert(MA_OWNED)` and the like: the current thread must hold the lock.
    pub(crate) fn assert_held(&self, address: usize, what: &str) {
        if !thread::current().held.borrow().iter().any(|held| held.address == address) {
            violation(format!("{what} without the lock"));
        }
    }
}

impl Thread {
    /// A lock that the thread holds and that does not allow sleeping.
    pub(crate) fn unsleepable_lock(&self) -> Option<String> {
        let held = self.held.borrow();
        let lock = held.iter().find(|held| held.kind != Kind::Sx)?;
        Some(format!("{} (since {})", lock.class, lock.place))
    }
}
