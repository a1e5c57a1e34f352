// SPDX-License-Identifier: BSD-2-Clause
//! The queues of a bucket, over a model of the lists.

use super::*;
use proptest::prelude::*;
use std::collections::{HashMap, VecDeque};

/// Lists of state numbers.
#[derive(Default)]
struct Model {
    queues: HashMap<u8, VecDeque<u32>>,
    left: HashMap<u32, u8>,
    maxupd: u8,
}

impl Lists for Model {
    type State = u32;
    type Ref = u32;

    fn place(&self, state: &u32) -> Option<Queue> {
        Queue::ALL
            .into_iter()
            .find(|queue| self.queues.get(&(*queue as u8)).is_some_and(|list| list.contains(state)))
    }

    fn append(&mut self, queue: Queue, state: &u32) {
        assert_eq!(self.place(state), None, "a state is in one queue at most");
        self.left.insert(*state, self.maxupd);
        self.queues.entry(queue as u8).or_default().push_back(*state);
    }

    fn remove(&mut self, state: &u32) {
        for list in self.queues.values_mut() {
            list.retain(|other| other != state);
        }
    }

    fn transfer(&mut self, state: &u32, to: Queue) {
        self.remove(state);
        self.append(to, state);
    }

    fn append_all(&mut self, from: Queue, to: Queue) {
        let moved = self.queues.remove(&(from as u8)).unwrap_or_default();
        self.queues.entry(to as u8).or_default().extend(moved);
    }

    fn pop(&mut self, queue: Queue) -> Option<u32> {
        self.queues.get_mut(&(queue as u8))?.pop_front()
    }

    fn len(&self, queue: Queue) -> usize {
        self.queues.get(&(queue as u8)).map_or(0, VecDeque::len)
    }

    fn set_maxupd(&mut self, maxupd: u8) {
        self.maxupd = maxupd;
    }

    fn count_update(&mut self, state: &u32) -> u8 {
        let left = self.left.entry(*state).or_default();
        *left = left.saturating_sub(1);
        *left
    }
}

const FRAME_SIZE: FrameSize = FrameSize { payload_len: 1400, state_len: 277 };
const MAXUPD: u8 = 3;
const TCP: Change = Change { tcp: true, split: false };
const UDP: Change = Change { tcp: false, split: false };

fn bucket() -> Queues<Model> {
    Queues::new(Model { maxupd: MAXUPD, ..Model::default() })
}

/// Takes out all that is ready, as the sender does.
fn sent(bucket: &mut Queues<Model>) -> Vec<(Queue, u32)> {
    let mut all = Vec::new();
    while bucket.is_ready(FRAME_SIZE) {
        let mut space = FRAME_SIZE.payload_len;
        for queue in Queue::PROMPT {
            let size = match queue {
                Queue::Insert | Queue::Update => FRAME_SIZE.state_len,
                Queue::Compressed | Queue::Waiting => 84,
                Queue::Ack | Queue::Delete => 12,
            };
            while space >= size + 4 {
                let Some(state) = bucket.pop(queue) else { break };
                all.push((queue, state));
                space -= size;
            }
        }
    }
    all
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes under Miri")]
fn an_update_waits_for_the_timer() {
    let mut bucket = bucket();
    assert_eq!(bucket.update(&1, UDP), Wake { timer: true, sender: false });
    for _ in 0..1000 {
        assert_eq!(bucket.update(&1, UDP), Wake::default());
    }
    assert_eq!(sent(&mut bucket), []);
    assert!(bucket.timer_expired().sender);
    assert_eq!(sent(&mut bucket), [(Queue::Compressed, 1)]);
    assert!(bucket.update(&1, UDP).timer, "the next update starts the timer again");
}

/// `collapses` and `update` agree.
#[test]
fn an_update_that_collapses_changes_nothing_in_the_bucket() {
    let changes = [TCP, UDP, Change { split: true, ..TCP }, Change { split: true, ..UDP }];
    let mut collapsed = 0;
    for (change, queue) in changes.iter().flat_map(|change| Queue::ALL.map(|queue| (*change, queue))) {
        for left in 0..=MAXUPD {
            let mut bucket = bucket();
            bucket.lists.append(queue, &1);
            bucket.lists.left.insert(1, left);
            if collapses(Some(queue), change, left) {
                assert!(!bucket.update(&1, change).sender, "{queue:?} {change:?} {left}");
                assert_eq!(bucket.lists.place(&1), Some(queue));
                collapsed += 1;
            } else if queue == Queue::Waiting {
                assert!(bucket.update(&1, change).sender, "{change:?} {left}");
            }
        }
    }
    // In each of four queues: UDP with any number left, TCP with more than one.
    assert_eq!(collapsed, 4 * (4 + 2));
    assert!(!collapses(None, UDP, MAXUPD));
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes under Miri")]
fn a_thousand_busy_states_do_not_fill_frames() {
    let mut bucket = bucket();
    for round in 0..10 {
        for state in 0..1000 {
            let wake = bucket.update(&state, UDP);
            assert_eq!(wake, Wake { timer: (round, state) == (0, 0), sender: false });
        }
    }
    let _ = bucket.timer_expired();
    assert_eq!(sent(&mut bucket).len(), 1000);
}

#[test]
fn maxupd_sends_only_that_state() {
    let mut bucket = bucket();
    let _ = bucket.update(&1, TCP);
    let _ = bucket.update(&2, TCP);
    assert!(!bucket.update(&1, TCP).sender);
    assert!(!bucket.update(&1, TCP).sender);
    assert!(bucket.update(&1, TCP).sender);
    assert_eq!(sent(&mut bucket), [(Queue::Compressed, 1)]);
}

#[test]
fn a_state_that_a_peer_updates_too_is_sent_at_once() {
    let mut bucket = bucket();
    assert!(bucket.update(&1, Change { tcp: false, split: true }).sender);
    assert_eq!(sent(&mut bucket), [(Queue::Compressed, 1)]);
}

#[test]
fn inserts_leave_in_full_frames() {
    let mut bucket = bucket();
    for state in 1..=5 {
        assert!(!bucket.insert(&state, FRAME_SIZE).sender);
    }
    assert!(bucket.insert(&6, FRAME_SIZE).sender);
    assert_eq!(sent(&mut bucket).len(), 5, "one frame; the sixth state waits for more");
    let _ = bucket.timer_expired();
    assert_eq!(sent(&mut bucket), [(Queue::Insert, 6)]);
}

#[test]
fn no_delete_is_sent_for_a_state_that_was_not_sent() {
    let mut bucket = bucket();
    let _ = bucket.insert(&1, FRAME_SIZE);
    assert_eq!(bucket.delete(&1, FRAME_SIZE), Wake::default());
    let _ = bucket.timer_expired();
    assert_eq!(sent(&mut bucket), []);
}

#[test]
fn a_delete_replaces_any_other_message_and_is_final() {
    let mut bucket = bucket();
    let _ = bucket.update(&1, UDP);
    let _ = bucket.delete(&1, FRAME_SIZE);
    let _ = bucket.update(&1, UDP);
    let _ = bucket.request(&1);
    let _ = bucket.timer_expired();
    assert_eq!(sent(&mut bucket), [(Queue::Delete, 1)]);
}

#[test]
fn a_request_turns_a_compressed_update_into_a_whole_one() {
    let mut bucket = bucket();
    let _ = bucket.update(&1, UDP);
    assert!(bucket.request(&1).sender);
    assert!(bucket.request(&1).sender);
    assert!(announces(bucket.lists.place(&1)));
    assert_eq!(sent(&mut bucket), [(Queue::Update, 1)]);
}

#[test]
fn an_acknowledgement_leaves_at_once() {
    let mut bucket = bucket();
    assert!(bucket.acknowledge(&1).sender);
    assert_eq!(sent(&mut bucket), [(Queue::Ack, 1)]);
}

proptest! {
    /// When the timer has expired, nothing is queued any more, whatever happened
    /// before, and each state was sent at most once.
    #[test]
    #[cfg_attr(miri, ignore = "takes minutes under Miri")]
    fn an_expired_timer_empties_the_bucket(events in proptest::collection::vec((0..6u8, 0..20u32), 0..400)) {
        let mut bucket = bucket();
        let mut timer = false;
        for (event, state) in events {
            let wake = match event {
                0 => bucket.insert(&state, FRAME_SIZE),
                1 => bucket.update(&state, TCP),
                2 => bucket.update(&state, UDP),
                3 => bucket.request(&state),
                4 => bucket.delete(&state, FRAME_SIZE),
                _ => bucket.acknowledge(&state),
            };
            prop_assert!(!(wake.timer && timer), "the timer starts once");
            timer |= wake.timer;
            prop_assert!(timer || bucket.lists.queues.values().all(VecDeque::is_empty));
            prop_assert_eq!(wake.sender, wake.sender && bucket.is_ready(FRAME_SIZE));
        }
        let _ = bucket.timer_expired();
        let mut states: Vec<_> = sent(&mut bucket).into_iter().map(|(_, state)| state).collect();
        let total = states.len();
        states.sort_unstable();
        states.dedup();
        prop_assert_eq!(states.len(), total);
        prop_assert!(bucket.pop_any().is_none());
    }
}
