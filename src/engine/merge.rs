// SPDX-License-Identifier: BSD-2-Clause
//! What a peer's update may change in a local state.
//!
//! Each endpoint of the connection is judged on its own. An endpoint that is
//! behind the local one is never applied. It shows that the peer is behind and
//! needs an update in return.

use crate::wire::Endpoint;
use core::cmp::Ordering;

/// An endpoint of a local state, as far as judging an update needs it.
#[derive(Clone, Copy, Debug)]
pub struct LocalEndpoint {
    /// State of the connection, see [`Endpoint::state`].
    pub state: u8,
    /// Highest sequence number sent, see [`Endpoint::seqlo`].
    pub seqlo: u32,
}

/// How an endpoint in an update compares with the local one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndpointVerdict {
    /// It is newer. Apply all of it.
    Newer,
    /// It is neither newer nor older. Apply all of it: it may know what the local
    /// one does not, such as the window.
    Same,
    /// Its connection state is newer, but its sequence window is older. Apply
    /// only the connection state.
    ///
    /// Then both firewalls have the same connection state, and only one of them has
    /// an older window. So the updates that they send each other in return come to
    /// an end.
    StateOnly,
    /// It is older. Apply nothing of it.
    Stale,
}

/// How both endpoints in an update compare with the local ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The source.
    pub src: EndpointVerdict,
    /// The destination.
    pub dst: EndpointVerdict,
}

impl Verdict {
    /// Whether any part of the update is to be applied.
    pub fn applies_any(self) -> bool {
        self.src != EndpointVerdict::Stale || self.dst != EndpointVerdict::Stale
    }

    /// Whether any part of the update is older, so that the peer needs an update
    /// in return.
    pub fn peer_is_behind(self) -> bool {
        let is_behind = |endpoint| matches!(endpoint, EndpointVerdict::StateOnly | EndpointVerdict::Stale);
        is_behind(self.src) || is_behind(self.dst)
    }

    /// Whether any part of the update is newer, so that the peer must have seen
    /// packets of the connection that this firewall has not.
    pub fn brings_news(self) -> bool {
        let is_news = |endpoint| matches!(endpoint, EndpointVerdict::Newer | EndpointVerdict::StateOnly);
        is_news(self.src) || is_news(self.dst)
    }
}

/// `PF_TCPS_PROXY_SRC`. From this state on, pf itself completes the handshake
/// (`synproxy state`).
const PROXY_SRC: u8 = 11;
/// `TCPS_SYN_SENT`. From this state on, sequence numbers are meaningful.
const SYN_SENT: u8 = 2;

/// Judges an update of a TCP state.
///
/// Neither the connection state of an endpoint nor its sequence window ever goes
/// back. There is one exception: when pf's SYN proxy has finished, the source goes
/// to a lower state.
pub fn tcp(local: [LocalEndpoint; 2], update: [&Endpoint; 2]) -> Verdict {
    let [src, dst] = local;
    let [new_src, new_dst] = update;
    let leaves_proxy = src.state >= PROXY_SRC && new_src.state < PROXY_SRC;
    Verdict {
        src: if leaves_proxy { EndpointVerdict::Newer } else { tcp_endpoint(src, new_src) },
        dst: tcp_endpoint(dst, new_dst),
    }
}

fn tcp_endpoint(local: LocalEndpoint, new: &Endpoint) -> EndpointVerdict {
    let window_is_older = local.state >= SYN_SENT && is_before(new.seqlo, local.seqlo);
    match new.state.cmp(&local.state) {
        Ordering::Less => EndpointVerdict::Stale,
        Ordering::Equal if window_is_older => EndpointVerdict::Stale,
        Ordering::Greater if window_is_older => EndpointVerdict::StateOnly,
        Ordering::Equal if new.seqlo == local.seqlo => EndpointVerdict::Same,
        _ => EndpointVerdict::Newer,
    }
}

/// Judges an update of a state of any other protocol: the connection state of an
/// endpoint never goes back.
pub fn other(local: [LocalEndpoint; 2], update: [&Endpoint; 2]) -> Verdict {
    let [src, dst] = local;
    let [new_src, new_dst] = update;
    Verdict { src: other_endpoint(src, new_src), dst: other_endpoint(dst, new_dst) }
}

fn other_endpoint(local: LocalEndpoint, new: &Endpoint) -> EndpointVerdict {
    match new.state.cmp(&local.state) {
        Ordering::Less => EndpointVerdict::Stale,
        Ordering::Equal => EndpointVerdict::Same,
        Ordering::Greater => EndpointVerdict::Newer,
    }
}

/// Whether sequence number `a` is before `b` (RFC 9293, section 3.4; `SEQ_LT`).
fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

#[cfg(test)]
mod tests {
    use super::EndpointVerdict::{Newer, Same, Stale, StateOnly};
    use super::*;
    use proptest::prelude::*;

    fn endpoint(state: u8, seqlo: u32) -> Endpoint {
        Endpoint { state, seqlo, seqhi: 0, seqdiff: 0, max_win: 0, mss: 0, wscale: 0, scrub: None }
    }

    fn judge(local: [(u8, u32); 2], update: [(u8, u32); 2]) -> (EndpointVerdict, EndpointVerdict) {
        let local = local.map(|(state, seqlo)| LocalEndpoint { state, seqlo });
        let [src, dst] = update.map(|(state, seqlo)| endpoint(state, seqlo));
        let verdict = tcp(local, [&src, &dst]);
        (verdict.src, verdict.dst)
    }

    /// The local endpoint after an update.
    fn apply(local: (u8, u32), new: (u8, u32), verdict: EndpointVerdict) -> (u8, u32) {
        match verdict {
            Newer | Same => new,
            StateOnly => (new.0, local.1),
            Stale => local,
        }
    }

    #[test]
    fn a_stale_destination_is_not_applied_with_a_newer_source() {
        // The stock module moved the destination from 500000 back to 400000.
        let verdict = judge([(4, 1000), (4, 500_000)], [(4, 2000), (4, 400_000)]);
        assert_eq!(verdict, (Newer, Stale));
    }

    #[test]
    fn a_newer_destination_is_applied_with_a_stale_source() {
        assert_eq!(judge([(4, 2000), (4, 10)], [(4, 1000), (4, 20)]), (Stale, Newer));
    }

    #[test]
    fn equal_updates_are_applied() {
        assert_eq!(judge([(4, 7), (4, 7)], [(4, 7), (4, 7)]), (Same, Same));
    }

    #[test]
    fn sequence_numbers_wrap() {
        assert_eq!(judge([(4, u32::MAX), (4, u32::MAX)], [(4, 5), (4, 5)]), (Newer, Newer));
        assert_eq!(judge([(4, 5), (4, 5)], [(4, u32::MAX), (4, u32::MAX)]), (Stale, Stale));
    }

    #[test]
    fn a_reset_that_the_peer_saw_changes_the_state_but_not_the_window() {
        assert_eq!(judge([(4, 1), (4, 500_000)], [(10, 1), (10, 400_000)]), (Newer, StateOnly));
    }

    #[test]
    fn a_state_goes_back_only_out_of_the_syn_proxy() {
        assert_eq!(judge([(9, 0), (0, 0)], [(4, 0), (0, 0)]), (Stale, Same));
        assert_eq!(judge([(12, 9), (0, 0)], [(4, 0), (0, 0)]), (Newer, Same));
        assert_eq!(judge([(12, 0), (0, 0)], [(11, 0), (0, 0)]), (Stale, Same));
    }

    #[test]
    fn states_of_other_protocols_never_go_back() {
        let local = [1, 2].map(|state| LocalEndpoint { state, seqlo: 0 });
        let verdict = other(local, [&endpoint(2, 0), &endpoint(1, 0)]);
        assert_eq!(verdict, Verdict { src: Newer, dst: Stale });
        assert!(verdict.applies_any() && verdict.peer_is_behind() && verdict.brings_news());
    }

    #[test]
    fn a_copy_of_what_is_known_brings_no_news() {
        // What a bulk update tells of states whose packets this firewall handles.
        let local = [LocalEndpoint { state: 4, seqlo: 500 }; 2];
        let same = endpoint(4, 500);
        let older = endpoint(4, 400);
        for (src, dst) in [(same, same), (older, same), (older, older)] {
            assert!(!tcp(local, [&src, &dst]).brings_news());
        }
        assert!(!other(local, [&same, &same]).brings_news());
        assert!(tcp(local, [&older, &endpoint(4, 501)]).brings_news());
    }

    proptest! {
        /// Applying an update never moves a window back.
        #[test]
        fn windows_never_move_back(local in [(2..=10u8, any::<u32>()), (2..=10, any::<u32>())], update in [(0..=10u8, any::<u32>()), (0..=10, any::<u32>())]) {
            let (src, dst) = judge(local, update);
            prop_assert!(!is_before(apply(local[0], update[0], src).1, local[0].1));
            prop_assert!(!is_before(apply(local[1], update[1], dst).1, local[1].1));
        }

        /// Two firewalls with different states send each other updates in return.
        /// They soon have the same state and stop.
        #[test]
        fn answers_come_to_an_end(mut one in [(2..=10u8, 0..1_000_000u32), (2..=10, 0..1_000_000)], mut two in [(2..=10u8, 0..1_000_000u32), (2..=10, 0..1_000_000)]) {
            let mut messages = 0;
            loop {
                messages += 1;
                prop_assert!(messages <= 4, "they do not stop");
                let (src, dst) = judge(two, one);
                two = [apply(two[0], one[0], src), apply(two[1], one[1], dst)];
                if !(Verdict { src, dst }).peer_is_behind() {
                    break;
                }
                core::mem::swap(&mut one, &mut two);
            }
            prop_assert_eq!(one, two);
        }
    }
}
