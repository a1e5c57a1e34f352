//! What a peer's update may change in a local state.
//!
//! Each end of the connection is judged alone: a half that is behind what is
//! known here is never copied, and tells that the peer needs an update back.

use crate::wire::Peer;

/// What is known of one end, for judging an update.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Connection state, as in [`Peer::state`].
    pub state: u8,
    /// Highest sequence number sent.
    pub seqlo: u32,
}

/// Which halves of an update are newer than what is known, or as new.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    pub src: bool,
    pub dst: bool,
}

impl Verdict {
    /// Something of the update is to be applied.
    pub fn any(self) -> bool {
        self.src || self.dst
    }

    /// Something of the update is behind: the peer needs one back.
    pub fn stale(self) -> bool {
        !(self.src && self.dst)
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
pub fn tcp(known: [Known; 2], update: [&Peer; 2]) -> Verdict {
    let [src, dst] = known;
    let [new_src, new_dst] = update;
    let src_stale = if src.state == new_src.state {
        behind(new_src.seqlo, src.seqlo)
    } else {
        src.state > new_src.state && (src.state < PROXY_SRC || new_src.state >= PROXY_SRC)
    };
    let dst_stale = dst.state > new_dst.state || (dst.state >= SYN_SENT && behind(new_dst.seqlo, dst.seqlo));
    Verdict { src: !src_stale, dst: !dst_stale }
}

/// Judges an update of a state that is not TCP: its ends only go forward.
pub fn other(known: [Known; 2], update: [&Peer; 2]) -> Verdict {
    let [src, dst] = known;
    let [new_src, new_dst] = update;
    Verdict { src: src.state <= new_src.state, dst: dst.state <= new_dst.state }
}

/// Whether sequence number `a` is before `b` (`SEQ_LT`, RFC 9293, 3.4).
fn behind(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn peer(state: u8, seqlo: u32) -> Peer {
        Peer { state, seqlo, seqhi: 0, seqdiff: 0, max_win: 0, mss: 0, wscale: 0, scrub: None }
    }

    fn judge(known: [(u8, u32); 2], update: [(u8, u32); 2]) -> (bool, bool) {
        let known = known.map(|(state, seqlo)| Known { state, seqlo });
        let [src, dst] = update.map(|(state, seqlo)| peer(state, seqlo));
        let verdict = tcp(known, [&src, &dst]);
        (verdict.src, verdict.dst)
    }

    #[test]
    fn a_stale_destination_does_not_ride_on_a_newer_source() {
        // The C module moved the destination from 500000 back to 400000.
        let verdict = judge([(4, 1000), (4, 500_000)], [(4, 2000), (4, 400_000)]);
        assert_eq!(verdict, (true, false));
    }

    #[test]
    fn a_stale_source_does_not_hold_back_a_newer_destination() {
        assert_eq!(judge([(4, 2000), (4, 10)], [(4, 1000), (4, 20)]), (false, true));
    }

    #[test]
    fn equal_updates_are_applied() {
        assert_eq!(judge([(4, 7), (4, 7)], [(4, 7), (4, 7)]), (true, true));
    }

    #[test]
    fn sequence_numbers_wrap() {
        assert_eq!(judge([(4, u32::MAX), (4, u32::MAX)], [(4, 5), (4, 5)]), (true, true));
        assert_eq!(judge([(4, 5), (4, 5)], [(4, u32::MAX), (4, u32::MAX)]), (false, false));
    }

    #[test]
    fn states_only_leave_the_syn_proxy_backwards() {
        assert_eq!(judge([(9, 0), (0, 0)], [(4, 0), (0, 0)]), (false, true));
        assert_eq!(judge([(12, 0), (0, 0)], [(4, 0), (0, 0)]), (true, true));
        assert_eq!(judge([(12, 0), (0, 0)], [(11, 0), (0, 0)]), (false, true));
    }

    #[test]
    fn other_protocols_go_forward() {
        let known = [Known { state: 1, seqlo: 0 }, Known { state: 2, seqlo: 0 }];
        let verdict = other(known, [&peer(2, 0), &peer(1, 0)]);
        assert_eq!(verdict, Verdict { src: true, dst: false });
        assert!(verdict.any() && verdict.stale());
    }

    proptest! {
        /// Applying what the verdict allows never moves a window back.
        #[test]
        fn windows_never_slide_back(known in [(2..=10u8, any::<u32>()), (2..=10, any::<u32>())], update in [(0..=10u8, any::<u32>()), (0..=10, any::<u32>())]) {
            let (src, dst) = judge(known, update);
            if src && known[0].0 == update[0].0 {
                prop_assert!(!behind(update[0].1, known[0].1));
            }
            if dst {
                prop_assert!(!behind(update[1].1, known[1].1));
            }
        }
    }
}
