// SPDX-License-Identifier: BSD-2-Clause
//! The configuration of the interface: reading it, changing it, and what a change or a
//! departing interface does to the link.

use crate::driver::bulk_request;
use crate::driver::format;
use crate::driver::hooks::{HOOKS, HOOKS_WHILE_DOWN};
use crate::driver::instance::{self, Configuration};
use crate::driver::kernel::alloc::{KBox, Wait};
use crate::driver::kernel::epoch;
use crate::driver::kernel::error::{Errno, Result};
use crate::driver::kernel::ifnet::{DetachLock, IfnetRef, Name};
use crate::driver::link::Link;
use crate::driver::pf::rules;
use crate::driver::softc::{Softc, MTU_MIN};
use crate::engine::config::{Config, Settings};
use crate::wire::{Format, IfName};
use core::ffi::c_int;
use core::sync::atomic::Ordering;
use sys_bindings as sys;

/// What ifconfig(8) shows, as it is at one moment.
pub(crate) struct Snapshot {
    /// The configuration.
    pub(crate) config: Config,
    /// The format that states are sent in.
    pub(crate) format: Format,
    /// The current name of the sync interface, zeroes without one.
    pub(crate) syncdev: Name,
    /// Whether no state is known to be missing (`PFSYNCF_OK`).
    pub(crate) ok: bool,
}

/// Runs `inside` for the interface `ifp`, with the configuration locked.
///
/// `ENXIO` while the interface is being made or destroyed, or if it was moved to another
/// vnet.
fn with_softc<R>(ifp: *const sys::ifnet, inside: impl FnOnce(&Softc) -> Result<R>) -> Result<R> {
    let configuration = Configuration::lock();
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
        let ok = softc.bulk_request.lock().is_complete();
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
        softc.ifp.set_running(up);
        if up && !was_up {
            rules::set_hooks(&HOOKS);
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
/// nothing: `EINVAL` if a value is out of range or the sync interface does not exist,
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
        if !old.same_link(&new) {
            relink(softc, &new, &detaching)?;
        }
        *softc.config.lock() = new;
        softc.apply_options(&new);
        format::fix(softc, new.fixed_format);
        Ok(())
    })
}

/// Replaces the link by the one that a configuration names.
fn relink(softc: &Softc, new: &Config, detaching: &DetachLock) -> Result<()> {
    let link = match (new.syncdev, new.syncpeer) {
        (Some(name), Some(peer)) => {
            let ifp = IfnetRef::by_name(name.bytes()).ok_or(Errno::EINVAL)?;
            Some(KBox::new(Link::open(ifp, peer)?, Wait::Sleep)?)
        }
        _ => None,
    };
    let is_linked = link.is_some();
    Link::close(softc.link.replace(link), detaching);
    format::forget_peers(softc);
    if !is_linked {
        bulk_request::forget(softc);
    } else if softc.ifp.is_running() {
        bulk_request::start_with_new_peers(softc);
    } else {
        bulk_request::expect_new_peers(softc);
    }
    Ok(())
}

/// Removes the link if its sync interface departs. The kernel also calls this when an
/// interface is renamed. It holds the lock that a [`DetachLock`] stands for. May sleep.
pub(crate) fn interface_departs(ifp: *const sys::ifnet) {
    let configuration = Configuration::lock();
    let Some(softc) = configuration.softc() else { return };
    let name = epoch::enter(|epoch| {
        let link = softc.link(epoch)?;
        (link.interface().as_ptr().cast_const() == ifp).then(|| link.interface().name())
    });
    let Some(name) = name else { return };
    if IfnetRef::by_name(&name).is_some_and(|other| other.as_ptr().cast_const() == ifp) {
        // The interface still exists: it is only being renamed.
        return;
    }
    softc.config.lock().syncdev = None;
    if let Some(retired) = softc.link.replace(None) {
        retired.reclaim().abandon();
    }
    format::forget_peers(softc);
    bulk_request::forget(softc);
}

/// Follows an interface that went up or down, or got or lost its link. `is_down` tells that
/// packets cannot pass from now on.
pub(crate) fn interface_changed(ifp: *const sys::ifnet, is_down: bool) {
    epoch::enter(|epoch| {
        let Some(softc) = instance::current(epoch) else { return };
        let link = softc.link(epoch).filter(|link| link.interface().as_ptr().cast_const() == ifp);
        if let Some(link) = link {
            bulk_request::follow_interface(softc, link, is_down);
        }
    });
}

/// The current name of the sync interface, zeroes without one.
fn syncdev_name(softc: &Softc) -> Name {
    epoch::enter(|epoch| softc.link(epoch).map_or([0; 16], |link| link.interface().name()))
}
