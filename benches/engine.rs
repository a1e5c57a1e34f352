// SPDX-License-Identifier: BSD-2-Clause
//! Times the decisions that pfsync makes for each packet that pf handles and each
//! message from a peer, without locks and without a kernel.

use criterion::{criterion_group, criterion_main, Criterion};
use pfsync::engine::bucket::{Change, FrameSize, Lists, Queue, Queues, QUEUES};
use pfsync::engine::bulk::{Position, Responder};
use pfsync::engine::merge::{self, LocalEndpoint};
use pfsync::wire::{Endpoint, StateId};
use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

/// Lists of state numbers, and the queue that each state is in. Taking a state
/// out of the middle of a queue costs more than in the kernel, where the states
/// are linked.
struct Numbered {
    places: Vec<Option<Queue>>,
    left: Vec<u8>,
    queues: [VecDeque<usize>; QUEUES],
}

impl Lists for Numbered {
    type State = usize;
    type Ref = usize;

    fn place(&self, state: &usize) -> Option<Queue> {
        self.places[*state]
    }

    fn append(&mut self, queue: Queue, state: &usize) {
        self.places[*state] = Some(queue);
        self.left[*state] = MAXUPD;
        self.queues[queue as usize].push_back(*state);
    }

    fn remove(&mut self, state: &usize) {
        if let Some(queue) = self.places[*state].take() {
            self.queues[queue as usize].retain(|other| other != state);
        }
    }

    fn transfer(&mut self, state: &usize, to: Queue) {
        self.remove(state);
        self.append(to, state);
    }

    fn append_all(&mut self, from: Queue, to: Queue) {
        while let Some(state) = self.pop(from) {
            self.append(to, &state);
        }
    }

    fn pop(&mut self, queue: Queue) -> Option<usize> {
        let state = self.queues[queue as usize].pop_front()?;
        self.places[state] = None;
        Some(state)
    }

    fn len(&self, queue: Queue) -> usize {
        self.queues[queue as usize].len()
    }

    fn set_maxupd(&mut self, _maxupd: u8) {}

    fn count_update(&mut self, state: &usize) -> u8 {
        self.left[*state] = self.left[*state].saturating_sub(1);
        self.left[*state]
    }
}

const STATES: usize = 1000;
const FRAME_SIZE: FrameSize = FrameSize { payload_len: 1456, state_len: 277 };
const UDP: Change = Change { tcp: false, split: false };
const MAXUPD: u8 = 128;

fn bucket() -> Queues<Numbered> {
    let queues = std::array::from_fn(|_| VecDeque::new());
    Queues::new(Numbered { places: vec![None; STATES], left: vec![0; STATES], queues })
}

/// Takes out everything that is ready, as the sender does.
fn send(bucket: &mut Queues<Numbered>) {
    while bucket.is_ready(FRAME_SIZE) {
        for queue in Queue::PROMPT {
            while let Some(state) = bucket.pop(queue) {
                black_box(state);
            }
        }
    }
}

fn queueing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bucket");
    let mut full = bucket();
    let _ = full.update(&0, UDP);
    group.bench_function("update of a queued state", |bencher| {
        bencher.iter(|| full.update(black_box(&0), UDP));
    });
    let mut one = bucket();
    group.bench_function("a second of 1,000 states: update and send", |bencher| {
        bencher.iter(|| {
            for state in 0..STATES {
                let _ = one.update(&state, UDP);
            }
            let _ = one.timer_expired();
            send(&mut one);
        });
    });
    group.bench_function("a state's life: insert and delete, both sent", |bencher| {
        bencher.iter(|| {
            let _ = one.insert(&1, FRAME_SIZE);
            let _ = one.timer_expired();
            send(&mut one);
            let _ = one.delete(&1, FRAME_SIZE);
            let _ = one.timer_expired();
            send(&mut one);
        });
    });
}

fn merging(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("merge verdict");
    let endpoint = |seqlo| Endpoint {
        state: 4,
        seqlo,
        seqhi: 0,
        seqdiff: 0,
        max_win: 0,
        mss: 0,
        wscale: 0,
        scrub: None,
    };
    let local = [1000, 2000].map(|seqlo| LocalEndpoint { state: 4, seqlo });
    let (newer, stale) = ([endpoint(1500), endpoint(2500)], [endpoint(500), endpoint(2500)]);
    for (name, [src, dst]) in [("newer", &newer), ("one endpoint stale", &stale)] {
        group.bench_function(format!("TCP, {name}"), |bencher| {
            bencher.iter(|| merge::tcp(black_box(local), [black_box(src), black_box(dst)]));
        });
    }
    let [src, dst] = &newer;
    group.bench_function("other protocols", |bencher| {
        bencher.iter(|| merge::other(black_box(local), [black_box(src), black_box(dst)]));
    });
}

fn bulk_update(criterion: &mut Criterion) {
    let mut responder = Responder::new();
    responder.receive_request(1 << 32);
    criterion.bench_function("bulk update, a frame's step", |bencher| {
        bencher.iter(|| {
            let walk = black_box(responder.walk(2 << 32)).expect("a walk is under way");
            let after = Some(StateId { id: [7; 8], creator: [1; 4] });
            responder.advance(Position { row: walk.position.row.wrapping_add(1), after });
        });
    });
}

criterion_group! {
    name = engine;
    config = Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    targets = queueing, merging, bulk_update
}
criterion_main!(engine);
