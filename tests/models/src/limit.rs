// SPDX-License-Identifier: BSD-2-Clause
//! A limit by the second (`engine/limit/rate.rs`): threads together do not exceed it.

use crate::atomic::{check, weaken, Mutation};
use crate::engine::rate::Rate;
use loom::sync::Arc;
use loom::thread;

/// Two threads each want to do two things in a second that allows three.
fn count() {
    let rate = Arc::new(Rate::new());
    assert!(rate.allows(6, 1));
    let other = Arc::clone(&rate);
    let other = thread::spawn(move || [0; 2].map(|_| other.allows(7, 3)));
    let allowed = [0; 2].map(|_| rate.allows(7, 3));
    let allowed = allowed.into_iter().chain(other.join().unwrap());
    assert_eq!(allowed.filter(|is_allowed| *is_allowed).count(), 3);
}

#[test]
fn threads_together_keep_the_limit() {
    check(count);
}

#[test]
#[should_panic(expected = "assertion")]
fn threads_together_keep_the_limit_needs_atomic_changes() {
    weaken(Mutation::NotAtomic, count);
}
