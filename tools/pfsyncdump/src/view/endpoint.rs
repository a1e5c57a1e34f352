// SPDX-License-Identifier: BSD-2-Clause
//! One end of a connection.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

use pfsync::wire::{Endpoint, Scrub};
use serde::Serialize;

use super::{optional, unless};
use crate::names::{self, ProtocolKind};

/// An endpoint.
#[derive(Serialize)]
pub(crate) struct EndpointView {
    pub(crate) state: Cow<'static, str>,
    pub(crate) seqlo: u32,
    pub(crate) seqhi: u32,
    pub(crate) seqdiff: u32,
    pub(crate) max_win: u16,
    pub(crate) mss: u16,
    /// The shift, without the flag.
    pub(crate) wscale: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scrub: Option<ScrubView>,
}

/// What pf's normalisation keeps for an endpoint.
#[derive(Serialize)]
pub(crate) struct ScrubView {
    pub(crate) timestamp: bool,
    pub(crate) ttl: u8,
    pub(crate) ts_mod: u32,
}

/// The bits of a window scale that are a shift (`PF_WSCALE_MASK`).
const WSCALE_MASK: u8 = 0x0f;

impl EndpointView {
    pub(crate) fn new(endpoint: &Endpoint, kind: ProtocolKind) -> EndpointView {
        EndpointView {
            state: names::endpoint_state(kind, endpoint.state),
            seqlo: endpoint.seqlo,
            seqhi: endpoint.seqhi,
            seqdiff: endpoint.seqdiff,
            max_win: endpoint.max_win,
            mss: endpoint.mss,
            wscale: endpoint.wscale & WSCALE_MASK,
            scrub: endpoint.scrub.map(ScrubView::from),
        }
    }

    /// Whether there is more to show than the state, as for TCP.
    fn has_details(&self) -> bool {
        let numbers = [self.seqlo, self.seqhi, self.seqdiff, self.max_win.into(), self.mss.into()];
        numbers != [0; 5] || self.scrub.is_some()
    }
}

impl From<Scrub> for ScrubView {
    fn from(scrub: Scrub) -> ScrubView {
        ScrubView { timestamp: scrub.timestamp, ttl: scrub.ttl, ts_mod: scrub.ts_mod }
    }
}

/// The states of both endpoints, then their sequence windows.
pub(crate) fn endpoints(f: &mut Formatter, src: &EndpointView, dst: &EndpointView) -> fmt::Result {
    write!(f, " {}:{}", src.state, dst.state)?;
    for (side, endpoint) in [("src", src), ("dst", dst)] {
        if endpoint.has_details() {
            write!(f, " {side} {endpoint}")?;
        }
    }
    Ok(())
}

/// As pfctl(8) writes it: `[seqlo + window](+seqdiff) wscale`.
impl Display for EndpointView {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "[{} + {}]", self.seqlo, self.seqhi.wrapping_sub(self.seqlo))?;
        if self.seqdiff != 0 {
            write!(f, "(+{})", self.seqdiff)?;
        }
        optional(f, "win", unless(self.max_win, 0))?;
        optional(f, "wscale", unless(self.wscale, 0))?;
        optional(f, "mss", unless(self.mss, 0))?;
        match &self.scrub {
            Some(scrub) if scrub.timestamp => {
                write!(f, " scrub ttl {} timestamp +{}", scrub.ttl, scrub.ts_mod)
            }
            Some(scrub) => write!(f, " scrub ttl {}", scrub.ttl),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> EndpointView {
        EndpointView {
            state: "CLOSED".into(),
            seqlo: 0,
            seqhi: 0,
            seqdiff: 0,
            max_win: 0,
            mss: 0,
            wscale: 0,
            scrub: None,
        }
    }

    #[test]
    fn windows_may_wrap() {
        let view = EndpointView { seqlo: u32::MAX, seqhi: 4, seqdiff: 9, wscale: 6, ..endpoint() };
        assert_eq!(view.to_string(), "[4294967295 + 5](+9) wscale 6");
    }

    #[test]
    fn only_set_values_are_shown() {
        assert!(!endpoint().has_details());
        let scrub = |timestamp| ScrubView { timestamp, ttl: 64, ts_mod: 3 };
        let plain = EndpointView { scrub: Some(scrub(false)), ..endpoint() };
        assert!(plain.has_details());
        assert_eq!(plain.to_string(), "[0 + 0] scrub ttl 64");
        let modulated = EndpointView { scrub: Some(scrub(true)), ..endpoint() };
        assert_eq!(modulated.to_string(), "[0 + 0] scrub ttl 64 timestamp +3");
    }
}
