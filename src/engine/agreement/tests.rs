// SPDX-License-Identifier: BSD-2-Clause

mod distrust;
// Takes minutes under Miri.
#[cfg(not(miri))]
mod model;

use super::*;
use crate::wire::trailer::{Gap, TrailerWriter};
use crate::wire::{
    Action, BulkMark, BulkStatus, Clear, FrameWriter, RawBulkStatus, RawClear, RawCompressedUpdate,
};
use crate::wire::{RawId, StateId};
use zerocopy::FromZeros;

const MS: Instant = (1 << 32) / 1000;
const KEY: Key = [7; 32];
/// What a node says of itself. The agreement fills in the first two.
const NODE: Node =
    Node { challenge: 0, hello: 0, creator: [1; 4], states: 3, version: [0, 3, 0], freebsd: 14 };

type TestAgreement = Agreement<Vec<Peer>, Vec<Entry>, Vec<Retold>>;

fn epoch(number: u64) -> Epoch {
    Epoch::new(number).unwrap()
}

fn address(number: u8) -> PeerAddress {
    PeerAddress([number; 16])
}

fn id(number: u64) -> StateId {
    StateId { id: number.to_be_bytes(), creator: [1; 4] }
}

fn storage(log: usize) -> Storage<Vec<Peer>, Vec<Entry>, Vec<Retold>> {
    Storage {
        peers: vec![Peer::FREE; MAX_PEERS],
        log: vec![Entry::UNUSED; log],
        retold: vec![Retold::UNUSED; RETOLD_SLOTS],
    }
}

/// A node that can write frames, and read those of others.
struct TestNode {
    agreement: TestAgreement,
    address: PeerAddress,
    key: Option<Key>,
    is_required: bool,
    awaits_bulk: bool,
}

impl TestNode {
    fn new(number: u8) -> TestNode {
        let agreement = Agreement::new(storage(1000), epoch(number.into()), u64::from(number) * 100, 0);
        TestNode { agreement, address: address(number), key: None, is_required: false, awaits_bulk: false }
    }

    fn with_key(number: u8) -> TestNode {
        TestNode { key: Some(KEY), is_required: true, ..TestNode::new(number) }
    }

    /// A frame that tells of the end of these states.
    fn deletes(&mut self, states: std::ops::Range<u64>, now: Instant) -> Vec<u8> {
        self.packet(now, |writer| {
            states.for_each(|n| writer.append(Action::DeleteCompressed, &RawId::from(id(n))).unwrap());
        })
    }

    /// A numbered frame.
    fn packet(&mut self, now: Instant, fill: impl FnOnce(&mut FrameWriter)) -> Vec<u8> {
        let mut packet = vec![0; 1480];
        let mut writer = FrameWriter::new(&mut packet, &[0; 16]).unwrap();
        writer.end_with_trailer(self.key.is_some());
        fill(&mut writer);
        let len = writer.finish();
        let number = self.agreement.number_frame(Frame::parse(&packet[..len]).unwrap(), now);
        self.finish(packet, len, number, |_, _| ())
    }

    fn hello(&mut self, now: Instant) -> Vec<u8> {
        let mut packet = vec![0; 1480];
        let mut writer = FrameWriter::new(&mut packet, &[0; 16]).unwrap();
        writer.end_with_trailer(self.key.is_some());
        let len = writer.finish();
        let number = self.agreement.number();
        self.finish(packet, len, number, |agreement, writer| agreement.write_hello(writer, NODE, now))
    }

    fn finish(
        &mut self,
        mut packet: Vec<u8>,
        len: usize,
        number: u64,
        fill: impl FnOnce(&mut TestAgreement, &mut TrailerWriter),
    ) -> Vec<u8> {
        let mut writer =
            TrailerWriter::new(&mut packet[len..], self.agreement.epoch(), number, self.key.is_some())
                .unwrap();
        fill(&mut self.agreement, &mut writer);
        let len = len + writer.finish();
        packet.truncate(len);
        if let Some(key) = &self.key {
            seal(key, &mut packet);
        }
        packet
    }

    /// `None` if the tag is wrong.
    fn receive_from(&mut self, from: PeerAddress, packet: &[u8], now: Instant) -> Option<Reception> {
        let frame = Frame::parse(packet).unwrap();
        let trailer = frame.trailer().unwrap();
        let keys = Keys { key: self.key.as_ref(), also: None, is_required: self.is_required };
        let trust = keys.judge(packet, trailer.and_then(|trailer| trailer.tag)).ok()?;
        let awaits_bulk = self.awaits_bulk;
        let received = Received {
            from,
            frame: &frame,
            trailer,
            trust,
            awaits_bulk,
            has_requested_bulk: awaits_bulk,
            random: 4711,
        };
        Some(self.agreement.receive(&received, now))
    }

    fn receive(&mut self, from: &TestNode, packet: &[u8], now: Instant) -> Reception {
        self.receive_from(from.address, packet, now).expect("the tag is right")
    }

    fn verdict(&mut self, from: &TestNode, packet: &[u8], now: Instant) -> Verdict {
        self.receive(from, packet, now).verdict
    }

    /// Sends a frame that nobody hears.
    fn lose(&mut self, fill: impl FnOnce(&mut FrameWriter)) {
        let _lost = self.packet(0, fill);
    }

    fn repairs(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        for _ in 0..1000 {
            told.extend(self.agreement.next_to_repair(self.awaits_bulk));
        }
        told
    }
}

/// Two nodes that have greeted each other.
fn pair() -> (TestNode, TestNode) {
    let (mut a, mut b) = (TestNode::new(1), TestNode::new(2));
    greet(&mut a, &mut b, 0);
    (a, b)
}

fn greet(a: &mut TestNode, b: &mut TestNode, now: Instant) {
    for _ in 0..3 {
        exchange(a, b, now);
    }
}

/// The first node says what its last number is, and the second reports what it lacks.
fn exchange(a: &mut TestNode, b: &mut TestNode, now: Instant) {
    let hello = a.hello(now);
    let _ = b.receive(a, &hello, now);
    let hello = b.hello(now);
    let _ = a.receive(b, &hello, now);
}

#[test]
fn what_a_peer_lacks_is_told_again_once() {
    let (mut a, mut b) = pair();
    let lost = [a.deletes(0..3, 0), a.deletes(2..5, 0)];
    let frame = a.deletes(5..6, 0);
    assert_eq!(lost.len(), 2);
    let reception = b.receive(&a, &frame, MS);
    assert_eq!((reception.verdict, reception.gap), (Verdict::Take, Some(Gap { first: 1, last: 2 })));
    assert!(!b.agreement.is_whole(MS));
    let hello = b.hello(MS);
    assert!(a.receive(&b, &hello, 2 * MS).wake && a.agreement.is_repairing(2 * MS));
    assert_eq!(a.repairs(), [0, 1, 2, 3, 4].map(|n| Told::Deleted(id(n))));
    assert!(!a.agreement.is_repairing(2 * MS));
    let repair = a.deletes(0..5, 2 * MS);
    assert_eq!(b.verdict(&a, &repair, 3 * MS), Verdict::Take);
    assert!(!b.agreement.is_whole(3 * MS));
    assert!(a.agreement.hello_due(false, 12 * MS) <= 12 * MS);
    let hello = a.hello(12 * MS);
    assert_eq!(b.verdict(&a, &hello, 13 * MS), Verdict::Take);
    assert!(b.agreement.is_whole(13 * MS));
    assert_eq!(b.agreement.counts().repaired, 2);
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes under Miri")]
fn a_repair_that_is_lost_is_told_again() {
    let (mut a, mut b) = pair();
    let _lost = a.deletes(0..1, 0);
    let hello = a.hello(0);
    assert_eq!(b.receive(&a, &hello, 0).gap, Some(Gap { first: 1, last: 1 }));
    let hello = b.hello(0);
    let _ = a.receive(&b, &hello, 0);
    assert_eq!(a.repairs().len(), 1);
    let _lost = a.deletes(0..1, 0);
    let hello = a.hello(20 * MS);
    // Number 1 was told again by number 2, which is missing now.
    assert_eq!(b.receive(&a, &hello, 0).gap, Some(Gap { first: 2, last: 2 }));
    assert_eq!(b.agreement.peers().iter().map(Peer::missing).sum::<u64>(), 1);
    let hello = b.hello(20 * MS);
    let _ = a.receive(&b, &hello, 20 * MS);
    assert_eq!(a.repairs(), [Told::Deleted(id(0))]);
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes under Miri")]
fn a_clear_that_is_lost_twice_is_told_again_once() {
    let (mut a, mut b) = pair();
    let clear = |creator| Clear { ifname: None, creator: [creator; 4] };
    for creator in [1, 1, 2, 1] {
        a.lose(|writer| writer.append(Action::Clear, &RawClear::from(&clear(creator))).unwrap());
    }
    exchange(&mut a, &mut b, 0);
    assert_eq!(a.repairs(), [1, 2].map(|creator| Told::Cleared(clear(creator))));
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes under Miri")]
fn requests_and_ends_of_bulk_updates_that_are_lost_twice_are_told_again_once() {
    let (mut a, mut b) = pair();
    for request in [id(1), StateId::ALL, id(2), StateId::ALL, id(1)] {
        a.lose(|writer| writer.append(Action::UpdateRequest, &RawId::from(request)).unwrap());
    }
    let end = BulkStatus { creator: [1; 4], age: 0, mark: BulkMark::End };
    for _ in 0..2 {
        a.lose(|writer| writer.append(Action::BulkStatus, &RawBulkStatus::from(&end)).unwrap());
    }
    exchange(&mut a, &mut b, 0);
    let again = [Told::Requested(id(1)), Told::Requested(StateId::ALL), Told::Requested(id(2))];
    assert_eq!(a.repairs(), [again.as_slice(), &[Told::BulkEnded(0)]].concat());
    // A state that was told of since is here.
    a.lose(|writer| writer.append(Action::UpdateRequest, &RawId::from(id(1))).unwrap());
    let _lost = a.deletes(1..2, 0);
    exchange(&mut a, &mut b, 20 * MS);
    assert_eq!(a.repairs(), [Told::Requested(id(1)), Told::Deleted(id(1))]);
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes under Miri")]
fn a_bulk_update_that_has_ended_is_not_requested_of_a_new_peer() {
    let request_all = |writer: &mut FrameWriter| {
        writer.append(Action::UpdateRequest, &RawId::from(StateId::ALL)).unwrap();
    };
    let lost_request = |awaits_bulk: bool, is_heard: bool| {
        let (mut a, mut b) = (TestNode::new(1), TestNode::new(2));
        if is_heard {
            // Without a number: the peer has not heard one yet.
            let mut packet = [0; 100];
            let len = FrameWriter::new(&mut packet, &[0; 16]).unwrap().finish();
            let _ = a.receive(&b, &packet[..len], 0);
        }
        a.lose(request_all);
        greet(&mut a, &mut b, 0);
        a.awaits_bulk = awaits_bulk;
        a.repairs()
    };
    assert_eq!(lost_request(false, false), []);
    assert_eq!(lost_request(true, false), [Told::Requested(StateId::ALL)]);
    assert_eq!(lost_request(false, true), [Told::Requested(StateId::ALL)]);
    let (mut a, mut b) = pair();
    a.lose(request_all);
    exchange(&mut a, &mut b, 0);
    assert_eq!(a.repairs(), [Told::Requested(StateId::ALL)]);
}

#[test]
fn the_end_of_a_state_is_told_although_the_state_was_told_of_before() {
    let (mut a, mut b) = pair();
    a.lose(|writer| {
        writer.append(Action::UpdateCompressed, &update(7)).unwrap();
        writer.append(Action::UpdateCompressed, &update(7)).unwrap();
        writer.append(Action::DeleteCompressed, &RawId::from(id(7))).unwrap();
    });
    let _lost = a.deletes(7..8, 0);
    let hello = a.hello(0);
    let _ = b.receive(&a, &hello, 0);
    let hello = b.hello(0);
    let _ = a.receive(&b, &hello, 0);
    // The caller sends nothing for the first, because the state is gone.
    assert_eq!(a.repairs(), [Told::State(id(7)), Told::Deleted(id(7))]);
}

fn update(state: u64) -> RawCompressedUpdate {
    let mut update = RawCompressedUpdate::new_zeroed();
    (update.id, update.creator) = (id(state).id, id(state).creator);
    update
}

#[test]
fn late_and_doubled_frames_are_dropped() {
    let (mut a, mut b) = pair();
    let (first, second) = (a.deletes(0..1, 0), a.deletes(1..2, 0));
    for packet in [&second, &first] {
        assert_eq!(b.verdict(&a, packet, 0), Verdict::Take);
        assert_eq!(b.verdict(&a, packet, 0), Verdict::Late);
    }
    assert!(b.agreement.is_whole(0));
    let (first, second) = (a.hello(0), a.hello(0));
    assert_eq!(b.verdict(&a, &second, 0), Verdict::Take);
    assert_eq!(b.verdict(&a, &first, 0), Verdict::Late);
    assert_eq!(b.agreement.counts().late, 3);
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes under Miri")]
fn a_frame_that_is_overtaken_by_many_is_dropped_and_told_again() {
    let (mut a, mut b) = pair();
    let overtaken = a.deletes(0..1, 0);
    for _ in 0..WINDOW {
        let frame = a.deletes(1..2, 0);
        assert_eq!(b.verdict(&a, &frame, 0), Verdict::Take);
    }
    assert_eq!(b.verdict(&a, &overtaken, 0), Verdict::Late);
    assert!(!b.agreement.is_whole(0));
}

#[test]
fn a_clear_that_is_overtaken_is_dropped_and_told_again() {
    let (mut a, mut b) = pair();
    let overtaken = a.packet(0, |writer| {
        let clear = Clear { ifname: None, creator: [1; 4] };
        writer.append(Action::Clear, &RawClear::from(&clear)).unwrap();
    });
    let frame = a.deletes(1..2, 0);
    assert_eq!(b.verdict(&a, &frame, 0), Verdict::Take);
    assert_eq!(b.verdict(&a, &overtaken, 0), Verdict::Late);
    assert!(!b.agreement.is_whole(0));
}

#[test]
fn what_a_clear_has_overtaken_is_dropped_and_told_again() {
    let (mut a, mut b) = pair();
    let overtaken = a.deletes(0..1, 0);
    let clear = a.deletes(1..2, 0);
    let (late, last) = (a.deletes(2..3, 0), a.deletes(3..4, 0));
    assert_eq!(b.verdict(&a, &clear, 0), Verdict::Take);
    b.agreement.receive_clear(epoch(1), 2);
    assert_eq!(b.verdict(&a, &last, 0), Verdict::Take);
    // This one was sent after the clear.
    assert_eq!(b.verdict(&a, &late, 0), Verdict::Take);
    assert!(!b.agreement.is_whole(0));
    assert_eq!(b.verdict(&a, &overtaken, 0), Verdict::Late);
    assert!(!b.agreement.is_whole(0));
}

#[test]
fn what_the_log_has_forgotten_needs_a_bulk_update() {
    let (mut a, mut b) = pair();
    for n in 0..40 {
        let _lost = a.deletes(n * 100..n * 100 + 100, 0);
    }
    let hello = a.hello(0);
    assert_eq!(b.receive(&a, &hello, 0).gap, Some(Gap { first: 1, last: 40 }));
    let hello = b.hello(0);
    let _ = a.receive(&b, &hello, 0);
    assert_eq!(a.repairs().len(), 1000);
    let hello = a.hello(20 * MS);
    let reception = b.receive(&a, &hello, 20 * MS);
    assert!(reception.needs_bulk && !b.agreement.is_whole(20 * MS));
    // An end mark alone does not count, nor do the marks of a bulk update that began before.
    b.agreement.receive_mark(epoch(1), 60, BulkMark::End);
    b.agreement.receive_mark(epoch(1), 9, BulkMark::Start);
    assert!(b.agreement.needs_bulk(20 * MS));
    // Its order does not matter.
    b.agreement.receive_mark(epoch(1), 50, BulkMark::Start);
    assert!(!b.agreement.needs_bulk(20 * MS));
    b.agreement.receive_mark(epoch(1), 70, BulkMark::Start);
    assert!(!b.agreement.needs_bulk(20 * MS));
}

#[test]
fn what_an_earlier_epoch_told_does_not_answer_a_request() {
    for has_requested in [false, true] {
        let (mut a, mut b) = pair();
        let packet = a.deletes(1..2, 0);
        let _ = b.receive(&a, &packet, 0);
        let mut booted = TestNode { address: a.address, ..TestNode::new(3) };
        b.awaits_bulk = has_requested;
        let packet = booted.deletes(1..2, 0);
        let _ = b.receive(&booted, &packet, 0);
        assert_eq!(b.agreement.needs_bulk(0), has_requested);
        // Its own answer does.
        b.agreement.receive_mark(epoch(3), 2, BulkMark::Start);
        b.agreement.receive_mark(epoch(3), 2, BulkMark::End);
        assert!(!b.agreement.needs_bulk(0));
    }
}

#[test]
fn who_requests_a_bulk_update_is_told_only_the_ends_that_came_before() {
    let (mut a, mut b) = (TestNode::new(1), TestNode::new(2));
    a.lose(|writer| writer.append(Action::UpdateCompressed, &update(1)).unwrap());
    let _lost = a.deletes(2..3, 0);
    // The two meet.
    greet(&mut a, &mut b, 0);
    assert_eq!(b.agreement.peers().iter().map(Peer::missing).sum::<u64>(), 2);
    // What came before they met was not lost.
    assert_eq!(b.agreement.counts().lost, 0);
    a.agreement.receive_bulk_request(epoch(2));
    a.agreement.begin_bulk();
    assert_eq!(a.repairs(), [Told::Deleted(id(2))]);
}

#[test]
fn what_one_peer_gets_in_a_bulk_update_is_told_to_another() {
    let (mut a, mut b) = pair();
    let mut c = TestNode::new(3);
    greet(&mut a, &mut c, 0);
    a.lose(|writer| {
        writer.append(Action::UpdateCompressed, &update(1)).unwrap();
        writer.append(Action::DeleteCompressed, &RawId::from(id(2))).unwrap();
        writer.append(Action::UpdateCompressed, &update(3)).unwrap();
    });
    let hello = a.hello(0);
    let _ = (b.receive(&a, &hello, 0), c.receive(&a, &hello, 0));
    a.agreement.receive_bulk_request(epoch(2));
    a.agreement.begin_bulk();
    let hello = b.hello(0);
    let _ = a.receive(&b, &hello, 0);
    assert_eq!(a.agreement.next_to_repair(false), Some(Told::Deleted(id(2))));
    // The report of the other comes in the middle.
    let hello = c.hello(0);
    let _ = a.receive(&c, &hello, 0);
    assert_eq!(a.repairs(), [1, 3].map(|n| Told::State(id(n))));
}

#[test]
fn what_a_bulk_update_has_told_is_told_again_to_who_requests_another() {
    let (mut a, mut b) = pair();
    a.agreement.receive_bulk_request(epoch(2));
    a.agreement.begin_bulk();
    a.lose(|writer| writer.append(Action::UpdateCompressed, &update(1)).unwrap());
    a.agreement.receive_bulk_request(epoch(2));
    exchange(&mut a, &mut b, 0);
    assert_eq!(a.repairs(), [Told::State(id(1))]);
    a.lose(|writer| writer.append(Action::UpdateCompressed, &update(2)).unwrap());
    a.agreement.begin_bulk();
    exchange(&mut a, &mut b, 20 * MS);
    assert_eq!(a.repairs(), []);
}

#[test]
fn stock_peers_get_no_trailers() {
    let mut a = TestNode::new(1);
    let mut stock = vec![0; 1480];
    let len = FrameWriter::new(&mut stock, &[0; 16]).unwrap().finish();
    let _ = a.receive_from(address(9), &stock[..len], 0);
    assert!(!a.agreement.is_spoken(0));
    let standing = |node: &TestNode| node.agreement.peers()[0].standing(&View::default());
    assert_eq!(standing(&a), Some(Standing::Stock));
    a.agreement.hear_format(address(8), Format::V1301);
    assert_eq!(a.agreement.peers()[0].reads(), None, "that was another");
    a.agreement.hear_format(address(9), Format::V1400);
    assert_eq!(a.agreement.peers()[0].reads(), Some(Format::V1400));
    let mut b = TestNode::new(2);
    let hello = b.hello(0);
    let _ = a.receive(&b, &hello, 0);
    assert!(a.agreement.is_spoken(0) && !a.agreement.is_spoken(SILENCE));
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes under Miri")]
fn a_flood_of_peers_evicts_nobody_and_is_bounded() {
    let (mut a, mut b) = pair();
    for n in 3..200 {
        let mut other = TestNode::new(n);
        let frame = other.deletes(0..1, 0);
        assert_eq!(a.verdict(&other, &frame, MS), Verdict::Take);
    }
    assert_eq!(a.agreement.peers().len(), MAX_PEERS);
    assert_eq!(a.agreement.counts().untracked, 197 - 7);
    let frame = b.deletes(0..1, 0);
    let _ = a.receive(&b, &frame, MS);
    assert_eq!(a.verdict(&b, &frame, MS), Verdict::Late);
}

#[test]
fn a_rebooted_peer_takes_its_place() {
    let (mut a, _) = pair();
    let mut again = TestNode::new(2);
    again.agreement.restart(epoch(99), 5, 0);
    let frame = again.deletes(0..1, 0);
    assert_eq!(a.verdict(&again, &frame, MS), Verdict::Take);
    let peers = a.agreement.peers().iter().filter(|peer| peer.kind != Kind::Free);
    assert_eq!(peers.map(|peer| peer.epoch()).collect::<Vec<_>>(), [Some(epoch(99))]);
}

#[test]
fn reports_pace_a_bulk_update() {
    let (mut a, mut b) = pair();
    assert_eq!(a.agreement.bulk_space(0), None);
    a.agreement.receive_bulk_request(epoch(2));
    a.agreement.begin_bulk();
    assert_eq!(a.agreement.bulk_space(0), Some(MIN_WINDOW));
    b.awaits_bulk = true;
    for n in 0..MIN_WINDOW {
        let frame = a.deletes(n..n + 1, 0);
        let reception = b.receive(&a, &frame, 20 * MS);
        assert_eq!(reception.wake, n + 1 >= u64::from(REPORT_FRAMES));
    }
    assert_eq!(a.agreement.bulk_space(0), Some(0));
    assert!(b.agreement.hello_due(true, 20 * MS) <= 20 * MS);
    let hello = b.hello(20 * MS);
    let _ = a.receive(&b, &hello, 20 * MS);
    assert_eq!(a.agreement.bulk_space(20 * MS), Some(2 * MIN_WINDOW));
    assert_eq!(a.agreement.bulk_space(1030 * MS), None);
    a.agreement.finish_bulk();
    assert_eq!(a.agreement.bulk_space(20 * MS), None);
}
