// SPDX-License-Identifier: BSD-2-Clause
//! The rows of pf's id hash (`driver/pf/row.rs`): a walk misses no state but those that are
//! announced later, a state is unlinked once, and after `quiesce` no thread is in a hook.

use crate::atomic::{check, AtomicBool, Content, Ordering};
use crate::bucket;
use crate::driver::pf::row::{self, Rows};
use crate::driver::pf::Kstate;
use crate::driver::queues::SharedQueues;
use crate::engine::bucket::{Backlog, Queue};
use crate::freebsd;
use loom::sync::Arc;
use loom::thread;

struct Model {
    queues: SharedQueues,
    backlog: Backlog,
    state: &'static Kstate,
}

impl Model {
    fn new() -> Arc<Model> {
        let queues = bucket::queues();
        let state = Kstate::leak();
        // loom wants the first look at each atomic before there are threads.
        state.touch();
        Arc::new(Model { queues, backlog: bucket::backlog(), state })
    }

    /// pf puts the state into its row.
    fn link(&self) {
        freebsd::row().states.lh_first.store(self.state.raw(), Ordering::Relaxed);
    }

    /// The insert hook.
    fn announce(&self) {
        self.queues.insert(self.state, &self.backlog);
    }
}

/// pf inserts a state with the row locked. Meanwhile the sender sends what is queued, and then
/// walks through the table for a peer.
fn walk(insert: fn(&Model)) {
    let model = Model::new();
    let pf = Arc::clone(&model);
    let pf = thread::spawn(move || {
        let _locked = pf.state.lock();
        insert(&pf);
    });
    let is_announced = model.queues.lock().pop(Queue::Insert, &model.backlog).is_some();
    let is_found = Rows::all().lock(0).is_some_and(|row| row.states().count() == 1);
    assert!(is_found || !is_announced);
    pf.join().unwrap();
}

#[test]
fn a_walk_misses_only_what_is_announced_later() {
    check(|| {
        walk(|model| {
            model.link();
            model.announce();
        });
    });
}

#[test]
#[should_panic(expected = "assertion")]
fn a_walk_misses_only_what_is_announced_later_needs_the_hook_after_the_insertion() {
    check(|| {
        walk(|model| {
            model.announce();
            model.link();
        });
    });
}

/// Two threads carry out a peer's clear at once. `clear` says whether it unlinked the state.
fn clear_twice(clear: fn() -> bool) {
    let model = Model::new();
    model.link();
    let other = thread::spawn(move || usize::from(clear()));
    let unlinked = usize::from(clear()) + other.join().unwrap();
    assert_eq!(unlinked, 1);
}

#[test]
fn a_state_is_unlinked_once() {
    check(|| clear_twice(|| Rows::all().lock(0).is_some_and(|row| row.unlink_first(|_| true))));
}

/// The row is unlocked between the look and the end of the state.
#[test]
#[should_panic(expected = "assertion")]
fn a_state_is_unlinked_once_needs_the_row_locked_all_the_time() {
    check(|| {
        clear_twice(|| {
            let is_there = Rows::all().lock(0).is_some_and(|row| row.states().next().is_some());
            is_there
                .then(|| freebsd::row().states.lh_first.store(std::ptr::null_mut(), Ordering::Relaxed))
                .is_some()
        });
    });
}

/// pf calls a hook while the module takes it back and goes away.
fn take_back(quiesce: fn()) {
    let model = Arc::new((AtomicBool::new(true), Content::new(1)));
    assert!(model.0.load(Ordering::Relaxed));
    let state = Kstate::leak();
    drop(state.lock());
    let pf = Arc::clone(&model);
    let pf = thread::spawn(move || {
        let _locked = state.lock();
        if pf.0.load(Ordering::Relaxed) {
            assert_eq!(pf.1.read(), 1);
        }
    });
    model.0.store(false, Ordering::Relaxed);
    quiesce();
    model.1.write(0);
    pf.join().unwrap();
}

#[test]
fn no_thread_is_in_a_hook() {
    check(|| take_back(row::quiesce));
}

#[test]
#[should_panic(expected = "Concurrent read and write accesses")]
fn no_thread_is_in_a_hook_needs_the_rows_locked() {
    check(|| take_back(|| ()));
}
