// SPDX-License-Identifier: BSD-2-Clause
//! Whether a state here ends because of what a peer says: a delete, or the insert
//! of a new state between the same ends.
//!
//! A delete of a peer may be wrong. A peer that hears nothing of a connection
//! lets its copy of the state expire and says so, although packets pass here all
//! the while.
//!
//! ```
//! use pfsync::engine::ending::Known;
//!
//! // An established TCP connection, of which a peer sent an update in second 100.
//! let copy =
//!     Known { is_tcp: true, states: [4, 4], is_expired: false, last_used: 100, last_message: 100 };
//! assert!(copy.ends_by_delete());
//! // Packets of it have passed here since.
//! let live = Known { last_used: 130, ..copy };
//! assert!(!live.ends_by_delete());
//! ```

use crate::wire::StateId;

/// `TCPS_CLOSING`, to which pf sets an endpoint that has sent a FIN.
const CLOSING: u8 = 7;
/// `TCPS_FIN_WAIT_2`, to which pf sets an endpoint whose FIN was acknowledged.
/// A reset leads to a later state.
const FIN_WAIT_2: u8 = 9;

/// How many seconds after a peer's last message about a state a packet must have
/// passed here, for the peer to be taken to know less than this firewall. A
/// message that brought nothing new may be noted this late.
pub const MARGIN_SECONDS: u32 = 2;

/// What is known here of a state that has ended elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Whether the connection is TCP.
    pub is_tcp: bool,
    /// The connection states of source and destination; see
    /// [`Endpoint::state`](crate::wire::Endpoint::state).
    pub states: [u8; 2],
    /// Whether the state's timeout has passed, so that pf is about to end it.
    pub is_expired: bool,
    /// When a packet of the connection passed here last, or a peer's update was
    /// taken over, in seconds of uptime.
    pub last_used: u32,
    /// When a peer's message about the state was taken over last, in seconds of
    /// uptime. 0 if none was.
    pub last_message: u32,
}

impl Known {
    /// Whether a peer's delete ends the state: unless the connection is open, and
    /// packets of it have passed here since the last message of a peer.
    ///
    /// A state that nobody uses any more expires on all firewalls at the same time, and
    /// any of them may be the first to notice.
    pub fn ends_by_delete(&self) -> bool {
        self.is_closed()
            || self.is_expired
            || self.last_used.saturating_sub(self.last_message) < MARGIN_SECONDS
    }

    /// Whether a new state between the same ends takes the place of the state
    /// `id`: the same firewall made both, and the connection is closed or closing.
    /// On the firewall that made them, the old state ended before.
    pub fn gives_way(&self, id: StateId, new: StateId) -> bool {
        id.creator == new.creator
            && id != new
            && self.is_tcp
            && self.states.iter().any(|state| *state >= CLOSING)
    }

    /// Whether both endpoints have closed the connection. pf makes a new state
    /// between the same ends then.
    pub fn is_closed(&self) -> bool {
        self.is_tcp && self.states.iter().all(|state| *state >= FIN_WAIT_2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An open connection that this firewall handles alone since its uptime of 50.
    const LIVE: Known =
        Known { is_tcp: true, states: [4, 4], is_expired: false, last_used: 100, last_message: 50 };

    fn id(id: u8, creator: u8) -> StateId {
        StateId { id: [id; 8], creator: [creator; 4] }
    }

    #[test]
    fn a_delete_ends_a_state_that_only_the_peer_uses() {
        assert!(Known { last_message: 100, ..LIVE }.ends_by_delete());
        // The peer's updates bring nothing new, and its delete comes with the last.
        assert!(Known { last_message: 99, ..LIVE }.ends_by_delete());
        assert!(Known { last_message: 101, ..LIVE }.ends_by_delete());
    }

    #[test]
    fn a_delete_does_not_end_a_state_that_is_used_here() {
        assert!(!LIVE.ends_by_delete());
        assert!(!Known { last_message: 0, ..LIVE }.ends_by_delete());
        assert!(!Known { is_tcp: false, states: [2, 2], ..LIVE }.ends_by_delete());
        // One endpoint has closed its direction of the connection.
        assert!(!Known { states: [9, 4], ..LIVE }.ends_by_delete());
    }

    #[test]
    fn a_delete_ends_an_expired_state() {
        assert!(Known { is_expired: true, ..LIVE }.ends_by_delete());
    }

    #[test]
    fn a_delete_ends_a_closed_state() {
        for states in [[9, 9], [10, 10], [9, 10]] {
            assert!(Known { states, ..LIVE }.ends_by_delete());
        }
    }

    #[test]
    fn a_closing_state_gives_way_to_one_of_the_same_creator() {
        let closing = Known { states: [7, 4], ..LIVE };
        assert!(closing.gives_way(id(1, 1), id(2, 1)));
        assert!(!closing.gives_way(id(1, 1), id(2, 2)));
        assert!(!closing.gives_way(id(1, 1), id(1, 1)));
        assert!(!LIVE.gives_way(id(1, 1), id(2, 1)));
        // States of other protocols do not close.
        assert!(!Known { is_tcp: false, ..closing }.gives_way(id(1, 1), id(2, 1)));
    }
}
