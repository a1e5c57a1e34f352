//! The counters of `net.pfsync.stats`, which `netstat -s -p pfsync` shows:
//! `struct pfsyncstats` of `net/if_pfsync.h`, and those of `net.pfsync.limited`.
//! Each network stack has its own.

use core::sync::atomic::{AtomicU64, Ordering};
use sys_bindings as sys;

/// A counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stat {
    /// Packets received over IPv4.
    InputPackets,
    /// Packets received over IPv6.
    InputPackets6,
    /// Not by the sync interface.
    BadInterface,
    /// Not straight from the peer.
    BadTtl,
    /// Shorter than a header.
    HeaderDrops,
    BadVersion,
    BadAction,
    /// Lengths that do not fit.
    BadLength,
    /// Updates behind what is known here.
    Stale,
    /// Impossible values.
    BadValue,
    /// States that could not be taken in or found.
    BadState,
    /// Packets sent over IPv4.
    OutputPackets,
    /// Packets sent over IPv6.
    OutputPackets6,
    NoMemory,
    OutputErrors,
    /// Messages received, by action.
    InputActions(u8),
    /// Messages sent, by action.
    OutputActions(u8),
}

/// A limit of what peers may cause; see [`crate::engine::limit`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// `net.pfsync.peer_share`
    Share,
    /// `net.pfsync.peer_inserts`
    Inserts,
    /// `net.pfsync.peer_requests`
    Requests,
    Clears,
    Row,
}

/// Counts what a limit kept a peer from.
pub fn count_limited(limit: Limit) {
    // SAFETY: the structure lives as long as the network stack, and every
    // writer adds atomically.
    unsafe {
        let limited = &raw mut (*sys::pfs_vnet()).limited;
        let counter = match limit {
            Limit::Share => &raw mut (*limited).share,
            Limit::Inserts => &raw mut (*limited).inserts,
            Limit::Requests => &raw mut (*limited).requests,
            Limit::Clears => &raw mut (*limited).clears,
            Limit::Row => &raw mut (*limited).rows,
        };
        AtomicU64::from_ptr(counter).fetch_add(1, Ordering::Relaxed);
    }
}

/// The counter of an action, if there is one. The array stays raw: other
/// processors add to it meanwhile.
fn of_action<const N: usize>(counters: *mut [u64; N], action: u8) -> Option<*mut u64> {
    (usize::from(action) < N).then(|| counters.cast::<u64>().wrapping_add(action.into()))
}

/// Adds to a counter of the current network stack.
pub fn count(stat: Stat, by: usize) {
    // SAFETY: the structure lives as long as the network stack, and no more
    // than an address within it is taken here.
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
    // SAFETY: the counter is a field of the structure, which lives as long as
    // the network stack, and every writer adds atomically.
    unsafe { AtomicU64::from_ptr(counter) }.fetch_add(by as u64, Ordering::Relaxed);
}
