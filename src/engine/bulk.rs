// SPDX-License-Identifier: BSD-2-Clause
//! Bulk updates: a firewall that lacks states requests the whole table from its
//! peers.
//!
//! The [`Requester`] decides when to send a request, and the [`Responder`] answers
//! one. A bulk update consists of a start mark, the states, and an end mark.
//!
//! Times are seconds of uptime (`time_uptime`) unless they are an [`Instant`].
//! They are compared with wrapping arithmetic.

use crate::wire::{BulkMark, BulkStatus, StateId};

/// How often a request is repeated before the requester gives up
/// (`PFSYNC_MAX_BULKTRIES` in the stock module).
pub const MAX_TRIES: u8 = 12;
/// The request is repeated after this many seconds without any part of the bulk
/// update.
pub const QUIET_SECONDS: u32 = 5;
/// The requester gives up this many seconds after the first request, even if states
/// still arrive. Two million states take about forty seconds. Without this limit, a
/// peer that never stops sending could keep this firewall demoted.
pub const GIVE_UP_SECONDS: u32 = 600;

/// A bulk update that is awaited.
#[derive(Clone, Copy, Debug)]
struct Wait {
    /// When the first request was sent. A bulk update that a peer began before
    /// may lack states.
    requested: u32,
    /// When a part of the bulk update arrived last, or the last request was
    /// sent.
    heard: u32,
    /// Whether a start mark arrived since the last request. Another start mark
    /// is not progress.
    started: bool,
    /// Whether any start mark has been received. Packets are dropped until pf is
    /// running, so an end mark proves completeness only if its start was seen.
    heard_start: bool,
    /// How often the request was repeated.
    tries: u8,
    /// What was added to carp's demotion. It must be taken off again.
    demotion: i32,
}

/// The requesting side. It waits for a bulk update, and keeps carp(4) demoted
/// meanwhile: a firewall that lacks states should not become master while
/// another can.
///
/// The caller holds the lock that protects it.
#[derive(Debug, Default)]
pub struct Requester {
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
    /// The requester has given up. The timer may stop.
    GiveUp {
        /// Take this off carp's demotion.
        demotion: i32,
    },
}

impl Requester {
    /// No bulk update is awaited.
    pub const fn new() -> Requester {
        Requester { wait: None }
    }

    /// Starts waiting for a bulk update, for which the caller sends the request.
    /// Returns what to add to carp's demotion: `demotion`, or 0 if that is negative
    /// or already added.
    #[must_use]
    pub fn request(&mut self, now: u32, demotion: i32) -> i32 {
        let (demotion, to_add) = match self.wait {
            Some(wait) => (wait.demotion, 0),
            None => (demotion.max(0), demotion.max(0)),
        };
        self.wait =
            Some(Wait { requested: now, heard: now, started: false, heard_start: false, tries: 0, demotion });
        to_add
    }

    /// Whether no bulk update is awaited. ifconfig(8) shows that as
    /// `syncok: 1` (`PFSYNCF_OK`).
    pub fn is_idle(&self) -> bool {
        self.wait.is_none()
    }

    /// An update of a whole state arrived, which may be part of the bulk update.
    pub fn progress(&mut self, now: u32) {
        if let Some(wait) = &mut self.wait {
            wait.heard = now;
        }
    }

    /// A mark arrived. If it completes the bulk update, returns what to take off
    /// carp's demotion.
    #[must_use]
    pub fn receive_mark(&mut self, status: &BulkStatus, now: u32) -> Option<i32> {
        let wait = self.wait.as_mut()?;
        match status.mark {
            BulkMark::Start => {
                wait.heard_start = true;
                if !wait.started {
                    wait.started = true;
                    wait.heard = now;
                }
                None
            }
            BulkMark::End => {
                let began_after_request = status.age <= now.wrapping_sub(wait.requested);
                if !wait.heard_start || !began_after_request {
                    return None;
                }
                self.cancel()
            }
        }
    }

    /// Stops waiting. If a bulk update was awaited, returns what to take off
    /// carp's demotion.
    #[must_use]
    pub fn cancel(&mut self) -> Option<i32> {
        self.wait.take().map(|wait| wait.demotion)
    }

    /// A second has passed.
    pub fn tick(&mut self, now: u32) -> Tick {
        let Some(wait) = &mut self.wait else {
            return Tick::Idle;
        };
        let is_quiet = now.wrapping_sub(wait.heard) >= QUIET_SECONDS;
        let is_late = now.wrapping_sub(wait.requested) >= GIVE_UP_SECONDS;
        if is_late || (is_quiet && wait.tries >= MAX_TRIES) {
            let demotion = wait.demotion;
            self.wait = None;
            return Tick::GiveUp { demotion };
        }
        if !is_quiet {
            return Tick::Wait;
        }
        wait.tries = wait.tries.saturating_add(1);
        wait.heard = now;
        wait.started = false;
        Tick::Request
    }
}

/// How far a walk through the table has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// The row of pf's id hash to go on with.
    pub row: usize,
    /// The last state of that row that was sent. `None` if none was.
    pub after: Option<StateId>,
}

/// Time since boot in units of 2^-32 seconds (`sbintime_t`).
pub type Instant = i64;

/// The second of uptime that an instant is in.
fn second(instant: Instant) -> u32 {
    (instant >> 32) as u32
}

/// One walk through the table, which answers a request.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// When the request arrived.
    pub requested: Instant,
    /// Where the walk goes on.
    pub position: Position,
    /// Whether the start mark is sent.
    pub started: bool,
}

impl Walk {
    /// The time since the request arrived, in seconds, rounded down.
    ///
    /// The requester ignores an end mark whose age exceeds what it counts itself
    /// since it sent the request. The difference of two seconds of uptime could be
    /// one more than the time that has passed, and so exceed it.
    pub fn age(&self, now: Instant) -> u32 {
        second(now.saturating_sub(self.requested).max(0))
    }

    /// Whether the request arrived before the second of uptime `at`.
    pub fn was_requested_before(&self, at: u32) -> bool {
        (second(self.requested).wrapping_sub(at) as i32) < 0
    }
}

/// The answering side. It walks through the table when a peer requests a bulk
/// update.
///
/// Requests that arrive during a walk cause one more walk, however many they are.
/// So a flood of requests neither restarts the walk nor causes more than one walk
/// per second.
///
/// The caller holds the lock that protects it.
#[derive(Debug, Default)]
pub struct Responder {
    /// The walk under way.
    walk: Option<Walk>,
    /// When the last request arrived that no walk answers yet.
    pending: Option<Instant>,
    /// The second of uptime in which the last walk began.
    began: Option<u32>,
}

impl Responder {
    /// There is no request.
    pub const fn new() -> Responder {
        Responder { walk: None, pending: None, began: None }
    }

    /// A peer requests a bulk update.
    pub fn receive_request(&mut self, now: Instant) {
        self.pending = Some(now);
    }

    /// Whether a request is not completely answered.
    pub fn is_busy(&self) -> bool {
        self.walk.is_some() || self.pending.is_some()
    }

    /// The walk under way. If there is none, begins one for the pending request,
    /// unless one began in this second.
    pub fn walk(&mut self, now: Instant) -> Option<Walk> {
        if self.walk.is_none() && self.began != Some(second(now)) {
            let requested = self.pending.take()?;
            self.began = Some(second(now));
            self.walk = Some(Walk { requested, position: Position::default(), started: false });
        }
        self.walk
    }

    /// A frame of the walk was sent. The walk goes on at `position`.
    pub fn advance(&mut self, position: Position) {
        if let Some(walk) = &mut self.walk {
            walk.position = position;
            walk.started = true;
        }
    }

    /// The end mark was sent.
    pub fn finish(&mut self) {
        self.walk = None;
    }

    /// Forgets the walk and the pending request.
    pub fn cancel(&mut self) {
        self.walk = None;
        self.pending = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mark(mark: BulkMark, age: u32) -> BulkStatus {
        BulkStatus { creator: [1; 4], age, mark }
    }

    #[test]
    fn a_complete_bulk_update_gives_the_demotion_back_once() {
        let mut requester = Requester::new();
        assert!(requester.is_idle());
        assert_eq!(requester.request(100, 240), 240);
        assert!(!requester.is_idle());
        assert_eq!(requester.request(101, 99), 0);
        assert_eq!(requester.receive_mark(&mark(BulkMark::Start, 0), 101), None);
        assert_eq!(requester.receive_mark(&mark(BulkMark::End, 1), 102), Some(240));
        assert!(requester.is_idle());
        assert_eq!(requester.receive_mark(&mark(BulkMark::End, 1), 102), None);
        assert_eq!(requester.cancel(), None);
        assert_eq!(requester.tick(200), Tick::Idle);
    }

    #[test]
    fn a_negative_demotion_adds_and_gives_back_nothing() {
        let mut requester = Requester::new();
        for demotion in [-1, i32::MIN] {
            assert_eq!(requester.request(100, demotion), 0);
            assert_eq!(requester.cancel(), Some(0));
        }
    }

    #[test]
    fn a_bulk_update_that_began_before_the_request_does_not_count() {
        let mut requester = Requester::new();
        let _ = requester.request(100, 240);
        let _ = requester.receive_mark(&mark(BulkMark::Start, 0), 100);
        assert_eq!(requester.receive_mark(&mark(BulkMark::End, 3), 102), None);
        assert_eq!(requester.receive_mark(&mark(BulkMark::End, u32::MAX), 102), None);
        assert_eq!(requester.receive_mark(&mark(BulkMark::End, 2), 102), Some(240));
    }

    #[test]
    fn a_bulk_update_whose_start_was_not_heard_does_not_count() {
        let mut requester = Requester::new();
        let _ = requester.request(100, 240);
        assert_eq!(requester.receive_mark(&mark(BulkMark::End, 1), 103), None);
        assert_eq!(requester.tick(105), Tick::Request);
        let _ = requester.receive_mark(&mark(BulkMark::Start, 0), 105);
        // The answer to this request is late: the next request is sent before.
        assert_eq!(requester.tick(110), Tick::Request);
        assert_eq!(requester.receive_mark(&mark(BulkMark::End, 5), 110), Some(240));
    }

    #[test]
    fn the_requester_gives_up_after_twelve_more_requests() {
        let mut requester = Requester::new();
        let _ = requester.request(0, 240);
        let mut requests = 0;
        for now in 1.. {
            match requester.tick(now) {
                Tick::Request => requests += 1,
                Tick::Wait => {}
                end => {
                    assert_eq!((end, now), (Tick::GiveUp { demotion: 240 }, 65));
                    break;
                }
            }
        }
        assert_eq!(requests, u32::from(MAX_TRIES));
    }

    #[test]
    fn a_lost_end_mark_delays_by_seconds() {
        let mut requester = Requester::new();
        let _ = requester.request(0, 240);
        let _ = requester.receive_mark(&mark(BulkMark::Start, 0), 0);
        for now in 1..=20 {
            requester.progress(now);
            assert_eq!(requester.tick(now), Tick::Wait);
        }
        assert_eq!((21..).find(|now| requester.tick(*now) == Tick::Request), Some(25));
    }

    #[test]
    fn repeated_start_marks_prolong_nothing() {
        let mut requester = Requester::new();
        let _ = requester.request(0, 240);
        let end = (1..1000).find(|now| {
            let _ = requester.receive_mark(&mark(BulkMark::Start, 0), *now);
            matches!(requester.tick(*now), Tick::GiveUp { .. })
        });
        assert!(end.is_some_and(|now| now <= 2 * QUIET_SECONDS * (u32::from(MAX_TRIES) + 1)));
    }

    #[test]
    fn endless_progress_is_given_up() {
        let mut requester = Requester::new();
        let _ = requester.request(0, 240);
        let end = (1..10_000).find(|now| {
            requester.progress(*now);
            matches!(requester.tick(*now), Tick::GiveUp { .. })
        });
        assert_eq!(end, Some(GIVE_UP_SECONDS));
    }

    const SECOND: Instant = 1 << 32;

    #[test]
    fn a_request_during_a_walk_causes_another_walk() {
        let mut responder = Responder::new();
        responder.receive_request(5 * SECOND);
        assert!(responder.walk(5 * SECOND).is_some());
        responder.advance(Position { row: 7, after: None });
        for now in 6..100 {
            responder.receive_request(now * SECOND);
            assert_eq!(responder.walk(now * SECOND).unwrap().position.row, 7);
        }
        responder.finish();
        let walk = responder.walk(100 * SECOND).unwrap();
        assert_eq!((walk.requested, walk.position, walk.started), (99 * SECOND, Position::default(), false));
        responder.finish();
        assert!(!responder.is_busy() && responder.walk(101 * SECOND).is_none());
    }

    #[test]
    fn a_flood_of_requests_causes_one_walk_per_second() {
        let mut responder = Responder::new();
        let mut walks = 0;
        for now in 0..1000 {
            let now = now * SECOND / 100;
            responder.receive_request(now);
            if responder.walk(now).is_some() {
                walks += 1;
                responder.finish();
            }
        }
        assert_eq!(walks, 10);
    }

    proptest! {
        /// The requester accepts the end mark of the answer, wherever in a second
        /// both clocks stand.
        #[test]
        fn the_end_is_never_older_than_the_request(
            clocks in (0..1i64 << 40, 0..1i64 << 40),
            delays in (0..1i64 << 34, 0..1i64 << 36, 0..1i64 << 34),
        ) {
            let (requester_clock, responder_clock) = clocks;
            let (there, walk, back) = delays;
            let requested = responder_clock + there;
            let answer = Walk { requested, position: Position::default(), started: true };
            let mut requester = Requester::new();
            let _ = requester.request(second(requester_clock), 240);
            let _ = requester.receive_mark(&mark(BulkMark::Start, 0), second(requester_clock + there + back));
            let end = mark(BulkMark::End, answer.age(requested + walk));
            prop_assert_eq!(requester.receive_mark(&end, second(requester_clock + there + walk + back)), Some(240));
        }
    }

    proptest! {
        /// Whatever happens in whatever order, what was added to the demotion is
        /// taken off once.
        #[test]
        fn demotion_balances(events in proptest::collection::vec(0..6u8, 0..300)) {
            let mut requester = Requester::new();
            let (mut now, mut demotion) = (0u32, 0i32);
            for event in events {
                match event {
                    0 => demotion += requester.request(now, 240),
                    1 => demotion -= requester.receive_mark(&mark(BulkMark::End, 0), now).unwrap_or(0),
                    2 => demotion -= requester.cancel().unwrap_or(0),
                    3 => requester.progress(now),
                    4 => assert!(requester.receive_mark(&mark(BulkMark::Start, 0), now).is_none()),
                    _ => {
                        now += 1;
                        if let Tick::GiveUp { demotion: given } = requester.tick(now) {
                            demotion -= given;
                        }
                    }
                }
                prop_assert_eq!(demotion, if requester.is_idle() { 0 } else { 240 });
            }
        }
    }
}
