// SPDX-License-Identifier: BSD-2-Clause
//! Interfaces that disappear while something else is under way.

use anyhow::{Context, Result};
use pfsync_simulator::freebsd::kernel::interface;
use pfsync_simulator::freebsd::kernel::world::Policy;
use pfsync_simulator::lab::{Config, Firewall, Lab, SyncPeer, GROUP6};
use sys_bindings as sys;

/// The sync interface departs while `meanwhile` runs, in every order of events
/// that the seeds give, with the group of either family.
fn departs_during(meanwhile: fn(&Firewall) -> Result<()>) -> Result<()> {
    for seed in 0..60 {
        for peer in [None, Some(SyncPeer::Inet6(GROUP6))] {
            let lab = Lab::new(Policy { seed, preemption: 0.3 });
            let fw = lab.boot(1)?;
            fw.start_pfsync(&Config { syncpeer: peer, ..Config::default() })?;
            let (kernel, sync) = (fw.kernel.clone(), fw.sync() as usize);
            fw.start("devctl", move |vnet| kernel.detach_ethernet(vnet, sync as *mut sys::ifnet));
            meanwhile(&fw).with_context(|| format!("seed {seed}"))?;
            lab.seconds(1)?;
            assert_eq!(fw.vnet.interfaces.extra_references(), 0);
            if fw.kernel.module.borrow().is_some() {
                fw.unload()?;
            }
        }
    }
    Ok(())
}

#[test]
fn the_sync_interface_may_depart_while_the_link_is_replaced() -> Result<()> {
    departs_during(|fw| {
        let _ = fw.configure(&Config { syncdev: None, ..Config::default() })?;
        Ok(())
    })
}

#[test]
fn the_sync_interface_may_depart_while_pfsync0_is_destroyed() -> Result<()> {
    departs_during(|fw| fw.destroy()?.map_err(|error| anyhow::anyhow!("destroy: error {error}")))
}

#[test]
fn the_sync_interface_may_depart_while_the_module_is_unloaded() -> Result<()> {
    departs_during(|fw| fw.unload())
}

#[test]
fn pfsync0_may_be_destroyed_while_the_module_is_unloaded() -> Result<()> {
    for seed in 0..60 {
        let lab = Lab::new(Policy { seed, preemption: 0.3 });
        let fw = lab.boot(1)?;
        fw.start_pfsync(&Config::default())?;
        fw.start("ifconfig", |vnet| {
            // Whoever comes second finds no interface.
            let _ = interface::destroy(vnet, "pfsync0");
        });
        fw.unload().with_context(|| format!("seed {seed}"))?;
        lab.seconds(1)?;
    }
    Ok(())
}
