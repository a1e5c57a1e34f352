// SPDX-License-Identifier: BSD-2-Clause
//! The configuration of the interface: reading it, changing it, and what a change or a
//! departing interface does to the link.

use crate::atomic::Ordering;
use crate::driver::agreement;
use crate::driver::bulk_answer;
use crate::driver::bulk_request;
use crate::driver::format;
use crate::driver::hooks::{HOOKS, HOOKS_WHILE_DOWN};
use crate::driver::instance::{self, Configuration};
use crate::driver::kernel::alloc::{KBox, Wait};
use crate::driver::kernel::console;
use crate::driver::kernel::epoch;
use crate::driver::kernel::error::{Errno, Result};
use crate::driver::kernel::ifnet::{DetachLock, IfnetRef, Name};
use crate::driver::kernel::time;
use crate::driver::link::Link;
use crate::driver::pf::rules;
use crate::driver::softc::{Softc, MTU_MIN};
use crate::driver::storage;
use crate::engine::agreement::Key;
use crate::engine::config::{Config, Settings, SyncPeer};
use crate::wire::{Format, IfName};
use core::ffi::c_int;
use sys_bindings as sys;

/// What ifconfig(8) shows, as it is at one moment.
pub(crate) struct Snapshot {
    /// The configuration.
    pub(crate) config: Config,
    /// The format that states are sent in.
    pub(crate) format: Format,
    /// The current name of the sync interface, or its last one if it is away. Zeroes without
    /// one.
    pub(crate) syncdev: Name,
    /// Whether no state is known to be missing (`PFSYNCF_OK`).
    pub(crate) ok: bool,
}

/// Runs `inside` for the interface `ifp`, with the configuration locked.
///
/// `ENXIO` while the interface is being made or destroyed, or if it was moved to another
/// vnet.
fn with_softc<R>(ifp: *const sys::ifnet, inside: impl FnOnce(&Softc) -> Result<R>) -> Result<R> {
    let configuration = Configuration::lock().ok_or(Errno::ENXIO)?;
    let softc = configuration.softc().filter(|softc| softc.ifp.as_ptr().cast_const() == ifp);
    softc.map_or(Err(Errno::ENXIO), inside)
}

/// Reads the configuration of the interface `ifp` to show it. Fails as [`apply`] does without an
/// interface.
pub(crate) fn read(ifp: *const sys::ifnet) -> Result<Snapshot> {
    with_softc(ifp, |softc| {
        format::pass_time(softc);
        let config = *softc.config.lock();
        let format = softc.options.format();
        softc.shown_format.store(format as u16, Ordering::Relaxed);
        let ok = agreement::is_in_sync(softc);
        Ok(Snapshot { config, format, syncdev: syncdev_name(softc), ok })
    })
}

/// The format in use when an operator looked last at the interface `ifp`.
pub(crate) fn shown_format(ifp: *const sys::ifnet) -> Result<u16> {
    with_softc(ifp, |softc| Ok(softc.shown_format.load(Ordering::Relaxed)))
}

/// Follows the flags of the interface `ifp`, which an operator set up or down.
pub(crate) fn follow_flags(ifp: *const sys::ifnet) -> Result<()> {
    with_softc(ifp, |softc| {
        let up = softc.ifp.is_up();
        let was_up = softc.ifp.is_running();
        if up && !was_up {
            // Before a peer can request the states: those that are made from now on are
            // announced, and those made before are in the table, which pf's rules lock orders.
            rules::set_hooks(&HOOKS);
        }
        softc.ifp.set_running(up);
        if up && !was_up {
            bulk_request::start(softc);
        } else if was_up && !up {
            rules::set_hooks(&HOOKS_WHILE_DOWN);
            bulk_request::cancel(softc);
        }
        Ok(())
    })
}

/// Sets the MTU of the interface `ifp`, in bytes. `EINVAL` without a sync interface, if its
/// MTU is smaller, or if no state would fit into a packet.
pub(crate) fn set_mtu(ifp: *const sys::ifnet, mtu: c_int) -> Result<()> {
    with_softc(ifp, |softc| {
        let max = epoch::enter(|epoch| softc.link(epoch).map(|link| link.interface().mtu()));
        let mtu = u32::try_from(mtu).map_err(|_| Errno::EINVAL)?;
        if (mtu as usize) < MTU_MIN || max.is_none_or(|max| mtu as usize > max) {
            return Err(Errno::EINVAL);
        }
        softc.ifp.set_mtu(mtu);
        Ok(())
    })
}

/// Applies what an operator requests to the interface `ifp`. May sleep. On an error, changes
/// nothing: `EINVAL` if a value is out of range or a new sync interface does not exist,
/// `ENXIO` without an interface, or the error of [`Link::open`].
pub(crate) fn apply(ifp: *const sys::ifnet, settings: &Settings) -> Result<()> {
    // This lock comes before the configuration's: when an interface departs, the kernel
    // holds it already.
    let detaching = DetachLock::lock();
    with_softc(ifp, |softc| {
        let mut old = *softc.config.lock();
        // The sync interface may have been renamed, and another may have its old name.
        old.syncdev = IfName::new(&syncdev_name(softc)).ok();
        let new = old.with(settings).map_err(|_| Errno::EINVAL)?;
        // A link that is not there may be possible now.
        if !old.same_link(&new) || new.syncdev.is_some() && !is_linked(softc) {
            relink(softc, &old, &new, &detaching)?;
        }
        *softc.config.lock() = new;
        softc.apply_options(&new);
        format::fix(softc, new.fixed_format);
        Ok(())
    })
}

/// Replaces the link by the one that a configuration names. If the sync interface is the same
/// as before and is away, it stays away.
fn relink(softc: &Softc, old: &Config, new: &Config, detaching: &DetachLock) -> Result<()> {
    let link = match new.syncdev.map(|name| IfnetRef::by_name(name.bytes())) {
        Some(Some(ifp)) => {
            agreement::make_log(softc)?;
            Some(open(ifp, new)?)
        }
        Some(None) if old.syncdev != new.syncdev => return Err(Errno::EINVAL),
        _ => None,
    };
    let is_linked = link.is_some();
    Link::close(softc.link.replace(link), detaching);
    meet_new_peers(softc, is_linked);
    if new.syncdev.is_none() {
        bulk_request::forget(softc);
    }
    Ok(())
}

/// Opens the link to the sync peer of a configuration.
fn open(ifp: IfnetRef, config: &Config) -> Result<KBox<Link>> {
    KBox::new(Link::open(ifp, config.syncpeer.unwrap_or(SyncPeer::UNSPECIFIED))?, Wait::Sleep)
}

/// The link leads to peers that this firewall has not heard before, or to none.
fn meet_new_peers(softc: &Softc, is_linked: bool) {
    format::forget_peers(softc);
    agreement::restart(softc);
    if is_linked && softc.ifp.is_running() {
        bulk_request::start_with_new_peers(softc);
    } else {
        bulk_request::expect_new_peers(softc);
    }
}

/// Sets or removes a key for an operator: the one that frames are tagged with, or the other
/// one whose tags are taken. `ENXIO` without an interface.
pub(crate) fn set_key(is_first: bool, key: Option<Key>) -> Result<()> {
    let configuration = Configuration::lock().ok_or(Errno::ENXIO)?;
    let softc = configuration.softc().ok_or(Errno::ENXIO)?;
    let mut keys = softc.keys.lock().clone();
    keys.set(is_first, key);
    // SAFETY: the configuration is locked.
    unsafe { keys.store() };
    let mut shared = softc.keys.lock();
    *shared = keys;
    softc.options.follow_keys(&shared);
    drop(shared);
    storage::schedule_sender();
    Ok(())
}

/// The function of the link task: uses the sync interface again if it is there and up.
///
/// A thread that waits for this task may hold the lock that a [`DetachLock`] stands for. So
/// this does not wait for the lock, but tries again in a tick of the clock.
pub(crate) fn reopen() {
    if !epoch::enter(|epoch| instance::current(epoch).is_some_and(is_away)) {
        return;
    }
    match DetachLock::try_lock() {
        Some(detaching) => reopen_locked(&detaching),
        None => epoch::enter(|epoch| {
            if let Some(softc) = instance::current(epoch) {
                softc.link_task.run_after(time::tick());
            }
        }),
    }
}

fn reopen_locked(detaching: &DetachLock) {
    let configuration = Configuration::lock();
    let Some(softc) = configuration.as_ref().and_then(Configuration::softc) else { return };
    let config = *softc.config.lock();
    let found = config.syncdev.filter(|_| !is_linked(softc)).and_then(|name| IfnetRef::by_name(name.bytes()));
    // An interface that is not up may not be attached completely.
    let Some(ifp) = found.filter(IfnetRef::is_set_up) else { return };
    match open(ifp, &config) {
        Ok(link) => {
            Link::close(softc.link.replace(Some(link)), detaching);
            console::say(c"pfsync0: sync interface %s is back\n", &syncdev_name(softc));
            meet_new_peers(softc, true);
            // The peers lack what happened here meanwhile.
            bulk_answer::request_received(softc);
        }
        Err(_) => softc.link_task.run_after(time::SECOND),
    }
}

/// Whether a sync interface is configured and away.
fn is_away(softc: &Softc) -> bool {
    let syncdev = softc.config.lock().syncdev;
    syncdev.is_some() && !is_linked(softc)
}

fn is_linked(softc: &Softc) -> bool {
    epoch::enter(|epoch| softc.link(epoch).is_some())
}

/// Removes the link if its sync interface departs, but remembers the interface by its name.
/// The kernel also calls this when an interface is renamed. It holds the lock that a
/// [`DetachLock`] stands for. May sleep.
pub(crate) fn interface_departs(ifp: *const sys::ifnet) {
    let configuration = Configuration::lock();
    let Some(softc) = configuration.as_ref().and_then(Configuration::softc) else { return };
    let name = epoch::enter(|epoch| {
        let link = softc.link(epoch)?;
        (link.interface().as_ptr().cast_const() == ifp).then(|| link.interface().name())
    });
    let Some(name) = name else { return };
    if IfnetRef::by_name(&name).is_some_and(|other| other.as_ptr().cast_const() == ifp) {
        // The interface still exists: it is only being renamed.
        return;
    }
    softc.config.lock().syncdev = IfName::new(&name).ok();
    if let Some(retired) = softc.link.replace(None) {
        retired.reclaim().abandon();
    }
    console::say(c"pfsync0: sync interface %s is gone\n", &name);
    meet_new_peers(softc, false);
    // Another interface of that name may have arrived before.
    softc.link_task.run_after(0);
}

/// An interface arrives in this vnet. It may be the sync interface, which was away.
pub(crate) fn interface_arrives() {
    epoch::enter(|epoch| {
        if let Some(softc) = instance::current(epoch).filter(|softc| is_away(softc)) {
            softc.link_task.run_after(0);
        }
    });
}

/// Follows an interface that went up or down, or got or lost its link. `is_down` tells that
/// packets cannot pass from now on.
pub(crate) fn interface_changed(ifp: *const sys::ifnet, is_down: bool) {
    epoch::enter(|epoch| {
        let Some(softc) = instance::current(epoch) else { return };
        match softc.link(epoch) {
            Some(link) if link.interface().as_ptr().cast_const() == ifp => {
                bulk_request::follow_interface(softc, link, is_down);
            }
            None if !is_down && is_away(softc) => softc.link_task.run_after(0),
            _ => {}
        }
    });
}

/// Follows an interface that got or lost an address: the sender looks whether packets have a
/// source now.
pub(crate) fn addresses_changed(ifp: *const sys::ifnet) {
    epoch::enter(|epoch| {
        let link = instance::current(epoch).and_then(|softc| softc.link(epoch));
        if link.is_some_and(|link| link.interface().as_ptr().cast_const() == ifp) {
            storage::schedule_sender();
        }
    });
}

/// The current name of the sync interface, or the one that it had when it departed. Zeroes
/// without one.
fn syncdev_name(softc: &Softc) -> Name {
    let current = epoch::enter(|epoch| softc.link(epoch).map(|link| link.interface().name()));
    current.unwrap_or_else(|| softc.config.lock().syncdev.map_or([0; 16], |name| *name.bytes()))
}
