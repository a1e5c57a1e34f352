// SPDX-License-Identifier: BSD-2-Clause
//! Which message format states are sent in.
//!
//! FreeBSD 13, 14 and 15 write a state in different formats, and a receiver
//! drops the rest of a frame at the first format that it does not know. So a
//! node speaks the newest format that every peer reads. It learns what a peer
//! reads from the peer's frames:
//!
//! - This module announces the newest format it reads in the header of every
//!   frame.
//! - The stock module announces nothing. It reads what it speaks, and is taken
//!   to read format 1400, which FreeBSD 14 and 15 both read, until it has
//!   spoken. FreeBSD 13 reads neither; next to it an operator sets
//!   `version 1301`, as with the stock module.
//!
//! A peer counts until it has been silent for [`SILENCE_SECONDS`].
//!
//! ```
//! use pfsync::engine::format_choice::{FormatChoice, Heard};
//! use pfsync::wire::{Format, PeerAddress};
//!
//! let mut choice = FormatChoice::new(Format::V1500);
//! assert_eq!(choice.current(), Format::V1500);
//! let peer = PeerAddress::from([192, 0, 2, 14]);
//! // A stock module of FreeBSD 14 tells of a state.
//! let frame = Heard { from: peer, announced: None, spoken: Some(Format::V1400) };
//! assert_eq!(choice.hear(frame, 10), Some(Format::V1400));
//! // It is upgraded to FreeBSD 15.
//! let frame = Heard { from: peer, announced: None, spoken: Some(Format::V1500) };
//! assert_eq!(choice.hear(frame, 300), Some(Format::V1500));
//! ```

use crate::wire::{Format, PeerAddress};

/// Seconds of silence after which a peer does not count any more.
pub const SILENCE_SECONDS: u32 = 60;

/// Peers that are remembered at most. A further one is ignored while these are
/// heard, so that a flood of invented peers evicts nobody.
pub const MAX_PEERS: usize = 8;

/// What a frame tells of its sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// The packet's source address.
    pub from: PeerAddress,
    /// The newest format that the sender says it reads.
    pub announced: Option<Format>,
    /// The newest format of a whole state in the frame, if it carries one.
    pub spoken: Option<Format>,
}

impl Heard {
    /// The newest format that the sender reads, as far as the frame tells.
    fn reads(&self) -> Option<Format> {
        self.announced.or(self.spoken)
    }

    /// A number that tells this from what was heard in another second, from another
    /// peer, or of another format. Equal numbers mean with near certainty that the
    /// second frame tells [`FormatChoice::hear`] nothing new. It is never 0.
    pub fn fingerprint(&self, now: u32) -> u64 {
        /// An odd number without a pattern, which spreads what it is multiplied with:
        /// 2^64 divided by the golden ratio.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let address = u128::from_ne_bytes(self.from.0);
        let format = self.reads().map_or(0, |format| format as u64);
        [(address >> 64) as u64, format << 32 | u64::from(now)]
            .into_iter()
            .fold(address as u64, |mixed, part| mixed.wrapping_mul(SPREAD).rotate_left(32) ^ part)
            .max(1)
    }
}

/// What is known of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Peer {
    address: PeerAddress,
    /// The newest format that it reads, as far as known.
    reads: Format,
    /// When it was heard last, in seconds of uptime.
    heard: u32,
}

impl Peer {
    fn is_silent(&self, now: u32) -> bool {
        now.wrapping_sub(self.heard) >= SILENCE_SECONDS
    }
}

/// Chooses the format that states are sent in. The caller holds its lock.
#[derive(Debug)]
pub struct FormatChoice {
    /// The newest format that pf knows here.
    newest: Format,
    /// What the operator has set, if anything.
    fixed: Option<Format>,
    peers: [Option<Peer>; MAX_PEERS],
    current: Format,
}

impl FormatChoice {
    /// The choice of a node that has heard nobody, where pf knows formats up to
    /// `newest`.
    pub const fn new(newest: Format) -> FormatChoice {
        FormatChoice { newest, fixed: None, peers: [None; MAX_PEERS], current: newest }
    }

    /// The format in use.
    pub fn current(&self) -> Format {
        self.current
    }

    /// The operator fixes the format, or leaves the choice to the peers.
    /// Returns the new format if it is another than before.
    pub fn fix(&mut self, format: Option<Format>, now: u32) -> Option<Format> {
        self.fixed = format;
        self.choose(now)
    }

    /// A frame came. Returns the new format if it is another than before.
    pub fn hear(&mut self, frame: Heard, now: u32) -> Option<Format> {
        let known =
            self.peers.iter().flatten().find(|peer| peer.address == frame.from).map(|peer| peer.reads);
        let assumed = known.unwrap_or(self.newest.min(Format::V1400));
        let reads = frame.reads().unwrap_or(assumed);
        self.remember(Peer { address: frame.from, reads, heard: now });
        self.choose(now)
    }

    /// Time has passed. Returns the new format if it is another than before.
    pub fn pass_time(&mut self, now: u32) -> Option<Format> {
        self.choose(now)
    }

    /// Forgets every peer: the link leads to others.
    pub fn forget_peers(&mut self, now: u32) -> Option<Format> {
        self.peers = [None; MAX_PEERS];
        self.choose(now)
    }

    /// Keeps what is known of a peer in its own place, or in a free one.
    fn remember(&mut self, peer: Peer) {
        let own = self.peers.iter().position(|slot| slot.is_some_and(|other| other.address == peer.address));
        let free = || self.peers.iter().position(|slot| slot.is_none_or(|other| other.is_silent(peer.heard)));
        if let Some(slot) = own.or_else(free).and_then(|index| self.peers.get_mut(index)) {
            *slot = Some(peer);
        }
    }

    fn choose(&mut self, now: u32) -> Option<Format> {
        let heard = self.peers.iter().flatten().filter(|peer| !peer.is_silent(now));
        let all_read = heard.map(|peer| peer.reads).fold(self.newest, Format::min);
        let chosen = self.fixed.unwrap_or(all_read);
        let before = core::mem::replace(&mut self.current, chosen);
        (chosen != before).then_some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: PeerAddress = PeerAddress([1; 16]);
    const B: PeerAddress = PeerAddress([2; 16]);

    fn stock(from: PeerAddress, spoken: Option<Format>) -> Heard {
        Heard { from, announced: None, spoken }
    }

    fn ours(from: PeerAddress, reads: Format) -> Heard {
        Heard { from, announced: Some(reads), spoken: None }
    }

    #[test]
    fn a_node_begins_with_its_own_format() {
        for newest in [Format::V1400, Format::V1500] {
            assert_eq!(FormatChoice::new(newest).current(), newest);
        }
    }

    #[test]
    fn a_stock_peer_that_has_not_spoken_is_taken_to_read_1400() {
        let mut choice = FormatChoice::new(Format::V1500);
        assert_eq!(choice.hear(stock(A, None), 5), Some(Format::V1400));
        assert_eq!(choice.hear(stock(A, Some(Format::V1500)), 6), Some(Format::V1500));
        // It does not forget how to read.
        assert_eq!(choice.hear(stock(A, None), 7), None);
        assert_eq!(choice.hear(stock(A, Some(Format::V1301)), 8), Some(Format::V1301));
    }

    #[test]
    fn what_a_peer_announces_counts_more_than_what_it_speaks() {
        let mut choice = FormatChoice::new(Format::V1500);
        let frame = Heard { from: A, announced: Some(Format::V1500), spoken: Some(Format::V1400) };
        assert_eq!(choice.hear(frame, 1), None);
        assert_eq!(choice.current(), Format::V1500);
    }

    #[test]
    fn the_oldest_reader_decides_until_it_falls_silent() {
        let mut choice = FormatChoice::new(Format::V1500);
        assert_eq!(choice.hear(ours(A, Format::V1500), 0), None);
        assert_eq!(choice.hear(ours(B, Format::V1400), 0), Some(Format::V1400));
        assert_eq!(choice.hear(ours(A, Format::V1500), SILENCE_SECONDS - 1), None);
        assert_eq!(choice.pass_time(SILENCE_SECONDS), Some(Format::V1500));
    }

    #[test]
    fn two_nodes_return_to_the_newest_format_by_themselves() {
        // Both speak 1400 because of a third, and both announce 1500.
        let mut choice = FormatChoice::new(Format::V1500);
        let _ = choice.hear(stock(B, Some(Format::V1400)), 0);
        for now in 1..SILENCE_SECONDS {
            let frame = Heard { from: A, announced: Some(Format::V1500), spoken: Some(Format::V1400) };
            assert_eq!(choice.hear(frame, now), None);
        }
        assert_eq!(choice.pass_time(SILENCE_SECONDS), Some(Format::V1500));
    }

    #[test]
    fn a_fingerprint_tells_apart_what_differs() {
        let seen: Vec<_> = [A, B]
            .into_iter()
            .flat_map(|from| [None, Some(Format::V1400)].map(|format| stock(from, format)))
            .chain([ours(A, Format::V1301), ours(A, Format::V1500)])
            .flat_map(|heard| [0, 1, u32::MAX].map(|now| heard.fingerprint(now)))
            .collect();
        assert!((1..seen.len()).all(|index| !seen[..index].contains(&seen[index])));
        let spoken = stock(A, Some(Format::V1400));
        assert_eq!(spoken.fingerprint(7), ours(A, Format::V1400).fingerprint(7), "both read 1400");
    }

    #[test]
    fn the_operator_has_the_last_word() {
        let mut choice = FormatChoice::new(Format::V1500);
        assert_eq!(choice.fix(Some(Format::V1301), 0), Some(Format::V1301));
        assert_eq!(choice.hear(ours(A, Format::V1500), 1), None);
        assert_eq!(choice.fix(None, 2), Some(Format::V1500));
    }

    #[test]
    fn another_link_leads_to_other_peers() {
        let mut choice = FormatChoice::new(Format::V1500);
        let _ = choice.hear(stock(A, Some(Format::V1301)), 0);
        assert_eq!(choice.forget_peers(1), Some(Format::V1500));
    }

    #[test]
    fn a_flood_of_peers_evicts_nobody() {
        let mut choice = FormatChoice::new(Format::V1500);
        let _ = choice.hear(ours(A, Format::V1400), 0);
        for n in 10..255 {
            let _ = choice.hear(ours(PeerAddress([n; 16]), Format::V1500), 1);
        }
        assert_eq!(choice.current(), Format::V1400);
    }

    proptest! {
        /// No peer that was heard in the last minute gets what it does not
        /// read, as long as there are no more peers than are remembered.
        #[test]
        fn every_peer_reads_what_is_sent(frames in proptest::collection::vec((0..8u8, 0..3usize, 0..30u32), 1..100)) {
            const FORMATS: [Format; 3] = [Format::V1301, Format::V1400, Format::V1500];
            let mut choice = FormatChoice::new(Format::V1500);
            let (mut now, mut last) = (0, [None; 8]);
            for (peer, reads, pause) in frames {
                now += pause;
                let reads = FORMATS[reads];
                let _ = choice.hear(ours(PeerAddress([peer; 16]), reads), now);
                last[usize::from(peer)] = Some((now, reads));
                for (heard, reads) in last.iter().flatten() {
                    if now - heard < SILENCE_SECONDS {
                        prop_assert!(choice.current() <= *reads);
                    }
                }
            }
        }
    }
}
