// SPDX-License-Identifier: BSD-2-Clause
//! The hooks: what pf calls when something happens to a state.

use crate::atomic::Ordering;
use crate::driver::bulk_request;
use crate::driver::deferral;
use crate::driver::import;
use crate::driver::instance;
use crate::driver::kernel::epoch::{self, NetEpoch};
use crate::driver::kernel::error::{to_c, Errno, Result};
use crate::driver::kernel::mbuf::{self, Packet};
use crate::driver::kernel::time;
use crate::driver::lifecycle;
use crate::driver::pf::rules::{self, Hooks};
use crate::driver::pf::{collapse, status, Locked, NEWEST_FORMAT};
use crate::driver::probe;
use crate::driver::softc::Softc;
use crate::driver::stats::{count, Stat};
use crate::driver::storage;
use crate::engine::bucket::{Change, Queue};
use crate::wire::{CheckedState, Format, IfName, Invalid};
use core::ffi::{c_char, c_int};
use core::ptr::NonNull;
use sys_bindings as sys;

/// The hooks. They are set when the interface is made, and again when it comes up.
pub(crate) const HOOKS: Hooks = Hooks {
    import: Some(import_hook),
    insert: Some(insert_hook),
    update: Some(update_hook),
    remove: Some(delete_hook),
    clear: Some(clear_hook),
    defer: Some(defer_hook),
};

/// The hooks while the interface is down, after it was up.
pub(crate) const HOOKS_WHILE_DOWN: Hooks = Hooks { clear: Some(clear_hook_while_down), ..rules::NO_HOOKS };

/// pf has inserted a state. Its row is locked.
unsafe extern "C" fn insert_hook(st: *mut sys::pf_kstate) {
    let Some(st) = NonNull::new(st) else { return };
    // SAFETY: pf calls this with the row locked, while it handles a packet in the network
    // epoch. It also calls this during `pf::import`, whose callers are in the epoch too.
    unsafe {
        epoch::entered(|epoch| {
            let state = Locked::assume(st);
            // The state of a no-sync rule, or of a peer: `pf::import` marks it.
            if state.is_marked_nosync() {
                return;
            }
            if let Some(softc) = instance::current(epoch) {
                state_inserted(softc, &state, epoch);
            }
        });
    }
}

/// pf has handled a packet of a state. Its row is locked.
unsafe extern "C" fn update_hook(st: *mut sys::pf_kstate) {
    // SAFETY: pf calls this with a state whose row it has locked, and which it has just changed
    // through this pointer, while it handles a packet in the network epoch.
    unsafe {
        let st = NonNull::new_unchecked(st);
        epoch::entered(|epoch| state_updated(&Locked::assume(st), epoch));
    }
}

/// pf is unlinking a state. Its row is locked.
unsafe extern "C" fn delete_hook(st: *mut sys::pf_kstate) {
    let Some(st) = NonNull::new(st) else { return };
    // pf's purge thread calls this too, and is not in the network epoch.
    epoch::enter(|epoch| {
        if let Some(softc) = instance::current(epoch) {
            // SAFETY: pf_unlink_state calls this with the row locked, while the state
            // still has its keys.
            state_deleted(softc, unsafe { &Locked::assume(st) }, epoch);
        }
    });
}

/// An operator has cleared all states, or those of an interface. No lock is held.
unsafe extern "C" fn clear_hook(_creator: u32, ifname: *const c_char) {
    lifecycle::call(|| {
        // SAFETY: pf passes a name of IFNAMSIZ bytes.
        let name = unsafe { ifname.cast::<[u8; 16]>().read() };
        epoch::enter(|epoch| {
            if let Some(softc) = instance::current(epoch) {
                states_cleared(softc, &name);
            }
        });
    });
}

/// An operator has cleared states while the interface is down. The peers are not told. No lock
/// is held.
unsafe extern "C" fn clear_hook_while_down(_creator: u32, _ifname: *const c_char) {
    lifecycle::call(|| {
        epoch::enter(|epoch| {
            if let Some(softc) = instance::current(epoch) {
                bulk_request::states_cleared(softc);
            }
        });
    });
}

/// An operator loads a state (`pfctl -L`, `DIOCADDSTATE`).
unsafe extern "C" fn import_hook(
    message: *mut sys::pfsync_state_union,
    _flags: c_int,
    version: c_int,
) -> c_int {
    let Some(format) = Format::from_number(version.into()).filter(|format| *format <= NEWEST_FORMAT) else {
        return to_c(Err(Errno::EINVAL));
    };
    // SAFETY: pf passes a message of that version, and holds the rules locked.
    to_c(unsafe {
        let bytes = core::slice::from_raw_parts(message.cast::<u8>(), format.size());
        CheckedState::read(format, bytes).map_or(Err(Errno::EINVAL), |state| load(state))
    })
}

/// Imports an operator's state. `EOPNOTSUPP` without an interface.
///
/// # Safety
///
/// The thread holds the rules locked for reading.
unsafe fn load(state: core::result::Result<CheckedState, Invalid>) -> Result<()> {
    let state = state.map_err(|_| Errno::EINVAL)?;
    epoch::enter(|epoch| {
        instance::current(epoch).ok_or(Errno::EOPNOTSUPP)?;
        // SAFETY: the caller promises that the rules are locked.
        unsafe { rules::held(|rules| import::from_operator(&state, rules)) }
    })
}

/// pf offers the first packet of a state for deferral. Returns whether this took the
/// packet over. The state's row is locked.
unsafe extern "C" fn defer_hook(st: *mut sys::pf_kstate, m: *mut sys::mbuf) -> c_int {
    let (Some(st), Some(m)) = (NonNull::new(st), NonNull::new(m)) else { return 0 };
    // SAFETY: pf calls this with the row locked, while it handles the packet in the network
    // epoch.
    unsafe {
        if mbuf::is_multicast(m.as_ptr()) {
            return 0;
        }
        epoch::entered(|epoch| {
            let Some(softc) = instance::current(epoch).filter(|softc| deferral::is_enabled(softc, epoch))
            else {
                return 0;
            };
            match deferral::defer(softc, &Locked::assume(st), Packet::from_raw(m)) {
                Ok(()) => 1,
                Err(packet) => {
                    packet.into_raw();
                    0
                }
            }
        })
    }
}

/// Queues an update. This runs for every packet that pf handles. If the update collapses
/// into a queued message, it ends here, without a lock and without the interface.
fn state_updated(state: &Locked, epoch: &NetEpoch) {
    let change = Change { tcp: state.is_tcp(), split: state.is_split(time::uptime()) };
    if !state.awaits_ack() && collapse(state, change) {
        return probe::queued(state, Queue::Waiting);
    }
    queue_update(state, change, epoch);
}

/// Queues an update that does not collapse, and releases a deferred packet of the state.
#[cold]
fn queue_update(state: &Locked, change: Change, epoch: &NetEpoch) {
    let Some(softc) = instance::current(epoch) else { return };
    let bucket = softc.bucket(state);
    if state.awaits_ack() {
        deferral::release(softc, bucket, state);
    }
    // A state of a no-sync rule was never queued. A state that a peer or an operator is
    // deleting goes through `state_deleted`.
    if !state.is_nosync() && softc.has_audience(softc.link(epoch)) {
        probe::queued(state, Queue::Waiting);
        let wake = bucket.queues.change(|queues| queues.update(state, change, softc.backlog()));
        softc.wake(bucket, wake);
    }
}

/// Tells the peers that states were cleared. pf has cleared states that other firewalls
/// created, too, which their peers still have.
fn states_cleared(softc: &Softc, name: &[u8; 16]) {
    bulk_request::states_cleared(softc);
    let ifname = match name {
        [0, ..] => None,
        name => match IfName::new(name) {
            Ok(ifname) => Some(ifname),
            // No message can carry this name, and without a name it would clear all.
            Err(_) => return,
        },
    };
    let mut control = softc.control.lock();
    if control.clear(ifname).is_err() {
        count(Stat::NoMemory, 1);
    }
    softc.clear_waits.store(control.has_clears(), Ordering::Release);
    drop(control);
    storage::schedule_sender();
}

/// Queues the insert of a state that is not marked.
fn state_inserted(softc: &Softc, state: &Locked, epoch: &NetEpoch) {
    if state.is_excluded() {
        // pf looks at the flag alone when it decides whether to offer a packet for
        // deferral.
        state.set_nosync(true);
        return;
    }
    let link = softc.link(epoch);
    if softc.has_audience(link) {
        probe::queued(state, Queue::Insert);
        softc.bucket(state).queues.insert(state, softc.backlog());
        softc.send_with_tick(link);
    }
}

fn state_deleted(softc: &Softc, state: &Locked, epoch: &NetEpoch) {
    let bucket = softc.bucket(state);
    if state.awaits_ack() {
        deferral::release(softc, bucket, state);
    }
    let link = softc.link(epoch);
    let is_told = !state.is_nosync() && softc.has_audience(link);
    if storage::is_numbered() && (is_told || state.id().creator == status::host_id()) {
        // A message that a peer sent before it heard of the end must not bring the state back.
        // The peer may be one that was not heard yet. If an operator clears states, peers hear
        // of the end of those that this firewall made.
        softc.ended.lock().note(state.id(), time::uptime());
    }
    if !is_told {
        bucket.queues.lock().forget(state, softc.backlog());
        return;
    }
    probe::queued(state, Queue::Delete);
    if bucket.queues.delete(state, softc.backlog()) {
        softc.send_with_tick(link);
    }
}
