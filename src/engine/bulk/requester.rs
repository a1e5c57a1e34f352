// SPDX-License-Identifier: BSD-2-Clause
//! The requesting side of a bulk update.

use crate::wire::trailer::Epoch;
use crate::wire::{BulkMark, BulkStatus, PeerAddress};

/// How often a request is repeated before the requester gives up
/// (`PFSYNC_MAX_BULKTRIES` in the stock module).
pub const MAX_TRIES: u8 = 12;
/// Seconds without progress before the request is repeated.
pub const QUIET_SECONDS: u32 = 5;
/// Seconds after a request in which any peer begins its answer. Before they have
/// passed, the requester cannot know that every peer has.
pub const GRACE_SECONDS: u32 = 2;
/// Seconds after a request in which what a peer sent before may still arrive.
const LATELY_SECONDS: u32 = 3;
/// Seconds after a state was kept out until a bulk update is requested that brings it. The time
/// doubles whenever states are kept out of such a bulk update too.
pub(super) const FIRST_RETRY_SECONDS: u32 = 60;
/// The longest that this time becomes, in seconds.
pub(super) const LAST_RETRY_SECONDS: u32 = 3600;
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

impl Audience {
    /// Whether an answer is that of this peer. A sync peer is one firewall, whatever its address.
    fn is_of(self, answer: &Answer, from: Answerer) -> bool {
        self == Audience::One || answer.from.is_same(from)
    }
}

/// A peer that answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answerer {
    /// Where its packet came from.
    pub address: PeerAddress,
    /// Its epoch, if it numbers its frames.
    pub epoch: Option<Epoch>,
}

impl Answerer {
    /// Whether both are the same peer. Its address changes when an operator gives it another
    /// sync peer, and its epoch when it boots.
    fn is_same(self, other: Answerer) -> bool {
        self.address == other.address || (self.epoch.is_some() && self.epoch == other.epoch)
    }
}

/// How far the answer of a peer has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    /// Whole states arrive, but no start mark did: either it was lost, or the
    /// request was, and the states have another reason. The end mark tells.
    Unmarked,
    /// A start mark arrived. `since_request` tells whether after the last
    /// request: another start mark is not progress. `number` is that of its frame, 0 if the
    /// peer does not number them.
    Began { since_request: bool, number: u64 },
    /// An end mark arrived in the frame with this number, and alone it proves nothing. If it
    /// has overtaken its start mark, that will.
    Overtook { number: u64 },
    /// A state in the frame with this number was refused, and cannot be requested by itself. The
    /// bulk update has to begin after that frame.
    Refused { number: u64 },
    /// The end mark arrived, and nothing before it was missed.
    Ended,
}

/// The answer of one peer.
#[derive(Clone, Copy, Debug)]
struct Answer {
    from: Answerer,
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
    /// States were kept out before, and this bulk update brings them.
    brings_kept_out: bool,
    answers: [Option<Answer>; MAX_ANSWERS],
}

impl Wait {
    /// No bulk update yet. `Requester::request` sets all but the answers.
    const NONE: Wait = Wait {
        audience: Audience::One,
        requested: 0,
        repeated: 0,
        heard: 0,
        states: 0,
        tries: 0,
        demotion: 0,
        brings_kept_out: false,
        answers: [None; MAX_ANSWERS],
    };

    /// How far a peer's answer has come. One that has booted since begins anew.
    fn progress(&self, from: Answerer) -> Option<Progress> {
        let has_booted = |answer: &&Answer| {
            answer.from.epoch.is_some_and(|epoch| from.epoch.is_some_and(|now| now != epoch))
        };
        let mut answers = self.answers.iter().flatten();
        answers
            .find(|answer| self.audience.is_of(answer, from))
            .filter(|answer| !has_booted(answer))
            .map(|answer| answer.progress)
    }

    /// All answers have to begin anew.
    fn forget_answers(&mut self) {
        let has_begun = |answer: &Answer| !matches!(answer.progress, Progress::Refused { .. });
        for answer in &mut self.answers {
            if answer.as_ref().is_some_and(has_begun) {
                *answer = None;
            }
        }
    }

    fn set(&mut self, from: Answerer, progress: Progress) {
        let audience = self.audience;
        let is_of = |answer: &Answer| audience.is_of(answer, from);
        for answer in &mut self.answers {
            if answer.as_ref().is_some_and(is_of) {
                *answer = None;
            }
        }
        if let Some(free) = self.answers.iter_mut().find(|answer| answer.is_none()) {
            *free = Some(Answer { from, progress });
        }
    }

    /// The progress that a start mark in the frame with this number makes, if any.
    fn begin(&mut self, from: Answerer, number: Option<u64>) -> Option<Progress> {
        let is_overtaken = |by| number.is_some_and(|number| number <= by);
        let number = number.unwrap_or(0);
        match self.progress(from) {
            Some(Progress::Ended) => None,
            // The frame has overtaken the start mark.
            Some(Progress::Refused { number: refused }) if is_overtaken(refused) => None,
            Some(Progress::Overtook { number: end }) if number < end => Some(Progress::Ended),
            Some(Progress::Began { since_request: true, number: last }) => {
                // The end mark must be that of the latest bulk update.
                let number = number.max(last);
                self.set(from, Progress::Began { since_request: true, number });
                None
            }
            _ => Some(Progress::Began { since_request: true, number }),
        }
    }

    /// The progress that an end mark makes, if any.
    ///
    /// A start mark that was read proves that the answer began after the request, and that
    /// nothing after it was dropped. So does an age that lies within the time in which every
    /// frame was read; the age is rounded down. The second of a stock peer's clock may turn
    /// once more than that of this firewall.
    fn end(
        &self,
        from: Answerer,
        number: Option<u64>,
        age: u32,
        listening_since: u32,
        now: u32,
    ) -> Option<Progress> {
        let has_started = match self.progress(from) {
            Some(Progress::Ended) => return None,
            // A mark that the start mark of a later bulk update has overtaken.
            Some(Progress::Began { number: start, .. }) if number.is_some_and(|end| end < start) => {
                return None;
            }
            Some(Progress::Began { .. }) => true,
            Some(Progress::Unmarked | Progress::Overtook { .. } | Progress::Refused { .. }) | None => false,
        };
        if age > now.wrapping_sub(self.requested).saturating_add(has_started.into()) {
            return None;
        }
        let began = now.wrapping_sub(age).wrapping_sub(1);
        let may_lack_frames = !has_started && (began.wrapping_sub(listening_since) as i32) < 0;
        match (may_lack_frames, number, self.progress(from)) {
            (false, _, _) => Some(Progress::Ended),
            (true, _, Some(Progress::Refused { .. })) => None,
            (true, Some(number), Some(Progress::Overtook { number: last })) => {
                Some(Progress::Overtook { number: number.max(last) })
            }
            (true, number, _) => number.map(|number| Progress::Overtook { number }),
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
    /// When the first of the states was kept out that no bulk update has brought since.
    kept_out: Option<u32>,
    /// Seconds from then until a bulk update is requested that brings them.
    retry_seconds: u32,
    /// Every frame that arrived in this second of uptime or later was read.
    listening_since: u32,
    /// Numbers of peers are missing, so that a bulk update is not complete.
    lacks_numbers: bool,
    /// States may have been missing when the last bulk update was requested.
    requested_incomplete: bool,
    /// When the last request was made.
    requested: Option<u32>,
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
    /// Request a bulk update if there is room for states, else wait another second.
    Retry,
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
        Requester {
            incomplete: false,
            kept_out: None,
            retry_seconds: FIRST_RETRY_SECONDS,
            listening_since: 0,
            lacks_numbers: false,
            requested_incomplete: false,
            requested: None,
            wait: None,
        }
    }

    /// Whether no state is known to be missing. ifconfig(8) shows it as `syncok`
    /// (`PFSYNCF_OK`).
    pub fn is_complete(&self) -> bool {
        !self.incomplete && self.kept_out.is_none() && !self.awaits_kept_out()
    }

    fn awaits_kept_out(&self) -> bool {
        self.wait.is_some_and(|wait| wait.brings_kept_out)
    }

    /// Whether no bulk update is awaited.
    pub fn is_idle(&self) -> bool {
        self.wait.is_none()
    }

    /// Whether a bulk update is awaited, or a request was made so lately that an answer may have
    /// begun before it.
    pub fn has_requested_lately(&self, now: u32) -> bool {
        let is_recent = |requested| now.wrapping_sub(requested) < LATELY_SECONDS;
        self.wait.is_some() || self.requested.is_some_and(is_recent)
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
            wait.forget_answers();
        }
    }

    /// A state was refused that cannot be requested by itself, in the frame with this number, if
    /// the peer numbers them. A bulk update that began before does not bring it, even if the start
    /// mark arrives later. Returns whether the caller has to request one: none is awaited.
    #[must_use]
    pub fn refuse(&mut self, from: Answerer, number: Option<u64>, now: u32) -> bool {
        self.miss(now);
        let Some(wait) = &mut self.wait else { return true };
        if let Some(number) = number {
            let number = match wait.progress(from) {
                Some(Progress::Refused { number: last }) => number.max(last),
                _ => number,
            };
            wait.set(from, Progress::Refused { number });
        }
        false
    }

    /// A limit or a lack of memory kept a state of a peer out. If a bulk update is awaited, it may
    /// have told of the state already, so that another has to bring it. Returns whether the timer
    /// has to be started.
    ///
    /// What was kept out does not demote carp: the peer may lack more states than this firewall.
    #[must_use]
    pub fn keep_out(&mut self, now: u32) -> bool {
        let is_first = self.kept_out.is_none();
        self.kept_out.get_or_insert(now);
        is_first && self.is_idle()
    }

    /// A state that a peer has cannot be requested. If a bulk update is awaited, that brings the
    /// state. Otherwise the state counts as kept out. Returns whether the timer has to be started.
    #[must_use]
    pub fn leave_out(&mut self, now: u32) -> bool {
        if let Some(wait) = &mut self.wait {
            wait.brings_kept_out = true;
            return false;
        }
        self.keep_out(now)
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
            self.complete()
        } else {
            None
        }
    }

    /// Nothing that peers have is missing here but what was kept out since the request.
    fn complete(&mut self) -> Option<i32> {
        self.incomplete = false;
        self.retry_seconds = match self.kept_out {
            Some(_) => self.retry_seconds.saturating_mul(2).min(LAST_RETRY_SECONDS),
            None => FIRST_RETRY_SECONDS,
        };
        self.wait.take().map(|wait| wait.demotion)
    }

    /// Nobody is there who could have states that are missing here. Returns what
    /// to take off carp's demotion if a bulk update was awaited.
    #[must_use]
    pub fn forget(&mut self) -> Option<i32> {
        self.kept_out = None;
        self.complete()
    }

    /// A bulk update is requested. Returns what to add to carp's demotion:
    /// `demotion` if states may be missing, but 0 if that is negative or if it is
    /// added already.
    #[must_use]
    pub fn request(&mut self, now: u32, demotion: i32, audience: Audience) -> i32 {
        let brings_kept_out = self.kept_out.take().is_some() || self.awaits_kept_out();
        let added = self.wait.map_or(0, |wait| wait.demotion);
        let to_add = if self.incomplete && added == 0 { demotion.max(0) } else { 0 };
        self.requested_incomplete = self.incomplete;
        self.requested = Some(now);
        // Changed where it lies: a new one would pass over the stack, which is short where
        // packets arrive.
        let wait = self.wait.get_or_insert(Wait::NONE);
        wait.forget_answers();
        wait.audience = audience;
        wait.requested = now;
        wait.repeated = now;
        wait.heard = now;
        wait.states = 0;
        wait.tries = 0;
        wait.demotion = added.max(to_add);
        wait.brings_kept_out = brings_kept_out;
        to_add
    }

    /// Updates of whole states arrived from a peer. They may be part of its
    /// answer. If its frames are numbered, a start mark that was lost shows, and other
    /// states that are told again look like these.
    pub fn receive_states(&mut self, from: Answerer, states: usize, now: u32) {
        let Some(wait) = &mut self.wait else { return };
        match wait.progress(from) {
            None if from.epoch.is_some() => {}
            None => wait.set(from, Progress::Unmarked),
            Some(Progress::Began { .. }) => {
                wait.heard = now;
                wait.states = wait.states.saturating_add(u32::try_from(states).unwrap_or(u32::MAX));
            }
            Some(_) => {}
        }
    }

    /// A mark arrived. `number` is that of its frame, if the peer numbers them. If the mark
    /// completes the bulk update, returns what to take off carp's demotion.
    #[must_use]
    pub fn receive_mark(
        &mut self,
        from: Answerer,
        number: Option<u64>,
        status: &BulkStatus,
        now: u32,
    ) -> Option<i32> {
        let listening_since = self.listening_since;
        let wait = self.wait.as_mut()?;
        let progress = match status.mark {
            BulkMark::Start => wait.begin(from, number),
            BulkMark::End => wait.end(from, number, status.age, listening_since, now),
        }?;
        wait.heard = now;
        wait.set(from, progress);
        self.end_if_complete(now)
    }

    /// A peer did not hear a request. If no bulk update is awaited any more, what is missing
    /// may be with that peer. Returns whether one is awaited.
    #[must_use]
    pub fn request_missed(&mut self) -> bool {
        self.incomplete |= self.is_idle() && self.requested_incomplete;
        !self.is_idle()
    }

    /// Stops waiting. If a bulk update was awaited, returns what to take off
    /// carp's demotion. What was missing still is.
    #[must_use]
    pub fn cancel(&mut self) -> Option<i32> {
        let wait = self.wait.take()?;
        if wait.brings_kept_out {
            self.kept_out.get_or_insert(wait.repeated);
        }
        Some(wait.demotion)
    }

    /// A second has passed. `most_states` is how many states pf may have here.
    pub fn tick(&mut self, now: u32, most_states: u32) -> Tick {
        let Some(wait) = &mut self.wait else {
            return self.tick_without_wait(now);
        };
        let demotion = wait.demotion;
        let has_ended = wait.is_complete(now);
        if has_ended && !self.lacks_numbers {
            let _ = self.complete();
            return Tick::Done { demotion };
        }
        let is_quiet = now.wrapping_sub(wait.heard) >= QUIET_SECONDS;
        let extension = wait.states.min(most_states) / SLOWEST_STATES_PER_SECOND;
        let is_late = now.wrapping_sub(wait.requested) >= GIVE_UP_SECONDS.saturating_add(extension);
        if is_late || (is_quiet && wait.tries >= MAX_TRIES) {
            // A firewall that hears nobody has all the states that there are. A peer whose states
            // were refused, and that has sent no bulk update since, is not heard either.
            let is_awaited = |progress| !matches!(progress, Progress::Ended | Progress::Refused { .. });
            let nobody_began = !wait.answers.iter().flatten().any(|answer| is_awaited(answer.progress));
            let _ = if nobody_began { self.complete() } else { self.cancel() };
            return Tick::GiveUp { demotion };
        }
        if !is_quiet {
            return Tick::Wait;
        }
        self.requested = Some(now);
        wait.tries = wait.tries.saturating_add(1);
        wait.heard = now;
        wait.repeated = now;
        for answer in wait.answers.iter_mut().flatten() {
            if let Progress::Began { since_request, .. } = &mut answer.progress {
                *since_request = false;
            }
        }
        Tick::Request
    }

    /// If states may be missing for another reason too, this requests nothing: an operator may
    /// have cleared them, and must not get them back unasked.
    fn tick_without_wait(&self, now: u32) -> Tick {
        match self.kept_out {
            None => Tick::Idle,
            Some(_) if self.incomplete => Tick::Idle,
            Some(first) if now.wrapping_sub(first) < self.retry_seconds => Tick::Wait,
            Some(_) => Tick::Retry,
        }
    }
}

#[cfg(test)]
mod tests;
