//! Deferral: the first packet of a connection waits until a peer acknowledges the
//! state's insert, or until its time is over.

use crate::driver::instance;
use crate::driver::kernel::epoch::{self, NetEpoch};
use crate::driver::kernel::ip;
use crate::driver::kernel::mbuf::Packet;
use crate::driver::kernel::time;
use crate::driver::pf::{table, Locked};
use crate::driver::probe::{self, Deferred};
use crate::driver::softc::{Bucket, Softc};
use crate::driver::stats::{count, Stat};
use crate::driver::storage;
use crate::engine::defer::Deferral;
use core::sync::atomic::Ordering;

/// Whether first packets are deferred.
pub fn is_enabled(softc: &Softc, epoch: &NetEpoch) -> bool {
    softc.options.defer.load(Ordering::Relaxed) && softc.ifp.is_running() && softc.link(epoch).is_some()
}

/// Defers a packet until a peer has the state, and has everything in the bucket
/// sent at once, for the peer to hear of the state.
///
/// Gives the packet back if too many are deferred: pf sends it on. Sending an
/// older one instead would not do, because pf may still be working on that one.
pub fn defer(softc: &Softc, state: &Locked, mut packet: Packet) -> Result<(), Packet> {
    let delay = storage::settings().defer_delay;
    let Some(bucket) = softc.bucket(state) else { return Err(packet) };
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
        bucket.deferral_timer.arm(delay);
    }
    let wake = bucket.queues.lock().push();
    softc.wake(bucket, wake);
    Ok(())
}

/// Lets the packet go that waits for a state, if there is one: a peer knows the
/// state, or the state is gone.
pub fn release(softc: &Softc, bucket: &Bucket, state: &Locked) {
    state.set_awaits_ack(false);
    let released = bucket.deferrals.lock().release(state.id());
    if let Some(deferral) = released {
        hand_to_sender(softc, deferral, Deferred::Acknowledged);
    }
}

/// The function of a bucket's deferral timer: the oldest packet may have waited
/// long enough.
pub fn timeout(index: usize) {
    epoch::enter(|epoch| {
        let Some(softc) = instance::current(epoch) else { return };
        let Some(bucket) = softc.buckets.get(index) else { return };
        let now = time::now();
        loop {
            let expired = bucket.deferrals.lock().expired(now);
            let Some(deferral) = expired else { break };
            // pf keeps the state's row locked as long as it works on the packet,
            // which is a moment longer than the hook.
            drop(table::find(deferral.state));
            hand_to_sender(softc, deferral, Deferred::TimedOut);
        }
        let next = bucket.deferrals.lock().next_deadline();
        if let Some(deadline) = next {
            bucket.deferral_timer.arm(deadline.saturating_sub(now));
        }
    });
}

/// The packet waits no more: the sender sends it outside every lock.
fn hand_to_sender(softc: &Softc, deferral: Deferral<Packet>, event: Deferred) {
    probe::deferred(deferral.state, event);
    softc.released.lock().push(deferral.packet);
    storage::schedule_sender();
}

/// Sends the packets on that wait no more. No lock may be held.
pub fn send_released(softc: &Softc, epoch: &NetEpoch) {
    loop {
        let packet = softc.released.lock().pop();
        let Some(packet) = packet else { return };
        if ip::forward(packet, epoch).is_err() {
            count(Stat::OutputErrors, 1);
        }
    }
}

/// Sends every deferred packet on. No other thread finds the interface any more.
pub fn send_all(softc: &Softc) {
    for bucket in softc.buckets.iter() {
        loop {
            let deferral = bucket.deferrals.lock().pop();
            let Some(deferral) = deferral else { break };
            softc.released.lock().push(deferral.packet);
        }
    }
    epoch::enter(|epoch| send_released(softc, epoch));
}
