//! The interface's configuration: reading it, changing it, and what a change
//! or a departing interface does to the link.

use crate::engine::config::{Config, Request};
use crate::hooks::HOOKS;
use crate::kernel::alloc::{Box, Wait};
use crate::kernel::epoch;
use crate::kernel::error::{Errno, Result};
use crate::kernel::ifnet::{DetachLock, IfnetRef};
use crate::link::Link;
use crate::pf::rules;
use crate::softc::{Softc, MTU_MIN};
use crate::vnet::{self, Configuration};
use crate::wire::IfName;
use core::ffi::c_int;
use sys_bindings as sys;

/// What ifconfig(8) shows.
pub struct Settings {
    pub config: Config,
    /// The sync interface's name as it is now; zeroes for none.
    pub syncdev: [u8; 16],
    /// No full update is awaited.
    pub ok: bool,
}

/// Runs `inside` for the interface `ifp`, with the configuration locked.
///
/// `ENXIO` while it is made or destroyed, or when it was moved to another
/// network stack.
fn with_softc<R>(ifp: *const sys::ifnet, inside: impl FnOnce(&Softc) -> Result<R>) -> Result<R> {
    let configuration = Configuration::lock();
    let softc = configuration.softc().filter(|softc| softc.ifp.as_ptr().cast_const() == ifp);
    softc.map_or(Err(Errno::ENXIO), inside)
}

/// The settings of the interface `ifp`.
pub fn read(ifp: *const sys::ifnet) -> Result<Settings> {
    with_softc(ifp, |softc| {
        let config = *softc.config.lock();
        Ok(Settings { config, syncdev: syncdev_name(softc), ok: softc.bulk_receiver.lock().ok() })
    })
}

/// The operator set the interface up or down.
pub fn follow_flags(ifp: *const sys::ifnet) -> Result<()> {
    with_softc(ifp, |softc| {
        let config = *softc.config.lock();
        let up = softc.ifp.is_up();
        let was_up = softc.ifp.is_running();
        softc.ifp.set_running(up);
        if up && !was_up {
            rules::set_hooks(&HOOKS);
            if config.syncdev.is_some() {
                softc.request_bulk();
            }
        } else if was_up && !up {
            rules::set_hooks(&rules::NO_HOOKS);
            softc.cancel_bulk();
        }
        Ok(())
    })
}

/// `EINVAL` without a sync interface, beyond that one's MTU, or when no state
/// would fit.
pub fn set_mtu(ifp: *const sys::ifnet, mtu: c_int) -> Result<()> {
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

/// Applies what an operator asks for to the interface `ifp`. On an error
/// nothing is changed. May sleep.
pub fn apply(ifp: *const sys::ifnet, request: &Request) -> Result<()> {
    // Before the configuration: a departing interface comes with it held.
    let detaching = DetachLock::lock();
    with_softc(ifp, |softc| {
        let mut old = *softc.config.lock();
        // The interface may have another name by now, and another its name.
        old.syncdev = IfName::new(&syncdev_name(softc)).ok();
        let new = old.with(request).map_err(|_| Errno::EINVAL)?;
        if !old.same_link(&new) {
            relink(softc, &new, &detaching)?;
        }
        *softc.config.lock() = new;
        softc.obey(&new);
        Ok(())
    })
}

/// Replaces the link by the one that a configuration names.
fn relink(softc: &Softc, new: &Config, detaching: &DetachLock) -> Result<()> {
    let link = match (new.syncdev, new.peer) {
        (Some(name), Some(peer)) => {
            let ifp = IfnetRef::by_name(name.bytes()).ok_or(Errno::EINVAL)?;
            Some(Box::new(Link::open(ifp, peer)?, Wait::Sleep)?)
        }
        _ => None,
    };
    let linked = link.is_some();
    Link::close(softc.link.replace(link), detaching);
    if linked && softc.ifp.is_running() {
        softc.request_bulk();
    } else {
        softc.cancel_bulk();
    }
    Ok(())
}

/// An interface goes away, or gets another name. Without the sync interface
/// there is nobody to talk to. The kernel calls this with the lock held that
/// [`DetachLock`] is. May sleep.
pub fn interface_departs(ifp: *const sys::ifnet) {
    let configuration = Configuration::lock();
    let Some(softc) = configuration.softc() else { return };
    let name = epoch::enter(|epoch| {
        let link = softc.link(epoch)?;
        (link.interface().as_ptr().cast_const() == ifp).then(|| link.interface().name())
    });
    let Some(name) = name else { return };
    if IfnetRef::by_name(&name).is_some_and(|other| other.as_ptr().cast_const() == ifp) {
        // Still there: it is only renamed.
        return;
    }
    softc.config.lock().syncdev = None;
    if let Some(retired) = softc.link.replace(None) {
        retired.reclaim().abandon();
    }
    softc.cancel_bulk();
}

/// The sync interface's name as it is now.
fn syncdev_name(softc: &Softc) -> [u8; 16] {
    epoch::enter(|epoch| softc.link(epoch).map_or([0; 16], |link| link.interface().name()))
}

/// `net.pfsync.bulk_request`: an operator wants a full update.
pub fn request_bulk_by_hand() -> Result<()> {
    epoch::enter(|epoch| {
        let softc = vnet::softc(epoch).ok_or(Errno::EINVAL)?;
        if softc.link(epoch).is_none() || !softc.ifp.is_running() {
            return Err(Errno::EINVAL);
        }
        softc.request_bulk();
        Ok(())
    })
}
