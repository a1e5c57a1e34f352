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
    /// States that changed their queue one by one, because the timer expired.
    moved: usize,
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

    fn move_first(&mut self, from: Queue, to: Queue) -> bool {
        let first = self.pop(from);
        self.moved += usize::from(first.is_some());
        self.queues.entry(to as u8).or_default().extend(first);
        first.is_some()
    }

    fn swap_compressed(&mut self) {
        let [waiting, compressed] = [Queue::Waiting, Queue::Compressed].map(|queue| queue as u8);
        let waited = self.queues.remove(&waiting).unwrap_or_default();
        let left = self.queues.insert(compressed, waited).unwrap_or_default();
        self.queues.insert(waiting, left);
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

fn bucket() -> (Queues<Model>, Backlog) {
    (Queues::new(Model { maxupd: MAXUPD, ..Model::default() }), Backlog::new())
}

/// A bucket in which the updates of a thousand states wait.
fn bucket_with_a_thousand_updates() -> (Queues<Model>, Backlog) {
    let (mut bucket, backlog) = bucket();
    for state in 0..1000 {
        let _ = bucket.update(&state, UDP, &backlog);
    }
    (bucket, backlog)
}

/// Takes out all that is in the prompt queues.
fn sent((bucket, backlog): &mut (Queues<Model>, Backlog)) -> Vec<(Queue, u32)> {
    let mut all = Vec::new();
    for queue in Queue::PROMPT {
        while let Some(state) = bucket.pop(queue, backlog) {
            all.push((queue, state));
        }
    }
    assert!(!bucket.has_prompt() && backlog.is_empty());
    all
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes under Miri")]
fn an_update_waits_for_the_timer() {
    let mut both = bucket();
    let (bucket, backlog) = &mut both;
    assert_eq!(bucket.update(&1, UDP, backlog), Wake { timer: true, sender: false });
    for _ in 0..1000 {
        assert_eq!(bucket.update(&1, UDP, backlog), Wake::default());
    }
    assert!(!bucket.has_prompt() && backlog.is_empty());
    assert!(bucket.timer_expired(backlog).sender);
    assert_eq!(sent(&mut both), [(Queue::Compressed, 1)]);
    let (bucket, backlog) = &mut both;
    assert!(bucket.update(&1, UDP, backlog).timer, "the next update starts the timer again");
}

/// The bucket is locked for the same time, however many updates become due.
#[test]
fn updates_become_due_without_a_change_of_each() {
    let mut both = bucket_with_a_thousand_updates();
    let (bucket, backlog) = &mut both;
    assert!(bucket.update(&7, Change { split: true, ..UDP }, backlog).sender);
    assert_eq!(bucket.timer_expired(backlog), Wake { timer: false, sender: true });
    assert_eq!(bucket.lists.moved, 1, "the update that was due before");
    let sent = sent(&mut both);
    assert_eq!(sent.len(), 1000);
    assert_eq!(sent.last(), Some(&(Queue::Compressed, 7)));
}

/// A sender that is behind gets no more to send, and no change is lost.
#[test]
fn updates_wait_while_those_of_the_last_second_leave() {
    let mut both = bucket_with_a_thousand_updates();
    let (bucket, backlog) = &mut both;
    let _ = bucket.timer_expired(backlog);
    assert!(bucket.update(&2000, UDP, backlog).timer);
    assert_eq!(bucket.timer_expired(backlog), Wake { timer: true, sender: true });
    assert_eq!((bucket.lists.moved, backlog.len(Queue::Compressed)), (0, 1000));
    assert_eq!(bucket.update(&2001, UDP, backlog), Wake::default(), "the timer runs");
    while bucket.pop(Queue::Compressed, backlog).is_some() {}
    assert_eq!(bucket.timer_expired(backlog), Wake { timer: false, sender: true });
    assert_eq!(sent(&mut both), [(Queue::Compressed, 2000), (Queue::Compressed, 2001)]);
}

#[test]
fn only_updates_that_wait_start_the_timer() {
    let (mut bucket, backlog) = bucket();
    bucket.insert(&1, &backlog);
    assert!(bucket.delete(&2, &backlog));
    let wakes = [
        bucket.acknowledge(&3, &backlog),
        bucket.request(&4, &backlog),
        bucket.update(&1, UDP, &backlog),
        bucket.update(&5, Change { split: true, ..UDP }, &backlog),
    ];
    // The update of the new state collapses into its insert.
    assert_eq!(wakes.map(|wake| wake.timer), [false; 4]);
    assert_eq!(wakes.map(|wake| wake.sender), [true, true, false, true]);
}

/// `collapses` and `update` agree.
#[test]
fn an_update_that_collapses_changes_nothing_in_the_bucket() {
    let changes = [TCP, UDP, Change { split: true, ..TCP }, Change { split: true, ..UDP }];
    let mut collapsed = 0;
    for (change, queue) in changes.iter().flat_map(|change| Queue::ALL.map(|queue| (*change, queue))) {
        for left in 0..=MAXUPD {
            let (mut bucket, backlog) = bucket();
            bucket.append(queue, &1, &backlog);
            bucket.lists.left.insert(1, left);
            if collapses(Some(queue), change, left) {
                assert!(!bucket.update(&1, change, &backlog).sender, "{queue:?} {change:?} {left}");
                assert_eq!(bucket.lists.place(&1), Some(queue));
                collapsed += 1;
            } else if queue == Queue::Waiting {
                assert!(bucket.update(&1, change, &backlog).sender, "{change:?} {left}");
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
    let mut both = bucket();
    let (bucket, backlog) = &mut both;
    for round in 0..10 {
        for state in 0..1000 {
            let wake = bucket.update(&state, UDP, backlog);
            assert_eq!(wake, Wake { timer: (round, state) == (0, 0), sender: false });
        }
    }
    assert!(!backlog.fills(FRAME_SIZE));
    let _ = bucket.timer_expired(backlog);
    assert!(backlog.fills(FRAME_SIZE));
    assert_eq!(sent(&mut both).len(), 1000);
}

#[test]
fn maxupd_sends_only_that_state() {
    let mut both = bucket();
    let (bucket, backlog) = &mut both;
    let _ = bucket.update(&1, TCP, backlog);
    let _ = bucket.update(&2, TCP, backlog);
    assert!(!bucket.update(&1, TCP, backlog).sender);
    assert!(!bucket.update(&1, TCP, backlog).sender);
    assert!(bucket.update(&1, TCP, backlog).sender);
    assert_eq!(sent(&mut both), [(Queue::Compressed, 1)]);
}

#[test]
fn a_state_that_a_peer_updates_too_is_sent_at_once() {
    let mut both = bucket();
    assert!(both.0.update(&1, Change { tcp: false, split: true }, &both.1).sender);
    assert_eq!(sent(&mut both), [(Queue::Compressed, 1)]);
}

#[test]
fn as_many_inserts_as_fit_fill_a_frame() {
    let (mut bucket, backlog) = bucket();
    for state in 1..=4 {
        bucket.insert(&state, &backlog);
        assert!(!backlog.fills(FRAME_SIZE));
    }
    bucket.insert(&5, &backlog);
    assert!(backlog.fills(FRAME_SIZE), "a sixth would not fit");
}

#[test]
fn as_many_deletes_as_fit_fill_a_frame() {
    let (mut bucket, backlog) = bucket();
    let fit = (FRAME_SIZE.payload_len - 4) / 12;
    for state in 1..fit {
        assert!(bucket.delete(&(state as u32), &backlog));
        assert!(!backlog.fills(FRAME_SIZE), "{state}");
    }
    assert!(bucket.delete(&0, &backlog));
    assert!(backlog.fills(FRAME_SIZE));
}

/// One bucket's messages count as much as another's.
#[test]
fn the_messages_of_all_buckets_fill_a_frame() {
    let backlog = Backlog::new();
    let mut buckets: Vec<_> = (0..5).map(|_| bucket().0).collect();
    for (state, bucket) in buckets.iter_mut().enumerate() {
        assert!(!backlog.fills(FRAME_SIZE));
        bucket.insert(&(state as u32), &backlog);
    }
    assert!(backlog.fills(FRAME_SIZE));
    assert_eq!(buckets[3].pop(Queue::Insert, &backlog), Some(3));
    assert!(!backlog.fills(FRAME_SIZE));
}

#[test]
fn no_delete_is_sent_for_a_state_that_was_not_sent() {
    let mut both = bucket();
    both.0.insert(&1, &both.1);
    assert!(!both.0.delete(&1, &both.1));
    assert!(both.1.is_empty());
    assert_eq!(sent(&mut both), []);
}

#[test]
fn a_delete_replaces_any_other_message_and_is_final() {
    let mut both = bucket();
    let (bucket, backlog) = &mut both;
    let _ = bucket.update(&1, UDP, backlog);
    assert!(bucket.delete(&1, backlog));
    let _ = bucket.update(&1, UDP, backlog);
    let _ = bucket.request(&1, backlog);
    assert_eq!(sent(&mut both), [(Queue::Delete, 1)]);
}

#[test]
fn a_request_turns_a_compressed_update_into_a_whole_one() {
    let mut both = bucket();
    let (bucket, backlog) = &mut both;
    let _ = bucket.update(&1, UDP, backlog);
    assert!(bucket.request(&1, backlog).sender);
    assert!(bucket.request(&1, backlog).sender);
    assert!(announces(bucket.lists.place(&1)));
    assert_eq!(sent(&mut both), [(Queue::Update, 1)]);
}

#[test]
fn an_acknowledgement_leaves_at_once() {
    let mut both = bucket();
    assert!(both.0.acknowledge(&1, &both.1).sender);
    assert_eq!(sent(&mut both), [(Queue::Ack, 1)]);
}

proptest! {
    /// Whatever happened, the backlog counts what is in the queues, the timer runs if an update
    /// waits, and when it has expired, each state is sent at most once and nothing is queued.
    #[test]
    #[cfg_attr(miri, ignore = "takes minutes under Miri")]
    fn the_queues_and_the_backlog_agree(events in proptest::collection::vec((0..8u8, 0..20u32), 0..400)) {
        let mut both = bucket();
        let (bucket, backlog) = &mut both;
        let mut timer = false;
        for (event, state) in events {
            let mut wake = Wake::default();
            match event {
                0 => bucket.insert(&state, backlog),
                1 => wake = bucket.update(&state, TCP, backlog),
                2 => wake = bucket.update(&state, UDP, backlog),
                3 => wake = bucket.request(&state, backlog),
                4 => drop(bucket.delete(&state, backlog)),
                5 => bucket.forget(&state, backlog),
                6 => drop(bucket.pop(Queue::PROMPT[state as usize % 5], backlog)),
                _ => wake = bucket.acknowledge(&state, backlog),
            }
            prop_assert!(!(wake.timer && timer), "the timer starts once");
            timer |= wake.timer;
            prop_assert!(timer || bucket.len(Queue::Waiting) == 0);
            for queue in Queue::PROMPT {
                prop_assert_eq!(backlog.len(queue), bucket.len(queue));
            }
            prop_assert_eq!(backlog.is_empty(), !bucket.has_prompt());
        }
        let _ = bucket.timer_expired(backlog);
        prop_assert_eq!(bucket.len(Queue::Waiting), 0);
        let mut states: Vec<_> = sent(&mut both).into_iter().map(|(_, state)| state).collect();
        let total = states.len();
        states.sort_unstable();
        states.dedup();
        prop_assert_eq!(states.len(), total);
        prop_assert!(both.0.pop_any(&both.1).is_none());
    }
}
