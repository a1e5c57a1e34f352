// SPDX-License-Identifier: BSD-2-Clause
//! The names that pf, pfctl(8) and the kernel's headers use.

use std::borrow::Cow;

use etherparse::IpNumber;
use pfsync::wire::Action;

use crate::trailer::{BlockContent, DecodedBlock, DecodedTrailer};

/// Kinds of protocols: each has its own states of endpoints and its own timeouts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ProtocolKind {
    Tcp,
    Sctp,
    /// UDP, ICMP and everything else.
    Other,
}

impl ProtocolKind {
    pub(crate) fn of_protocol(proto: u8) -> ProtocolKind {
        match IpNumber(proto) {
            IpNumber::TCP => ProtocolKind::Tcp,
            IpNumber::SCTP => ProtocolKind::Sctp,
            _ => ProtocolKind::Other,
        }
    }

    /// The kind that uses a timeout (`PFTM_*`). A compressed update carries the
    /// timeout, but not the protocol.
    pub(crate) fn of_timeout(timeout: u8) -> ProtocolKind {
        match timeout {
            0..=5 => ProtocolKind::Tcp,
            20..=24 => ProtocolKind::Sctp,
            _ => ProtocolKind::Other,
        }
    }
}

/// `TCPS_*`, then `PF_TCPS_PROXY_*`.
const TCP_STATES: [&str; 13] = [
    "CLOSED",
    "LISTEN",
    "SYN_SENT",
    "SYN_RCVD",
    "ESTABLISHED",
    "CLOSE_WAIT",
    "FIN_WAIT_1",
    "CLOSING",
    "LAST_ACK",
    "FIN_WAIT_2",
    "TIME_WAIT",
    "PROXY_SRC",
    "PROXY_DST",
];
/// `PFUDPS_*` and `PFOTHERS_*`.
const OTHER_STATES: [&str; 3] = ["NO_TRAFFIC", "SINGLE", "MULTIPLE"];

/// The state of an endpoint, as pfctl(8) shows it. A number if it has no name.
pub(crate) fn endpoint_state(kind: ProtocolKind, state: u8) -> Cow<'static, str> {
    let name = match kind {
        ProtocolKind::Tcp => TCP_STATES.get(usize::from(state)).copied(),
        ProtocolKind::Sctp => sctp_state(state),
        ProtocolKind::Other => OTHER_STATES.get(usize::from(state)).copied(),
    };
    name.map_or_else(|| Cow::Owned(state.to_string()), Cow::Borrowed)
}

/// `SCTP_*` of `netinet/sctp.h`.
fn sctp_state(state: u8) -> Option<&'static str> {
    Some(match state {
        0x00 => "CLOSED",
        0x02 => "COOKIE_WAIT",
        0x04 => "COOKIE_ECHOED",
        0x08 => "ESTABLISHED",
        0x10 => "SHUTDOWN_SENT",
        0x20 => "SHUTDOWN_RECEIVED",
        0x40 => "SHUTDOWN_ACK_SENT",
        0x80 => "SHUTDOWN_PENDING",
        _ => return None,
    })
}

/// The timeout of a state, as pf.conf(5) calls it.
pub(crate) fn timeout(timeout: u8) -> &'static str {
    match timeout {
        0 => "tcp.first",
        1 => "tcp.opening",
        2 => "tcp.established",
        3 => "tcp.closing",
        4 => "tcp.finwait",
        5 => "tcp.closed",
        6 => "udp.first",
        7 => "udp.single",
        8 => "udp.multiple",
        9 => "icmp.first",
        10 => "icmp.error",
        11 => "other.first",
        12 => "other.single",
        13 => "other.multiple",
        20 => "sctp.first",
        21 => "sctp.opening",
        22 => "sctp.established",
        23 => "sctp.closing",
        24 => "sctp.closed",
        _ => "unknown",
    }
}

/// An IP protocol, as protocols(5) calls it.
pub(crate) fn protocol(proto: u8) -> String {
    IpNumber(proto).keyword_str().map_or_else(|| proto.to_string(), str::to_lowercase)
}

/// A kind of routing (`PF_FASTROUTE` to `PF_REPLYTO`), as pf.conf(5) calls it.
pub(crate) fn route(kind: u8) -> &'static str {
    match kind {
        1 => "fastroute",
        2 => "route-to",
        3 => "dup-to",
        4 => "reply-to",
        _ => "unknown",
    }
}

/// `PF_LOG*`
pub(crate) const LOG: [(u8, &str); 4] = [(0x01, "log"), (0x02, "all"), (0x04, "user"), (0x08, "force")];
/// `PFSYNC_FLAG_*`
pub(crate) const SYNC_FLAGS: [(u8, &str); 2] = [(0x04, "src-node"), (0x08, "nat-src-node")];

/// The names of the bits that are set. Bits without a name are shown as a number.
pub(crate) fn bits(value: u8, names: &[(u8, &'static str)]) -> Vec<Cow<'static, str>> {
    let set = names.iter().filter(|(bit, _)| value & bit != 0);
    let rest = set.clone().fold(value, |rest, (bit, _)| rest & !bit);
    let rest = (rest != 0).then(|| Cow::Owned(format!("{rest:#x}")));
    set.map(|(_, name)| Cow::Borrowed(*name)).chain(rest).collect()
}

/// The name of an action: one word, so that scripts can search for it.
pub(crate) fn action(action: Action) -> &'static str {
    match action {
        Action::Clear => "clear",
        Action::Insert1301 => "insert-1301",
        Action::InsertAck => "insert-ack",
        Action::Update1301 => "update-1301",
        Action::UpdateCompressed => "update-compressed",
        Action::UpdateRequest => "update-request",
        Action::Delete => "delete",
        Action::DeleteCompressed => "delete-compressed",
        Action::InsertFragment => "insert-fragment",
        Action::DeleteFragment => "delete-fragment",
        Action::BulkStatus => "bulk-status",
        Action::Tdb => "tdb",
        Action::Eof => "eof",
        Action::Insert1400 => "insert-1400",
        Action::Update1400 => "update-1400",
        Action::Insert1500 => "insert-1500",
        Action::Update1500 => "update-1500",
    }
}

/// The name of a trailer: that of a frame with messages, or of a hello.
pub(crate) fn trailer(trailer: &DecodedTrailer) -> &'static str {
    if trailer.is_hello {
        "hello"
    } else {
        "trailer"
    }
}

/// The name of a block.
pub(crate) fn block(block: &DecodedBlock) -> &'static str {
    match &block.content {
        Ok(BlockContent::Node(_)) => "node",
        Ok(BlockContent::Report { .. }) => "report",
        Ok(BlockContent::Repaired(_)) => "repaired",
        Err(_) => "block",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_states_depend_on_the_protocol() {
        assert_eq!(endpoint_state(ProtocolKind::of_protocol(6), 4), "ESTABLISHED");
        assert_eq!(endpoint_state(ProtocolKind::of_protocol(6), 12), "PROXY_DST");
        assert_eq!(endpoint_state(ProtocolKind::of_protocol(132), 8), "ESTABLISHED");
        assert_eq!(endpoint_state(ProtocolKind::of_protocol(17), 2), "MULTIPLE");
        assert_eq!(endpoint_state(ProtocolKind::of_timeout(8), 3), "3");
    }

    #[test]
    fn the_timeout_tells_the_kind_of_protocol() {
        for number in 0..=24 {
            let kind = match timeout(number).split_once('.') {
                Some(("tcp", _)) => ProtocolKind::Tcp,
                Some(("sctp", _)) => ProtocolKind::Sctp,
                _ => ProtocolKind::Other,
            };
            assert_eq!(ProtocolKind::of_timeout(number), kind, "{number}");
        }
    }

    #[test]
    fn unnamed_bits_are_shown_as_a_number() {
        assert_eq!(bits(0, &LOG), [""; 0]);
        assert_eq!(bits(0x33, &LOG), ["log", "all", "0x30"]);
    }

    #[test]
    fn protocols_have_their_usual_names() {
        assert_eq!([6, 17, 58, 253].map(protocol), ["tcp", "udp", "ipv6-icmp", "253"]);
    }
}
