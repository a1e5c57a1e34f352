//! What a peer's update may change in a local state.
//!
//! Each end of the connection is judged alone: a half that is behind what is
//! known here is never copied, and tells that the peer needs an update back.

use crate::wire::Endpoint;
use core::cmp::Ordering;

/// What is known of one end, for judging an update.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Connection state, as in [`Endpoint::state`].
    pub state: u8,
    /// Highest sequence number sent.
    pub seqlo: u32,
}

/// What an update says of one end, compared with what is known of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    /// Newer, or the same: to be taken over.
    Newer,
    /// The connection state is newer and the sequence window older: only the
    /// former is to be taken over. Then both firewalls have the same state,
    /// and one of them is behind by its window alone: their answers to each
    /// other end.
    StateOnly,
    /// Older: nothing of it is to be taken over.
    Stale,
}

/// What an update says of both ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    pub src: Half,
    pub dst: Half,
}

impl Verdict {
    /// Something of the update is to be applied.
    pub fn any(self) -> bool {
        self.src != Half::Stale || self.dst != Half::Stale
    }

    /// Something of the update is behind: the peer needs one back.
    pub fn stale(self) -> bool {
        self.src != Half::Newer || self.dst != Half::Newer
    }
}

/// `PF_TCPS_PROXY_SRC`: from here on pf itself completes the handshake.
const PROXY_SRC: u8 = 11;
/// `TCPS_SYN_SENT`: from here on sequence numbers mean something.
const SYN_SENT: u8 = 2;

/// Judges an update of a TCP state.
///
/// A connection state never goes back, except out of syn-proxy, and neither
/// does the sequence window.
pub fn tcp(known: [Known; 2], update: [&Endpoint; 2]) -> Verdict {
    let [src, dst] = known;
    let [new_src, new_dst] = update;
    let leaves_proxy = src.state >= PROXY_SRC && new_src.state < PROXY_SRC;
    Verdict { src: if leaves_proxy { Half::Newer } else { end(src, new_src) }, dst: end(dst, new_dst) }
}

fn end(known: Known, new: &Endpoint) -> Half {
    let window_is_behind = known.state >= SYN_SENT && behind(new.seqlo, known.seqlo);
    match new.state.cmp(&known.state) {
        Ordering::Less => Half::Stale,
        Ordering::Equal if window_is_behind => Half::Stale,
        Ordering::Greater if window_is_behind => Half::StateOnly,
        _ => Half::Newer,
    }
}

/// Judges an update of a state that is not TCP: its ends only go forward.
pub fn other(known: [Known; 2], update: [&Endpoint; 2]) -> Verdict {
    let [src, dst] = known;
    let [new_src, new_dst] = update;
    let end = |known: Known, new: &Endpoint| if known.state > new.state { Half::Stale } else { Half::Newer };
    Verdict { src: end(src, new_src), dst: end(dst, new_dst) }
}

/// Whether sequence number `a` is before `b` (`SEQ_LT`, RFC 9293, 3.4).
fn behind(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

#[cfg(test)]
mod tests {
    use super::Half::{Newer, Stale, StateOnly};
    use super::*;
    use proptest::prelude::*;

    fn peer(state: u8, seqlo: u32) -> Endpoint {
        Endpoint { state, seqlo, seqhi: 0, seqdiff: 0, max_win: 0, mss: 0, wscale: 0, scrub: None }
    }

    fn judge(known: [(u8, u32); 2], update: [(u8, u32); 2]) -> (Half, Half) {
        let known = known.map(|(state, seqlo)| Known { state, seqlo });
        let [src, dst] = update.map(|(state, seqlo)| peer(state, seqlo));
        let verdict = tcp(known, [&src, &dst]);
        (verdict.src, verdict.dst)
    }

    /// What is known after an update.
    fn apply(known: (u8, u32), new: (u8, u32), half: Half) -> (u8, u32) {
        match half {
            Newer => new,
            StateOnly => (new.0, known.1),
            Stale => known,
        }
    }

    #[test]
    fn a_stale_destination_does_not_ride_on_a_newer_source() {
        // The C module moved the destination from 500000 back to 400000.
        let verdict = judge([(4, 1000), (4, 500_000)], [(4, 2000), (4, 400_000)]);
        assert_eq!(verdict, (Newer, Stale));
    }

    #[test]
    fn a_stale_source_does_not_hold_back_a_newer_destination() {
        assert_eq!(judge([(4, 2000), (4, 10)], [(4, 1000), (4, 20)]), (Stale, Newer));
    }

    #[test]
    fn equal_updates_are_applied() {
        assert_eq!(judge([(4, 7), (4, 7)], [(4, 7), (4, 7)]), (Newer, Newer));
    }

    #[test]
    fn sequence_numbers_wrap() {
        assert_eq!(judge([(4, u32::MAX), (4, u32::MAX)], [(4, 5), (4, 5)]), (Newer, Newer));
        assert_eq!(judge([(4, 5), (4, 5)], [(4, u32::MAX), (4, u32::MAX)]), (Stale, Stale));
    }

    #[test]
    fn a_reset_seen_by_the_peer_ends_the_state_but_not_the_window() {
        assert_eq!(judge([(4, 1), (4, 500_000)], [(10, 1), (10, 400_000)]), (Newer, StateOnly));
    }

    #[test]
    fn states_only_leave_the_syn_proxy_backwards() {
        assert_eq!(judge([(9, 0), (0, 0)], [(4, 0), (0, 0)]), (Stale, Newer));
        assert_eq!(judge([(12, 9), (0, 0)], [(4, 0), (0, 0)]), (Newer, Newer));
        assert_eq!(judge([(12, 0), (0, 0)], [(11, 0), (0, 0)]), (Stale, Newer));
    }

    #[test]
    fn other_protocols_go_forward() {
        let known = [Known { state: 1, seqlo: 0 }, Known { state: 2, seqlo: 0 }];
        let verdict = other(known, [&peer(2, 0), &peer(1, 0)]);
        assert_eq!(verdict, Verdict { src: Newer, dst: Stale });
        assert!(verdict.any() && verdict.stale());
    }

    proptest! {
        /// Applying what the verdict allows never moves a window back.
        #[test]
        fn windows_never_slide_back(known in [(2..=10u8, any::<u32>()), (2..=10, any::<u32>())], update in [(0..=10u8, any::<u32>()), (0..=10, any::<u32>())]) {
            let (src, dst) = judge(known, update);
            prop_assert!(!behind(apply(known[0], update[0], src).1, known[0].1));
            prop_assert!(!behind(apply(known[1], update[1], dst).1, known[1].1));
        }

        /// Two firewalls that know different things and answer each other
        /// whenever something was stale soon know the same, and fall silent.
        #[test]
        fn answers_end(mut one in [(2..=10u8, 0..1_000_000u32), (2..=10, 0..1_000_000)], mut two in [(2..=10u8, 0..1_000_000u32), (2..=10, 0..1_000_000)]) {
            let mut messages = 0;
            loop {
                messages += 1;
                prop_assert!(messages <= 4, "they go on");
                let (src, dst) = judge(two, one);
                two = [apply(two[0], one[0], src), apply(two[1], one[1], dst)];
                if (src, dst) == (Newer, Newer) {
                    break;
                }
                core::mem::swap(&mut one, &mut two);
            }
            prop_assert_eq!(one, two);
        }
    }
}
