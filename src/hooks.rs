//! What pf calls when something happens to a state, and the timers that end
//! what these calls begin.

use crate::engine::bucket::{Change, Queue};
use crate::engine::defer::Deferral;
use crate::input::take_in;
use crate::kernel::epoch::{self, NetEpoch};
use crate::kernel::error::{to_c, Errno, Result};
use crate::kernel::mbuf::{self, Packet};
use crate::kernel::time;
use crate::pf::rules::{self, Hooks, Rules};
use crate::pf::{collapse, table, Locked, Origin, NEWEST_FORMAT};
use crate::probe::{self, Deferred};
use crate::softc::{Bucket, Softc};
use crate::stats::{count, Stat};
use crate::vnet;
use crate::wire::{Format, IfName, State};
use core::ffi::{c_char, c_int};
use core::ptr::NonNull;
use core::sync::atomic::Ordering;
use sys_bindings as sys;

/// What pf calls, from the interface's making on; not while it is down again.
pub const HOOKS: Hooks = Hooks {
    import: Some(import_hook),
    insert: Some(insert_hook),
    update: Some(update_hook),
    remove: Some(delete_hook),
    clear: Some(clear_hook),
    defer: Some(defer_hook),
};

/// pf made a state. Its row is locked.
unsafe extern "C" fn insert_hook(st: *mut sys::pf_kstate) {
    let Some(st) = NonNull::new(st) else { return };
    // SAFETY: pf inserts states while it handles a packet, in the network
    // epoch, and calls this with the row locked. Our own import is the other
    // caller, and keeps to the same.
    unsafe {
        epoch::entered(|epoch| {
            if let Some(softc) = vnet::softc(epoch) {
                softc.state_inserted(&Locked::assume(st), epoch);
            }
        });
    }
}

/// pf handled a packet of a state. Its row is locked.
unsafe extern "C" fn update_hook(st: *mut sys::pf_kstate) {
    let Some(st) = NonNull::new(st) else { return };
    // SAFETY: pf calls this while it handles a packet, in the network epoch,
    // with the row locked.
    unsafe { epoch::entered(|epoch| state_updated(&Locked::assume(st), epoch)) };
}

/// pf unlinks a state. Its row is locked.
unsafe extern "C" fn delete_hook(st: *mut sys::pf_kstate) {
    let Some(st) = NonNull::new(st) else { return };
    // The purge thread calls this too, outside the network epoch.
    epoch::enter(|epoch| {
        if let Some(softc) = vnet::softc(epoch) {
            // SAFETY: pf_unlink_state calls this with the row locked and the
            // keys still there.
            softc.state_deleted(unsafe { &Locked::assume(st) }, epoch);
        }
    });
}

/// An operator cleared all states, or those of an interface.
unsafe extern "C" fn clear_hook(_creator: u32, ifname: *const c_char) {
    // SAFETY: pf passes a name of IFNAMSIZ bytes.
    let name = unsafe { ifname.cast::<[u8; 16]>().read() };
    epoch::enter(|epoch| {
        if let Some(softc) = vnet::softc(epoch) {
            if softc.control.lock().clear(IfName::new(&name).ok()).is_err() {
                count(Stat::NoMemory, 1);
            }
            vnet::schedule_sender();
        }
    });
}

/// An operator loads a state (`pfctl -L`, DIOCADDSTATE).
unsafe extern "C" fn import_hook(
    message: *mut sys::pfsync_state_union,
    _flags: c_int,
    version: c_int,
) -> c_int {
    let Some(format) = Format::from_number(version.into()).filter(|format| *format <= NEWEST_FORMAT) else {
        return to_c(Err(Errno::EINVAL));
    };
    // SAFETY: pf passes a message of that version, and holds the rules.
    to_c(unsafe {
        let bytes = core::slice::from_raw_parts(message.cast::<u8>(), format.size());
        State::read(format, bytes).map_or(Err(Errno::EINVAL), |state| load(state))
    })
}

/// Takes in a state of an operator's.
///
/// # Safety
///
/// The thread holds the rules for reading.
unsafe fn load(state: core::result::Result<State, crate::wire::Invalid>) -> Result<()> {
    let state = state.map_err(|_| Errno::EINVAL)?;
    epoch::enter(|epoch| {
        let softc = vnet::softc(epoch).ok_or(Errno::EOPNOTSUPP)?;
        // SAFETY: as the caller promises.
        unsafe { rules::held(|rules: &Rules| take_in(softc, &state, Origin::Ioctl, rules)) }
            .map_err(Errno::from)
    })
}

/// May hold back the first packet of a state. Returns whether it did: then the
/// packet is ours. The row is locked.
unsafe extern "C" fn defer_hook(st: *mut sys::pf_kstate, m: *mut sys::mbuf) -> c_int {
    let (Some(st), Some(m)) = (NonNull::new(st), NonNull::new(m)) else { return 0 };
    // SAFETY: pf calls this while it handles the packet, with the row locked.
    unsafe {
        if mbuf::is_multicast(m.as_ptr()) {
            return 0;
        }
        epoch::entered(|epoch| {
            let Some(softc) = vnet::softc(epoch).filter(|softc| softc.defers(epoch)) else { return 0 };
            match softc.defer(&Locked::assume(st), Packet::from_raw(m)) {
                Ok(()) => 1,
                Err(packet) => {
                    packet.into_raw();
                    0
                }
            }
        })
    }
}

/// Called for every packet: what is queued already ends here, before the
/// interface is even looked up.
fn state_updated(state: &Locked, epoch: &NetEpoch) {
    /// A peer that updated a state less than two seconds ago handles its
    /// traffic too.
    const SPLIT: u32 = 2;
    let split = time::uptime().wrapping_sub(state.pfsync_time()) < SPLIT;
    let change = Change { tcp: state.is_tcp(), split };
    if !state.awaits_ack() && collapse(state, change) {
        return probe::queued(state.id(), Queue::Waiting);
    }
    queue_update(state, change, epoch);
}

/// The rest: a state that stands in no queue, or cannot wait there.
#[cold]
fn queue_update(state: &Locked, change: Change, epoch: &NetEpoch) {
    if let Some(softc) = vnet::softc(epoch) {
        softc.queue_update(state, change, epoch);
    }
}

impl Softc {
    fn state_inserted(&self, state: &Locked, epoch: &NetEpoch) {
        if state.is_nosync() {
            // pf asks the flag before it offers a packet for deferral.
            state.set_nosync(true);
            return;
        }
        let link = self.link(epoch);
        let Some(bucket) = self.bucket(state) else { return };
        if self.has_audience(link) {
            probe::queued(state.id(), Queue::Insert);
            let wake = bucket.queues.lock().insert(state, self.frame_size(link));
            self.wake(bucket, wake);
        }
    }

    fn queue_update(&self, state: &Locked, change: Change, epoch: &NetEpoch) {
        let Some(bucket) = self.bucket(state) else { return };
        if state.awaits_ack() {
            self.release(bucket, state);
        }
        // Nothing was queued for a state of a no-sync rule; and one that a peer
        // or an operator is deleting goes through `state_deleted`.
        if !state.is_nosync() && self.has_audience(self.link(epoch)) {
            probe::queued(state.id(), Queue::Waiting);
            let wake = bucket.queues.lock().update(state, change);
            self.wake(bucket, wake);
        }
    }

    fn state_deleted(&self, state: &Locked, epoch: &NetEpoch) {
        let Some(bucket) = self.bucket(state) else { return };
        if state.awaits_ack() {
            self.release(bucket, state);
        }
        let link = self.link(epoch);
        if state.is_nosync() || !self.has_audience(link) {
            bucket.queues.lock().forget(state);
            return;
        }
        probe::queued(state.id(), Queue::Delete);
        let wake = bucket.queues.lock().delete(state, self.frame_size(link));
        self.wake(bucket, wake);
    }

    /// Whether first packets are held back.
    fn defers(&self, epoch: &NetEpoch) -> bool {
        self.options.defer.load(Ordering::Relaxed) && self.ifp.is_running() && self.link(epoch).is_some()
    }

    /// Holds a packet back until the peer has the state. It has to hear of it
    /// at once.
    ///
    /// Gives the packet back if too many are held: pf sends it on. To send
    /// another for it will not do: pf may still be at work on that one.
    fn defer(&self, state: &Locked, mut packet: Packet) -> core::result::Result<(), Packet> {
        let delay = vnet::defer_delay();
        let Some(bucket) = self.bucket(state) else { return Err(packet) };
        packet.set_skip_firewall(true);
        let mut deferrals = bucket.deferrals.lock();
        let first = deferrals.next_deadline().is_none();
        let deadline = time::now().saturating_add(delay);
        let added = deferrals.add(Deferral { state: state.id(), packet, deadline });
        drop(deferrals);
        if let Err(Deferral { mut packet, .. }) = added {
            probe::deferred(state.id(), Deferred::TooMany);
            packet.set_skip_firewall(false);
            return Err(packet);
        }
        state.set_awaits_ack(true);
        probe::deferred(state.id(), Deferred::Held);
        if first {
            bucket.defer_timer.arm(delay);
        }
        let wake = bucket.queues.lock().flush();
        self.wake(bucket, wake);
        Ok(())
    }

    /// Lets the packet go that waits for a state, if one does.
    pub fn release(&self, bucket: &Bucket, state: &Locked) {
        state.set_awaits_ack(false);
        let released = bucket.deferrals.lock().release(state.id());
        self.let_go(released, Deferred::Acknowledged);
    }

    /// Hands a packet to the sender that waits no more.
    fn let_go(&self, deferral: Option<Deferral<Packet>>, event: Deferred) {
        if let Some(deferral) = deferral {
            probe::deferred(deferral.state, event);
            self.released.lock().push(deferral.packet);
            vnet::schedule_sender();
        }
    }
}

/// A bucket's second is over.
pub fn second_over(index: usize) {
    epoch::enter(|epoch| {
        let Some(softc) = vnet::softc(epoch) else { return };
        let Some(bucket) = softc.buckets.get(index) else { return };
        let wake = bucket.queues.lock().timer_expired();
        softc.wake(bucket, wake);
    });
}

/// A bucket's oldest deferred packet may have waited long enough.
pub fn deferral_over(index: usize) {
    epoch::enter(|epoch| {
        let Some(softc) = vnet::softc(epoch) else { return };
        let Some(bucket) = softc.buckets.get(index) else { return };
        let now = time::now();
        loop {
            let expired = bucket.deferrals.lock().pop_expired(now);
            let Some(deferral) = expired else { break };
            // pf holds the state's row for as long as it is at work on the
            // packet, which it is a moment longer than the hook.
            drop(table::find(deferral.state));
            softc.let_go(Some(deferral), Deferred::TimedOut);
        }
        let next = bucket.deferrals.lock().next_deadline();
        if let Some(deadline) = next {
            bucket.defer_timer.arm(deadline.saturating_sub(now));
        }
    });
}
