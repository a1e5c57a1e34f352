// SPDX-License-Identifier: BSD-2-Clause
//! The counters of the current vnet: `net.pfsync.stats` (`struct pfsyncstats` of
//! net/if_pfsync.h), which `netstat -s -p pfsync` shows, `net.pfsync.limited`, and
//! `net.pfsync.conflicts`.
//!
//! Each counter stands for itself. Nothing is ordered by it, so that relaxed additions are
//! enough: none is lost.

use crate::atomic::{AtomicU64, Ordering};
use sys_bindings as sys;

/// A counter of `net.pfsync.stats`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stat {
    /// Packets received over IPv4.
    InputPackets,
    /// Packets received over IPv6.
    InputPackets6,
    /// Packets that did not come by the sync interface.
    BadInterface,
    /// Packets with another TTL or hop limit than 255, which a router forwarded.
    BadTtl,
    /// Packets shorter than a header. Also counts fragmented mbuf chains that could not
    /// be made contiguous for lack of memory.
    HeaderDrops,
    /// Packets of another protocol version.
    BadVersion,
    /// Runs of messages that pfsync does not know.
    BadAction,
    /// Runs and packets with lengths that contradict each other.
    BadLength,
    /// Updates that are older than what is known here, and deletes of states that are in
    /// use here.
    Stale,
    /// Packets whose tag is wrong or missing, or that are a recording.
    BadAuth,
    /// Messages with impossible values.
    BadValue,
    /// Messages whose state could not be inserted or found, and messages that a limit
    /// rejects.
    BadState,
    /// Packets sent over IPv4.
    OutputPackets,
    /// Packets sent over IPv6.
    OutputPackets6,
    /// Packets that had to wait for memory, and requests and clears that were dropped
    /// because their queue was full.
    NoMemory,
    /// Packets that could not be sent.
    OutputErrors,
    /// Messages received, by action (`PFSYNC_ACT_*`).
    InputActions(u8),
    /// Messages sent, by action (`PFSYNC_ACT_*`).
    OutputActions(u8),
}

/// A limit on what the peers may cause, and its counter of `net.pfsync.limited`. The
/// limits are in [`crate::engine::limit`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PeerLimit {
    /// The share of pf's states that the peers may fill (`net.pfsync.peer_share`).
    Share,
    /// States inserted in a second (`net.pfsync.peer_inserts`).
    Inserts,
    /// States requested or sent in a second (`net.pfsync.peer_requests`).
    Requests,
    /// Clears in a second.
    Clears,
    /// States in a row of pf's id hash.
    Row,
    /// Packets from others than the sync peer (`net.pfsync.only_peer`).
    Strangers,
    /// This firewall's own packets, which came back.
    Reflected,
}

/// Counts a message that a limit rejects.
pub(crate) fn count_limited(limit: PeerLimit) {
    // SAFETY: the structure lives as long as the vnet. Every thread adds to it
    // atomically.
    unsafe {
        let limited = &raw mut (*sys::pfs_vnet()).limited;
        let counter = match limit {
            PeerLimit::Share => &raw mut (*limited).share,
            PeerLimit::Inserts => &raw mut (*limited).inserts,
            PeerLimit::Requests => &raw mut (*limited).requests,
            PeerLimit::Clears => &raw mut (*limited).clears,
            PeerLimit::Row => &raw mut (*limited).rows,
            PeerLimit::Strangers => &raw mut (*limited).strangers,
            PeerLimit::Reflected => &raw mut (*limited).reflected,
        };
        AtomicU64::from_ptr(counter).fetch_add(1, Ordering::Relaxed);
    }
}

/// How a message of a peer contradicts what is known here.
///
/// The numbers are an interface: they are the argument `conflict` of the DTrace probe
/// `pfsync::state:conflict`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Conflict {
    /// The peer has the host id of this firewall.
    HostId = 0,
    /// The peer's state has the id of another connection here.
    State = 1,
}

/// Counts a conflict. Returns whether it is the first of its kind.
pub(crate) fn count_conflict(conflict: Conflict) -> bool {
    // SAFETY: as in `count_limited`.
    unsafe {
        let conflicts = &raw mut (*sys::pfs_vnet()).conflicts;
        let counter = match conflict {
            Conflict::HostId => &raw mut (*conflicts).host_ids,
            Conflict::State => &raw mut (*conflicts).states,
        };
        AtomicU64::from_ptr(counter).fetch_add(1, Ordering::Relaxed) == 0
    }
}

/// The counter of an action, if there is one. The array stays a raw pointer, because
/// other threads add to it meanwhile.
fn of_action<const N: usize>(counters: *mut [u64; N], action: u8) -> Option<*mut u64> {
    (usize::from(action) < N).then(|| counters.cast::<u64>().wrapping_add(action.into()))
}

/// Adds to a counter.
pub(crate) fn count(stat: Stat, by: usize) {
    // SAFETY: the structure lives as long as the vnet. This only computes the address of
    // a field.
    let counter = unsafe {
        let stats = sys::pfs_stats();
        match stat {
            Stat::InputPackets => &raw mut (*stats).pfsyncs_ipackets,
            Stat::InputPackets6 => &raw mut (*stats).pfsyncs_ipackets6,
            Stat::BadInterface => &raw mut (*stats).pfsyncs_badif,
            Stat::BadTtl => &raw mut (*stats).pfsyncs_badttl,
            Stat::HeaderDrops => &raw mut (*stats).pfsyncs_hdrops,
            Stat::BadVersion => &raw mut (*stats).pfsyncs_badver,
            Stat::BadAction => &raw mut (*stats).pfsyncs_badact,
            Stat::BadLength => &raw mut (*stats).pfsyncs_badlen,
            Stat::Stale => &raw mut (*stats).pfsyncs_stale,
            Stat::BadAuth => &raw mut (*stats).pfsyncs_badauth,
            Stat::BadValue => &raw mut (*stats).pfsyncs_badval,
            Stat::BadState => &raw mut (*stats).pfsyncs_badstate,
            Stat::OutputPackets => &raw mut (*stats).pfsyncs_opackets,
            Stat::OutputPackets6 => &raw mut (*stats).pfsyncs_opackets6,
            Stat::NoMemory => &raw mut (*stats).pfsyncs_onomem,
            Stat::OutputErrors => &raw mut (*stats).pfsyncs_oerrors,
            Stat::InputActions(action) => match of_action(&raw mut (*stats).pfsyncs_iacts, action) {
                Some(counter) => counter,
                None => return,
            },
            Stat::OutputActions(action) => match of_action(&raw mut (*stats).pfsyncs_oacts, action) {
                Some(counter) => counter,
                None => return,
            },
        }
    };
    // SAFETY: the counter is a field of that structure. Every thread adds to it
    // atomically.
    unsafe { AtomicU64::from_ptr(counter) }.fetch_add(by as u64, Ordering::Relaxed);
}
