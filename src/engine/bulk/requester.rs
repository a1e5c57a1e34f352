// SPDX-License-Identifier: BSD-2-Clause
//! The requesting side of a bulk update.

use crate::wire::{BulkMark, BulkStatus, PeerAddress};

/// How often a request is repeated before the requester gives up
/// (`PFSYNC_MAX_BULKTRIES` in the stock module).
pub const MAX_TRIES: u8 = 12;
/// Seconds without progress before the request is repeated.
pub const QUIET_SECONDS: u32 = 5;
/// Seconds after a request in which any peer begins its answer. Before they have
/// passed, the requester cannot know that every peer has.
pub const GRACE_SECONDS: u32 = 2;
/// Peers whose answers are told apart. Further peers are not waited for.
pub const MAX_ANSWERS: usize = 8;
/// Seconds from the first request until the requester gives up, if nothing
/// arrives.
const GIVE_UP_SECONDS: u32 = 600;
/// A peer that sends fewer states than this is too slow. Each that arrives
/// extends the time until the requester gives up accordingly: the stock module
/// sends fifteen hundred states a second at `kern.hz=100`.
const SLOWEST_STATES_PER_SECOND: u32 = 200;

/// How many peers can answer a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// The sync peer is one firewall.
    One,
    /// The sync peer is a multicast group.
    Group,
}

/// How far the answer of a peer has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    /// Whole states arrive, but no start mark did: either it was lost, or the
    /// request was, and the states have another reason. The end mark tells.
    Unmarked,
    /// A start mark arrived. `since_request` tells whether after the last
    /// request: another start mark is not progress.
    Began { since_request: bool },
    /// The end mark arrived, and nothing before it was missed.
    Ended,
}

/// The answer of one peer.
#[derive(Clone, Copy, Debug)]
struct Answer {
    from: PeerAddress,
    progress: Progress,
}

/// A bulk update that is awaited.
#[derive(Clone, Copy, Debug)]
struct Wait {
    audience: Audience,
    /// When the first request was sent. An answer that a peer began before may
    /// lack states.
    requested: u32,
    /// When the last request was sent.
    repeated: u32,
    /// When there was progress last.
    heard: u32,
    /// States of answers that have arrived.
    states: u32,
    /// How often the request was repeated.
    tries: u8,
    /// What was added to carp's demotion. It must be taken off again.
    demotion: i32,
    answers: [Option<Answer>; MAX_ANSWERS],
}

impl Wait {
    fn answer(&mut self, from: PeerAddress) -> Option<&mut Answer> {
        self.answers.iter_mut().flatten().find(|answer| answer.from == from)
    }

    fn set(&mut self, from: PeerAddress, progress: Progress) {
        if let Some(answer) = self.answer(from) {
            answer.progress = progress;
        } else if let Some(free) = self.answers.iter_mut().find(|answer| answer.is_none()) {
            *free = Some(Answer { from, progress });
        }
    }

    /// Whether every peer that began has ended, and no other will begin.
    fn is_complete(&self, now: u32) -> bool {
        let all_ended = self.answers.iter().flatten().all(|answer| answer.progress == Progress::Ended);
        let any = self.answers.iter().any(Option::is_some);
        let all_began = self.audience == Audience::One || now.wrapping_sub(self.repeated) >= GRACE_SECONDS;
        any && all_ended && all_began
    }
}

/// The requesting side. It knows whether this firewall may lack states, waits for
/// a bulk update, and keeps carp(4) demoted meanwhile: a firewall that lacks
/// states should not become master while another can.
///
/// The caller holds the lock that protects it.
#[derive(Debug, Default)]
pub struct Requester {
    /// States may be missing here, for a reason that is known.
    incomplete: bool,
    /// Every frame that arrived in this second of uptime or later was read.
    listening_since: u32,
    /// Numbers of peers are missing, so that a bulk update is not complete.
    lacks_numbers: bool,
    wait: Option<Wait>,
}

/// What to do after a second of waiting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Tick {
    /// Nothing: no bulk update is awaited. The timer may stop.
    Idle,
    /// Wait another second.
    Wait,
    /// Send the request again, and wait another second.
    Request,
    /// Nothing: the bulk update is complete.
    Done {
        /// Take this off carp's demotion.
        demotion: i32,
    },
    /// Nothing: the requester has given up.
    GiveUp {
        /// Take this off carp's demotion.
        demotion: i32,
    },
}

impl Requester {
    /// Nothing is missing, and no bulk update is awaited.
    pub const fn new() -> Requester {
        Requester { incomplete: false, listening_since: 0, lacks_numbers: false, wait: None }
    }

    /// Whether no state is known to be missing. ifconfig(8) shows it as `syncok`
    /// (`PFSYNCF_OK`).
    pub fn is_complete(&self) -> bool {
        !self.incomplete
    }

    /// Whether no bulk update is awaited.
    pub fn is_idle(&self) -> bool {
        self.wait.is_none()
    }

    /// States may be missing that no bulk update has told of yet.
    pub fn mark_incomplete(&mut self) {
        self.incomplete = true;
    }

    /// In the second `now`, a frame was dropped unread, or states were cleared that a
    /// peer may have told of.
    pub fn miss(&mut self, now: u32) {
        self.incomplete = true;
        self.listening_since = now.wrapping_add(1);
        if let Some(wait) = &mut self.wait {
            wait.answers = [None; MAX_ANSWERS];
        }
    }

    /// Notes whether numbers of peers are missing here. If they no longer are, and the bulk
    /// update is complete, returns what to take off carp's demotion.
    #[must_use]
    pub fn note_numbers(&mut self, are_missing: bool, now: u32) -> Option<i32> {
        self.lacks_numbers = are_missing;
        self.end_if_complete(now)
    }

    /// Whether a bulk update is awaited that every peer has sent to its end.
    pub fn has_ended(&self, now: u32) -> bool {
        self.wait.as_ref().is_some_and(|wait| wait.is_complete(now))
    }

    fn end_if_complete(&mut self, now: u32) -> Option<i32> {
        if self.has_ended(now) && !self.lacks_numbers {
            self.forget()
        } else {
            None
        }
    }

    /// Nobody is there who could have states that are missing here. Returns what
    /// to take off carp's demotion if a bulk update was awaited.
    #[must_use]
    pub fn forget(&mut self) -> Option<i32> {
        self.incomplete = false;
        self.cancel()
    }

    /// A bulk update is requested. Returns what to add to carp's demotion:
    /// `demotion` if states may be missing, but 0 if that is negative or if it is
    /// added already.
    #[must_use]
    pub fn request(&mut self, now: u32, demotion: i32, audience: Audience) -> i32 {
        let added = self.wait.map_or(0, |wait| wait.demotion);
        let to_add = if self.incomplete && added == 0 { demotion.max(0) } else { 0 };
        self.wait = Some(Wait {
            audience,
            requested: now,
            repeated: now,
            heard: now,
            states: 0,
            tries: 0,
            demotion: added.max(to_add),
            answers: [None; MAX_ANSWERS],
        });
        to_add
    }

    /// Updates of whole states arrived from a peer. They may be part of its
    /// answer. `is_numbered`: its frames are numbered. Then a start mark that was lost
    /// shows, and other states that are told again look like these.
    pub fn receive_states(&mut self, from: PeerAddress, states: usize, is_numbered: bool, now: u32) {
        let Some(wait) = &mut self.wait else { return };
        match wait.answer(from).map(|answer| answer.progress) {
            None if is_numbered => {}
            None => wait.set(from, Progress::Unmarked),
            Some(Progress::Began { .. }) => {
                wait.heard = now;
                wait.states = wait.states.saturating_add(u32::try_from(states).unwrap_or(u32::MAX));
            }
            Some(Progress::Unmarked | Progress::Ended) => {}
        }
    }

    /// A mark arrived. If it completes the bulk update, returns what to take off
    /// carp's demotion.
    #[must_use]
    pub fn receive_mark(&mut self, from: PeerAddress, status: &BulkStatus, now: u32) -> Option<i32> {
        let listening_since = self.listening_since;
        let wait = self.wait.as_mut()?;
        let progress = wait.answer(from).map(|answer| answer.progress);
        match status.mark {
            BulkMark::Start => {
                if progress != Some(Progress::Began { since_request: true })
                    && progress != Some(Progress::Ended)
                {
                    wait.heard = now;
                    wait.set(from, Progress::Began { since_request: true });
                }
                None
            }
            BulkMark::End => {
                if status.age > now.wrapping_sub(wait.requested) {
                    // It answers an earlier request of another firewall.
                    return None;
                }
                // A start mark that was read proves that nothing after it was
                // dropped. So does an age that lies within the time in which
                // every frame was read; the age is rounded down.
                let started = matches!(progress, Some(Progress::Began { .. }));
                let began = now.wrapping_sub(status.age).wrapping_sub(1);
                if !started && (began.wrapping_sub(listening_since) as i32) < 0 {
                    return None;
                }
                wait.heard = now;
                wait.set(from, Progress::Ended);
                self.end_if_complete(now)
            }
        }
    }

    /// Stops waiting. If a bulk update was awaited, returns what to take off
    /// carp's demotion. What was missing still is.
    #[must_use]
    pub fn cancel(&mut self) -> Option<i32> {
        self.wait.take().map(|wait| wait.demotion)
    }

    /// A second has passed. `most_states` is how many states pf may have here.
    pub fn tick(&mut self, now: u32, most_states: u32) -> Tick {
        let Some(wait) = &mut self.wait else {
            return Tick::Idle;
        };
        let demotion = wait.demotion;
        let has_ended = wait.is_complete(now);
        if has_ended && !self.lacks_numbers {
            let _ = self.forget();
            return Tick::Done { demotion };
        }
        let is_quiet = now.wrapping_sub(wait.heard) >= QUIET_SECONDS;
        let extension = wait.states.min(most_states) / SLOWEST_STATES_PER_SECOND;
        let is_late = now.wrapping_sub(wait.requested) >= GIVE_UP_SECONDS.saturating_add(extension);
        if is_late || (is_quiet && wait.tries >= MAX_TRIES) {
            // A firewall that hears nobody has all the states that there are.
            let nobody_began = wait.answers.iter().flatten().all(|answer| answer.progress == Progress::Ended);
            let _ = self.cancel();
            self.incomplete &= !nobody_began;
            return Tick::GiveUp { demotion };
        }
        if !is_quiet {
            return Tick::Wait;
        }
        wait.tries = wait.tries.saturating_add(1);
        wait.heard = now;
        wait.repeated = now;
        for answer in wait.answers.iter_mut().flatten() {
            if let Progress::Began { since_request } = &mut answer.progress {
                *since_request = false;
            }
        }
        Tick::Request
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: PeerAddress = PeerAddress([1; 16]);
    const B: PeerAddress = PeerAddress([2; 16]);
    /// How many states pf may have in these tests.
    const MOST: u32 = 100_000;

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
        assert_eq!(requester.receive_mark(A, &start(), 101), None);
        assert_eq!(requester.receive_mark(A, &end(0), 102), Some(240));
        assert!(requester.is_complete() && requester.is_idle());
        assert_eq!(requester.receive_mark(A, &end(1), 102), None);
        assert_eq!(requester.cancel(), None);
        assert_eq!(requester.tick(200, MOST), Tick::Idle);
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
        let _ = requester.receive_mark(A, &start(), 100);
        assert_eq!(requester.receive_mark(A, &end(3), 102), None);
        assert_eq!(requester.receive_mark(A, &end(u32::MAX), 102), None);
        assert_eq!(requester.receive_mark(A, &end(2), 102), Some(240));
    }

    #[test]
    fn a_lost_start_mark_costs_nothing() {
        let mut requester = requested(100, Audience::One);
        requester.receive_states(A, 100, false, 101);
        assert_eq!(requester.receive_mark(A, &end(2), 103), Some(240));
        assert!(requester.is_complete());
    }

    #[test]
    fn an_end_does_not_count_if_a_frame_before_it_was_dropped() {
        // At boot pfsync runs before pf, and drops what arrives until then.
        let mut requester = requested(100, Audience::One);
        requester.miss(101);
        assert_eq!(requester.receive_mark(A, &end(2), 102), None);
        assert_eq!(requester.receive_mark(A, &end(1), 103), None);
        // This one began after.
        assert_eq!(requester.receive_mark(A, &end(1), 104), Some(240));
    }

    #[test]
    fn a_start_that_was_read_proves_that_nothing_after_it_was_dropped() {
        let mut requester = requested(100, Audience::One);
        requester.miss(101);
        let _ = requester.receive_mark(A, &start(), 101);
        assert_eq!(requester.receive_mark(A, &end(1), 102), Some(240));
        // Unless something was dropped after it.
        let mut requester = requested(100, Audience::One);
        let _ = requester.receive_mark(A, &start(), 101);
        requester.miss(101);
        assert_eq!(requester.receive_mark(A, &end(1), 102), None);
    }

    #[test]
    fn an_empty_peer_that_answers_first_does_not_end_the_wait() {
        let mut requester = requested(100, Audience::Group);
        let _ = requester.receive_mark(A, &start(), 100);
        assert_eq!(requester.receive_mark(A, &end(0), 100), None);
        assert_eq!(requester.tick(101, MOST), Tick::Wait);
        let _ = requester.receive_mark(B, &start(), 101);
        for now in 102..110 {
            requester.receive_states(B, 1000, false, now);
            assert_eq!(requester.tick(now, MOST), Tick::Wait);
        }
        assert_eq!(requester.receive_mark(B, &end(9), 110), Some(240));
    }

    #[test]
    fn a_peer_whose_start_was_lost_is_waited_for() {
        let mut requester = requested(100, Audience::Group);
        assert_eq!(requester.receive_mark(A, &end(0), 100), None);
        requester.receive_states(B, 1000, false, 101);
        assert_eq!(requester.tick(103, MOST), Tick::Wait);
        // Its states are not progress, so that the request is repeated.
        requester.receive_states(B, 1000, false, 104);
        assert_eq!(requester.tick(105, MOST), Tick::Request);
        let _ = requester.receive_mark(B, &start(), 105);
        assert_eq!(requester.tick(108, MOST), Tick::Wait);
        assert_eq!(requester.receive_mark(B, &end(3), 108), Some(240));
    }

    #[test]
    fn the_only_peer_of_a_group_is_believed_after_the_grace() {
        let mut requester = requested(100, Audience::Group);
        let _ = requester.receive_mark(A, &start(), 100);
        assert_eq!(requester.receive_mark(A, &end(0), 100), None);
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
        let _ = requester.receive_mark(A, &start(), 0);
        let last =
            (1..100).map(|now| requester.tick(now, MOST)).find(|tick| matches!(tick, Tick::GiveUp { .. }));
        assert_eq!(last, Some(Tick::GiveUp { demotion: 240 }));
        assert!(!requester.is_complete());
    }

    #[test]
    fn answers_to_other_requests_are_no_progress() {
        let mut requester = requested(0, Audience::One);
        // One every second, as of a busy peer; the request for a bulk update was lost.
        let repeated = (1..20).find(|now| {
            requester.receive_states(A, 1, false, *now);
            requester.tick(*now, MOST) == Tick::Request
        });
        assert_eq!(repeated, Some(QUIET_SECONDS));
    }

    #[test]
    fn a_lost_end_mark_delays_by_seconds() {
        let mut requester = requested(0, Audience::One);
        let _ = requester.receive_mark(A, &start(), 0);
        for now in 1..=20 {
            requester.receive_states(A, 50, false, now);
            assert_eq!(requester.tick(now, MOST), Tick::Wait);
        }
        assert_eq!((21..).find(|now| requester.tick(*now, MOST) == Tick::Request), Some(25));
    }

    #[test]
    fn repeated_start_marks_prolong_nothing() {
        let mut requester = requested(0, Audience::One);
        let last = (1..1000).find(|now| {
            let _ = requester.receive_mark(A, &start(), *now);
            matches!(requester.tick(*now, MOST), Tick::GiveUp { .. })
        });
        assert!(last.is_some_and(|now| now <= 2 * QUIET_SECONDS * (u32::from(MAX_TRIES) + 1)));
    }

    #[test]
    fn a_slow_answer_may_take_as_long_as_it_brings_states() {
        let mut requester = requested(0, Audience::One);
        let _ = requester.receive_mark(A, &start(), 0);
        for now in 1..=1300 {
            requester.receive_states(A, 1500, false, now);
            assert_eq!(requester.tick(now, 2_000_000), Tick::Wait);
        }
        assert_eq!(requester.receive_mark(A, &end(1300), 1300), Some(240));
    }

    #[test]
    fn endless_progress_is_given_up() {
        let mut requester = requested(0, Audience::One);
        let _ = requester.receive_mark(A, &start(), 0);
        let last = (1..100_000).find(|now| {
            requester.receive_states(A, 100_000, false, *now);
            matches!(requester.tick(*now, MOST), Tick::GiveUp { .. })
        });
        assert_eq!(last, Some(GIVE_UP_SECONDS + MOST / SLOWEST_STATES_PER_SECOND));
    }

    #[test]
    fn a_flood_of_peers_is_bounded() {
        let mut requester = requested(0, Audience::Group);
        for n in 0..=255 {
            let _ = requester.receive_mark(PeerAddress([n; 16]), &start(), 0);
        }
        for n in 0..MAX_ANSWERS as u8 {
            let _ = requester.receive_mark(PeerAddress([n; 16]), &end(1), 2);
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
                    1 => demotion -= requester.receive_mark(from, &end(0), now).unwrap_or(0),
                    2 => demotion -= requester.cancel().unwrap_or(0),
                    3 => requester.receive_states(from, 7, false, now),
                    4 => assert!(requester.receive_mark(from, &start(), now).is_none()),
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
                    let _ = requester.receive_mark(peer, &start(), begins);
                }
                if !lose() {
                    heard_of[index] = true;
                    requester.receive_states(peer, 10, false, begins);
                }
            }
            for now in 2..5 {
                let _ = requester.tick(now, MOST);
                prop_assert!(!requester.is_complete() || heard_of == [false; 2]);
            }
            for (peer, now) in [(A, 3u32), (B, 4)] {
                if !lose() {
                    let _ = requester.receive_mark(peer, &end(now), now);
                    arrived[usize::from(peer == B)] = true;
                }
            }
            let _ = requester.tick(4, MOST);
            for index in 0..2 {
                prop_assert!(!requester.is_complete() || arrived[index] || !heard_of[index]);
            }
        }
    }
}
