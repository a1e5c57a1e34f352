// SPDX-License-Identifier: BSD-2-Clause
//! Keys, recordings, and packets that were forged or damaged.

use super::*;

#[test]
fn with_a_key_only_fresh_epochs_count() {
    let (mut a, mut b) = (TestNode::with_key(1), TestNode::with_key(2));
    let early = a.deletes(0..1, 0);
    assert_eq!(b.verdict(&a, &early, 0), Verdict::Refuse(Refusal::NotFresh));
    let first = a.hello(0);
    assert_eq!(b.verdict(&a, &first, 0), Verdict::Greeting);
    let answer = b.hello(0);
    assert_eq!(a.verdict(&b, &answer, 0), Verdict::Take);
    let second = a.hello(0);
    assert_eq!(b.verdict(&a, &second, 0), Verdict::Take);
    // What was refused is missing now, and is repaired.
    assert!(!b.agreement.is_whole(0));
    let frame = a.deletes(1..2, 0);
    assert_eq!(b.verdict(&a, &frame, 0), Verdict::Take);
    assert_eq!(b.verdict(&a, &frame, 0), Verdict::Late);
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes under Miri")]
fn recordings_of_a_former_epoch_prove_nothing() {
    let (mut a, mut b) = (TestNode::with_key(1), TestNode::with_key(2));
    greet(&mut a, &mut b, 0);
    let recorded = [a.hello(MS), a.deletes(0..1, MS), a.hello(MS)];
    for packet in &recorded {
        assert_eq!(b.verdict(&a, packet, MS), Verdict::Take);
    }
    // Played back at once, from the same address and from another.
    for packet in &recorded {
        assert_eq!(b.verdict(&a, packet, MS), Verdict::Late);
        assert_eq!(b.receive_from(address(77), packet, MS).unwrap().verdict, Verdict::Late);
    }
    // The peer reboots.
    let mut again = TestNode::with_key(1);
    again.agreement.restart(epoch(99), 5, 0);
    greet(&mut again, &mut b, 2 * MS);
    assert!(b.agreement.peers().iter().all(|peer| peer.epoch() != Some(epoch(1))));
    // None of it makes a change, and none takes a place.
    for packet in &recorded {
        let verdict = b.verdict(&a, packet, 3 * MS);
        assert!(matches!(verdict, Verdict::Greeting | Verdict::Refuse(Refusal::NotFresh)), "{verdict:?}");
    }
    let frame = again.deletes(0..1, 3 * MS);
    assert_eq!(b.verdict(&again, &frame, 3 * MS), Verdict::Take);
    // This node reboots too: whatever was recorded names another challenge.
    let mut b = TestNode::with_key(2);
    b.agreement.restart(epoch(55), 6, 0);
    for packet in &recorded {
        assert!(b.verdict(&a, packet, 3 * MS) != Verdict::Take);
    }
}

#[test]
fn a_node_does_not_listen_to_itself() {
    let mut a = TestNode::with_key(1);
    let (frame, hello) = (a.deletes(0..1, 0), a.hello(0));
    for packet in [frame, hello] {
        let reception = a.receive_from(address(9), &packet, 0).unwrap();
        assert_eq!(reception.verdict, Verdict::Refuse(Refusal::Reflected));
    }
}

/// A packet of an epoch that its node did not send, without a tag.
fn forge(
    epoch: Epoch,
    number: u64,
    fill: impl FnOnce(&mut FrameWriter),
    write: impl FnOnce(&mut TrailerWriter),
) -> Vec<u8> {
    let mut packet = vec![0; 200];
    let mut writer = FrameWriter::new(&mut packet, &[0; 16]).unwrap();
    writer.end_with_trailer(false);
    fill(&mut writer);
    let len = writer.finish();
    let mut writer = TrailerWriter::new(&mut packet[len..], epoch, number, false).unwrap();
    write(&mut writer);
    let len = len + writer.finish();
    packet.truncate(len);
    packet
}

/// A forged packet of `node` with a high number. If it is a hello, its count is high too.
fn forged(node: &TestNode, is_hello: bool) -> Vec<u8> {
    let epoch = node.agreement.epoch();
    if is_hello {
        let block = Node { challenge: 1, hello: u32::MAX, ..NODE };
        return forge(epoch, 1 << 40, |_| (), |writer| writer.node(&block).unwrap());
    }
    let delete = |writer: &mut FrameWriter| {
        writer.append(Action::DeleteCompressed, &RawId::from(id(1))).unwrap();
    };
    forge(epoch, 1 << 40, delete, |_| ())
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes under Miri")]
fn what_anyone_could_send_does_not_count_once_a_key_is_required() {
    for is_hello in [false, true] {
        let (mut a, mut b) = pair();
        let packet = forged(&a, is_hello);
        let _ = b.receive_from(address(1), &packet, 0);
        for node in [&mut a, &mut b] {
            (node.key, node.is_required) = (Some(KEY), true);
        }
        greet(&mut a, &mut b, MS);
        let frame = a.deletes(0..1, MS);
        assert_eq!(b.verdict(&a, &frame, MS), Verdict::Take, "forged hello: {is_hello}");
        assert!(b.agreement.needs_bulk(MS));
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes under Miri")]
fn what_was_taken_before_a_key_is_required_is_not_taken_again() {
    let (mut a, mut b) = pair();
    for node in [&mut a, &mut b] {
        node.key = Some(KEY);
    }
    greet(&mut a, &mut b, 0);
    let recorded = [a.deletes(0..1, 0), a.hello(0)];
    for packet in &recorded {
        assert_eq!(b.verdict(&a, packet, 0), Verdict::Take);
    }
    // Someone without the key spoils the numbers, in the hope that they begin anew.
    let packet = forged(&a, false);
    let _ = b.receive_from(address(1), &packet, 0);
    for node in [&mut a, &mut b] {
        node.is_required = true;
    }
    for packet in &recorded {
        let reception = b.receive(&a, packet, MS);
        assert!(reception.verdict != Verdict::Take, "{:?}", reception.verdict);
    }
    assert!(!b.agreement.is_whole(MS));
    greet(&mut a, &mut b, 2 * MS);
    assert!(b.agreement.needs_bulk(2 * MS));
    let frame = a.deletes(1..2, 2 * MS);
    assert_eq!(b.verdict(&a, &frame, 2 * MS), Verdict::Take);
    assert!(b.verdict(&a, &recorded[0], 2 * MS) != Verdict::Take);
}

/// Damages the number in a trailer.
fn with_number(mut packet: Vec<u8>, number: u64) -> Vec<u8> {
    let trailer = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    packet[trailer + 2..trailer + 8].copy_from_slice(&number.to_be_bytes()[2..]);
    packet
}

/// A forged hello of the first node, with the blocks that `write` writes.
fn hello_with(write: impl FnOnce(&mut TrailerWriter)) -> Vec<u8> {
    forge(epoch(1), 0, |_| (), write)
}

#[test]
fn a_hello_without_a_node_is_refused() {
    let (a, mut b) = pair();
    let empty = hello_with(|_| ());
    assert_eq!(b.verdict(&a, &empty, 0), Verdict::Refuse(Refusal::BadHello));
}

#[test]
fn a_report_of_numbers_that_were_not_given_is_ignored() {
    let (a, mut b) = pair();
    let _ = b.deletes(0..1, 0);
    let of = Ident { epoch: b.agreement.epoch(), challenge: 200 };
    for (heard, is_repairing) in [(2, false), (1, true)] {
        let hello = hello_with(|writer| {
            writer.node(&Node { challenge: 100, hello: 10 - heard, ..NODE }).unwrap();
            writer.report(of, heard.into(), [Gap { first: 1, last: 1 }]).unwrap();
        });
        assert_eq!(b.verdict(&a, &hello, 0), Verdict::Take);
        assert_eq!(b.agreement.is_repairing(0), is_repairing);
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes under Miri")]
fn a_damaged_number_does_no_lasting_harm() {
    for is_hello in [false, true] {
        let (mut a, mut b) = pair();
        greet(&mut a, &mut b, 0);
        let packet = if is_hello { a.hello(20 * MS) } else { a.deletes(0..1, 20 * MS) };
        let _ = b.receive(&a, &with_number(packet, 1 << 40), 20 * MS);
        let packet = a.deletes(1..2, 30 * MS);
        assert_eq!(b.verdict(&a, &packet, 30 * MS), Verdict::Late);
        for n in 0..i64::from(MAX_DOUBTS) {
            let hello = a.hello((100 + n) * MS);
            assert_eq!(b.verdict(&a, &hello, (100 + n) * MS), Verdict::Take);
        }
        assert!(b.agreement.needs_bulk(200 * MS));
        let packet = a.deletes(2..3, 200 * MS);
        assert_eq!(b.verdict(&a, &packet, 200 * MS), Verdict::Take);
    }
}

#[test]
fn a_damaged_count_of_hellos_does_no_lasting_harm() {
    let (mut a, mut b) = pair();
    greet(&mut a, &mut b, 0);
    let place = b.agreement.peers.iter_mut().find(|peer| peer.epoch() == Some(epoch(1))).unwrap();
    place.node.as_mut().unwrap().hello = u32::MAX;
    for _ in 1..MAX_DOUBTS {
        let hello = a.hello(100 * MS);
        assert_eq!(b.verdict(&a, &hello, 100 * MS), Verdict::Late);
    }
    let hello = a.hello(110 * MS);
    assert_eq!(b.verdict(&a, &hello, 110 * MS), Verdict::Take);
    let hello = a.hello(120 * MS);
    assert_eq!(b.verdict(&a, &hello, 120 * MS), Verdict::Take);
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes under Miri")]
fn recorded_hellos_cast_no_doubt_if_a_key_is_required() {
    let (mut a, mut b) = (TestNode::with_key(1), TestNode::with_key(2));
    greet(&mut a, &mut b, 0);
    greet(&mut a, &mut b, 50 * MS);
    let old = a.hello(60 * MS);
    let _ = b.receive(&a, &old, 60 * MS);
    for _ in 0..2 * MAX_DOUBTS {
        assert_eq!(b.verdict(&a, &old, 70 * MS), Verdict::Late);
    }
    assert!(b.agreement.is_whole(70 * MS));
}
