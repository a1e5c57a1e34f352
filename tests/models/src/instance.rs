// SPDX-License-Identifier: BSD-2-Clause
//! The interface of a vnet (`driver/instance.rs`): whoever finds it may use it, and whoever
//! takes the configuration's lock finds it initialised.

use crate::atomic::{check, weaken, Mutation};
use crate::driver::instance::{self, Configuration};
use crate::driver::kernel::alloc::KBox;
use crate::driver::kernel::epoch;
use crate::driver::softc::Softc;
use loom::thread;

fn start() {
    instance::make_lock();
    // loom wants the first look at each atomic before there are threads.
    epoch::enter(|epoch| assert!(instance::current(epoch).is_none()));
    assert!(Configuration::lock().is_none());
}

/// A thread of the data path uses the interface while it appears and disappears.
fn publish_and_retract() {
    start();
    let reader = thread::spawn(|| {
        epoch::enter(|epoch| {
            let content = instance::current(epoch).map(|softc| softc.content.read());
            assert!(matches!(content, None | Some(1)));
        });
    });
    instance::publish(KBox::new(Softc::new()));
    drop(instance::retract());
    reader.join().unwrap();
}

/// A thread configures while the interface disappears, and the lock with it.
fn configure() {
    start();
    instance::publish(KBox::new(Softc::new()));
    let configurer = thread::spawn(|| {
        let configuration = Configuration::lock();
        let softc = configuration.as_ref().and_then(Configuration::softc);
        assert!(matches!(softc.map(|softc| softc.content.read()), None | Some(1)));
    });
    drop(instance::retract());
    instance::destroy_lock();
    configurer.join().unwrap();
}

#[test]
fn the_interface_lives_as_long_as_it_is_used() {
    check(publish_and_retract);
}

#[test]
#[should_panic(expected = "Concurrent read and write accesses")]
fn the_interface_lives_as_long_as_it_is_used_needs_acquire() {
    weaken(Mutation::NoAcquire, publish_and_retract);
}

#[test]
#[should_panic(expected = "Concurrent read and write accesses")]
fn the_interface_lives_as_long_as_it_is_used_needs_release() {
    weaken(Mutation::NoRelease, publish_and_retract);
}

#[test]
fn the_lock_lives_as_long_as_it_is_used() {
    check(configure);
}

#[test]
#[should_panic(expected = "Concurrent read and write accesses")]
fn the_lock_lives_as_long_as_it_is_used_needs_acquire() {
    weaken(Mutation::NoAcquire, configure);
}

#[test]
#[should_panic(expected = "Concurrent read and write accesses")]
fn the_lock_lives_as_long_as_it_is_used_needs_release() {
    weaken(Mutation::NoRelease, configure);
}
