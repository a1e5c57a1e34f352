// SPDX-License-Identifier: BSD-2-Clause
//! The DTrace probes of provider `pfsync` (`dtrace -l -P pfsync`), one function for
//! each. While no probe of the system is enabled, each costs one load and a branch.
//!
//! A probe names a state by its id and creator id in host byte order, as tcpdump(1)
//! does. `pfctl -vvss` shows the bytes of the id in reverse order.

use crate::driver::pf::{Kstate, Refused};
use crate::driver::stats::Conflict;
use crate::engine::bucket::Queue;
use crate::engine::merge::{EndpointVerdict, Verdict};
use crate::wire::StateId;
use sys_bindings as sys;

/// Whether a probe of the system is enabled.
fn enabled() -> bool {
    // SAFETY: a flag of the kernel, one byte, which is written when probes are switched
    // on and off.
    unsafe { core::ptr::addr_of!(sys::sdt_probes_enabled).read_volatile() }
}

/// A state's id and creator id in host byte order.
fn name(state: StateId) -> (u64, u32) {
    (u64::from_be_bytes(state.id), u32::from_be_bytes(state.creator))
}

/// `pfsync::state:queued`: an insert, an update or a delete was queued, or an update
/// collapsed into a queued message. The third argument is the number of a [`Queue`]:
/// 0 insert, 2 whole update, 4 compressed update, 5 delete.
pub(crate) fn queued(state: &Kstate, queue: Queue) {
    if enabled() {
        let (id, creator) = name(state.id());
        // SAFETY: takes only numbers.
        unsafe { sys::pfs_probe_state_queued(id, creator, queue as i32) };
    }
}

/// `pfsync::state:imported`: a state came from a peer or from `pfctl -L`. Third
/// argument: 0 if it was inserted, or why it was refused: 1 interface, 2 interface to
/// route to, 3 routing table, 4 no memory or the rule's limit, 5 exists already, 6 its
/// row of pf's id hash is full, 7 pf of this release cannot have such a state.
pub(crate) fn imported(state: StateId, result: Result<(), Refused>) {
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
            Err(Refused::Unsupported) => 7,
        };
        // SAFETY: takes only numbers.
        unsafe { sys::pfs_probe_state_imported(id, creator, result) };
    }
}

/// `pfsync::state:merged`: a peer's update was compared with a state. Third argument: the
/// endpoints that were overwritten as a whole, 1 for the source plus 2 for the destination.
pub(crate) fn merged(state: StateId, verdict: Verdict) {
    if enabled() {
        let (id, creator) = name(state);
        let applied = |endpoint| matches!(endpoint, EndpointVerdict::Newer | EndpointVerdict::Same);
        let source = i32::from(applied(verdict.src));
        let destination = i32::from(applied(verdict.dst));
        // SAFETY: takes only numbers.
        unsafe { sys::pfs_probe_state_merged(id, creator, source | destination << 1) };
    }
}

/// `pfsync::state:conflict`: a message of a peer contradicts what is known here, as
/// [`Conflict`] says. The state is 0 if the message is about none.
pub(crate) fn conflict(state: StateId, conflict: Conflict) {
    if enabled() {
        let (id, creator) = name(state);
        // SAFETY: takes only numbers.
        unsafe { sys::pfs_probe_state_conflict(id, creator, conflict as i32) };
    }
}

/// `pfsync::message:sent`: action (`PFSYNC_ACT_*`) and number of messages.
pub(crate) fn sent(action: u8, count: usize) {
    if enabled() {
        // SAFETY: takes only numbers.
        unsafe { sys::pfs_probe_message_sent(action.into(), count as i32) };
    }
}

/// `pfsync::message:received`: action (`PFSYNC_ACT_*`) and number of messages.
pub(crate) fn received(action: u8, count: usize) {
    if enabled() {
        // SAFETY: takes only numbers.
        unsafe { sys::pfs_probe_message_received(action.into(), count as i32) };
    }
}

/// Why a message or a packet was rejected. Each reason belongs to a counter of
/// `crate::driver::stats`.
#[derive(Clone, Copy)]
pub(crate) enum Rejected {
    /// It did not come by the sync interface.
    Interface = 1,
    /// Its TTL or hop limit is not 255.
    Ttl = 2,
    /// It is shorter than a header.
    Header = 3,
    /// It has another protocol version.
    Version = 4,
    /// Its lengths contradict each other.
    Length = 5,
    /// pfsync does not know the action.
    Action = 6,
    /// It has an impossible value.
    Value = 7,
    /// Its state could not be inserted or found.
    State = 8,
    /// A limit on what the peers may cause was reached.
    Limit = 9,
    /// Its tag is wrong or missing, or it is a recording.
    Auth = 10,
}

/// `pfsync::message:rejected`: action, or -1 for a whole packet, and [`Rejected`].
pub(crate) fn rejected(action: Option<u8>, reason: Rejected) {
    if enabled() {
        // SAFETY: takes only numbers.
        unsafe { sys::pfs_probe_message_rejected(action.map_or(-1, i32::from), reason as i32) };
    }
}

/// `pfsync::bulk:sending`: a packet of a bulk update left. The arguments are the row of
/// pf's id hash that the walk has reached, and the number of rows.
pub(crate) fn bulk_sending(row: usize, rows: usize) {
    if enabled() {
        // SAFETY: takes only numbers.
        unsafe { sys::pfs_probe_bulk_sending(row as u64, rows as u64) };
    }
}

/// What happens to a bulk update that this node requests.
#[derive(Clone, Copy)]
pub(crate) enum BulkRequestEvent {
    /// A request was queued, for the first time or again.
    Requested = 0,
    /// The bulk update is complete.
    Complete = 1,
    /// It is no longer wanted.
    Cancelled = 2,
    /// The peers did not send it.
    GivenUp = 3,
}

/// `pfsync::bulk:awaited`: [`BulkRequestEvent`].
pub(crate) fn bulk_awaited(event: BulkRequestEvent) {
    if enabled() {
        // SAFETY: takes only numbers.
        unsafe { sys::pfs_probe_bulk_awaited(event as i32) };
    }
}

/// What happens to a packet that is deferred, or should be.
#[derive(Clone, Copy)]
pub(crate) enum DeferralEvent {
    /// The packet waits for an acknowledgement.
    Deferred = 0,
    /// The packet leaves, because a peer knows the state, pf has handled another packet
    /// of it, or the state is gone.
    Acknowledged = 1,
    /// The packet leaves, because its time is over.
    TimedOut = 2,
    /// The packet is not deferred, because too many are.
    TooMany = 3,
}

/// `pfsync::packet:deferred`: the packet's state, and [`DeferralEvent`].
pub(crate) fn deferred(state: StateId, event: DeferralEvent) {
    if enabled() {
        let (id, creator) = name(state);
        // SAFETY: takes only numbers.
        unsafe { sys::pfs_probe_packet_deferred(id, creator, event as i32) };
    }
}

/// `pfsync::agreement:gap`: numbers of a peer are missing. The arguments are the peer's
/// epoch, and the first and the last of the numbers.
pub(crate) fn gap(epoch: u64, first: u64, last: u64) {
    if enabled() {
        // SAFETY: takes only numbers.
        unsafe { sys::pfs_probe_agreement_gap(epoch, first, last) };
    }
}

/// `pfsync::agreement:repaired`: a peer told again what this many missing frames told.
pub(crate) fn repaired(count: u64) {
    if enabled() {
        // SAFETY: takes only numbers.
        unsafe { sys::pfs_probe_agreement_repaired(count as i32) };
    }
}

/// `pfsync::agreement:retold`: this many messages were told again for peers.
pub(crate) fn retold(count: usize) {
    if enabled() {
        // SAFETY: takes only numbers.
        unsafe { sys::pfs_probe_agreement_retold(count as i32) };
    }
}

/// `pfsync::agreement:refused`: a packet was refused. The reason is 1 for a wrong or
/// missing tag, 2 for an epoch that is not fresh, 3 without space for another peer.
pub(crate) fn refused(reason: i32) {
    if enabled() {
        // SAFETY: takes only numbers.
        unsafe { sys::pfs_probe_agreement_refused(reason) };
    }
}

/// `pfsync::agreement:epoch`: this firewall began an epoch.
pub(crate) fn epoch(epoch: u64) {
    if enabled() {
        // SAFETY: takes only numbers.
        unsafe { sys::pfs_probe_agreement_epoch(epoch) };
    }
}
