//! What pfsync decides for each packet of pf's and each message of a peer's,
//! without locks and without a kernel.

use criterion::{criterion_group, criterion_main, Criterion};
use pfsync::engine::bucket::{Change, Limits, Lists, Queue, Queues, QUEUES};
use pfsync::engine::bulk::{Position, Sender};
use pfsync::engine::merge::{self, Known};
use pfsync::wire::{Endpoint, StateId};
use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

/// States by number, each with the queue it stands in. Taking one out of the
/// midst of a queue costs more than in the kernel, where the states are linked.
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

    fn push(&mut self, queue: Queue, state: &usize) {
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
        self.push(to, state);
    }

    fn append(&mut self, from: Queue, to: Queue) {
        while let Some(state) = self.pop(from) {
            self.push(to, &state);
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
const LIMITS: Limits = Limits { room: 1456, state_len: 277 };
const UDP: Change = Change { tcp: false, split: false };
const MAXUPD: u8 = 128;

fn bucket() -> Queues<Numbered> {
    let queues = std::array::from_fn(|_| VecDeque::new());
    Queues::new(Numbered { places: vec![None; STATES], left: vec![0; STATES], queues })
}

/// Takes everything out that is due, as the sender does.
fn send(bucket: &mut Queues<Numbered>) {
    while bucket.due(LIMITS) {
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
            let _ = one.timeout();
            send(&mut one);
        });
    });
    group.bench_function("a state's life: insert and delete, both sent", |bencher| {
        bencher.iter(|| {
            let _ = one.insert(&1, LIMITS);
            let _ = one.timeout();
            send(&mut one);
            let _ = one.delete(&1, LIMITS);
            let _ = one.timeout();
            send(&mut one);
        });
    });
}

fn merging(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("merge verdict");
    let end = |seqlo| Endpoint {
        state: 4,
        seqlo,
        seqhi: 0,
        seqdiff: 0,
        max_win: 0,
        mss: 0,
        wscale: 0,
        scrub: None,
    };
    let known = [Known { state: 4, seqlo: 1000 }, Known { state: 4, seqlo: 2000 }];
    let (newer, stale) = ([end(1500), end(2500)], [end(500), end(2500)]);
    for (name, [src, dst]) in [("newer", &newer), ("one end stale", &stale)] {
        group.bench_function(format!("TCP, {name}"), |bencher| {
            bencher.iter(|| merge::tcp(black_box(known), [black_box(src), black_box(dst)]));
        });
    }
    let [src, dst] = &newer;
    group.bench_function("other protocols", |bencher| {
        bencher.iter(|| merge::other(black_box(known), [black_box(src), black_box(dst)]));
    });
}

fn full_update(criterion: &mut Criterion) {
    let mut sender = Sender::new();
    sender.request(1 << 32);
    criterion.bench_function("full update, a packet's step", |bencher| {
        bencher.iter(|| {
            let pass = black_box(sender.pass(2 << 32)).expect("a pass is under way");
            let after = Some(StateId { id: [7; 8], creator: [1; 4] });
            sender.advance(Position { row: pass.position.row.wrapping_add(1), after });
        });
    });
}

criterion_group! {
    name = engine;
    config = Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    targets = queueing, merging, full_update
}
criterion_main!(engine);
