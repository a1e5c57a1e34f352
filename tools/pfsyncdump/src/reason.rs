// SPDX-License-Identifier: BSD-2-Clause
//! Why a packet, a frame or a message was rejected.

use std::fmt;

use pfsync::wire::trailer::TrailerError;
use pfsync::wire::{Action, FrameError, HeaderError, Invalid};

use crate::names;

/// A rejection: what was rejected, and why.
#[derive(Debug, PartialEq)]
pub(crate) struct Rejection {
    /// Where the rejected part begins in the recorded packet.
    pub(crate) offset: usize,
    /// The action of the rejected messages. `None` if the whole frame is rejected.
    pub(crate) action: Option<Action>,
    pub(crate) reason: Reason,
}

/// Why a packet, a frame or a message was rejected.
#[derive(Debug, PartialEq)]
pub(crate) enum Reason {
    /// This program does not know the link type.
    LinkType(u32),
    /// The packet is shorter than its link header.
    Link,
    /// The IP header cannot be read.
    IpHeader,
    /// The packet is a fragment. pfsync never sends fragments.
    Fragment,
    Header(HeaderError),
    Frame(FrameError),
    Message(Invalid),
    /// Fewer bytes than a subheader has follow the last run.
    Rest,
    Trailer(TrailerError),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Reason::LinkType(number) => write!(f, "link type {number} is not supported"),
            Reason::Link => f.write_str("shorter than its link header"),
            Reason::IpHeader => f.write_str("bad IP header"),
            Reason::Fragment => f.write_str("fragment of an IP packet"),
            Reason::Header(error) => header(f, *error),
            Reason::Frame(error) => frame(f, *error),
            Reason::Message(field) => f.write_str(invalid(*field)),
            Reason::Rest => f.write_str("too short for another run"),
            Reason::Trailer(error) => f.write_str(trailer(*error)),
        }
    }
}

fn header(f: &mut fmt::Formatter, error: HeaderError) -> fmt::Result {
    match error {
        HeaderError::Short => f.write_str("shorter than a pfsync header"),
        HeaderError::Version(version) => write!(f, "protocol version {version}"),
        HeaderError::Length => f.write_str("length in the header does not fit the packet"),
    }
}

fn frame(f: &mut fmt::Formatter, error: FrameError) -> fmt::Result {
    match error {
        FrameError::Action { number, count } => {
            write!(f, "action {number} (count {count}) is not one of pfsync's")
        }
        FrameError::Length { action, count } => {
            write!(f, "{count} of {} announced, fewer bytes left", names::action(action))
        }
        FrameError::TrailingBytes => f.write_str("end mark before the end of the packet"),
    }
}

fn trailer(error: TrailerError) -> &'static str {
    match error {
        TrailerError::Short => "trailer is shorter than its head",
        TrailerError::Epoch => "epoch of the trailer is zero",
        TrailerError::BlockLength => "block of the trailer ends behind the packet",
        TrailerError::Tag => "tag is not the last 16 bytes",
    }
}

fn invalid(field: Invalid) -> &'static str {
    match field {
        Invalid::Family => "address family is neither IPv4 nor IPv6",
        Invalid::Direction => "direction is neither in nor out",
        Invalid::Timeout => "timeout is not one that states use",
        Invalid::EndpointState => "endpoint state is not one of the protocol",
        Invalid::WindowScale => "window scale above 14",
        Invalid::Protocol => "no state has these protocols in its keys",
        Invalid::Creator => "creator id is zero",
        Invalid::InterfaceName => "interface name is not valid",
        Invalid::RouteTo => "kind of routing is not one of pf's",
        Invalid::RoutingTable => "routing table below -1",
        Invalid::Priority => "priority is above 7",
        Invalid::Tag => "tag is not terminated",
        Invalid::BulkStatus => "bulk status is neither start nor end",
        Invalid::BlockLength => "length of the block is not that of its kind",
        Invalid::Epoch => "epoch is zero",
        Invalid::Number => "number has more than 48 bits",
        Invalid::Gaps => "gaps contradict each other",
    }
}
