// SPDX-License-Identifier: BSD-2-Clause
//! A packet that arrives, and what comes of it.

use super::tag::Trust;
use crate::wire::trailer::{Gap, Trailer};
use crate::wire::{Frame, PeerAddress};

/// A packet of a peer.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Where it comes from.
    pub from: PeerAddress,
    /// Its frame, of which nothing was read yet. A frame without messages is a hello.
    pub frame: &'a Frame<'a>,
    /// Its trailer, if it has one.
    pub trailer: Option<Trailer<'a>>,
    /// What the tag tells.
    pub trust: Trust,
    /// Whether a bulk update is awaited, which will bring what peers told before.
    pub awaits_bulk: bool,
    /// Whether one is awaited or was requested lately. A peer may have answered that before it
    /// began its present epoch.
    pub has_requested_bulk: bool,
    /// A random number, which nobody can foretell.
    pub random: u64,
}

/// Why a packet is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It is this node's own.
    Reflected,
    /// A key is required, and the sender's epoch is not fresh.
    NotFresh,
    /// A key is required, and there is no space for another peer.
    TooManyPeers,
    /// A hello without a valid node block.
    BadHello,
}

/// What to do with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Carry out its messages, if it has any.
    Take,
    /// Drop it: its number is known.
    Late,
    /// Drop it: it is the first hello of a sender that must prove itself. It is answered.
    Greeting,
    /// Drop it.
    Refuse(Refusal),
}

/// What came of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Reception {
    /// What to do with it.
    pub verdict: Verdict,
    /// Numbers that are now known to be missing.
    pub gap: Option<Gap>,
    /// A bulk update is needed, because something is missing that cannot be repaired.
    pub needs_bulk: bool,
    /// A hello is due soon, or there is something to repair: the sender should look.
    pub wake: bool,
}

impl Reception {
    pub(super) const fn verdict(verdict: Verdict) -> Reception {
        Reception { verdict, gap: None, needs_bulk: false, wake: false }
    }
}
