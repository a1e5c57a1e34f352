// SPDX-License-Identifier: BSD-2-Clause
//! Stands in the place of `src/atomic.rs`: atomics of loom, and [`check`], which runs a model.

pub(crate) use loom::sync::atomic::{fence, Ordering};
use std::ptr;
use std::sync::atomic::{AtomicU64 as Counter, AtomicU8 as Setting, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// A mutation of every atomic, which ignores what the code asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// As the code says.
    None,
    /// `SeqCst` is only `AcqRel`.
    NoSeqCst,
    /// Loads acquire nothing.
    NoAcquire,
    /// Stores release nothing.
    NoRelease,
    /// An operation that reads and writes is a load and a store.
    NotAtomic,
}

const MUTATIONS: [Mutation; 5] =
    [Mutation::None, Mutation::NoSeqCst, Mutation::NoAcquire, Mutation::NoRelease, Mutation::NotAtomic];

/// The index of the mutation in force.
static MUTATION: Setting = Setting::new(0);
/// The number of the run of a model. Atomics begin anew in each run.
static RUN: Counter = Counter::new(0);
/// Held while a model is checked: the statics of the code are shared.
static CHECKING: Mutex<()> = Mutex::new(());

/// Checks a model: runs it in every order of its threads.
///
/// The first access to each atomic must be made before the model has other threads.
pub(crate) fn check(model: impl Fn() + Sync + Send + 'static) {
    weaken(Mutation::None, model);
}

/// Checks a model with a mutation of the atomics.
pub(crate) fn weaken(mutation: Mutation, model: impl Fn() + Sync + Send + 'static) {
    // A mutant that was caught has poisoned the lock.
    let _checking = CHECKING.lock().unwrap_or_else(PoisonError::into_inner);
    MUTATION.store(mutation as u8, Relaxed);
    let mut builder = loom::model::Builder::new();
    // More switches take long and show no more.
    builder.preemption_bound = Some(4);
    builder.check(move || {
        RUN.fetch_add(1, Relaxed);
        model();
    });
}

fn mutation() -> Mutation {
    MUTATIONS[usize::from(MUTATION.load(Relaxed))]
}

/// What an operation does with an ordering: the ordering that loom is given, and whether a
/// fence goes with it. loom takes `SeqCst` for `AcqRel` but knows fences, so a load gets one in
/// front and a store one behind, as compilers place them.
fn plan(order: Ordering) -> (Ordering, bool) {
    let is_ordered = order == Ordering::SeqCst;
    let order = if is_ordered { Ordering::AcqRel } else { order };
    let acquires = matches!(order, Ordering::Acquire | Ordering::AcqRel) && mutation() != Mutation::NoAcquire;
    let releases = matches!(order, Ordering::Release | Ordering::AcqRel) && mutation() != Mutation::NoRelease;
    let order = match (acquires, releases) {
        (true, true) => Ordering::AcqRel,
        (true, false) => Ordering::Acquire,
        (false, true) => Ordering::Release,
        (false, false) => Ordering::Relaxed,
    };
    (order, is_ordered && mutation() != Mutation::NoSeqCst)
}

fn of_load(order: Ordering) -> Ordering {
    if matches!(order, Ordering::Acquire | Ordering::AcqRel) {
        Ordering::Acquire
    } else {
        Ordering::Relaxed
    }
}

fn of_store(order: Ordering) -> Ordering {
    if matches!(order, Ordering::Release | Ordering::AcqRel) {
        Ordering::Release
    } else {
        Ordering::Relaxed
    }
}

/// A value that begins anew in each run of a model. It is made when it is first used.
pub(crate) struct PerRun<T> {
    slot: Mutex<Option<(u64, Arc<T>)>>,
}

impl<T> PerRun<T> {
    pub(crate) const fn new() -> PerRun<T> {
        PerRun { slot: Mutex::new(None) }
    }

    /// The value of this run, which `make` makes if there is none yet.
    pub(crate) fn get(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let run = RUN.load(Relaxed);
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some((of, value)) if *of == run => Arc::clone(value),
            _ => Arc::clone(&slot.insert((run, Arc::new(make()))).1),
        }
    }
}

/// Defines an atomic of loom that can be made in a constant, and that obeys the mutation.
macro_rules! atomic {
    ($name:ident$(<$t:ident>)?, $value:ty) => {
        pub(crate) struct $name$(<$t>)? {
            initial: $value,
            atomic: PerRun<loom::sync::atomic::$name$(<$t>)?>,
        }

        // SAFETY: each use of the value is one of loom's atomic.
        unsafe impl$(<$t>)? Sync for $name$(<$t>)? {}
        // SAFETY: as above.
        unsafe impl$(<$t>)? Send for $name$(<$t>)? {}

        #[allow(dead_code)]
        impl$(<$t>)? $name$(<$t>)? {
            pub(crate) const fn new(initial: $value) -> Self {
                Self { initial, atomic: PerRun::new() }
            }

            /// # Safety
            ///
            /// The atomic lives as long as the result is used.
            pub(crate) unsafe fn from_ptr<'a>(atomic: *mut Self) -> &'a Self {
                // SAFETY: as the caller promises.
                unsafe { &*atomic }
            }

            fn atomic(&self) -> Arc<loom::sync::atomic::$name$(<$t>)?> {
                self.atomic.get(|| loom::sync::atomic::$name::new(self.initial))
            }

            pub(crate) fn load(&self, order: Ordering) -> $value {
                let (order, is_ordered) = plan(order);
                if is_ordered {
                    fence(Ordering::SeqCst);
                }
                self.atomic().load(of_load(order))
            }

            pub(crate) fn store(&self, value: $value, order: Ordering) {
                let (order, is_ordered) = plan(order);
                self.atomic().store(value, of_store(order));
                if is_ordered {
                    fence(Ordering::SeqCst);
                }
            }

            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                self.change(order, |atomic, order| atomic.swap(value, order), |_| value)
            }

            /// Reads and writes: by `at_once`, or as a mutant by a load and a store of `after`.
            fn change(
                &self,
                order: Ordering,
                at_once: impl Fn(&loom::sync::atomic::$name$(<$t>)?, Ordering) -> $value,
                after: impl Fn($value) -> $value,
            ) -> $value {
                let (order, is_ordered) = plan(order);
                let atomic = self.atomic();
                let before = if mutation() == Mutation::NotAtomic {
                    let before = atomic.load(of_load(order));
                    atomic.store(after(before), of_store(order));
                    before
                } else {
                    at_once(&atomic, order)
                };
                if is_ordered {
                    fence(Ordering::SeqCst);
                }
                before
            }
        }
    };
}

/// Adds arithmetic to an atomic number.
macro_rules! number {
    ($name:ident, $value:ty) => {
        atomic!($name, $value);

        #[allow(dead_code)]
        impl $name {
            pub(crate) fn fetch_add(&self, by: $value, order: Ordering) -> $value {
                self.change(
                    order,
                    |atomic, order| atomic.fetch_add(by, order),
                    |value| value.wrapping_add(by),
                )
            }

            pub(crate) fn fetch_sub(&self, by: $value, order: Ordering) -> $value {
                self.change(
                    order,
                    |atomic, order| atomic.fetch_sub(by, order),
                    |value| value.wrapping_sub(by),
                )
            }

            pub(crate) fn fetch_update(
                &self,
                order: Ordering,
                _failure: Ordering,
                change: impl Fn($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let (order, _) = plan(order);
                let atomic = self.atomic();
                if mutation() != Mutation::NotAtomic {
                    return atomic.fetch_update(order, of_load(order), change);
                }
                let before = atomic.load(of_load(order));
                let after = change(before).ok_or(before)?;
                atomic.store(after, of_store(order));
                Ok(before)
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicPtr<T>, *mut T);
number!(AtomicI32, i32);
number!(AtomicU8, u8);
number!(AtomicU64, u64);
number!(AtomicUsize, usize);

impl Default for AtomicU64 {
    fn default() -> Self {
        Self::new(0)
    }
}

impl std::fmt::Debug for AtomicU64 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AtomicU64")
    }
}

/// Content that threads may read together and write alone. loom reports an access that nothing
/// orders with another one.
pub(crate) struct Content(loom::cell::UnsafeCell<u32>);

// SAFETY: loom checks every access.
unsafe impl Sync for Content {}
// SAFETY: as above.
unsafe impl Send for Content {}

impl Content {
    pub(crate) fn new(value: u32) -> Content {
        Content(loom::cell::UnsafeCell::new(value))
    }

    pub(crate) fn read(&self) -> u32 {
        // SAFETY: loom has checked that no thread writes.
        self.0.with(|value| unsafe { ptr::read(value) })
    }

    pub(crate) fn write(&self, value: u32) {
        // SAFETY: loom has checked that no other thread reads or writes.
        self.0.with_mut(|to| unsafe { ptr::write(to, value) });
    }
}
