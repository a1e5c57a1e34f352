//! One end of a connection, as states and compressed updates carry it.

use super::{Invalid, IPPROTO_SCTP, IPPROTO_TCP};
use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `struct pfsync_state_peer` with the `struct pfsync_state_scrub` in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawPeer {
    pub scrub_flags: U16,
    pub scrub_ttl: u8,
    /// [`SCRUB_VALID`] when the three fields around it mean anything.
    pub scrub_valid: u8,
    pub scrub_ts_mod: U32,
    pub seqlo: U32,
    pub seqhi: U32,
    pub seqdiff: U32,
    pub max_win: U16,
    pub mss: U16,
    pub state: u8,
    pub wscale: u8,
    pub pad: [u8; 6],
}

/// `PFSYNC_SCRUB_FLAG_VALID`.
const SCRUB_VALID: u8 = 0x01;
/// `PFSS_TIMESTAMP`, the only scrub flag that is exchanged.
const SCRUB_TIMESTAMP: u16 = 0x0001;

/// `PF_TCPS_PROXY_DST`, the highest state of a TCP peer.
const TCP_STATE_MAX: u8 = 12;
/// `SCTP_SHUTDOWN_PENDING`, the highest state of an SCTP peer.
const SCTP_STATE_MAX: u8 = 0x80;
/// `PFUDPS_MULTIPLE` and `PFOTHERS_MULTIPLE`.
const OTHER_STATE_MAX: u8 = 2;
/// The bits of a window scale that are a shift (`PF_WSCALE_MASK`); the highest
/// is `PF_WSCALE_FLAG`.
const WSCALE_MASK: u8 = 0x0f;
/// The largest shift (RFC 7323, 2.3; `TCP_MAX_WINSHIFT`).
const WSCALE_MAX: u8 = 14;

/// One end of a connection, in host byte order, with a state and a window
/// scale that its protocol has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Highest sequence number sent.
    pub seqlo: u32,
    /// Highest sequence number the other end accepts.
    pub seqhi: u32,
    /// What pf adds to sequence numbers.
    pub seqdiff: u32,
    /// Largest window seen, before scaling.
    pub max_win: u16,
    pub mss: u16,
    /// `TCPS_*`, `PF_TCPS_PROXY_*`, `PFUDPS_*` or `PFOTHERS_*`.
    pub state: u8,
    /// Shift and `PF_WSCALE_FLAG`.
    pub wscale: u8,
    pub scrub: Option<Scrub>,
}

/// What pf's TCP normalisation keeps of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrub {
    /// Timestamps are modulated (`PFSS_TIMESTAMP`).
    pub timestamp: bool,
    pub ttl: u8,
    pub ts_mod: u32,
}

impl RawPeer {
    /// The peer, if it is one that a state of IP protocol `proto` can have.
    /// A compressed update does not say its protocol: `None` accepts any.
    pub fn check(&self, proto: Option<u8>) -> Result<Peer, Invalid> {
        let max = match proto {
            Some(IPPROTO_TCP) => TCP_STATE_MAX,
            None | Some(IPPROTO_SCTP) => SCTP_STATE_MAX,
            Some(_) => OTHER_STATE_MAX,
        };
        if self.state > max {
            return Err(Invalid::PeerState);
        }
        if self.wscale & WSCALE_MASK > WSCALE_MAX {
            return Err(Invalid::WindowScale);
        }
        Ok(Peer {
            seqlo: self.seqlo.get(),
            seqhi: self.seqhi.get(),
            seqdiff: self.seqdiff.get(),
            max_win: self.max_win.get(),
            mss: self.mss.get(),
            state: self.state,
            wscale: self.wscale,
            scrub: (self.scrub_valid == SCRUB_VALID).then(|| Scrub {
                timestamp: self.scrub_flags.get() & SCRUB_TIMESTAMP != 0,
                ttl: self.scrub_ttl,
                ts_mod: self.scrub_ts_mod.get(),
            }),
        })
    }
}

impl From<&Peer> for RawPeer {
    fn from(peer: &Peer) -> RawPeer {
        let scrub = peer.scrub.unwrap_or(Scrub { timestamp: false, ttl: 0, ts_mod: 0 });
        RawPeer {
            scrub_flags: U16::new(if scrub.timestamp { SCRUB_TIMESTAMP } else { 0 }),
            scrub_ttl: scrub.ttl,
            scrub_valid: if peer.scrub.is_some() { SCRUB_VALID } else { 0 },
            scrub_ts_mod: U32::new(scrub.ts_mod),
            seqlo: U32::new(peer.seqlo),
            seqhi: U32::new(peer.seqhi),
            seqdiff: U32::new(peer.seqdiff),
            max_win: U16::new(peer.max_win),
            mss: U16::new(peer.mss),
            state: peer.state,
            wscale: peer.wscale,
            pad: [0; 6],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn peer(state: u8, wscale: u8) -> RawPeer {
        RawPeer { state, wscale, ..RawPeer::new_zeroed() }
    }

    #[test]
    fn size_is_the_headers() {
        assert_eq!(size_of::<RawPeer>(), 32);
    }

    #[test]
    fn states_fit_the_protocol() {
        assert!(peer(12, 0).check(Some(IPPROTO_TCP)).is_ok());
        assert_eq!(peer(13, 0).check(Some(IPPROTO_TCP)), Err(Invalid::PeerState));
        assert!(peer(0x80, 0).check(Some(IPPROTO_SCTP)).is_ok());
        assert_eq!(peer(0x81, 0).check(None), Err(Invalid::PeerState));
        assert!(peer(2, 0).check(Some(17)).is_ok());
        assert_eq!(peer(3, 0).check(Some(17)), Err(Invalid::PeerState));
    }

    #[test]
    fn window_scale_is_a_possible_shift() {
        assert!(peer(0, 0xf0 | 14).check(Some(IPPROTO_TCP)).is_ok());
        assert_eq!(peer(0, 15).check(Some(IPPROTO_TCP)), Err(Invalid::WindowScale));
    }

    #[test]
    fn scrub_counts_only_when_marked_valid() {
        let mut raw = peer(0, 0);
        raw.scrub_flags = U16::new(0xffff);
        raw.scrub_ttl = 64;
        assert_eq!(raw.check(None).unwrap().scrub, None);
        raw.scrub_valid = SCRUB_VALID;
        let scrub = raw.check(None).unwrap().scrub.unwrap();
        assert_eq!(scrub, Scrub { timestamp: true, ttl: 64, ts_mod: 0 });
    }
}
