// SPDX-License-Identifier: BSD-2-Clause

use super::*;
use proptest::prelude::*;

const A: Answerer = stock(1);
const B: Answerer = stock(2);
/// How many states pf may have in these tests.
const MOST: u32 = 100_000;

const fn stock(number: u8) -> Answerer {
    Answerer { address: PeerAddress([number; 16]), epoch: None }
}

fn numbered(address: u8, epoch: u64) -> Answerer {
    Answerer { epoch: Epoch::new(epoch), ..stock(address) }
}

fn start() -> BulkStatus {
    BulkStatus { creator: [1; 4], age: 0, mark: BulkMark::Start }
}

fn end(age: u32) -> BulkStatus {
    BulkStatus { creator: [1; 4], age, mark: BulkMark::End }
}

/// A firewall that lacks states and has requested them at `now`.
fn requested(now: u32, audience: Audience) -> Requester {
    let mut requester = Requester::new();
    requester.mark_incomplete();
    assert_eq!(requester.request(now, 240, audience), 240);
    requester
}

#[test]
fn a_complete_bulk_update_gives_the_demotion_back_once() {
    let mut requester = requested(100, Audience::One);
    assert!(!requester.is_complete() && !requester.is_idle());
    assert_eq!(requester.request(101, 99, Audience::One), 0);
    assert_eq!(requester.receive_mark(A, None, &start(), 101), None);
    assert_eq!(requester.receive_mark(A, None, &end(0), 102), Some(240));
    assert!(requester.is_complete() && requester.is_idle());
    assert_eq!(requester.receive_mark(A, None, &end(1), 102), None);
    assert_eq!(requester.cancel(), None);
    assert_eq!(requester.tick(200, MOST), Tick::Idle);
}

/// A bulk update that was requested at `now` arrives.
fn arrives(requester: &mut Requester, now: u32) -> Option<i32> {
    assert_eq!(requester.receive_mark(A, None, &start(), now), None);
    requester.receive_mark(A, None, &end(0), now)
}

#[test]
fn a_state_that_a_limit_keeps_out_is_missing_until_another_bulk_update() {
    let mut requester = requested(100, Audience::One);
    assert!(!requester.keep_out(100));
    assert_eq!(arrives(&mut requester, 100), Some(240));
    assert!(requester.is_idle() && !requester.is_complete());
    // The time counts from the first. It has doubled with the bulk update.
    assert!(!requester.keep_out(110));
    let retry = 100 + 2 * FIRST_RETRY_SECONDS;
    assert_eq!(requester.tick(retry - 1, MOST), Tick::Wait);
    assert_eq!(requester.tick(retry, MOST), Tick::Retry);
    // The peer may lack more.
    assert_eq!(requester.request(retry, 240, Audience::One), 0);
    assert!(!requester.is_complete());
    assert_eq!(arrives(&mut requester, retry), Some(0));
    assert!(requester.is_complete());
    assert_eq!(requester.tick(retry + 1, MOST), Tick::Idle);
    // When its peers are gone, nothing of theirs is missing.
    assert!(requester.keep_out(300) && !requester.is_complete());
    assert_eq!(requester.forget(), None);
    assert!(requester.is_complete());
}

#[test]
fn bulk_updates_that_bring_too_much_are_requested_ever_more_rarely() {
    let mut requester = Requester::new();
    let (mut now, mut pauses) = (100, vec![]);
    assert!(requester.keep_out(now));
    for _ in 0..8 {
        let next = (now..).find(|now| requester.tick(*now, MOST) == Tick::Retry).expect("a retry");
        pauses.push(next - now);
        now = next;
        assert_eq!(requester.request(now, 240, Audience::One), 0);
        assert!(!requester.keep_out(now));
        assert_eq!(arrives(&mut requester, now), Some(0));
    }
    assert_eq!(pauses, [60, 120, 240, 480, 960, 1920, 3600, 3600]);
    // One that brings everything ends that.
    assert_eq!(requester.request(now, 240, Audience::One), 0);
    assert_eq!(arrives(&mut requester, now), Some(0));
    assert!(requester.keep_out(now));
    assert_eq!(requester.tick(now + FIRST_RETRY_SECONDS, MOST), Tick::Retry);
}

#[test]
fn a_bulk_update_that_breaks_off_brings_nothing_that_was_kept_out() {
    let mut requester = Requester::new();
    assert!(requester.keep_out(100));
    assert_eq!(requester.request(200, 240, Audience::One), 0);
    assert_eq!(requester.receive_mark(A, None, &start(), 200), None);
    let given_up = (201..300).find(|now| matches!(requester.tick(*now, MOST), Tick::GiveUp { .. }));
    assert!(given_up.is_some() && !requester.is_complete());
    assert_eq!(requester.tick(400, MOST), Tick::Retry);
    assert_eq!(requester.request(400, 240, Audience::One), 0);
    assert_eq!(requester.cancel(), Some(0));
    assert!(!requester.is_complete());
    assert_eq!(requester.tick(400 + FIRST_RETRY_SECONDS, MOST), Tick::Retry);
}

#[test]
fn a_bulk_update_that_is_awaited_brings_what_cannot_be_requested() {
    let mut requester = Requester::new();
    assert_eq!(requester.request(100, 240, Audience::One), 0);
    assert!(!requester.leave_out(100));
    assert!(!requester.is_complete());
    assert_eq!(arrives(&mut requester, 100), Some(0));
    assert!(requester.is_complete());
    assert!(requester.leave_out(101));
    assert!(!requester.is_complete());
    assert_eq!(requester.tick(101 + FIRST_RETRY_SECONDS, MOST), Tick::Retry);
}

#[test]
fn what_an_operator_cleared_does_not_come_back_with_what_was_kept_out() {
    let mut requester = Requester::new();
    assert!(requester.keep_out(100));
    requester.miss(101);
    assert_eq!(requester.tick(100 + FIRST_RETRY_SECONDS, MOST), Tick::Idle);
    assert!(!requester.is_complete());
}

#[test]
fn a_firewall_that_lacks_nothing_is_not_demoted() {
    let mut requester = Requester::new();
    assert_eq!(requester.request(100, 240, Audience::Group), 0);
    assert!(requester.is_complete());
    // Then it misses something after all.
    requester.mark_incomplete();
    assert_eq!(requester.request(103, 240, Audience::Group), 240);
    assert_eq!(requester.cancel(), Some(240));
    assert!(!requester.is_complete());
}

#[test]
fn a_negative_demotion_adds_and_gives_back_nothing() {
    for demotion in [-1, i32::MIN] {
        let mut requester = Requester::new();
        requester.mark_incomplete();
        assert_eq!(requester.request(100, demotion, Audience::One), 0);
        assert_eq!(requester.cancel(), Some(0));
    }
}

#[test]
fn a_bulk_update_that_began_before_the_request_does_not_count() {
    let mut requester = requested(100, Audience::One);
    assert_eq!(requester.receive_mark(A, None, &end(3), 102), None);
    assert_eq!(requester.receive_mark(A, None, &end(u32::MAX), 102), None);
    assert_eq!(requester.receive_mark(A, None, &end(2), 102), Some(240));
}

#[test]
fn the_second_of_a_peer_may_turn_once_more_after_its_start() {
    let mut requester = requested(100, Audience::One);
    let _ = requester.receive_mark(A, None, &start(), 100);
    assert_eq!(requester.receive_mark(A, None, &end(4), 102), None);
    assert_eq!(requester.receive_mark(A, None, &end(3), 102), Some(240));
}

#[test]
fn a_request_that_a_peer_did_not_hear_is_made_again_after_the_wait() {
    let mut requester = requested(100, Audience::Group);
    assert!(requester.request_missed());
    let _ = requester.receive_mark(A, None, &start(), 100);
    let _ = requester.receive_mark(A, None, &end(0), 100);
    assert_eq!(requester.tick(102, MOST), Tick::Done { demotion: 240 });
    assert!(!requester.request_missed());
    assert!(!requester.is_complete());
    assert_eq!(requester.request(103, 240, Audience::Group), 240);
}

#[test]
fn a_firewall_that_lacked_nothing_still_does_if_a_peer_did_not_hear_its_request() {
    let mut requester = Requester::new();
    assert_eq!(requester.request(100, 240, Audience::Group), 0);
    assert_eq!(requester.cancel(), Some(0));
    assert!(!requester.request_missed());
    assert!(requester.is_complete());
}

#[test]
fn a_lost_start_mark_costs_nothing() {
    let mut requester = requested(100, Audience::One);
    requester.receive_states(A, 100, 101);
    assert_eq!(requester.receive_mark(A, None, &end(2), 103), Some(240));
    assert!(requester.is_complete());
}

#[test]
fn an_end_does_not_count_if_a_frame_before_it_was_dropped() {
    // At boot pfsync runs before pf, and drops what arrives until then.
    let mut requester = requested(100, Audience::One);
    requester.miss(101);
    assert_eq!(requester.receive_mark(A, None, &end(2), 102), None);
    assert_eq!(requester.receive_mark(A, None, &end(1), 103), None);
    // This one began after.
    assert_eq!(requester.receive_mark(A, None, &end(1), 104), Some(240));
}

#[test]
fn a_start_that_was_read_proves_that_nothing_after_it_was_dropped() {
    let mut requester = requested(100, Audience::One);
    requester.miss(101);
    let _ = requester.receive_mark(A, None, &start(), 101);
    assert_eq!(requester.receive_mark(A, None, &end(1), 102), Some(240));
    // Unless something was dropped after it.
    let mut requester = requested(100, Audience::One);
    let _ = requester.receive_mark(A, None, &start(), 101);
    requester.miss(101);
    assert_eq!(requester.receive_mark(A, None, &end(1), 102), None);
}

#[test]
fn a_peer_whose_address_changes_ends_the_answer_that_it_began() {
    // By its epoch, or because it is the only peer.
    for (audience, before, after) in [
        (Audience::Group, numbered(1, 7), numbered(2, 7)),
        (Audience::One, numbered(1, 7), numbered(2, 7)),
        (Audience::One, A, B),
    ] {
        let mut requester = requested(100, audience);
        let _ = requester.receive_mark(before, None, &start(), 100);
        let _ = requester.receive_mark(after, None, &start(), 105);
        let _ = requester.receive_mark(after, None, &end(0), 105);
        let _ = requester.tick(106, MOST);
        assert!(requester.is_complete() && requester.is_idle(), "{audience:?} {before:?}");
    }
}

#[test]
fn a_peer_that_boots_begins_anew() {
    let mut requester = requested(100, Audience::Group);
    let _ = requester.receive_mark(numbered(1, 7), None, &start(), 100);
    let _ = requester.receive_mark(numbered(1, 8), None, &start(), 103);
    assert_eq!(requester.receive_mark(numbered(1, 8), None, &end(0), 103), Some(240));
}

#[test]
fn an_end_that_overtakes_its_start_counts() {
    let from = numbered(1, 7);
    let mut requester = requested(100, Audience::Group);
    requester.miss(102);
    // Alone it proves nothing: frames before it may have been dropped.
    assert_eq!(requester.receive_mark(from, Some(40), &end(0), 103), None);
    assert_eq!(requester.receive_mark(from, Some(20), &end(0), 103), None);
    assert!(!requester.has_ended(103));
    assert_eq!(requester.receive_mark(from, Some(30), &start(), 103), Some(240));
    // Another's start, and one after the end, do not.
    let mut requester = requested(100, Audience::Group);
    requester.miss(102);
    let _ = requester.receive_mark(from, Some(40), &end(0), 103);
    let _ = requester.receive_mark(numbered(2, 8), Some(30), &start(), 103);
    let _ = requester.receive_mark(from, Some(41), &start(), 103);
    assert!(!requester.has_ended(103));
}

/// A frame of the answer overtakes the start mark, and a state in it is refused.
#[test]
fn a_start_that_a_refused_state_has_overtaken_does_not_count() {
    let mut requester = requested(100, Audience::One);
    let peer = numbered(1, 7);
    assert!(!requester.refuse(peer, Some(12), 100));
    assert!(!requester.refuse(peer, Some(11), 100));
    assert_eq!(requester.receive_mark(peer, Some(10), &start(), 101), None);
    assert_eq!(requester.receive_mark(peer, Some(13), &end(0), 101), None);
    // The next answer brings the state.
    assert_eq!(requester.request(102, 240, Audience::One), 0);
    assert_eq!(requester.receive_mark(peer, Some(14), &start(), 102), None);
    assert_eq!(requester.receive_mark(peer, Some(15), &end(0), 102), Some(240));
    assert!(requester.is_complete());
}

#[test]
fn a_peer_that_numbers_its_frames_no_longer_is_believed() {
    let mut requester = requested(100, Audience::One);
    assert!(!requester.refuse(numbered(1, 7), Some(12), 100));
    assert_eq!(requester.receive_mark(A, None, &start(), 101), None);
    assert_eq!(requester.receive_mark(A, None, &end(0), 102), Some(240));
}

#[test]
fn a_refused_state_asks_for_a_bulk_update_if_none_is_awaited() {
    let mut requester = Requester::new();
    assert!(requester.refuse(numbered(1, 7), Some(12), 100));
    assert!(!requester.is_complete());
}

#[test]
fn a_peer_that_vanishes_after_a_refused_state_is_not_awaited_for_ever() {
    let mut requester = requested(100, Audience::Group);
    assert!(!requester.refuse(numbered(1, 7), Some(12), 100));
    let last =
        (101..1000).map(|now| requester.tick(now, MOST)).find(|tick| matches!(tick, Tick::GiveUp { .. }));
    assert_eq!(last, Some(Tick::GiveUp { demotion: 240 }));
    assert!(requester.is_complete());
}

#[test]
fn an_end_that_a_later_start_overtakes_does_not_count() {
    let from = numbered(1, 7);
    let mut requester = requested(100, Audience::One);
    let _ = requester.receive_mark(from, Some(30), &start(), 100);
    let _ = requester.receive_mark(from, Some(60), &start(), 100);
    assert_eq!(requester.receive_mark(from, Some(50), &end(0), 101), None);
    assert!(!requester.has_ended(101));
    assert_eq!(requester.receive_mark(from, Some(70), &end(0), 101), Some(240));
}

#[test]
fn a_sync_peer_that_boots_counts_its_frames_anew() {
    let mut requester = requested(100, Audience::One);
    let _ = requester.receive_mark(numbered(1, 7), Some(500), &start(), 100);
    let _ = requester.receive_mark(numbered(1, 8), Some(3), &start(), 103);
    assert_eq!(requester.receive_mark(numbered(1, 8), Some(9), &end(0), 103), Some(240));
}

#[test]
fn what_a_peer_sends_after_its_end_is_no_progress() {
    let mut requester = requested(100, Audience::Group);
    let _ = requester.receive_mark(A, None, &start(), 100);
    assert_eq!(requester.receive_mark(B, None, &end(0), 100), None);
    let mut ticks = (101..).map(|now| {
        // Another firewall keeps requesting.
        let _ = requester.receive_mark(B, None, &start(), now);
        let _ = requester.receive_mark(B, None, &end(0), now);
        (now, requester.tick(now, MOST))
    });
    assert_eq!(ticks.find(|(_, tick)| *tick != Tick::Wait), Some((100 + QUIET_SECONDS, Tick::Request)));
}

#[test]
fn an_empty_peer_that_answers_first_does_not_end_the_wait() {
    let mut requester = requested(100, Audience::Group);
    let _ = requester.receive_mark(A, None, &start(), 100);
    assert_eq!(requester.receive_mark(A, None, &end(0), 100), None);
    assert_eq!(requester.tick(101, MOST), Tick::Wait);
    let _ = requester.receive_mark(B, None, &start(), 101);
    for now in 102..110 {
        requester.receive_states(B, 1000, now);
        assert_eq!(requester.tick(now, MOST), Tick::Wait);
    }
    assert_eq!(requester.receive_mark(B, None, &end(9), 110), Some(240));
}

#[test]
fn a_peer_whose_start_was_lost_is_waited_for() {
    let mut requester = requested(100, Audience::Group);
    assert_eq!(requester.receive_mark(A, None, &end(0), 100), None);
    requester.receive_states(B, 1000, 101);
    assert_eq!(requester.tick(103, MOST), Tick::Wait);
    // Its states are not progress, so that the request is repeated.
    requester.receive_states(B, 1000, 104);
    assert_eq!(requester.tick(105, MOST), Tick::Request);
    let _ = requester.receive_mark(B, None, &start(), 105);
    assert_eq!(requester.tick(108, MOST), Tick::Wait);
    assert_eq!(requester.receive_mark(B, None, &end(3), 108), Some(240));
}

#[test]
fn the_only_peer_of_a_group_is_believed_after_the_grace() {
    let mut requester = requested(100, Audience::Group);
    let _ = requester.receive_mark(A, None, &start(), 100);
    assert_eq!(requester.receive_mark(A, None, &end(0), 100), None);
    assert_eq!(requester.tick(101, MOST), Tick::Wait);
    assert_eq!(requester.tick(102, MOST), Tick::Done { demotion: 240 });
    assert!(requester.is_complete());
}

#[test]
fn the_requester_gives_up_after_twelve_more_requests() {
    let mut requester = requested(0, Audience::Group);
    let mut requests = 0;
    for now in 1.. {
        match requester.tick(now, MOST) {
            Tick::Request => requests += 1,
            Tick::Wait => {}
            last => {
                assert_eq!((last, now), (Tick::GiveUp { demotion: 240 }, 65));
                break;
            }
        }
    }
    assert_eq!(requests, u32::from(MAX_TRIES));
    // Nobody is there.
    assert!(requester.is_complete());
}

#[test]
fn a_peer_that_began_and_never_ended_leaves_the_firewall_incomplete() {
    let mut requester = requested(0, Audience::One);
    let _ = requester.receive_mark(A, None, &start(), 0);
    let last = (1..100).map(|now| requester.tick(now, MOST)).find(|tick| matches!(tick, Tick::GiveUp { .. }));
    assert_eq!(last, Some(Tick::GiveUp { demotion: 240 }));
    assert!(!requester.is_complete());
}

#[test]
fn answers_to_other_requests_are_no_progress() {
    let mut requester = requested(0, Audience::One);
    // One every second, as of a busy peer; the request for a bulk update was lost.
    let repeated = (1..20).find(|now| {
        requester.receive_states(A, 1, *now);
        requester.tick(*now, MOST) == Tick::Request
    });
    assert_eq!(repeated, Some(QUIET_SECONDS));
}

#[test]
fn a_lost_end_mark_delays_by_seconds() {
    let mut requester = requested(0, Audience::One);
    let _ = requester.receive_mark(A, None, &start(), 0);
    for now in 1..=20 {
        requester.receive_states(A, 50, now);
        assert_eq!(requester.tick(now, MOST), Tick::Wait);
    }
    assert_eq!((21..).find(|now| requester.tick(*now, MOST) == Tick::Request), Some(25));
}

#[test]
fn repeated_start_marks_prolong_nothing() {
    let mut requester = requested(0, Audience::One);
    let last = (1..1000).find(|now| {
        let _ = requester.receive_mark(A, None, &start(), *now);
        matches!(requester.tick(*now, MOST), Tick::GiveUp { .. })
    });
    assert!(last.is_some_and(|now| now <= 2 * QUIET_SECONDS * (u32::from(MAX_TRIES) + 1)));
}

#[test]
fn a_slow_answer_may_take_as_long_as_it_brings_states() {
    let mut requester = requested(0, Audience::One);
    let _ = requester.receive_mark(A, None, &start(), 0);
    for now in 1..=1300 {
        requester.receive_states(A, 1500, now);
        assert_eq!(requester.tick(now, 2_000_000), Tick::Wait);
    }
    assert_eq!(requester.receive_mark(A, None, &end(1300), 1300), Some(240));
}

#[test]
fn endless_progress_is_given_up() {
    let mut requester = requested(0, Audience::One);
    let _ = requester.receive_mark(A, None, &start(), 0);
    let last = (1..100_000).find(|now| {
        requester.receive_states(A, 100_000, *now);
        matches!(requester.tick(*now, MOST), Tick::GiveUp { .. })
    });
    assert_eq!(last, Some(GIVE_UP_SECONDS + MOST / SLOWEST_STATES_PER_SECOND));
}

#[test]
fn a_flood_of_peers_is_bounded() {
    let mut requester = requested(0, Audience::Group);
    for n in 0..=255 {
        let _ = requester.receive_mark(stock(n), None, &start(), 0);
    }
    for n in 0..MAX_ANSWERS as u8 {
        let _ = requester.receive_mark(stock(n), None, &end(1), 2);
    }
    assert!(requester.is_complete());
}

proptest! {
    /// Whatever happens in whatever order, what was added to the demotion is
    /// taken off once.
    #[test]
    fn demotion_balances(events in proptest::collection::vec((0..9u8, any::<bool>()), 0..300)) {
        let mut requester = Requester::new();
        let (mut now, mut demotion) = (0u32, 0i32);
        for (event, first) in events {
            let from = if first { A } else { B };
            match event {
                0 => demotion += requester.request(now, 240, Audience::Group),
                1 => demotion -= requester.receive_mark(from, None, &end(0), now).unwrap_or(0),
                2 => demotion -= requester.cancel().unwrap_or(0),
                3 => requester.receive_states(from, 7, now),
                4 => assert!(requester.receive_mark(from, None, &start(), now).is_none()),
                5 => requester.mark_incomplete(),
                6 => requester.miss(now),
                7 => demotion -= requester.forget().unwrap_or(0),
                _ => {
                    now += 1;
                    if let Tick::GiveUp { demotion: given } | Tick::Done { demotion: given } =
                        requester.tick(now, MOST)
                    {
                        demotion -= given;
                    }
                }
            }
            prop_assert!(demotion == 0 || (demotion == 240 && !requester.is_idle()));
        }
        prop_assert_eq!(demotion, requester.cancel().unwrap_or(0));
    }

    /// Two peers answer, each message may be lost, and the requester never
    /// says that nothing is missing before all states have arrived of which
    /// it could know.
    #[test]
    fn complete_means_that_all_have_ended(lost in proptest::collection::vec(any::<bool>(), 12)) {
        let mut requester = requested(0, Audience::Group);
        let mut arrived = [false; 2];
        let mut heard_of = [false; 2];
        let mut lost = lost.into_iter();
        let mut lose = || lost.next().unwrap_or(false);
        for (peer, begins) in [(A, 0u32), (B, 1)] {
            let index = usize::from(peer == B);
            if !lose() {
                heard_of[index] = true;
                let _ = requester.receive_mark(peer, None, &start(), begins);
            }
            if !lose() {
                heard_of[index] = true;
                requester.receive_states(peer, 10, begins);
            }
        }
        for now in 2..5 {
            let _ = requester.tick(now, MOST);
            prop_assert!(!requester.is_complete() || heard_of == [false; 2]);
        }
        for (peer, now) in [(A, 3u32), (B, 4)] {
            if !lose() {
                let _ = requester.receive_mark(peer, None, &end(now), now);
                arrived[usize::from(peer == B)] = true;
            }
        }
        let _ = requester.tick(4, MOST);
        for index in 0..2 {
            prop_assert!(!requester.is_complete() || arrived[index] || !heard_of[index]);
        }
    }
}
