// SPDX-License-Identifier: BSD-2-Clause
//! Collapsing an update without the bucket's lock (`driver/pf/lists.rs`): no update is lost.
//!
//! pf changes a state and calls the update hook with the row locked. If the state stands in a
//! queue, the hook does nothing more: the sender, which takes the state out of the queue and
//! then locks the row, must read the change.

use crate::atomic::{check, AtomicBool};
use crate::bucket;
use crate::driver::pf::{collapse, Kstate, StateRef};
use crate::driver::queues::{write_in_order, FrameOfStates, SharedQueues};
use crate::engine::bucket::{Backlog, Change, Queue};
use loom::sync::Arc;
use loom::thread;

const CHANGE: Change = Change { tcp: true, split: false };

/// A frame that holds what one state's message tells.
struct Content(Option<u32>);

impl FrameOfStates for Content {
    fn fits(&self, _queue: Queue) -> usize {
        1
    }

    fn write(&mut self, _queue: Queue, state: &StateRef) {
        self.0 = Some(state.lock().content());
    }
}

struct Model {
    queues: SharedQueues,
    backlog: Backlog,
    clear_waits: AtomicBool,
    state: &'static Kstate,
}

impl Model {
    /// A state that waits in its bucket's queue.
    fn new() -> Arc<Model> {
        let queues = bucket::queues();
        let (state, backlog) = (Kstate::leak(), bucket::backlog());
        let _ = queues.change(|queues| queues.update(state, CHANGE, &backlog));
        Arc::new(Model { queues, backlog, clear_waits: AtomicBool::new(false), state })
    }

    /// pf handles a packet of the state, as `hooks::state_updated` does then.
    fn packet(&self) {
        let state = self.state.lock();
        state.set_content(state.content() + 1);
        if !collapse(&state, CHANGE) {
            let _ = self.queues.change(|queues| queues.update(&state, CHANGE, &self.backlog));
        }
    }

    /// The second of the bucket is over.
    fn expire(&self) {
        let _ = self.queues.change(|queues| queues.timer_expired(&self.backlog));
    }

    /// The sender takes the state out of its queue and sends it, as `sender::send_backlog` does.
    fn send(&self) -> Option<u32> {
        let mut frame = Content(None);
        let bucket = |index| (index == 0).then_some(&self.queues);
        write_in_order(bucket, 0, &self.backlog, &self.clear_waits, &mut frame);
        frame.0
    }

    /// Mutant: reads the state before it takes it out of its queue.
    fn send_what_was_read_before(&self) -> Option<u32> {
        let content = self.state.lock().content();
        self.send().map(|_| content)
    }
}

/// pf handles two packets while the state is sent.
fn run(send: fn(&Model) -> Option<u32>) {
    let model = Model::new();
    model.expire();
    let pf = Arc::clone(&model);
    let pf = thread::spawn(move || {
        pf.packet();
        pf.packet();
    });
    let mut sent = send(&model);
    pf.join().unwrap();
    // What is queued is sent in the end.
    model.expire();
    sent = send(&model).or(sent);
    assert_eq!(sent, Some(2));
}

#[test]
fn no_update_is_lost() {
    check(|| run(Model::send));
}

#[test]
#[should_panic(expected = "assertion")]
fn no_update_is_lost_needs_the_state_out_of_its_queue() {
    check(|| run(Model::send_what_was_read_before));
}

/// The timer moves the state to another queue meanwhile.
#[test]
fn no_update_is_lost_while_the_timer_expires() {
    check(|| {
        let model = Model::new();
        let (pf, timer) = (Arc::clone(&model), Arc::clone(&model));
        let pf = thread::spawn(move || pf.packet());
        let timer = thread::spawn(move || timer.expire());
        let mut sent = model.send();
        pf.join().unwrap();
        timer.join().unwrap();
        model.expire();
        sent = model.send().or(sent);
        assert_eq!(sent, Some(1));
    });
}
