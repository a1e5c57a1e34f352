// SPDX-License-Identifier: BSD-2-Clause
//! Load and unload (`driver/lifecycle.rs`, `driver/kernel/callers.rs`): when unload is over, no
//! vnet has a part of the module, and no thread makes an interface.

use crate::atomic::{check, weaken, Content, Mutation};
use crate::driver::lifecycle;
use loom::sync::Arc;
use loom::thread;

fn start() {
    // loom wants the first look at each atomic before there are threads.
    assert!(!lifecycle::is_unloading());
    lifecycle::call(|| ());
    lifecycle::enter(|| ());
    lifecycle::leave(|| ());
}

/// A vnet starts while the module is unloaded.
fn start_a_vnet() {
    start();
    let parts = Arc::new(Content::new(0));
    let vnet = Arc::clone(&parts);
    let vnet = thread::spawn(move || lifecycle::enter(|| vnet.write(1)));
    lifecycle::leave_all(|| parts.write(0));
    assert_eq!(parts.read(), 0);
    vnet.join().unwrap();
    assert_eq!(parts.read(), 0);
}

/// A vnet that has a part ends while the module is unloaded.
fn end_a_vnet() {
    start();
    let parts = Arc::new(Content::new(0));
    lifecycle::enter(|| parts.write(1));
    let vnet = Arc::clone(&parts);
    let stop = |parts: &Content| {
        assert_eq!(parts.read(), 1);
        parts.write(0);
    };
    let vnet = thread::spawn(move || lifecycle::leave(|| stop(&vnet)));
    lifecycle::leave_all(|| stop(&parts));
    assert_eq!(parts.read(), 0);
    vnet.join().unwrap();
}

/// A thread makes an interface while the module is unloaded.
fn make_an_interface() {
    start();
    let interfaces = Arc::new(Content::new(0));
    let maker = Arc::clone(&interfaces);
    let maker = thread::spawn(move || {
        lifecycle::call(|| {
            if !lifecycle::is_unloading() {
                maker.write(1);
            }
        });
    });
    lifecycle::leave_all(|| ());
    let found = interfaces.read();
    maker.join().unwrap();
    assert_eq!(interfaces.read(), found);
}

#[test]
fn no_vnet_keeps_a_part() {
    check(start_a_vnet);
}

#[test]
#[should_panic(expected = "Concurrent read and write accesses")]
fn no_vnet_keeps_a_part_needs_sequential_consistency() {
    weaken(Mutation::NoSeqCst, start_a_vnet);
}

#[test]
fn a_part_is_taken_down_once() {
    check(end_a_vnet);
}

#[test]
#[should_panic(expected = "Concurrent read and write accesses")]
fn a_part_is_taken_down_once_needs_an_atomic_swap() {
    weaken(Mutation::NotAtomic, end_a_vnet);
}

#[test]
fn unload_waits_for_callers() {
    check(make_an_interface);
}

#[test]
#[should_panic(expected = "Concurrent read and write accesses")]
fn unload_waits_for_callers_needs_sequential_consistency() {
    weaken(Mutation::NoSeqCst, make_an_interface);
}
