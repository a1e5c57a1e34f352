// SPDX-License-Identifier: BSD-2-Clause
//! The messages that are not whole states.

use std::fmt::{self, Display, Formatter};

use pfsync::wire::{BulkMark, BulkStatus, Clear, CompressedUpdate, RawTdb, StateId};
use serde::Serialize;

use super::endpoint::endpoints;
use super::{hex, EndpointView};
use crate::names::{self, ProtocolKind};

/// The identity of a state, in hexadecimal, as pfctl(8) shows it.
#[derive(Serialize)]
pub(crate) struct IdView {
    pub(crate) id: String,
    pub(crate) creator: String,
}

impl From<StateId> for IdView {
    fn from(id: StateId) -> IdView {
        IdView { id: hex(&id.id), creator: hex(&id.creator) }
    }
}

impl Display for IdView {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "id {} creator {}", self.id, self.creator)
    }
}

/// An update request.
#[derive(Serialize)]
pub(crate) struct RequestView {
    #[serde(flatten)]
    pub(crate) id: IdView,
    /// Whether the request is for all states.
    pub(crate) all: bool,
}

impl From<StateId> for RequestView {
    fn from(id: StateId) -> RequestView {
        RequestView { id: id.into(), all: id == StateId::ALL }
    }
}

impl Display for RequestView {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        if self.all {
            f.write_str("for all states")
        } else {
            self.id.fmt(f)
        }
    }
}

/// A clear: all states of a creator are gone.
#[derive(Serialize)]
pub(crate) struct ClearView {
    pub(crate) creator: String,
    /// `None` for every interface.
    pub(crate) interface: Option<String>,
}

impl From<&Clear> for ClearView {
    fn from(clear: &Clear) -> ClearView {
        let interface = clear.ifname.map(|name| name.to_string());
        ClearView { creator: hex(&clear.creator), interface }
    }
}

impl Display for ClearView {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let interface = self.interface.as_deref().unwrap_or("every interface");
        write!(f, "creator {} on {interface}", self.creator)
    }
}

/// A compressed update.
#[derive(Serialize)]
pub(crate) struct UpdateView {
    #[serde(flatten)]
    pub(crate) id: IdView,
    pub(crate) src: EndpointView,
    pub(crate) dst: EndpointView,
    pub(crate) timeout: &'static str,
}

impl From<&CompressedUpdate> for UpdateView {
    fn from(update: &CompressedUpdate) -> UpdateView {
        let kind = ProtocolKind::of_timeout(update.timeout);
        UpdateView {
            id: update.id.into(),
            src: EndpointView::new(&update.src, kind),
            dst: EndpointView::new(&update.dst, kind),
            timeout: names::timeout(update.timeout),
        }
    }
}

impl Display for UpdateView {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        self.id.fmt(f)?;
        endpoints(f, &self.src, &self.dst)?;
        write!(f, " timeout {}", self.timeout)
    }
}

/// The start or the end of a bulk update.
#[derive(Serialize)]
pub(crate) struct BulkStatusView {
    pub(crate) creator: String,
    pub(crate) status: &'static str,
    pub(crate) age: u32,
}

impl From<&BulkStatus> for BulkStatusView {
    fn from(status: &BulkStatus) -> BulkStatusView {
        let mark = match status.mark {
            BulkMark::Start => "start",
            BulkMark::End => "end",
        };
        BulkStatusView { creator: hex(&status.creator), status: mark, age: status.age }
    }
}

impl Display for BulkStatusView {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{} creator {} age {}s", self.status, self.creator, self.age)
    }
}

/// An IPsec replay counter of OpenBSD. Its address is not decoded.
#[derive(Serialize)]
pub(crate) struct TdbView {
    pub(crate) spi: String,
    pub(crate) proto: String,
    pub(crate) rpl: u32,
    pub(crate) bytes: u64,
    pub(crate) updates: u8,
}

impl From<&RawTdb> for TdbView {
    fn from(tdb: &RawTdb) -> TdbView {
        TdbView {
            spi: format!("{:08x}", tdb.spi.get()),
            proto: names::protocol(tdb.sproto),
            rpl: tdb.rpl.get(),
            bytes: tdb.cur_bytes.get(),
            updates: tdb.updates,
        }
    }
}

impl Display for TdbView {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(
            f,
            "spi {} {} replay {} bytes {} updates {}",
            self.spi, self.proto, self.rpl, self.bytes, self.updates
        )
    }
}
