// SPDX-License-Identifier: BSD-2-Clause
//! Deferral: the first packet of a connection waits until a peer acknowledges the state's
//! insert, or until its time is over.

use crate::atomic::Ordering;
use crate::driver::instance;
use crate::driver::kernel::epoch::{self, NetEpoch};
use crate::driver::kernel::ip;
use crate::driver::kernel::mbuf::Packet;
use crate::driver::kernel::time;
use crate::driver::pf::{table, Locked};
use crate::driver::probe::{self, DeferralEvent};
use crate::driver::softc::{Bucket, Softc};
use crate::driver::stats::{count, Stat};
use crate::driver::storage;
use crate::engine::defer::{Added, Deferral};

/// Whether first packets are deferred: the operator wants it, and the link to the peers is
/// up.
pub(crate) fn is_enabled(softc: &Softc, epoch: &NetEpoch) -> bool {
    softc.options.defer.load(Ordering::Relaxed) && softc.ifp.is_running() && softc.link(epoch).is_some()
}

/// Defers the first packet of a state, and has all prompt queues sent, so that the peers
/// hear of the state at once.
///
/// If many are deferred already, the oldest leaves soon. This must not send that one itself:
/// pf may still be working on it. Returns the new packet if too many are deferred, for pf to
/// send it on.
pub(crate) fn defer(softc: &Softc, state: &Locked, mut packet: Packet) -> Result<(), Packet> {
    let delay = storage::sysctls().defer_delay;
    let bucket = softc.bucket(state);
    packet.set_skip_firewall(true);
    let mut deferrals = bucket.deferrals.lock();
    let now = time::now();
    let deadline = now.saturating_add(delay);
    let added = deferrals.add(Deferral { state: state.id(), packet, deadline }, now);
    // The timer is armed with the list locked, so that it never waits for longer than the
    // oldest packet may.
    match added {
        Ok(Added::First) => bucket.deferral_timer.arm(delay),
        Ok(Added::OldestLeaves) => bucket.deferral_timer.arm(0),
        Ok(Added::Behind) | Err(_) => {}
    }
    drop(deferrals);
    if let Err(Deferral { mut packet, .. }) = added {
        probe::deferred(state.id(), DeferralEvent::TooMany);
        packet.set_skip_firewall(false);
        return Err(packet);
    }
    state.set_awaits_ack(true);
    probe::deferred(state.id(), DeferralEvent::Deferred);
    softc.send_at_once();
    Ok(())
}

/// Releases the packet that waits for a state, if there is one.
pub(crate) fn release(softc: &Softc, bucket: &Bucket, state: &Locked) {
    state.set_awaits_ack(false);
    let released = bucket.deferrals.lock().release(state.id());
    if let Some(deferral) = released {
        hand_to_sender(softc, deferral, DeferralEvent::Acknowledged);
    }
}

/// The function of a bucket's deferral timer: releases the packets whose time is over.
pub(crate) fn timeout(index: usize) {
    epoch::enter(|epoch| {
        let Some(softc) = instance::current(epoch) else { return };
        let Some(bucket) = softc.buckets.get(index) else { return };
        let now = time::now();
        loop {
            let Some(deferral) = bucket.deferrals.lock().pop_expired(now) else { break };
            // pf works on the packet for a moment after the hook has returned, and keeps
            // the state's row locked until it is done. Locking the row waits for that.
            if let Some(state) = table::find(deferral.state) {
                state.set_awaits_ack(false);
            }
            hand_to_sender(softc, deferral, DeferralEvent::TimedOut);
        }
        let mut deferrals = bucket.deferrals.lock();
        if let Some(deadline) = deferrals.next_deadline() {
            bucket.deferral_timer.arm(deadline.saturating_sub(now));
        }
    });
}

/// Hands a packet that no longer waits to the sender, which holds no lock when it sends.
fn hand_to_sender(softc: &Softc, deferral: Deferral<Packet>, event: DeferralEvent) {
    probe::deferred(deferral.state, event);
    softc.released.lock().append(deferral.packet);
    storage::schedule_sender();
}

/// Sends the released packets on. The thread must hold no lock.
pub(crate) fn send_released(softc: &Softc, epoch: &NetEpoch) {
    loop {
        let Some(packet) = softc.released.lock().pop() else { return };
        if ip::forward(packet, epoch).is_err() {
            count(Stat::OutputErrors, 1);
        }
    }
}

/// Sends every deferred packet on. No other thread finds the interface any more.
pub(crate) fn send_all(softc: &Softc) {
    for bucket in softc.buckets.iter() {
        loop {
            let Some(deferral) = bucket.deferrals.lock().pop() else { break };
            softc.released.lock().append(deferral.packet);
        }
    }
    epoch::enter(|epoch| send_released(softc, epoch));
}
