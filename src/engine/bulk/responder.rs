// SPDX-License-Identifier: BSD-2-Clause
//! The answering side of a bulk update.

use crate::wire::StateId;

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
pub(super) fn second(instant: Instant) -> u32 {
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
    /// Whole seconds since the request arrived.
    ///
    /// The requester ignores an end mark that seems older than its request. So
    /// this is rounded down: it is never more than the requester counts since it
    /// sent the request, wherever in a second either clock stands.
    pub fn age(&self, now: Instant) -> u32 {
        second(now.saturating_sub(self.requested).max(0))
    }

    /// Whether the request arrived before the second of uptime `at`.
    pub fn was_requested_before(&self, at: u32) -> bool {
        (second(self.requested).wrapping_sub(at) as i32) < 0
    }
}

/// States of a bulk update that leave in a second, if the peers do not report what arrives: half
/// of what a stock peer takes in without a loss (docs/benchmarks.md, `pace`). With a clock of
/// 100 ticks a second, a burst has 200 packets of 1,500 bytes, and the kernel's input queues hold
/// 256.
const STATES_PER_SECOND: u64 = 80_000;

/// States that leave at the pace of a bulk update in a tick of that length, in units of 2^-32.
pub fn states_in_tick(tick: Instant) -> u64 {
    STATES_PER_SECOND.saturating_mul(tick.unsigned_abs())
}

/// The answering side. It walks through the table when a peer requests a bulk
/// update.
///
/// A request that arrives during a walk causes another walk, and so do any
/// number of them. A flood of requests thus neither restarts the walk nor causes
/// more than one walk per second.
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
    /// States that might have left by now, in units of 2^-32. It is less than a packet after each
    /// tick.
    credit: u64,
}

impl Responder {
    /// There is no request.
    pub const fn new() -> Responder {
        Responder { walk: None, pending: None, began: None, credit: 0 }
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

    /// How many packets may leave after a tick of that length, with so many states in each, if
    /// the peers do not report what arrives.
    pub fn packets_in_tick(&mut self, tick: Instant, states_in_packet: usize) -> u64 {
        let packet = (states_in_packet.max(1) as u64).saturating_mul(1 << 32);
        let credit = self.credit.saturating_add(states_in_tick(tick));
        self.credit = credit.checked_rem(packet).unwrap_or(0);
        credit.checked_div(packet).unwrap_or(0)
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
    fn the_pace_does_not_depend_on_the_clock_or_on_packets() {
        for hz in [1, 100, 1000, 2000] {
            for states in [1, 4, 5, 24, 181] {
                let mut responder = Responder::new();
                let packets: u64 = (0..10 * hz).map(|_| responder.packets_in_tick(SECOND / hz, states)).sum();
                let sent = packets * states as u64;
                assert!(sent <= 10 * STATES_PER_SECOND, "{hz} {states}: {sent}");
                assert!(sent + 2 * states as u64 > 10 * STATES_PER_SECOND, "{hz} {states}: {sent}");
            }
        }
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
}
