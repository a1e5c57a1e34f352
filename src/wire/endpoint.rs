// SPDX-License-Identifier: BSD-2-Clause
//! One end of a connection, as states and compressed updates carry it.

use super::{Invalid, IPPROTO_SCTP, IPPROTO_TCP};
use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An endpoint on the wire (`struct pfsync_state_peer`, 32 bytes). It begins
/// with a `struct pfsync_state_scrub`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawEndpoint {
    /// `PFSS_*`. Only `PFSS_TIMESTAMP` (0x0001) is exchanged.
    pub scrub_flags: U16,
    /// See [`Scrub::ttl`].
    pub scrub_ttl: u8,
    /// 1 (`PFSYNC_SCRUB_FLAG_VALID`) if the other scrub fields mean anything.
    pub scrub_valid: u8,
    /// See [`Scrub::ts_mod`].
    pub scrub_ts_mod: U32,
    /// See [`Endpoint::seqlo`].
    pub seqlo: U32,
    /// See [`Endpoint::seqhi`].
    pub seqhi: U32,
    /// See [`Endpoint::seqdiff`].
    pub seqdiff: U32,
    /// See [`Endpoint::max_win`].
    pub max_win: U16,
    /// See [`Endpoint::mss`].
    pub mss: U16,
    /// See [`Endpoint::state`].
    pub state: u8,
    /// See [`Endpoint::wscale`].
    pub wscale: u8,
    /// Sent as 0 and ignored.
    pub pad: [u8; 6],
}

/// `PFSYNC_SCRUB_FLAG_VALID`.
const SCRUB_VALID: u8 = 0x01;
/// `PFSS_TIMESTAMP`, the only scrub flag that is exchanged.
const SCRUB_TIMESTAMP: u16 = 0x0001;

/// `PF_TCPS_PROXY_DST`, the highest state of a TCP endpoint.
const TCP_STATE_MAX: u8 = 12;
/// `SCTP_SHUTDOWN_PENDING` in `netinet/sctp.h`, the highest state of an SCTP
/// endpoint.
const SCTP_STATE_MAX: u8 = 0x80;
/// `PFUDPS_MULTIPLE` and `PFOTHERS_MULTIPLE`, the highest state of any other
/// endpoint.
const OTHER_STATE_MAX: u8 = 2;
/// `PF_WSCALE_MASK`: the bits of a window scale that are a shift.
const WSCALE_MASK: u8 = 0x0f;
/// The largest shift (RFC 7323, section 2.3; `TCP_MAX_WINSHIFT`).
const WSCALE_MAX: u8 = 14;

/// One end of a connection, as pf tracks it (`struct pf_state_peer`), in host
/// byte order. State and window scale are possible for the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The highest sequence number that the endpoint sent.
    pub seqlo: u32,
    /// The highest sequence number that the other endpoint accepts: what it
    /// acknowledged plus its window.
    pub seqhi: u32,
    /// What pf adds to the endpoint's sequence numbers (`modulate state`).
    pub seqdiff: u32,
    /// The largest window that the endpoint announced, in units before scaling.
    pub max_win: u16,
    /// The maximum segment size that the endpoint announced, in bytes.
    pub mss: u16,
    /// State of the connection at this endpoint: `TCPS_*` or
    /// `PF_TCPS_PROXY_*`, `SCTP_*`, `PFUDPS_*` or `PFOTHERS_*`, depending on the
    /// protocol.
    pub state: u8,
    /// Window scale: the shift in the low four bits, and `PF_WSCALE_FLAG`
    /// (0x80) if the endpoint announced one.
    pub wscale: u8,
    /// Present if pf normalises the traffic of the endpoint.
    pub scrub: Option<Scrub>,
}

/// What pf's normalisation (`scrub`) keeps for an endpoint, as far as it is
/// exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrub {
    /// Whether pf modulates the TCP timestamps (`PFSS_TIMESTAMP`).
    pub timestamp: bool,
    /// The highest TTL seen from the endpoint.
    pub ttl: u8,
    /// What pf adds to timestamps. In SCTP states, the verification tag.
    pub ts_mod: u32,
}

impl RawEndpoint {
    /// The content, checked for a state of IP protocol `proto`. `None` accepts
    /// the states of every protocol: a compressed update does not carry the
    /// protocol.
    ///
    /// Fails with [`Invalid::EndpointState`] or [`Invalid::WindowScale`].
    pub fn check(&self, proto: Option<u8>) -> Result<Endpoint, Invalid> {
        self.verify(proto).map(|()| self.content())
    }

    /// The checks alone.
    pub(super) fn verify(&self, proto: Option<u8>) -> Result<(), Invalid> {
        let max = match proto {
            Some(IPPROTO_TCP) => TCP_STATE_MAX,
            None | Some(IPPROTO_SCTP) => SCTP_STATE_MAX,
            Some(_) => OTHER_STATE_MAX,
        };
        if self.state > max {
            return Err(Invalid::EndpointState);
        }
        if self.wscale & WSCALE_MASK > WSCALE_MAX {
            return Err(Invalid::WindowScale);
        }
        Ok(())
    }

    /// The content of an endpoint that was verified.
    #[inline(always)]
    pub(super) fn content(&self) -> Endpoint {
        Endpoint {
            seqlo: self.seqlo.get(),
            seqhi: self.seqhi.get(),
            seqdiff: self.seqdiff.get(),
            max_win: self.max_win.get(),
            mss: self.mss.get(),
            state: self.state,
            wscale: self.wscale,
            scrub: self.scrub(),
        }
    }

    /// Writes every field.
    #[inline(always)]
    pub(super) fn write(&mut self, endpoint: &Endpoint) {
        let (valid, Scrub { timestamp, ttl, ts_mod }) = match endpoint.scrub {
            Some(scrub) => (SCRUB_VALID, scrub),
            None => (0, Scrub { timestamp: false, ttl: 0, ts_mod: 0 }),
        };
        self.scrub_flags = U16::new(if timestamp { SCRUB_TIMESTAMP } else { 0 });
        self.scrub_ttl = ttl;
        self.scrub_valid = valid;
        self.scrub_ts_mod = U32::new(ts_mod);
        self.seqlo = U32::new(endpoint.seqlo);
        self.seqhi = U32::new(endpoint.seqhi);
        self.seqdiff = U32::new(endpoint.seqdiff);
        self.max_win = U16::new(endpoint.max_win);
        self.mss = U16::new(endpoint.mss);
        self.state = endpoint.state;
        self.wscale = endpoint.wscale;
        self.pad = [0; 6];
    }

    fn scrub(&self) -> Option<Scrub> {
        if self.scrub_valid != SCRUB_VALID {
            return None;
        }
        Some(Scrub {
            timestamp: self.scrub_flags.get() & SCRUB_TIMESTAMP != 0,
            ttl: self.scrub_ttl,
            ts_mod: self.scrub_ts_mod.get(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn endpoint(state: u8, wscale: u8) -> RawEndpoint {
        RawEndpoint { state, wscale, ..RawEndpoint::new_zeroed() }
    }

    #[test]
    fn size_matches_the_c_header() {
        assert_eq!(size_of::<RawEndpoint>(), 32);
    }

    #[test]
    fn the_state_is_one_of_the_protocol() {
        assert!(endpoint(12, 0).check(Some(IPPROTO_TCP)).is_ok());
        assert_eq!(endpoint(13, 0).check(Some(IPPROTO_TCP)), Err(Invalid::EndpointState));
        assert!(endpoint(0x80, 0).check(Some(IPPROTO_SCTP)).is_ok());
        assert_eq!(endpoint(0x81, 0).check(None), Err(Invalid::EndpointState));
        assert!(endpoint(2, 0).check(Some(17)).is_ok());
        assert_eq!(endpoint(3, 0).check(Some(17)), Err(Invalid::EndpointState));
    }

    #[test]
    fn the_window_scale_is_a_possible_shift() {
        assert!(endpoint(0, 0xf0 | 14).check(Some(IPPROTO_TCP)).is_ok());
        assert_eq!(endpoint(0, 15).check(Some(IPPROTO_TCP)), Err(Invalid::WindowScale));
    }

    #[test]
    fn scrub_fields_count_only_if_marked_valid() {
        let mut raw = endpoint(0, 0);
        raw.scrub_flags = U16::new(0xffff);
        raw.scrub_ttl = 64;
        assert_eq!(raw.check(None).unwrap().scrub, None);
        raw.scrub_valid = SCRUB_VALID;
        let scrub = raw.check(None).unwrap().scrub.unwrap();
        assert_eq!(scrub, Scrub { timestamp: true, ttl: 64, ts_mod: 0 });
    }
}
