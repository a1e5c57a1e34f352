// SPDX-License-Identifier: BSD-2-Clause
//! When a hello is due.

use crate::engine::bulk::Instant;

const SECOND: Instant = 1 << 32;
/// The least time between two hellos.
pub const SPACING: Instant = SECOND / 100;
/// Time between hellos while something is missing, is being repaired, or a bulk update
/// is under way.
pub const BUSY: Instant = SECOND / 10;
/// Time between hellos while a peer that numbers its frames is known.
pub const IDLE: Instant = SECOND;
/// Time between hellos while none is known.
pub const ALONE: Instant = 10 * SECOND;
/// How long a link that was opened is greeted as if a peer were heard.
pub const GREETING: Instant = 10 * SECOND;

/// What the schedule depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pace {
    /// Something is missing here or at a peer, or a bulk update is under way.
    Busy,
    /// A peer that numbers its frames is known.
    Idle,
    /// No such peer is known.
    Alone,
}

/// When hellos were sent, and whether there is a reason for the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    opened: Instant,
    sent: Option<Instant>,
    /// There is news: the next hello leaves as soon as the spacing allows.
    has_news: bool,
    /// Hellos sent.
    count: u32,
}

impl Schedule {
    /// The link was opened. A hello is due at once.
    pub(super) const fn new(now: Instant) -> Schedule {
        Schedule { opened: now, sent: None, has_news: true, count: 0 }
    }

    /// The peers should hear of something soon.
    pub(super) fn hurry(&mut self) {
        self.has_news = true;
    }

    /// When the next hello is due. `now` or earlier: it is due.
    pub(super) fn due(&self, pace: Pace, now: Instant) -> Instant {
        let Some(sent) = self.sent else { return now };
        let is_greeting = now.saturating_sub(self.opened) < GREETING;
        let pause = match pace {
            _ if self.has_news => SPACING,
            Pace::Busy => BUSY,
            Pace::Alone if !is_greeting => ALONE,
            Pace::Idle | Pace::Alone => IDLE,
        };
        sent.saturating_add(pause)
    }

    /// A hello is sent. Returns its number, from 1 on.
    pub(super) fn send(&mut self, now: Instant) -> u32 {
        self.sent = Some(now);
        self.has_news = false;
        self.count = self.count.saturating_add(1);
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pace_has_its_pause() {
        let mut schedule = Schedule::new(0);
        assert_eq!(schedule.due(Pace::Alone, 5), 5);
        assert_eq!(schedule.send(5), 1);
        assert_eq!(schedule.due(Pace::Alone, 6), 5 + IDLE);
        assert_eq!(schedule.due(Pace::Alone, GREETING), 5 + ALONE);
        assert_eq!(schedule.due(Pace::Idle, GREETING), 5 + IDLE);
        assert_eq!(schedule.due(Pace::Busy, GREETING), 5 + BUSY);
        schedule.hurry();
        assert_eq!(schedule.due(Pace::Alone, GREETING), 5 + SPACING);
        assert_eq!(schedule.send(GREETING), 2);
        assert_eq!(schedule.due(Pace::Alone, GREETING), GREETING + ALONE);
    }
}
