//! Full updates: a firewall that starts asks its peers for every state.
//!
//! Times are seconds of uptime, unless said otherwise. They are compared with
//! wrapping arithmetic, since a peer's mark says how long ago its update began.

use crate::wire::{BulkMark, BulkStatus, StateId};

/// Requests that are sent before the peers are given up
/// (`PFSYNC_MAX_BULKTRIES`).
pub const MAX_TRIES: u8 = 12;
/// Seconds without anything of the update after which it is asked for again.
pub const QUIET: u32 = 5;
/// Seconds that all of it may take. Two million states take about forty; a
/// peer that keeps sending cannot hold this node demoted for longer.
pub const LIMIT: u32 = 600;

/// A wait for a full update.
#[derive(Clone, Copy, Debug)]
struct Wait {
    /// When it was asked for first. An update that the peer began before that
    /// may lack states.
    asked: u32,
    /// When something of it came last, or it was asked for.
    heard: u32,
    /// A start mark came since the last request. Further ones count for
    /// nothing.
    started: bool,
    /// A start mark came at all: what is sent has been heard since then, which
    /// it is not before pf runs. Only then does an end mark mean that nothing
    /// is missing.
    heard_start: bool,
    tries: u8,
    /// What was added to carp's demotion, to be given back.
    demotion: i32,
}

/// The receiving side: waits for a full update and keeps carp(4) demoted
/// meanwhile. The caller holds its lock.
#[derive(Debug, Default)]
pub struct Receiver {
    wait: Option<Wait>,
}

/// What the receiver's timer, once a second, has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Tick {
    /// Nothing is awaited: the timer may stop.
    Idle,
    /// All is well, or at least not over.
    Wait,
    /// Send the request again.
    Ask,
    /// The peers are given up. Take this off carp's demotion.
    GiveUp { demotion: i32 },
}

impl Receiver {
    pub const fn new() -> Receiver {
        Receiver { wait: None }
    }

    /// A full update is to be requested. Returns what to add to carp's
    /// demotion: `demotion`, or nothing when it is added already, or negative:
    /// a firewall that lacks states is not to be preferred.
    #[must_use]
    pub fn ask(&mut self, now: u32, demotion: i32) -> i32 {
        let demotion = demotion.max(0);
        let given = self.wait.map(|wait| wait.demotion);
        self.wait = Some(Wait {
            asked: now,
            heard: now,
            started: false,
            heard_start: false,
            tries: 0,
            demotion: given.unwrap_or(demotion),
        });
        if given.is_some() {
            0
        } else {
            demotion
        }
    }

    /// Whether no full update is awaited (`PFSYNCF_OK`).
    pub fn ok(&self) -> bool {
        self.wait.is_none()
    }

    /// A state of a full update may have arrived.
    pub fn progress(&mut self, now: u32) {
        if let Some(wait) = &mut self.wait {
            wait.heard = now;
        }
    }

    /// A mark came. Returns what to take off carp's demotion when it ends the
    /// update.
    #[must_use]
    pub fn mark(&mut self, status: &BulkStatus, now: u32) -> Option<i32> {
        let wait = self.wait.as_mut()?;
        match status.mark {
            BulkMark::Start => {
                wait.heard_start = true;
                if !core::mem::replace(&mut wait.started, true) {
                    wait.heard = now;
                }
                None
            }
            BulkMark::End => {
                let age = now.wrapping_sub(wait.asked);
                (wait.heard_start && status.age <= age).then(|| self.cancel())?
            }
        }
    }

    /// Nothing is awaited any more. Returns what to take off carp's demotion,
    /// if something was.
    #[must_use]
    pub fn cancel(&mut self) -> Option<i32> {
        self.wait.take().map(|wait| wait.demotion)
    }

    /// A second is over.
    pub fn tick(&mut self, now: u32) -> Tick {
        let Some(wait) = &mut self.wait else {
            return Tick::Idle;
        };
        let quiet = now.wrapping_sub(wait.heard) >= QUIET;
        let over = now.wrapping_sub(wait.asked) >= LIMIT;
        if over || (quiet && wait.tries >= MAX_TRIES) {
            let demotion = wait.demotion;
            self.wait = None;
            return Tick::GiveUp { demotion };
        }
        if !quiet {
            return Tick::Wait;
        }
        wait.tries = wait.tries.saturating_add(1);
        wait.heard = now;
        wait.started = false;
        Tick::Ask
    }
}

/// How far a walk through the table came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// Row of pf's id hash.
    pub row: usize,
    /// The last state of that row that was sent, if any was.
    pub after: Option<StateId>,
}

/// Time since boot in units of 2^-32 seconds (`sbintime_t`).
pub type Instant = i64;

/// The second of uptime that an instant lies in.
fn second(instant: Instant) -> u32 {
    (instant >> 32) as u32
}

/// One walk through the table.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// When the request came that it answers.
    pub requested: Instant,
    pub position: Position,
    /// The start mark is sent.
    pub started: bool,
}

impl Pass {
    /// Whole seconds since the request came. Never more than the peer counts
    /// since it sent it, whenever each clock's seconds begin: a peer takes an
    /// end mark that seems older than its request for another's.
    pub fn age(&self, now: Instant) -> u32 {
        second(now.saturating_sub(self.requested).max(0))
    }

    /// Whether a peer sent news of a state, in the second of uptime `at`, after
    /// the request.
    pub fn is_older_than(&self, at: u32) -> bool {
        (second(self.requested).wrapping_sub(at) as i32) < 0
    }
}

/// The sending side: answers requests for the whole table. The caller holds
/// its lock.
#[derive(Debug, Default)]
pub struct Sender {
    pass: Option<Pass>,
    /// The last request that has no pass yet. One that comes during a pass gets
    /// one of its own, however many more come: a flood of requests neither
    /// starts the walk anew nor causes more than one a second.
    next: Option<Instant>,
    /// The second in which the last pass began.
    began: Option<u32>,
}

impl Sender {
    pub const fn new() -> Sender {
        Sender { pass: None, next: None, began: None }
    }

    /// A peer asks for the whole table.
    pub fn request(&mut self, now: Instant) {
        self.next = Some(now);
    }

    /// Whether there is a request whose pass is not complete.
    pub fn is_busy(&self) -> bool {
        self.pass.is_some() || self.next.is_some()
    }

    /// The pass under way. The next begins, if one is wanted and may.
    pub fn pass(&mut self, now: Instant) -> Option<Pass> {
        if self.pass.is_none() && self.began != Some(second(now)) {
            let requested = self.next.take()?;
            self.began = Some(second(now));
            self.pass = Some(Pass { requested, position: Position::default(), started: false });
        }
        self.pass
    }

    /// A packet of the pass left: the walk goes on at `position`.
    pub fn advance(&mut self, position: Position) {
        if let Some(pass) = &mut self.pass {
            pass.position = position;
            pass.started = true;
        }
    }

    /// The pass is complete.
    pub fn finish(&mut self) {
        self.pass = None;
    }

    /// Nothing is to be sent any more.
    pub fn cancel(&mut self) {
        self.pass = None;
        self.next = None;
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
    fn a_complete_update_gives_the_demotion_back_once() {
        let mut receiver = Receiver::new();
        assert!(receiver.ok());
        assert_eq!(receiver.ask(100, 240), 240);
        assert!(!receiver.ok());
        assert_eq!(receiver.ask(101, 99), 0);
        assert_eq!(receiver.mark(&mark(BulkMark::Start, 0), 101), None);
        assert_eq!(receiver.mark(&mark(BulkMark::End, 1), 102), Some(240));
        assert!(receiver.ok());
        assert_eq!(receiver.mark(&mark(BulkMark::End, 1), 102), None);
        assert_eq!(receiver.cancel(), None);
        assert_eq!(receiver.tick(200), Tick::Idle);
    }

    #[test]
    fn a_negative_demotion_adds_and_gives_back_nothing() {
        let mut receiver = Receiver::new();
        for demotion in [-1, i32::MIN] {
            assert_eq!(receiver.ask(100, demotion), 0);
            assert_eq!(receiver.cancel(), Some(0));
        }
    }

    #[test]
    fn an_update_begun_before_the_request_does_not_count() {
        let mut receiver = Receiver::new();
        let _ = receiver.ask(100, 240);
        let _ = receiver.mark(&mark(BulkMark::Start, 0), 100);
        assert_eq!(receiver.mark(&mark(BulkMark::End, 3), 102), None);
        assert_eq!(receiver.mark(&mark(BulkMark::End, u32::MAX), 102), None);
        assert_eq!(receiver.mark(&mark(BulkMark::End, 2), 102), Some(240));
    }

    #[test]
    fn an_update_whose_beginning_was_not_heard_does_not_count() {
        let mut receiver = Receiver::new();
        let _ = receiver.ask(100, 240);
        assert_eq!(receiver.mark(&mark(BulkMark::End, 1), 103), None);
        assert_eq!(receiver.tick(105), Tick::Ask);
        let _ = receiver.mark(&mark(BulkMark::Start, 0), 105);
        // The answer to this request is late, and the next goes out.
        assert_eq!(receiver.tick(110), Tick::Ask);
        assert_eq!(receiver.mark(&mark(BulkMark::End, 5), 110), Some(240));
    }

    #[test]
    fn silence_ends_after_twelve_further_requests() {
        let mut receiver = Receiver::new();
        let _ = receiver.ask(0, 240);
        let mut asked = 0;
        for now in 1.. {
            match receiver.tick(now) {
                Tick::Ask => asked += 1,
                Tick::Wait => {}
                end => {
                    assert_eq!((end, now), (Tick::GiveUp { demotion: 240 }, 65));
                    break;
                }
            }
        }
        assert_eq!(asked, u32::from(MAX_TRIES));
    }

    #[test]
    fn a_lost_end_mark_costs_seconds() {
        let mut receiver = Receiver::new();
        let _ = receiver.ask(0, 240);
        let _ = receiver.mark(&mark(BulkMark::Start, 0), 0);
        for now in 1..=20 {
            receiver.progress(now);
            assert_eq!(receiver.tick(now), Tick::Wait);
        }
        assert_eq!((21..).find(|now| receiver.tick(*now) == Tick::Ask), Some(25));
    }

    #[test]
    fn repeated_start_marks_prolong_nothing() {
        let mut receiver = Receiver::new();
        let _ = receiver.ask(0, 240);
        let end = (1..1000).find(|now| {
            let _ = receiver.mark(&mark(BulkMark::Start, 0), *now);
            matches!(receiver.tick(*now), Tick::GiveUp { .. })
        });
        assert!(end.is_some_and(|now| now <= 2 * QUIET * (u32::from(MAX_TRIES) + 1)));
    }

    #[test]
    fn endless_progress_is_cut_off() {
        let mut receiver = Receiver::new();
        let _ = receiver.ask(0, 240);
        let end = (1..10_000).find(|now| {
            receiver.progress(*now);
            matches!(receiver.tick(*now), Tick::GiveUp { .. })
        });
        assert_eq!(end, Some(LIMIT));
    }

    const SECOND: Instant = 1 << 32;

    #[test]
    fn a_request_in_mid_pass_waits_for_its_own() {
        let mut sender = Sender::new();
        sender.request(5 * SECOND);
        assert!(sender.pass(5 * SECOND).is_some());
        sender.advance(Position { row: 7, after: None });
        for now in 6..100 {
            sender.request(now * SECOND);
            assert_eq!(sender.pass(now * SECOND).unwrap().position.row, 7);
        }
        sender.finish();
        let pass = sender.pass(100 * SECOND).unwrap();
        assert_eq!((pass.requested, pass.position, pass.started), (99 * SECOND, Position::default(), false));
        sender.finish();
        assert!(!sender.is_busy() && sender.pass(101 * SECOND).is_none());
    }

    #[test]
    fn a_flood_of_requests_causes_one_pass_a_second() {
        let mut sender = Sender::new();
        let mut passes = 0;
        for now in 0..1000 {
            let now = now * SECOND / 100;
            sender.request(now);
            if sender.pass(now).is_some() {
                passes += 1;
                sender.finish();
            }
        }
        assert_eq!(passes, 10);
    }

    proptest! {
        /// The end of an update that a peer waits for counts for it, wherever
        /// in a second the clocks of both stand.
        #[test]
        fn the_end_is_never_older_than_the_request(
            clocks in (0..1i64 << 40, 0..1i64 << 40),
            delays in (0..1i64 << 34, 0..1i64 << 36, 0..1i64 << 34),
        ) {
            let (peer, here) = clocks;
            let (there, pass, back) = delays;
            let requested = here + there;
            let answer = Pass { requested, position: Position::default(), started: true };
            let mut receiver = Receiver::new();
            let _ = receiver.ask(second(peer), 240);
            let _ = receiver.mark(&mark(BulkMark::Start, 0), second(peer + there + back));
            let end = mark(BulkMark::End, answer.age(requested + pass));
            prop_assert_eq!(receiver.mark(&end, second(peer + there + pass + back)), Some(240));
        }
    }

    proptest! {
        /// Whatever happens in whatever order, what was added to the demotion
        /// is taken off again, once.
        #[test]
        fn demotion_balances(events in proptest::collection::vec(0..6u8, 0..300)) {
            let mut receiver = Receiver::new();
            let (mut now, mut demotion) = (0u32, 0i32);
            for event in events {
                match event {
                    0 => demotion += receiver.ask(now, 240),
                    1 => demotion -= receiver.mark(&mark(BulkMark::End, 0), now).unwrap_or(0),
                    2 => demotion -= receiver.cancel().unwrap_or(0),
                    3 => receiver.progress(now),
                    4 => assert!(receiver.mark(&mark(BulkMark::Start, 0), now).is_none()),
                    _ => {
                        now += 1;
                        if let Tick::GiveUp { demotion: given } = receiver.tick(now) {
                            demotion -= given;
                        }
                    }
                }
                prop_assert_eq!(demotion, if receiver.ok() { 0 } else { 240 });
            }
        }
    }
}
