// SPDX-License-Identifier: BSD-2-Clause
//! Times the decisions that pfsync makes for each packet that pf handles and each
//! message from a peer, without locks and without a kernel.

use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use pfsync::engine::agreement::{
    tag, Agreement, Entry, Peer, Received, Retold, Storage, Trust, Verdict, MAX_PEERS, RETOLD_SLOTS,
};
use pfsync::engine::bucket::{Backlog, Change, Lists, Queue, Queues, QUEUES};
use pfsync::engine::bulk::{Position, Responder};
use pfsync::engine::merge::{self, LocalEndpoint};
use pfsync::wire::trailer::{Epoch, Gap, Ident, Node, TrailerWriter};
use pfsync::wire::{
    Action, Endpoint, Frame, FrameWriter, PeerAddress, RawId, RawState1400, RawState1500, StateId,
};
use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;
use zerocopy::FromZeros;

/// Lists of state numbers, and the queue that each state is in. Two things cost more than in the
/// kernel, where the states are linked: taking a state out of the middle of a queue, and the
/// exchange of the queues of compressed updates.
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

    fn move_first(&mut self, from: Queue, to: Queue) -> bool {
        let first = self.pop(from);
        first.iter().for_each(|state| self.append(to, state));
        first.is_some()
    }

    fn swap_compressed(&mut self) {
        let [waiting, compressed] = [Queue::Waiting, Queue::Compressed];
        for (from, to) in [(waiting, compressed), (compressed, waiting)] {
            self.queues[from as usize].iter().for_each(|state| self.places[*state] = Some(to));
        }
        self.queues.swap(waiting as usize, compressed as usize);
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
const UDP: Change = Change { tcp: false, split: false };
const MAXUPD: u8 = 128;

fn bucket() -> Queues<Numbered> {
    let queues = std::array::from_fn(|_| VecDeque::new());
    Queues::new(Numbered { places: vec![None; STATES], left: vec![0; STATES], queues })
}

/// Takes out everything that is prompt, as the sender does.
fn send(bucket: &mut Queues<Numbered>, backlog: &Backlog) {
    for queue in Queue::PROMPT {
        while let Some(state) = bucket.pop(queue, backlog) {
            black_box(state);
        }
    }
}

fn queueing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bucket");
    let backlog = &Backlog::new();
    let mut full = bucket();
    let _ = full.update(&0, UDP, backlog);
    group.bench_function("update of a queued state", |bencher| {
        bencher.iter(|| full.update(black_box(&0), UDP, backlog));
    });
    let mut one = bucket();
    group.bench_function("a second of 1,000 states: update and send", |bencher| {
        bencher.iter(|| {
            for state in 0..STATES {
                let _ = one.update(&state, UDP, backlog);
            }
            let _ = one.timer_expired(backlog);
            send(&mut one, backlog);
        });
    });
    group.bench_function("a state's life: insert and delete, both sent", |bencher| {
        bencher.iter(|| {
            one.insert(&1, backlog);
            send(&mut one, backlog);
            one.delete(&1, backlog);
            send(&mut one, backlog);
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

type Agreed = Agreement<Vec<Peer>, Vec<Entry>, Vec<Retold>>;

/// Bytes of a packet of 1,500 bytes without its IPv4 header.
const PACKET: usize = 1480;
/// Places of the log by default.
const LOG: usize = 65_536;
const HEADER: usize = 20;
const NODE: Node =
    Node { challenge: 9, hello: 1, creator: [1; 4], states: 0, version: [0, 3, 0], freebsd: 14 };

fn agreement(epoch: u64) -> Agreed {
    let storage = Storage {
        peers: vec![Peer::FREE; MAX_PEERS],
        log: vec![Entry::UNUSED; LOG],
        retold: vec![Retold::UNUSED; RETOLD_SLOTS],
    };
    Agreement::new(storage, Epoch::new(epoch).expect("it is not 0"), epoch, 0)
}

/// A frame that a trailer ends, with as many messages as `fill` appends.
fn frame(fill: impl FnOnce(&mut FrameWriter)) -> Vec<u8> {
    let mut packet = vec![0; PACKET];
    let mut writer = FrameWriter::new(&mut packet, &[0; 16]).expect("space");
    writer.end_with_trailer(true);
    fill(&mut writer);
    let len = writer.finish();
    packet.truncate(len);
    packet
}

fn deletes(count: u64) -> Vec<u8> {
    frame(|writer| {
        let ids = (0..count).map(|n| RawId { id: n.to_be_bytes(), creator: [1; 4] });
        ids.for_each(|id| writer.append(Action::DeleteCompressed, &id).expect("space"));
    })
}

fn numbering(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("number a frame");
    let updates =
        frame(|writer| while writer.append(Action::Update1400, &RawState1400::new_zeroed()).is_ok() {});
    let newer =
        frame(|writer| while writer.append(Action::Update1500, &RawState1500::new_zeroed()).is_ok() {});
    let frames = [
        ("1 delete", deletes(1)),
        ("100 deletes", deletes(100)),
        ("Update1400", updates),
        ("Update1500", newer),
    ];
    for (name, frame) in frames {
        let mut agreement = agreement(1);
        group.bench_function(name, |bencher| {
            bencher.iter(|| agreement.number_frame(Frame::parse(black_box(&frame)).expect("valid"), 1));
        });
    }
}

/// The packet with a trailer whose number is 0, and where the number is.
fn with_trailer(mut packet: Vec<u8>, fill: impl FnOnce(&mut TrailerWriter)) -> (Vec<u8>, usize) {
    let len = packet.len();
    packet.resize(PACKET, 0);
    let epoch = Epoch::new(2).expect("it is not 0");
    let mut writer = TrailerWriter::new(&mut packet[len..], epoch, 0, false).expect("space");
    fill(&mut writer);
    let trailer = writer.finish();
    packet.truncate(len + trailer);
    (packet, len)
}

fn receive(agreement: &mut Agreed, packet: &[u8]) -> Verdict {
    let frame = Frame::parse(packet).expect("valid");
    let received = Received {
        from: PeerAddress([2; 16]),
        frame: &frame,
        trailer: frame.trailer().expect("valid"),
        trust: Trust::Keyed,
        awaits_bulk: false,
        has_requested_bulk: false,
        random: 7,
    };
    agreement.receive(&received, 1).verdict
}

fn receiving(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("receive");
    for (name, step) in [("a numbered frame", 1), ("a numbered frame behind a gap", 2)] {
        let (mut packet, trailer) = with_trailer(deletes(1), |_| ());
        let (mut agreement, mut number) = (agreement(1), 0u64);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                number += step;
                packet[trailer..][..8].copy_from_slice(&(0xa6e1 << 48 | number).to_be_bytes());
                assert_eq!(receive(&mut agreement, black_box(&packet)), Verdict::Take);
            });
        });
    }
    for gaps in [0, 32] {
        let own = Ident { epoch: Epoch::new(1).expect("it is not 0"), challenge: 1 };
        let (mut packet, trailer) = with_trailer(deletes(0), |writer| {
            writer.node(&NODE).expect("space");
            let gaps = (0..gaps).map(|n| Gap { first: 3 * n + 1, last: 3 * n + 1 });
            writer.report(own, 200, gaps).expect("space");
        });
        let (mut agreement, mut hello) = (agreement(1), 1u32);
        let told = deletes(1);
        for _ in 0..200 {
            let _ = agreement.number_frame(Frame::parse(&told).expect("valid"), 1);
        }
        group.bench_function(format!("a hello with a report of {gaps} gaps"), |bencher| {
            bencher.iter(|| {
                hello += 1;
                // Behind the head of the trailer, that of the block, and the challenge.
                packet[trailer + 28..][..4].copy_from_slice(&hello.to_be_bytes());
                assert_eq!(receive(&mut agreement, black_box(&packet)), Verdict::Take);
            });
        });
    }
}

fn tagging(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tag");
    for len in [HEADER + 100, PACKET, 8980] {
        let packet = vec![7; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("a packet of {len} bytes"), |bencher| {
            bencher.iter(|| tag(black_box(&[1; 32]), black_box(&packet)));
        });
    }
}

criterion_group! {
    name = engine;
    config = Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    targets = queueing, merging, bulk_update, numbering, receiving, tagging
}
criterion_main!(engine);
