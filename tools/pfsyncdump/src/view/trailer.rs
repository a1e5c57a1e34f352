// SPDX-License-Identifier: BSD-2-Clause
//! The trailer of a frame, and its blocks.

use std::fmt::{self, Display, Formatter};

use pfsync::wire::trailer::{Epoch, Gap, Node, Repaired};
use serde::Serialize;

use super::{hex, optional, unless};
use crate::trailer::{BlockContent, DecodedTrailer};

/// The head and the tag of a trailer.
#[derive(Serialize)]
pub(crate) struct TrailerView {
    pub(crate) number: u64,
    pub(crate) epoch: String,
    pub(crate) tag: Option<String>,
    /// Whether the tag is right. `None` if nothing tells.
    pub(crate) tag_is_right: Option<bool>,
}

impl From<&DecodedTrailer> for TrailerView {
    fn from(trailer: &DecodedTrailer) -> TrailerView {
        TrailerView {
            number: trailer.number,
            epoch: epoch(trailer.epoch),
            tag: trailer.tag.map(|tag| hex(&tag)),
            tag_is_right: trailer.is_right,
        }
    }
}

impl Display for TrailerView {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "number {} epoch {}", self.number, self.epoch)?;
        optional(f, "tag", self.tag.as_ref())?;
        match self.tag_is_right {
            Some(true) => f.write_str(" right"),
            Some(false) => f.write_str(" wrong"),
            None => Ok(()),
        }
    }
}

/// A block of a hello.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum BlockView {
    Node(NodeView),
    Report(ReportView),
    Repaired(RepairedView),
}

impl From<&BlockContent> for BlockView {
    fn from(block: &BlockContent) -> BlockView {
        match block {
            BlockContent::Node(node) => BlockView::Node(node.into()),
            BlockContent::Report { of, through, heard, gaps } => BlockView::Report(ReportView {
                epoch: epoch(of.epoch),
                challenge: format!("{:016x}", of.challenge),
                through: *through,
                heard: *heard,
                missing: ranges(gaps),
            }),
            BlockContent::Repaired(repaired) => BlockView::Repaired(repaired.into()),
        }
    }
}

impl Display for BlockView {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            BlockView::Node(node) => node.fmt(f),
            BlockView::Report(report) => report.fmt(f),
            BlockView::Repaired(repaired) => repaired.fmt(f),
        }
    }
}

/// What the sender of a hello says of itself.
#[derive(Serialize)]
pub(crate) struct NodeView {
    pub(crate) hostid: String,
    pub(crate) hello: u32,
    pub(crate) states: u32,
    pub(crate) version: String,
    pub(crate) freebsd: u8,
    pub(crate) challenge: String,
}

impl From<&Node> for NodeView {
    fn from(node: &Node) -> NodeView {
        let [major, minor, patch] = node.version;
        NodeView {
            hostid: hex(&node.creator),
            hello: node.hello,
            states: node.states,
            version: format!("{major}.{minor}.{patch}"),
            freebsd: node.freebsd,
            challenge: format!("{:016x}", node.challenge),
        }
    }
}

impl Display for NodeView {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(
            f,
            "hostid {} hello {} states {} version {}/{} challenge {}",
            self.hostid, self.hello, self.states, self.version, self.freebsd, self.challenge
        )
    }
}

/// Which frames of a peer arrived at the sender.
#[derive(Serialize)]
pub(crate) struct ReportView {
    /// The peer's.
    pub(crate) epoch: String,
    /// The peer's.
    pub(crate) challenge: String,
    pub(crate) through: u64,
    pub(crate) heard: u64,
    /// The first and the last number of each gap.
    pub(crate) missing: Vec<[u64; 2]>,
}

impl Display for ReportView {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "on epoch {} through {} heard {}", self.epoch, self.through, self.heard)?;
        optional(f, "missing", unless(show_ranges(&self.missing).as_str(), ""))?;
        write!(f, " challenge {}", self.challenge)
    }
}

/// What was told again to a peer.
#[derive(Serialize)]
pub(crate) struct RepairedView {
    /// The peer's.
    pub(crate) epoch: String,
    pub(crate) through: u64,
    pub(crate) forgotten: u64,
}

impl From<&Repaired> for RepairedView {
    fn from(repaired: &Repaired) -> RepairedView {
        let Repaired { of, through, forgotten } = *repaired;
        RepairedView { epoch: epoch(of), through, forgotten }
    }
}

impl Display for RepairedView {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "for epoch {} through {}", self.epoch, self.through)?;
        optional(f, "forgotten", unless(self.forgotten, 0))
    }
}

/// An epoch in hexadecimal.
pub(crate) fn epoch(epoch: Epoch) -> String {
    format!("{:016x}", epoch.get())
}

/// Gaps as pairs of numbers.
pub(crate) fn ranges(gaps: &[Gap]) -> Vec<[u64; 2]> {
    gaps.iter().map(|gap| [gap.first, gap.last]).collect()
}

/// Pairs of numbers as `7,9-12`.
pub(crate) fn show_ranges(ranges: &[[u64; 2]]) -> String {
    let range = |[first, last]: &[u64; 2]| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_matters() {
        let report = ReportView {
            epoch: "02".into(),
            challenge: "05".into(),
            through: 6,
            heard: 20,
            missing: vec![[7, 7], [9, 12]],
        };
        assert_eq!(report.to_string(), "on epoch 02 through 6 heard 20 missing 7,9-12 challenge 05");
        let all = ReportView { through: 20, missing: vec![], ..report };
        assert_eq!(all.to_string(), "on epoch 02 through 20 heard 20 challenge 05");
        let repaired = RepairedView { epoch: "02".into(), through: 6, forgotten: 0 };
        assert_eq!(repaired.to_string(), "for epoch 02 through 6");
        let forgotten = RepairedView { forgotten: 3, ..repaired };
        assert_eq!(forgotten.to_string(), "for epoch 02 through 6 forgotten 3");
    }
}
