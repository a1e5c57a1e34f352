// SPDX-License-Identifier: BSD-2-Clause
//! The flags of a bucket (`driver/queues.rs`), and the one for clears: the sender overlooks
//! nothing, and keeps the order of deletes and inserts, and of clears and inserts.

use crate::atomic::{check, AtomicBool, Ordering};
use crate::driver::kernel::mutex::Mutex;
use crate::driver::pf::{Kstate, StateLists};
use crate::driver::queues::{write_in_order, SharedQueues};
use crate::engine::bucket::{FrameSize, Queue, Queues};
use loom::sync::Arc;
use loom::thread;

const FRAME: FrameSize = FrameSize { payload_len: 1456, state_len: 277 };

fn queues() -> SharedQueues {
    let queues = SharedQueues::new(Mutex::new(Queues::new(StateLists::new(128))));
    // loom wants the first look at each flag before there are threads.
    let no_clear = AtomicBool::new(false);
    assert!(!queues.take_request() && !queues.take_batch(Queue::Insert, &no_clear, &mut [None]));
    write_in_order([&queues].into_iter(), &queues, |_, _, _| {});
    queues
}

fn state() -> &'static Kstate {
    let state = Kstate::leak();
    // As above.
    state.touch();
    state
}

/// Takes one state out of a queue.
fn pop(queues: &SharedQueues, queue: Queue) -> bool {
    queues.lock().pop(queue).is_some()
}

/// The interrupt by which a thread asks the sender to run: a flag, and a run for each time that
/// it is found set. As in FreeBSD's `swi_sched`, a lock orders what threads did before they set
/// it.
struct Interrupt(Mutex<bool>);

impl Interrupt {
    fn schedule(&self) {
        *self.0.lock() = true;
    }

    fn run(&self, sender: impl Fn()) {
        while std::mem::take(&mut *self.0.lock()) {
            sender();
        }
    }
}

/// Two threads each queue a state and ask the sender to look.
fn request_twice(look: fn(&SharedQueues) -> usize) {
    let model = Arc::new((queues(), Interrupt(Mutex::new(false)), [state(), state()]));
    let threads = [0, 1].map(|index| {
        let model = Arc::clone(&model);
        thread::spawn(move || {
            let (queues, interrupt, states) = &*model;
            let _ = queues.lock().insert(states[index], FRAME);
            queues.request_send();
            interrupt.schedule();
        })
    });
    let found = std::cell::Cell::new(0);
    let run = || model.1.run(|| found.set(found.get() + look(&model.0)));
    run();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    run();
    assert_eq!(found.get(), 2);
}

fn take_all(queues: &SharedQueues) -> usize {
    (0..).take_while(|_| pop(queues, Queue::Insert)).count()
}

#[test]
fn no_request_is_lost() {
    check(|| request_twice(|queues| if queues.take_request() { take_all(queues) } else { 0 }));
}

/// The flag is cleared after the look.
#[test]
#[should_panic(expected = "assertion")]
fn no_request_is_lost_needs_the_flag_cleared_first() {
    check(|| {
        request_twice(|queues| {
            let found = take_all(queues);
            if queues.take_request() {
                found
            } else {
                assert_eq!(found, 0);
                0
            }
        });
    });
}

/// A sender that writes a frame: the queues of both buckets, and what writes some of a queue.
type Sender = fn(&[SharedQueues; 2], &mut dyn FnMut(&SharedQueues, Queue, usize));

/// A state ends, and another with the same ends is made, which pf orders by the lock of their
/// keys. The sender writes a frame meanwhile. `write` is the sender.
fn replace(write: Sender) {
    let model = Arc::new(([queues(), queues()], [state(), state()], Mutex::new(false)));
    let (deleting, inserting) = (Arc::clone(&model), Arc::clone(&model));
    let deleting = thread::spawn(move || {
        let ([queues, _], [state, _], keys) = &*deleting;
        let _ = queues.delete(state, FRAME);
        *keys.lock() = true;
    });
    let inserting = thread::spawn(move || {
        let ([_, queues], [_, state], keys) = &*inserting;
        if *keys.lock() {
            let _ = queues.lock().insert(state, FRAME);
        }
    });
    let (mut is_deleted, mut is_inserted) = (false, false);
    write(&model.0, &mut |queues, queue, most| {
        let is_written = most > 0 && pop(queues, queue);
        is_deleted |= is_written && queue == Queue::Delete;
        is_inserted |= is_written && queue == Queue::Insert;
    });
    assert!(is_deleted || !is_inserted);
    deleting.join().unwrap();
    inserting.join().unwrap();
}

#[test]
fn deletes_leave_before_later_inserts() {
    check(|| replace(|all, write| write_in_order(all.iter(), &all[1], write)));
}

/// Deletes are looked for before inserts are counted.
#[test]
#[should_panic(expected = "assertion")]
fn deletes_leave_before_later_inserts_needs_inserts_counted_first() {
    check(|| {
        replace(|all, write| {
            for queues in all {
                write(queues, Queue::Delete, usize::MAX);
            }
            let inserts = all[1].lock().len(Queue::Insert);
            write(&all[1], Queue::Insert, inserts);
        });
    });
}

struct Clearing {
    queues: SharedQueues,
    state: &'static Kstate,
    /// Whether a clear waits in `control`.
    control: Mutex<bool>,
    clear_waits: AtomicBool,
}

impl Clearing {
    fn new() -> Arc<Clearing> {
        let clear_waits = AtomicBool::new(false);
        assert!(!clear_waits.load(Ordering::Relaxed));
        Arc::new(Clearing { queues: queues(), state: state(), control: Mutex::new(false), clear_waits })
    }

    /// An operator clears states, as in `hooks::states_cleared`. Then pf makes a state.
    fn clear_and_insert(&self) {
        let mut control = self.control.lock();
        *control = true;
        self.clear_waits.store(true, Ordering::Release);
        drop(control);
        let _ = self.queues.lock().insert(self.state, FRAME);
    }

    /// The sender looks for a clear, as in `sender::send_control`.
    fn take_clear(&self) -> bool {
        let mut control = self.control.lock();
        let is_taken = std::mem::take(&mut *control);
        self.clear_waits.store(false, Ordering::Release);
        is_taken
    }

    fn take_insert(&self) -> bool {
        self.queues.take_batch(Queue::Insert, &self.clear_waits, &mut [None])
    }

    /// Mutant: looks for a clear before it locks the queues.
    fn take_insert_unlocked(&self) -> bool {
        !self.clear_waits.load(Ordering::Acquire) && pop(&self.queues, Queue::Insert)
    }
}

fn clear(take_insert: fn(&Clearing) -> bool) {
    let model = Clearing::new();
    let pf = Arc::clone(&model);
    let pf = thread::spawn(move || pf.clear_and_insert());
    let is_cleared = model.take_clear();
    let is_inserted = take_insert(&model);
    assert!(is_cleared || !is_inserted);
    pf.join().unwrap();
}

#[test]
fn a_clear_leaves_before_later_inserts() {
    check(|| clear(Clearing::take_insert));
}

#[test]
#[should_panic(expected = "assertion")]
fn a_clear_leaves_before_later_inserts_needs_the_look_with_the_queues_locked() {
    check(|| clear(Clearing::take_insert_unlocked));
}
