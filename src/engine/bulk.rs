// SPDX-License-Identifier: BSD-2-Clause
//! Bulk updates: a firewall that lacks states requests the whole table from its
//! peers.
//!
//! The [`Requester`] decides when to send a request, and the [`Responder`] answers
//! one. A bulk update consists of a start mark, the states, and an end mark.
//!
//! Times are seconds of uptime (`time_uptime`) unless they are an [`Instant`].
//! They are compared with wrapping arithmetic.

mod requester;
mod responder;

pub use requester::{
    Answerer, Audience, Requester, Tick, GRACE_SECONDS, MAX_ANSWERS, MAX_TRIES, QUIET_SECONDS,
};
pub use responder::{states_in_tick, Instant, Position, Responder, Walk};

#[cfg(test)]
mod tests {
    use super::responder::second;
    use super::*;
    use crate::wire::{BulkMark, BulkStatus, PeerAddress};
    use proptest::prelude::*;

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
            let peer = Answerer { address: PeerAddress([1; 16]), epoch: None };
            let mut requester = Requester::new();
            requester.mark_incomplete();
            let _ = requester.request(second(requester_clock), 240, Audience::One);
            let end = BulkStatus { creator: [1; 4], age: answer.age(requested + walk), mark: BulkMark::End };
            let now = second(requester_clock + there + walk + back);
            prop_assert_eq!(requester.receive_mark(peer, None, &end, now), Some(240));
        }
    }
}
