// SPDX-License-Identifier: BSD-2-Clause
//! The epoch cell (`driver/kernel/epoch.rs`), in which the link is: a thread in the epoch sees
//! a complete value, and nobody drops it meanwhile.

use crate::atomic::{check, weaken, Content, Mutation};
use crate::driver::kernel::alloc::KBox;
use crate::driver::kernel::epoch::{self, EpochCell};
use crate::freebsd::EPOCH_WAITS;
use loom::sync::Arc;
use loom::thread;
use std::sync::atomic::Ordering::Relaxed;

struct Value(Content);

impl Value {
    fn new(value: u32) -> KBox<Value> {
        let content = Content::new(0);
        content.write(value);
        KBox::new(Value(content))
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.0.write(0);
    }
}

/// A thread reads the value while it is replaced and dropped.
fn replace() {
    let cell = Arc::new(EpochCell::new());
    drop(cell.replace(Some(Value::new(1))));
    // loom wants the first look at each atomic before there are threads.
    epoch::enter(|epoch| assert!(cell.get(epoch).is_some()));
    let reader = Arc::clone(&cell);
    let reader = thread::spawn(move || {
        epoch::enter(|epoch| {
            let value = reader.get(epoch).map(|value| value.0.read());
            assert!(matches!(value, Some(1 | 2)));
        });
    });
    let retired = cell.replace(Some(Value::new(2)));
    drop(retired.map(|retired| retired.reclaim()));
    reader.join().unwrap();
    drop(cell.replace(None));
}

#[test]
fn a_value_lives_as_long_as_it_is_read() {
    check(replace);
}

#[test]
#[should_panic(expected = "Concurrent read and write accesses")]
fn a_value_lives_as_long_as_it_is_read_needs_acquire() {
    weaken(Mutation::NoAcquire, replace);
}

#[test]
#[should_panic(expected = "Concurrent read and write accesses")]
fn a_value_lives_as_long_as_it_is_read_needs_release() {
    weaken(Mutation::NoRelease, replace);
}

/// Nobody waits for the reader.
#[test]
#[should_panic(expected = "Concurrent read and write accesses")]
fn a_value_lives_as_long_as_it_is_read_needs_the_wait() {
    check(|| {
        EPOCH_WAITS.store(false, Relaxed);
        let _waits = OnDrop(|| EPOCH_WAITS.store(true, Relaxed));
        replace();
    });
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
