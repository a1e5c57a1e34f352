// SPDX-License-Identifier: BSD-2-Clause
//! A model of two to four firewalls on a wire that loses, reorders, doubles and records
//! packets. Everything follows from a seed.

use super::*;
use crate::wire::{BulkStatus, RawBulkStatus, RawState1400, Run, States};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use zerocopy::byteorder::big_endian::U32;

/// Time between two steps of the model.
const TICK: Instant = 10 * MS;
/// Frames that repair, or belong to a bulk update, in a tick.
const BURST: u64 = 20;
/// States in a frame.
const STATES: usize = 5;

/// Random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn permille(&mut self, chance: u64) -> bool {
        self.below(1000) < chance
    }
}

/// What the wire does, in thousandths of the packets.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    loss: u64,
    reordered: u64,
    doubled: u64,
    /// Packets that someone has recorded and sends again, in a tick.
    replayed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Setup {
    nodes: usize,
    has_key: bool,
    /// The last node is a stock module.
    has_stock: bool,
    log: usize,
}

struct Walk {
    states: Vec<u64>,
    is_begun: bool,
    requested: Instant,
}

struct Firewall {
    node: TestNode,
    is_stock: bool,
    /// Versions of states by id. The owner's number is in the upper half of the id.
    states: BTreeMap<u64, u32>,
    /// States that have ended.
    ended: HashSet<u64>,
    /// States with news for the peers.
    changed: BTreeSet<u64>,
    /// What each frame told of the states that this firewall owns.
    history: Vec<Vec<(u64, Option<u32>)>>,
    walk: Option<Walk>,
    /// When the last request arrived that no walk answers yet.
    pending: Option<Instant>,
    /// When a bulk update was requested last, while one is awaited.
    requested: Option<Instant>,
    has_ended: bool,
    next_id: u64,
}

/// Up to which number a peer's frames were looked at, and what they told last of each of
/// its states: the version, or that the state has ended.
type MustKnow = (u64, BTreeMap<u64, Option<u32>>);

struct Model {
    now: Instant,
    random: Random,
    faults: Faults,
    is_cut: bool,
    /// Packets on their way: when they arrive, to whom, from whom.
    wire: BTreeMap<(Instant, u64), (usize, PeerAddress, Vec<u8>)>,
    recorded: Vec<Vec<u8>>,
    sent: u64,
    firewalls: Vec<Firewall>,
    /// What the second firewall must know of the states of the first, up to a number.
    must_know: BTreeMap<(usize, usize), MustKnow>,
    /// A log has forgotten the end of states, which a bulk update does not tell.
    has_leftovers: bool,
    setup: Setup,
}

fn owner(id: u64) -> usize {
    (id >> 32) as usize
}

impl Firewall {
    fn new(index: usize, setup: Setup) -> Firewall {
        let number = index as u8 + 1;
        let mut node = if setup.has_key { TestNode::with_key(number) } else { TestNode::new(number) };
        node.agreement = Agreement::new(storage(setup.log), epoch(number.into()), number.into(), 0);
        node.awaits_bulk = true;
        Firewall {
            node,
            is_stock: setup.has_stock && index + 1 == setup.nodes,
            states: BTreeMap::new(),
            ended: HashSet::new(),
            changed: BTreeSet::new(),
            history: Vec::new(),
            walk: None,
            pending: None,
            requested: None,
            has_ended: false,
            next_id: (index as u64) << 32,
        }
    }

    fn take(&mut self, id: u64, version: u32) {
        if !self.ended.contains(&id) {
            let known = self.states.entry(id).or_insert(version);
            *known = version.max(*known);
        }
    }

    fn end(&mut self, id: u64) {
        self.states.remove(&id);
        self.ended.insert(id);
    }

    /// A message about a state as it is now.
    fn write(&self, id: u64, writer: &mut FrameWriter) {
        match self.states.get(&id) {
            Some(version) => {
                let mut state = RawState1400::new_zeroed();
                state.common.id = id.to_be_bytes();
                state.common.creator = [1; 4];
                state.common.src.seqlo = U32::new(*version);
                writer.append(Action::Update1400, &state).unwrap();
            }
            None => writer.append(Action::DeleteCompressed, &RawId::from(super::id(id))).unwrap(),
        }
    }

    /// A packet with a frame.
    fn packet(
        &mut self,
        now: Instant,
        index: usize,
        fill: impl FnOnce(&Firewall, &mut FrameWriter),
    ) -> Vec<u8> {
        let mut packet = vec![0; 1480];
        let mut writer = FrameWriter::new(&mut packet, &[0; 16]).unwrap();
        let has_trailer = !self.is_stock && (self.node.agreement.is_spoken(now) || self.node.key.is_some());
        if has_trailer {
            writer.end_with_trailer(self.node.key.is_some());
        }
        fill(self, &mut writer);
        let len = writer.finish();
        let frame = Frame::parse(&packet[..len]).unwrap();
        self.history.push(told_in(frame.clone()).filter(|(id, _)| owner(*id) == index).collect());
        let number = self.node.agreement.number_frame(frame, now);
        assert_eq!(number, self.history.len() as u64);
        if has_trailer {
            self.node.finish(packet, len, number, |_, _| ())
        } else {
            packet.truncate(len);
            packet
        }
    }

    fn mark(walk: &Walk, mark: BulkMark, now: Instant) -> RawBulkStatus {
        let age = (now - walk.requested) >> 32;
        RawBulkStatus::from(&BulkStatus { creator: [1; 4], age: age as u32, mark })
    }
}

fn told_in(frame: Frame<'_>) -> impl Iterator<Item = (u64, Option<u32>)> + '_ {
    frame.map(Result::unwrap).flat_map(|run| match run {
        Run::Update(States::V1400(states)) => {
            let told = |state: &RawState1400| {
                (u64::from_be_bytes(state.common.id), Some(state.common.src.seqlo.get()))
            };
            states.iter().map(told).collect()
        }
        Run::DeleteCompressed(ids) => ids.iter().map(|raw| (u64::from_be_bytes(raw.id), None)).collect(),
        _ => Vec::new(),
    })
}

impl Model {
    fn new(seed: u64, setup: Setup, faults: Faults) -> Model {
        Model {
            now: 0,
            random: Random(seed),
            faults,
            is_cut: false,
            wire: BTreeMap::new(),
            recorded: Vec::new(),
            sent: 0,
            firewalls: (0..setup.nodes).map(|index| Firewall::new(index, setup)).collect(),
            must_know: BTreeMap::new(),
            has_leftovers: false,
            setup,
        }
    }

    /// Puts a packet on the wire to everyone else.
    fn send(&mut self, from: usize, packet: &[u8]) {
        if self.faults.replayed > 0 && self.random.permille(300) {
            self.recorded.push(packet.to_vec());
        }
        for to in (0..self.setup.nodes).filter(|to| *to != from) {
            let copies = 1 + u64::from(self.random.permille(self.faults.doubled));
            for _ in 0..copies {
                if self.is_cut || self.random.permille(self.faults.loss) {
                    continue;
                }
                // On a wire without faults, packets keep their order.
                let mut delay = MS;
                if self.random.permille(self.faults.reordered) {
                    delay += MS * self.random.below(40) as i64;
                }
                self.deliver_at(self.now + delay, to, address(from as u8 + 1), packet.to_vec());
            }
        }
    }

    fn deliver_at(&mut self, at: Instant, to: usize, from: PeerAddress, packet: Vec<u8>) {
        self.sent += 1;
        self.wire.insert((at, self.sent), (to, from, packet));
    }

    fn tick(&mut self) {
        self.now += TICK;
        while let Some(((at, _), _)) = self.wire.first_key_value() {
            if *at > self.now {
                break;
            }
            let (_, (to, from, packet)) = self.wire.pop_first().unwrap();
            self.deliver(to, from, &packet);
        }
        if self.random.permille(self.faults.replayed) && !self.recorded.is_empty() {
            let index = self.random.below(self.recorded.len() as u64) as usize;
            let (to, from) =
                (self.random.below(self.setup.nodes as u64) as usize, self.random.below(6) as u8);
            let packet = self.recorded[index].clone();
            self.deliver_at(self.now, to, address(from), packet);
        }
        for index in 0..self.setup.nodes {
            self.flush(index);
            if !self.firewalls[index].is_stock {
                self.repair(index);
                self.request(index);
            }
            self.walk(index);
            if !self.firewalls[index].is_stock {
                self.greet(index);
            }
        }
    }

    fn send_frame(&mut self, index: usize, fill: impl FnOnce(&Firewall, &mut FrameWriter)) {
        let packet = self.firewalls[index].packet(self.now, index, fill);
        self.send(index, &packet);
    }

    fn flush(&mut self, index: usize) {
        let changed: Vec<_> = std::mem::take(&mut self.firewalls[index].changed).into_iter().collect();
        for ids in changed.chunks(STATES) {
            self.send_frame(index, |firewall, writer| ids.iter().for_each(|id| firewall.write(*id, writer)));
        }
    }

    fn repair(&mut self, index: usize) {
        let space = self.firewalls[index].node.agreement.repair_space(self.now);
        for _ in 0..BURST.min(space) {
            let firewall = &mut self.firewalls[index];
            let mut told = Vec::new();
            while told.len() < STATES && firewall.node.agreement.is_repairing(self.now) {
                told.extend(firewall.node.agreement.next_to_repair(firewall.node.awaits_bulk));
            }
            let mut ids = Vec::new();
            for told in &told {
                match told {
                    Told::State(state) | Told::Deleted(state) => {
                        let id = u64::from_be_bytes(state.id);
                        let is_there = firewall.states.contains_key(&id);
                        if is_there || matches!(told, Told::Deleted(_)) {
                            ids.push(id);
                        }
                    }
                    Told::BulkEnded(_) | Told::Cleared(_) | Told::Requested(_) => {}
                }
            }
            let ends = told.iter().filter_map(|told| match told {
                Told::BulkEnded(requested) => Some(*requested),
                _ => None,
            });
            let now = self.now;
            let ends: Vec<_> = ends
                .map(|requested| Walk { states: Vec::new(), is_begun: true, requested })
                .map(|walk| Firewall::mark(&walk, BulkMark::End, now))
                .collect();
            if !ids.is_empty() || !ends.is_empty() {
                self.send_frame(index, |firewall, writer| {
                    ids.iter().for_each(|id| firewall.write(*id, writer));
                    ends.iter().for_each(|end| writer.append(Action::BulkStatus, end).unwrap());
                });
            }
        }
    }

    fn request(&mut self, index: usize) {
        let now = self.now;
        let firewall = &mut self.firewalls[index];
        if !firewall.node.awaits_bulk {
            return;
        }
        let agreement = &firewall.node.agreement;
        if firewall.has_ended && agreement.is_whole(now) {
            (firewall.node.awaits_bulk, firewall.requested, firewall.has_ended) = (false, None, false);
            return;
        }
        if firewall.requested.is_none_or(|requested| now - requested >= 1000 * MS) {
            firewall.requested = Some(now);
            self.send_frame(index, |_, writer| {
                writer.append(Action::UpdateRequest, &RawId::from(StateId::ALL)).unwrap();
            });
        }
    }

    fn walk(&mut self, index: usize) {
        let now = self.now;
        let mut frames = BURST.min(self.firewalls[index].node.agreement.bulk_space(now).unwrap_or(BURST));
        let firewall = &mut self.firewalls[index];
        if let Some(requested) = firewall.pending.take_if(|_| firewall.walk.is_none()) {
            // States that are made from now on are told of in frames after the start mark.
            let states = firewall.states.keys().copied().collect();
            firewall.walk = Some(Walk { states, is_begun: false, requested });
            firewall.node.agreement.begin_bulk();
        }
        while let (1.., Some(walk)) = (frames, &mut self.firewalls[index].walk) {
            frames -= 1;
            let start = (!walk.is_begun).then(|| Firewall::mark(walk, BulkMark::Start, now));
            walk.is_begun = true;
            let ids: Vec<_> = walk.states.drain(..walk.states.len().min(STATES - 1)).collect();
            let end = walk.states.is_empty().then(|| Firewall::mark(walk, BulkMark::End, now));
            if end.is_some() {
                self.firewalls[index].walk = None;
                self.firewalls[index].node.agreement.finish_bulk();
            }
            self.send_frame(index, |firewall, writer| {
                start.iter().for_each(|mark| writer.append(Action::BulkStatus, mark).unwrap());
                let there = ids.iter().filter(|id| firewall.states.contains_key(id));
                there.for_each(|id| firewall.write(*id, writer));
                writer.end_run();
                end.iter().for_each(|mark| writer.append(Action::BulkStatus, mark).unwrap());
            });
        }
    }

    fn greet(&mut self, index: usize) {
        let node = &mut self.firewalls[index].node;
        if node.agreement.hello_due(node.awaits_bulk, self.now) <= self.now {
            let packet = node.hello(self.now);
            self.send(index, &packet);
        }
    }

    fn deliver(&mut self, to: usize, from: PeerAddress, packet: &[u8]) {
        let frame = Frame::parse(packet).unwrap();
        let (trailer, has_messages) = (frame.trailer().unwrap(), frame.has_messages());
        let firewall = &mut self.firewalls[to];
        if !firewall.is_stock {
            let Some(reception) = firewall.node.receive_from(from, packet, self.now) else { return };
            if reception.needs_bulk {
                firewall.node.awaits_bulk = true;
                firewall.requested = None;
            }
            if reception.verdict != Verdict::Take {
                return;
            }
        }
        let epoch = trailer.map(|trailer| trailer.epoch);
        for run in frame.map(Result::unwrap) {
            match run {
                Run::Update(States::V1400(states)) => states.iter().for_each(|state| {
                    firewall.take(u64::from_be_bytes(state.common.id), state.common.src.seqlo.get());
                }),
                Run::DeleteCompressed(ids) => {
                    ids.iter().for_each(|raw| firewall.end(u64::from_be_bytes(raw.id)));
                }
                // What a stock peer tells may have ended without its knowledge.
                Run::UpdateRequest(_) if !firewall.is_stock => {
                    firewall.pending = Some(self.now);
                    epoch.inspect(|epoch| firewall.node.agreement.receive_bulk_request(*epoch));
                }
                Run::BulkStatus(marks) => {
                    for mark in marks.iter().map(|raw| raw.check().unwrap().mark) {
                        if let Some(Trailer { epoch, number, .. }) = trailer {
                            firewall.node.agreement.receive_mark(epoch, number, mark);
                        }
                        firewall.has_ended |= mark == BulkMark::End;
                    }
                }
                _ => {}
            }
        }
        // A look at every state takes long: a hello is worth it, and some of the frames.
        let is_checked = !firewall.is_stock && (!has_messages || self.random.permille(50));
        if let Some(trailer) = trailer.filter(|_| is_checked) {
            self.check_promise(to, trailer.epoch);
        }
    }

    /// A firewall that says nothing of a peer is missing knows all that the peer has told
    /// of its own states.
    fn check_promise(&mut self, to: usize, epoch: Epoch) {
        let from = epoch.get() as usize - 1;
        let firewall = &self.firewalls[to];
        let mut peers = firewall.node.agreement.peers().iter();
        let Some(peer) = peers.find(|peer| peer.epoch() == Some(epoch)) else { return };
        // A hello may be overtaken by frames that were sent after it.
        let (is_whole, number) = (peer.is_whole(), peer.highest.unwrap_or(0));
        let (known, must_know) = self.must_know.entry((from, to)).or_default();
        for told in &self.firewalls[from].history[*known as usize..number.max(*known) as usize] {
            must_know.extend(told.iter().copied());
        }
        *known = number.max(*known);
        if is_whole {
            for (id, version) in must_know {
                let here = firewall.states.get(id).copied();
                let is_known = match version {
                    Some(version) => here >= Some(*version),
                    None => here.is_none() || self.has_leftovers,
                };
                assert!(is_known, "firewall {to} knows {here:?} of state {id:x}, which is {version:?}");
            }
        }
    }

    /// Something happens to a state of a firewall that numbers its frames.
    fn traffic(&mut self) {
        let firewalls = self.setup.nodes - usize::from(self.setup.has_stock);
        let index = self.random.below(firewalls as u64) as usize;
        let (action, pick) = (self.random.below(10), self.random.next());
        let firewall = &mut self.firewalls[index];
        let own = (index as u64) << 32..(index as u64 + 1) << 32;
        let count = firewall.states.range(own.clone()).count() as u64;
        if action < 4 || count == 0 {
            firewall.states.insert(firewall.next_id, 1);
            firewall.changed.insert(firewall.next_id);
            firewall.next_id += 1;
            return;
        }
        let (id, version) =
            firewall.states.range_mut(own).nth((pick % count) as usize).map(|(id, v)| (*id, v)).unwrap();
        if action < 8 {
            *version += 1;
            firewall.changed.insert(id);
        } else if !firewall.changed.contains(&id) || *version > 1 {
            firewall.end(id);
            firewall.changed.insert(id);
        }
    }

    fn run(&mut self, ticks: usize, changes_per_tick: usize) {
        for _ in 0..ticks {
            (0..changes_per_tick).for_each(|_| self.traffic());
            self.tick();
        }
    }

    /// The faults stop. Returns after five seconds.
    fn settle(&mut self) {
        (self.faults, self.is_cut) = (Faults::default(), false);
        self.run(500, 0);
    }

    fn assert_equal(&self) {
        let numbered = || self.firewalls.iter().filter(|firewall| !firewall.is_stock);
        for firewall in numbered() {
            let node = &firewall.node;
            assert!(node.agreement.is_whole(self.now) && !node.awaits_bulk, "{:?}", node.agreement.peers());
            let other = numbered().next().unwrap();
            let missing: Vec<_> =
                other.states.iter().filter(|(id, v)| firewall.states.get(id) != Some(v)).collect();
            assert_eq!((missing, firewall.states.len()), (Vec::new(), other.states.len()));
            // What has to be remembered does not grow.
            assert_eq!(node.agreement.peers().len(), MAX_PEERS);
        }
    }

    fn bulk_needed(&self) -> u64 {
        self.firewalls.iter().map(|firewall| firewall.node.agreement.counts().bulk_needed).sum()
    }
}

const PLAIN: Setup = Setup { nodes: 2, has_key: false, has_stock: false, log: 1 << 14 };

#[test]
fn a_wire_without_faults_needs_no_repair() {
    let mut model = Model::new(1, PLAIN, Faults::default());
    model.run(300, 5);
    model.settle();
    model.assert_equal();
    for firewall in &model.firewalls {
        let counts = firewall.node.agreement.counts();
        assert_eq!((counts.late, counts.untracked), (0, 0));
        // Only what was told before the first hello arrived, without numbers.
        assert!(counts.retold < 20, "{counts:?}");
    }
}

#[test]
fn a_cut_of_half_a_minute_is_repaired_from_the_log() {
    let mut model = Model::new(2, PLAIN, Faults::default());
    model.run(200, 2);
    let before = model.bulk_needed();
    model.is_cut = true;
    model.run(3000, 1);
    model.settle();
    model.assert_equal();
    assert_eq!(model.bulk_needed(), before);
}

#[test]
fn a_cut_of_two_minutes_is_repaired_too() {
    let mut model = Model::new(3, PLAIN, Faults::default());
    model.run(200, 2);
    model.is_cut = true;
    model.run(12_000, 1);
    model.settle();
    model.assert_equal();
}

#[test]
fn a_log_that_is_too_short_leads_to_a_bulk_update() {
    let mut model = Model::new(4, Setup { log: 100, ..PLAIN }, Faults::default());
    model.run(200, 2);
    let before = model.bulk_needed();
    (model.is_cut, model.has_leftovers) = (true, true);
    model.run(100, 5);
    (model.faults, model.is_cut) = (Faults::default(), false);
    model.run(500, 0);
    assert!(model.bulk_needed() > before);
    for firewall in &model.firewalls {
        assert!(firewall.node.agreement.is_whole(model.now));
        // Nothing is missing. What was deleted meanwhile may be left over.
        let other = &model.firewalls[0];
        assert!(other.states.keys().filter(|id| owner(**id) == 0).all(|id| firewall.states.contains_key(id)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the wire does to the packets of two to four firewalls: when it stops, five
    /// seconds are enough. Never does a firewall say that nothing is missing although
    /// something is.
    #[test]
    fn everything_told_is_repaired(
        seed: u64,
        nodes in 2..5usize,
        has_key: bool,
        has_stock: bool,
        loss in 0..200u64,
        reordered in 0..200u64,
        doubled in 0..100u64,
        cut in 0..300usize,
        rate in 1..10usize,
    ) {
        let has_stock = has_stock && nodes > 2 && !has_key;
        let setup = Setup { nodes, has_key, has_stock, log: 1 << 15 };
        let replayed = if has_key { 500 } else { 0 };
        let mut model = Model::new(seed, setup, Faults { loss, reordered, doubled, replayed });
        model.run(200, rate);
        model.is_cut = true;
        model.run(cut, rate);
        model.is_cut = false;
        model.run(200, rate);
        model.settle();
        model.assert_equal();
    }
}
