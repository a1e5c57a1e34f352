//! DTrace probes, provider `pfsync`: `dtrace -l -P pfsync`. Each costs one load
//! and a branch while no probe of the system is enabled.
//!
//! States are named by id and creator id in host byte order, as tcpdump shows
//! them. `pfctl -vvss` shows the bytes of the id in reverse.

use crate::engine::bucket::Queue;
use crate::engine::merge::{EndpointVerdict, Verdict};
use crate::pf::Refused;
use crate::wire::StateId;
use sys_bindings as sys;

/// Whether a probe of the system is enabled.
fn enabled() -> bool {
    // SAFETY: one byte of the kernel, written when probes are switched.
    unsafe { core::ptr::addr_of!(sys::sdt_probes_enabled).read_volatile() }
}

/// A state as the probes name it.
fn name(state: StateId) -> (u64, u32) {
    (u64::from_be_bytes(state.id), u32::from_be_bytes(state.creator))
}

/// `pfsync::state:queued`: an insert, update or delete waits to be sent.
/// Third argument: 0 insert, 2 whole update, 4 compressed update, 5 delete.
pub fn queued(state: StateId, queue: Queue) {
    if enabled() {
        let (id, creator) = name(state);
        // SAFETY: takes values only.
        unsafe { sys::pfs_probe_state_queued(id, creator, queue as i32) };
    }
}

/// `pfsync::state:imported`: a state came from a peer or by `pfctl`. Third
/// argument: 0, or why it was refused: 1 interface, 2 interface to route to,
/// 3 routing table, 4 memory or the rule's limit, 5 exists already, 6 its row
/// of pf's hash is full.
pub fn imported(state: StateId, result: Result<(), Refused>) {
    if enabled() {
        let (id, creator) = name(state);
        let result = match result {
            Ok(()) => 0,
            Err(Refused::Interface) => 1,
            Err(Refused::RouteInterface) => 2,
            Err(Refused::RoutingTable) => 3,
            Err(Refused::NoMemory) => 4,
            Err(Refused::Exists) => 5,
            Err(Refused::Row) => 6,
        };
        // SAFETY: takes values only.
        unsafe { sys::pfs_probe_state_imported(id, creator, result) };
    }
}

/// `pfsync::state:merged`: a peer's update met a state. Third argument: 1 for
/// the source and 2 for the destination, if all of it was taken over.
pub fn merged(state: StateId, verdict: Verdict) {
    if enabled() {
        let (id, creator) = name(state);
        let taken = i32::from(verdict.src == EndpointVerdict::Newer)
            | i32::from(verdict.dst == EndpointVerdict::Newer) << 1;
        // SAFETY: takes values only.
        unsafe { sys::pfs_probe_state_merged(id, creator, taken) };
    }
}

/// `pfsync::message:sent`: action (`PFSYNC_ACT_*`) and count.
pub fn sent(action: u8, count: usize) {
    if enabled() {
        // SAFETY: takes values only.
        unsafe { sys::pfs_probe_message_sent(action.into(), count as i32) };
    }
}

/// `pfsync::message:received`: action and count.
pub fn received(action: u8, count: usize) {
    if enabled() {
        // SAFETY: takes values only.
        unsafe { sys::pfs_probe_message_received(action.into(), count as i32) };
    }
}

/// Why a message or a packet was refused, by the counter that tells.
#[derive(Clone, Copy)]
pub enum Rejected {
    Interface = 1,
    Ttl = 2,
    Header = 3,
    Version = 4,
    Length = 5,
    Action = 6,
    Value = 7,
    State = 8,
    Limit = 9,
}

/// `pfsync::message:rejected`: action, -1 for the whole packet, and reason.
pub fn rejected(action: Option<u8>, reason: Rejected) {
    if enabled() {
        // SAFETY: takes values only.
        unsafe { sys::pfs_probe_message_rejected(action.map_or(-1, i32::from), reason as i32) };
    }
}

/// `pfsync::bulk:sending`: a packet of a full update left; the row of pf's id
/// hash that it came to, and the number of rows.
pub fn bulk_sending(row: usize, rows: usize) {
    if enabled() {
        // SAFETY: takes values only.
        unsafe { sys::pfs_probe_bulk_sending(row as u64, rows as u64) };
    }
}

/// What happens while a full update is awaited.
#[derive(Clone, Copy)]
pub enum Awaited {
    Asked = 0,
    Done = 1,
    Cancelled = 2,
    GivenUp = 3,
}

/// `pfsync::bulk:awaited`: see [`Awaited`].
pub fn bulk_awaited(event: Awaited) {
    if enabled() {
        // SAFETY: takes values only.
        unsafe { sys::pfs_probe_bulk_awaited(event as i32) };
    }
}

/// What happens to a packet that waits for an acknowledgement.
#[derive(Clone, Copy)]
pub enum Deferred {
    Held = 0,
    /// The peer knows the state, or the state is gone.
    Acknowledged = 1,
    TimedOut = 2,
    /// It was not held: too many are.
    TooMany = 3,
}

/// `pfsync::packet:deferred`: the state it belongs to, and [`Deferred`].
pub fn deferred(state: StateId, event: Deferred) {
    if enabled() {
        let (id, creator) = name(state);
        // SAFETY: takes values only.
        unsafe { sys::pfs_probe_packet_deferred(id, creator, event as i32) };
    }
}
