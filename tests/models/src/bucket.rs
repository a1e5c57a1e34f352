// SPDX-License-Identifier: BSD-2-Clause
//! When what is queued leaves (`driver/queues.rs`, `driver/schedule.rs`), and the flag for
//! clears: the sender overlooks nothing, and keeps the order of deletes and inserts, and of
//! clears and inserts.

use crate::atomic::{check, weaken, AtomicBool, Mutation, Ordering};
use crate::driver::kernel::mutex::Mutex;
use crate::driver::pf::{Kstate, StateLists, StateRef};
use crate::driver::queues::{write_in_order, FrameOfStates, SharedQueues};
use crate::driver::schedule::{Schedule, Tick};
use crate::engine::bucket::{Backlog, Queue, Queues};
use loom::sync::Arc;
use loom::thread;

/// A frame that notes what is written.
#[derive(Default)]
struct Noted(Vec<Queue>);

impl FrameOfStates for Noted {
    fn fits(&self, _queue: Queue) -> usize {
        16
    }

    fn write(&mut self, queue: Queue, _state: &StateRef) {
        self.0.push(queue);
    }
}

/// The sender writes a frame.
fn write(buckets: &[&SharedQueues], backlog: &Backlog, clear_waits: &AtomicBool) -> Vec<Queue> {
    let mut frame = Noted::default();
    write_in_order(|index| buckets.get(index).copied(), 0, backlog, clear_waits, &mut frame);
    frame.0
}

pub(crate) fn queues() -> SharedQueues {
    let queues = SharedQueues::new(Mutex::new(Queues::new(StateLists::new(128))));
    // loom wants the first look at each flag before there are threads.
    assert_eq!(write(&[&queues], &backlog(), &no_clear()), []);
    queues
}

pub(crate) fn backlog() -> Backlog {
    let backlog = Backlog::new();
    // As above.
    assert!(backlog.is_empty());
    backlog
}

fn no_clear() -> AtomicBool {
    let clear_waits = AtomicBool::new(false);
    assert!(!clear_waits.load(Ordering::Relaxed));
    clear_waits
}

fn state() -> &'static Kstate {
    let state = Kstate::leak();
    // As above.
    state.touch();
    state
}

struct Ticking {
    queues: SharedQueues,
    schedule: Schedule,
    states: [&'static Kstate; 2],
    no_clear: AtomicBool,
    /// Whether the timer is armed. As in FreeBSD's callouts, a lock orders what threads did
    /// before they arm it.
    timer: Mutex<bool>,
    /// How many states the sender has found.
    found: Mutex<usize>,
}

impl Ticking {
    fn new() -> Arc<Ticking> {
        let schedule = Schedule::new();
        // As above.
        assert!(schedule.await_tick());
        assert_eq!(schedule.tick_passed(), Tick::Rest);
        assert!(!schedule.take_flush());
        assert!(schedule.backlog.is_empty());
        Arc::new(Ticking {
            queues: queues(),
            schedule,
            states: [state(), state()],
            no_clear: no_clear(),
            timer: Mutex::new(false),
            found: Mutex::new(0),
        })
    }

    /// pf makes a state.
    fn queue(&self, index: usize) {
        self.queues.insert(self.states[index], &self.schedule.backlog);
        if self.schedule.await_tick() {
            *self.timer.lock() = true;
        }
    }

    /// The timer expires if it is armed, and the sender runs if it asks for that.
    fn tick(&self) {
        if !std::mem::take(&mut *self.timer.lock()) {
            return;
        }
        match self.schedule.tick_passed() {
            Tick::Rest => {}
            Tick::Wait => *self.timer.lock() = true,
            Tick::Send => {
                assert!(self.schedule.take_flush());
                let written = write(&[&self.queues], &self.schedule.backlog, &self.no_clear);
                *self.found.lock() += written.len();
            }
        }
    }
}

/// Two threads each queue a state while ticks pass.
fn tick_twice() {
    let model = Ticking::new();
    let threads = [0, 1].map(|index| {
        let model = Arc::clone(&model);
        thread::spawn(move || model.queue(index))
    });
    model.tick();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    // In the end the timer is armed as long as something is queued.
    model.tick();
    model.tick();
    assert_eq!(*model.found.lock(), 2);
}

/// Frames that were full have carried everything, so that the timer is armed for nothing. A
/// thread queues a state while it expires.
fn tick_of_nothing() {
    let model = Ticking::new();
    assert!(model.schedule.await_tick());
    *model.timer.lock() = true;
    let queueing = Arc::clone(&model);
    let thread = thread::spawn(move || queueing.queue(0));
    model.tick();
    thread.join().unwrap();
    model.tick();
    assert_eq!(*model.found.lock(), 1);
}

#[test]
fn all_that_is_queued_leaves_with_a_tick() {
    check(tick_twice);
}

#[test]
fn a_tick_of_nothing_leaves_nothing_behind() {
    check(tick_of_nothing);
}

#[test]
#[should_panic(expected = "assertion")]
fn a_tick_of_nothing_needs_the_swaps() {
    weaken(Mutation::NotAtomic, tick_of_nothing);
}

#[test]
#[should_panic(expected = "assertion")]
fn a_tick_of_nothing_needs_what_is_acquired() {
    weaken(Mutation::NoAcquire, tick_of_nothing);
}

#[test]
#[should_panic(expected = "assertion")]
fn a_tick_of_nothing_needs_what_is_released() {
    weaken(Mutation::NoRelease, tick_of_nothing);
}

/// A sender that writes a frame: the queues of both buckets, and what is in them.
type Sender = fn(&[SharedQueues; 2], &Backlog) -> Vec<Queue>;

/// A state ends, and another with the same ends is made, which pf orders by the lock of their
/// keys. The sender writes a frame meanwhile.
fn replace(sender: Sender) {
    let model = Arc::new(([queues(), queues()], [state(), state()], Mutex::new(false), backlog()));
    let (deleting, inserting) = (Arc::clone(&model), Arc::clone(&model));
    let deleting = thread::spawn(move || {
        let ([queues, _], [state, _], keys, backlog) = &*deleting;
        assert!(queues.delete(state, backlog));
        *keys.lock() = true;
    });
    let inserting = thread::spawn(move || {
        let ([_, queues], [_, state], keys, backlog) = &*inserting;
        if *keys.lock() {
            queues.insert(state, backlog);
        }
    });
    let written = sender(&model.0, &model.3);
    let place = |queue| written.iter().position(|written| *written == queue);
    let (deleted, inserted) = (place(Queue::Delete), place(Queue::Insert));
    assert!(inserted.is_none() || deleted.is_some_and(|deleted| Some(deleted) < inserted));
    deleting.join().unwrap();
    inserting.join().unwrap();
}

#[test]
fn deletes_leave_before_later_inserts() {
    check(|| replace(|[one, two], backlog| write(&[one, two], backlog, &no_clear())));
}

/// Deletes are looked for before the queue of inserts is locked.
#[test]
#[should_panic(expected = "assertion")]
fn deletes_leave_before_later_inserts_needs_the_look_with_the_queues_locked() {
    check(|| {
        replace(|queues, backlog| {
            let pop = |index: usize, queue| queues[index].lock().pop(queue, backlog).map(|_| queue);
            let deleted = (backlog.len(Queue::Delete) > 0).then(|| pop(0, Queue::Delete)).flatten();
            deleted.into_iter().chain(pop(1, Queue::Insert)).collect()
        });
    });
}

struct Clearing {
    queues: SharedQueues,
    state: &'static Kstate,
    /// Whether a clear waits in `control`.
    control: Mutex<bool>,
    clear_waits: AtomicBool,
    backlog: Backlog,
}

impl Clearing {
    fn new() -> Arc<Clearing> {
        Arc::new(Clearing {
            queues: queues(),
            state: state(),
            control: Mutex::new(false),
            clear_waits: no_clear(),
            backlog: backlog(),
        })
    }

    /// An operator clears states, as in `hooks::states_cleared`. Then pf makes a state.
    fn clear_and_insert(&self) {
        let mut control = self.control.lock();
        *control = true;
        self.clear_waits.store(true, Ordering::Release);
        drop(control);
        self.queues.insert(self.state, &self.backlog);
    }

    /// The sender looks for a clear, as in `sender::send_control`.
    fn take_clear(&self) -> bool {
        let mut control = self.control.lock();
        let is_taken = std::mem::take(&mut *control);
        self.clear_waits.store(false, Ordering::Release);
        is_taken
    }

    fn take_insert(&self) -> bool {
        !write(&[&self.queues], &self.backlog, &self.clear_waits).is_empty()
    }

    /// Mutant: looks for a clear before it locks the queues.
    fn take_insert_unlocked(&self) -> bool {
        !self.clear_waits.load(Ordering::Acquire)
            && self.queues.lock().pop(Queue::Insert, &self.backlog).is_some()
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
