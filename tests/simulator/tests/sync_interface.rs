// SPDX-License-Identifier: BSD-2-Clause
//! The sync interface goes away and comes back: destroyed and made again, renamed, moved to
//! another vnet.

mod common;

use anyhow::{anyhow, Context, Result};
use common::{pair, plain_lab, tcp, unload};
use pfsync_simulator::freebsd::kernel::interface;
use pfsync_simulator::freebsd::kernel::world::Policy;
use pfsync_simulator::freebsd::nv::Value;
use pfsync_simulator::lab::{Config, Firewall, Lab, SyncPeer, GROUP6, SYNC};
use sys_bindings as sys;

/// `syncdev` and `syncok`, as ifconfig(8) shows them.
fn shown(fw: &Firewall) -> Result<(Option<String>, bool)> {
    let list = fw.configuration()?.map_err(|error| anyhow!("ifconfig: error {error}"))?;
    let name = match list.get(c"syncdev") {
        Some(Value::String(name)) => Some(name.to_str()?.to_owned()),
        _ => None,
    };
    Ok((name, fw.is_complete()?))
}

/// What is shown of a sync interface that is away.
fn away(name: &str) -> (Option<String>, bool) {
    (Some(name.to_owned()), false)
}

/// What is shown of a firewall in sync.
fn in_sync(name: &str) -> (Option<String>, bool) {
    (Some(name.to_owned()), true)
}

/// Another card takes the place of the sync interface, and is set up.
fn come_back(lab: &Lab, fw: &mut Firewall) -> Result<()> {
    fw.attach_sync(lab)?;
    fw.set_sync_up(true)
}

#[test]
fn a_sync_interface_that_was_made_again_is_used_again() -> Result<()> {
    let lab = plain_lab();
    let [one, mut two] = pair(&lab)?;
    two.detach_sync()?;
    assert_eq!(shown(&two)?, away(SYNC));
    assert_eq!(two.demotion(), 0);
    assert_eq!(two.vnet.interfaces.extra_references(), 0);
    one.open(&tcp(1))?;
    lab.seconds(2)?;
    two.attach_sync(&lab)?;
    lab.seconds(2)?;
    assert_eq!(shown(&two)?, away(SYNC), "it is there, but not up");
    two.set_sync_up(true)?;
    lab.advance(20)?;
    assert_eq!(two.demotion(), 240);
    lab.seconds(5)?;
    assert_eq!((shown(&two)?, two.demotion(), two.states().len()), (in_sync(SYNC), 0, 1));
    two.open(&tcp(2))?;
    lab.seconds(2)?;
    assert_eq!(one.states().len(), 2);
    let console = two.kernel.console.take();
    assert!(console.ends_with("pfsync0: sync interface em0 is gone\npfsync0: sync interface em0 is back\n"));
    unload([one, two])
}

#[test]
fn pfsync0_may_be_down_when_the_sync_interface_comes_back() -> Result<()> {
    let lab = plain_lab();
    let [one, mut two] = pair(&lab)?;
    one.open(&tcp(1))?;
    two.set_up(false)?.expect("down");
    two.detach_sync()?;
    come_back(&lab, &mut two)?;
    lab.seconds(2)?;
    assert_eq!((shown(&two)?, two.demotion()), (away(SYNC), 0));
    two.set_up(true)?.expect("up");
    lab.seconds(5)?;
    assert_eq!((shown(&two)?, two.states().len()), (in_sync(SYNC), 1));
    unload([one, two])
}

#[test]
fn nobody_waits_for_an_interface_that_is_no_longer_configured() -> Result<()> {
    let lab = plain_lab();
    let [one, mut two] = pair(&lab)?;
    two.detach_sync()?;
    assert_eq!(two.configure(&Config { syncdev: None, ..Config::default() })?, Ok(()));
    assert_eq!(shown(&two)?, (None, true));
    come_back(&lab, &mut two)?;
    one.open(&tcp(1))?;
    lab.seconds(2)?;
    assert_eq!((shown(&two)?, two.states().len()), ((None, true), 0));
    unload([one, two])
}

#[test]
fn the_configuration_can_change_while_the_sync_interface_is_away() -> Result<()> {
    let lab = plain_lab();
    let [one, mut two] = pair(&lab)?;
    let inet6 = Config { syncpeer: Some(SyncPeer::Inet6(GROUP6)), ..Config::default() };
    two.detach_sync()?;
    let unknown = Config { syncdev: Some("em9".into()), ..Config::default() };
    assert_eq!(two.configure(&unknown)?, Err(sys::EINVAL as i32));
    assert_eq!(two.configure(&Config { maxupd: 7, ..Config::default() })?, Ok(()));
    assert_eq!(two.configure(&Config { maxupd: 7, ..inet6.clone() })?, Ok(()));
    assert_eq!(shown(&two)?, away(SYNC));
    come_back(&lab, &mut two)?;
    one.configure(&inet6)?.expect("configured");
    one.open(&tcp(1))?;
    lab.seconds(10)?;
    assert_eq!((shown(&two)?, two.states().len()), (in_sync(SYNC), 1));
    let list = two.configuration()?.expect("readable");
    assert_eq!(list.number(c"maxupdates"), Some(7));
    unload([one, two])
}

#[test]
fn an_interface_that_was_renamed_is_known_by_its_last_name() -> Result<()> {
    let lab = plain_lab();
    let [one, mut two] = pair(&lab)?;
    let rename = |fw: &Firewall| {
        let sync = fw.sync() as usize;
        fw.run("ifconfig", move |_| interface::rename(sync as *mut _, "sync0"))
    };
    rename(&two)?;
    one.open(&tcp(1))?;
    lab.seconds(2)?;
    assert_eq!((shown(&two)?, two.states().len()), (in_sync("sync0"), 1));
    two.detach_sync()?;
    come_back(&lab, &mut two)?;
    lab.seconds(2)?;
    assert_eq!(shown(&two)?, away("sync0"), "another interface has the earlier name");
    // What netif does with `ifconfig_em0_name`.
    rename(&two)?;
    lab.seconds(5)?;
    assert_eq!(shown(&two)?, in_sync("sync0"));
    unload([one, two])
}

#[test]
fn an_interface_that_was_in_another_vnet_is_used_again() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let jail = two.jail(&lab, 3)?;
    let sync = two.sync() as usize;
    let relocate = |to: &Firewall| {
        let target = to.vnet.clone();
        two.run("ifconfig", move |_| interface::relocate(sync as *mut _, &target))
    };
    relocate(&jail)?;
    assert_eq!(shown(&two)?, away(SYNC));
    one.open(&tcp(1))?;
    lab.seconds(2)?;
    relocate(&two)?;
    lab.world.network.plug(&two.kernel, &two.vnet, two.sync(), 0);
    two.set_sync_up(true)?;
    lab.seconds(5)?;
    assert_eq!((shown(&two)?, two.states().len()), (in_sync(SYNC), 1));
    unload([one, two])
}

#[test]
fn a_link_that_cannot_be_opened_is_tried_again() -> Result<()> {
    let lab = plain_lab();
    let [one, mut two] = pair(&lab)?;
    two.detach_sync()?;
    two.attach_sync(&lab)?;
    two.kernel.heap.fail_once(Some(1));
    two.set_sync_up(true)?;
    lab.advance(500)?;
    assert_eq!(shown(&two)?, away(SYNC));
    lab.seconds(7)?;
    assert_eq!(shown(&two)?, in_sync(SYNC));
    unload([one, two])
}

#[test]
fn peers_get_what_was_made_while_the_sync_interface_was_away() -> Result<()> {
    let lab = plain_lab();
    let [one, mut two] = pair(&lab)?;
    two.detach_sync()?;
    two.open(&tcp(1))?;
    lab.seconds(2)?;
    come_back(&lab, &mut two)?;
    lab.seconds(5)?;
    assert_eq!(one.states().len(), 1);
    unload([one, two])
}

/// Runs `meanwhile` while a sync interface that was away comes up, in every order of events
/// that the seeds give.
fn comes_back_during(meanwhile: fn(&Firewall) -> Result<()>) -> Result<()> {
    for seed in 0..60 {
        for syncpeer in [None, Some(SyncPeer::Inet6(GROUP6))] {
            let lab = Lab::new(Policy { seed, preemption: 0.3 });
            let mut fw = lab.boot(1)?;
            fw.start_pfsync(&Config { syncpeer, ..Config::default() })?;
            fw.detach_sync()?;
            fw.attach_sync(&lab)?;
            fw.start("ifconfig", |vnet| {
                // The thread that comes second finds no interface.
                if let Some(sync) = vnet.interfaces.find(SYNC) {
                    interface::set_up(sync, true);
                }
            });
            meanwhile(&fw).with_context(|| format!("seed {seed}"))?;
            lab.seconds(2)?;
            if fw.kernel.module.borrow().is_some() {
                fw.unload()?;
            }
            assert_eq!(fw.vnet.interfaces.extra_references(), 0);
        }
    }
    Ok(())
}

#[test]
fn the_sync_interface_may_come_back_while_the_module_is_unloaded() -> Result<()> {
    comes_back_during(|fw| fw.unload())
}

#[test]
fn the_sync_interface_may_come_back_while_pfsync0_is_destroyed() -> Result<()> {
    comes_back_during(|fw| fw.destroy()?.map_err(|error| anyhow!("destroy: error {error}")))
}

#[test]
fn the_sync_interface_may_come_back_while_it_is_configured() -> Result<()> {
    comes_back_during(|fw| {
        let _ = fw.configure(&Config { maxupd: 1, ..Config::default() })?;
        Ok(())
    })
}

#[test]
fn the_sync_interface_may_come_back_while_it_departs() -> Result<()> {
    comes_back_during(Firewall::detach_sync)
}
