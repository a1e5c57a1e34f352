// SPDX-License-Identifier: BSD-2-Clause
//! pfsync0 and the sync interface: created, destroyed, brought up, pulled.

mod common;

use anyhow::{anyhow, Result};
use common::{actions, departs_during, no_peer, plain_lab};
use pfsync_simulator::lab::{connection, Config, NEWEST};
use sys_bindings as sys;

#[test]
fn the_interface_can_be_destroyed_and_made_again() -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.start_pfsync(&no_peer())?;
    fw.open(&connection(1, sys::IPPROTO_TCP))?;
    assert_eq!(fw.destroy()?, Ok(()));
    assert!(fw.pfsync0().is_none());
    assert_eq!(fw.demotion(), 0);
    fw.open(&connection(2, sys::IPPROTO_TCP))?;
    assert_eq!(fw.create()?, Ok(()));
    assert_eq!(fw.create()?, Err(sys::EEXIST as i32));
    fw.start_pfsync(&no_peer())?;
    fw.unload()
}

#[test]
fn an_interface_that_was_never_up_shows_and_sends_states() -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.kernel.load()?;
    fw.watch();
    assert_eq!(fw.configure(&no_peer())?, Ok(()));
    fw.open(&connection(1, sys::IPPROTO_TCP))?;
    lab.seconds(2)?;
    assert_eq!(actions(&fw.frames()), [(NEWEST.insert(), 1)]);
    assert_eq!(fw.set_up(true)?, Ok(()));
    assert_eq!(fw.set_up(false)?, Ok(()));
    fw.open(&connection(2, sys::IPPROTO_TCP))?;
    lab.seconds(2)?;
    assert!(!actions(&fw.frames()).contains(&(NEWEST.insert(), 1)), "down is down");
    fw.unload()
}

#[test]
fn the_sync_interface_may_depart() -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.start_pfsync(&Config::default())?;
    assert_eq!(fw.demotion(), 240);
    fw.open(&connection(1, sys::IPPROTO_TCP))?;
    fw.detach_sync()?;
    assert_eq!(fw.demotion(), 0);
    assert_eq!(fw.vnet.interfaces.extra_references(), 0);
    fw.open(&connection(2, sys::IPPROTO_TCP))?;
    lab.seconds(2)?;
    fw.unload()
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
    departs_during(|fw| fw.destroy()?.map_err(|error| anyhow!("destroy: error {error}")))
}
