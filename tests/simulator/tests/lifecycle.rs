// SPDX-License-Identifier: BSD-2-Clause
//! Loading and unloading the module, and the vnets that come and end meanwhile.

mod common;

use anyhow::{Context, Result};
use common::{departs_during, pair, plain_lab, tcp};
use pfsync_simulator::freebsd::kernel::world::{milliseconds, Policy};
use pfsync_simulator::freebsd::kernel::{cloner, interface, thread};
use pfsync_simulator::lab::{connection, request, Config, Lab};
use sys_bindings as sys;

#[test]
fn loading_makes_pfsync0_and_unloading_leaves_nothing() -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.kernel.load()?;
    assert!(fw.pfsync0().is_some());
    fw.unload()?;
    assert!(fw.pfsync0().is_none());
    fw.kernel.load()?;
    fw.unload()
}

#[test]
fn the_console_tells_what_is_loaded() -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.kernel.load()?;
    let console = fw.kernel.console.take();
    let version = console.strip_prefix("pfsync: Rust module ").expect("the module's line");
    let version = version.strip_suffix(&format!(", for FreeBSD {}\n", sys::pfs_freebsd)).expect("one line");
    assert!(version.starts_with(concat!(env!("CARGO_PKG_VERSION"), " (")), "{version}");
    let read = fw.kernel.sysctl_read(&fw.vnet, "net.pfsync.version", version.len() + 1)?;
    assert_eq!(read, [version.as_bytes(), b"\0"].concat());
    fw.unload()
}

#[test]
fn a_kernel_of_another_major_release_is_refused() -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    let release = sys::pfs_freebsd;
    for other in [release - 1, release + 1] {
        fw.kernel.variables.set_release(other * 100_000);
        let refusal = fw.kernel.load().expect_err("refused");
        assert_eq!(refusal.to_string(), format!("the module refuses to be loaded: error {}", sys::ENOEXEC));
        let said = format!("pfsync: built for FreeBSD {release}, and this is FreeBSD {other}: not loaded\n");
        assert_eq!(fw.kernel.console.take(), said);
        assert!(fw.pfsync0().is_none());
    }
    fw.kernel.variables.set_release(release * 100_000 + 99_999);
    fw.kernel.load()?;
    fw.unload()
}

#[test]
fn every_vnet_gets_an_interface() -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    let before = fw.jail(&lab, 2)?;
    fw.kernel.load()?;
    let after = fw.jail(&lab, 3)?;
    for stack in [&fw, &before, &after] {
        assert!(stack.pfsync0().is_some());
        stack.start_pfsync(&Config::default())?;
    }
    fw.kernel.remove_vnet(&after.vnet)?;
    lab.seconds(2)?;
    fw.unload()
}

#[test]
fn one_module_serves_vnets_that_are_peers() -> Result<()> {
    let lab = plain_lab();
    let one = lab.boot(1)?;
    let two = one.jail(&lab, 2)?;
    one.start_pfsync(&Config::default())?;
    two.start_pfsync(&Config::default())?;
    lab.seconds(3)?;
    let id = one.open(&tcp(1))?;
    lab.seconds(2)?;
    assert!(two.state(id).is_some());
    one.unload()
}

#[test]
fn a_vnet_may_end_while_the_module_is_unloaded() -> Result<()> {
    for seed in 0..300 {
        let lab = Lab::new(Policy { seed, preemption: 0.2 });
        let fw = lab.boot(1)?;
        let jail = fw.jail(&lab, 2)?;
        for stack in [&fw, &jail] {
            stack.start_pfsync(&Config::default())?;
            stack.open(&connection(1, sys::IPPROTO_TCP))?;
        }
        let kernel = fw.kernel.clone();
        jail.start("jail", move |vnet| {
            // Unload is somewhere else each time.
            (0..seed % 50).for_each(|_| thread::current().give_way());
            kernel.end_vnet(vnet);
        });
        fw.unload()?;
        lab.seconds(2)?;
    }
    Ok(())
}

#[test]
fn an_interface_that_was_moved_takes_down_its_own_vnet() -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    let jail = fw.jail(&lab, 2)?;
    for stack in [&fw, &jail] {
        stack.start_pfsync(&Config::default())?;
    }
    assert_eq!(jail.destroy()?, Ok(()));
    let (pfsync0, target) = (fw.pfsync0().expect("made") as usize, jail.vnet.clone());
    fw.run("ifconfig", move |_| interface::relocate(pfsync0 as *mut _, &target))?;
    fw.open(&connection(1, sys::IPPROTO_TCP))?;
    fw.unload()
}

/// Their interfaces may have the addresses in memory of those before them.
#[test]
fn firewalls_may_follow_each_other_in_one_lab() -> Result<()> {
    let lab = plain_lab();
    for _ in 0..40 {
        let [one, two] = pair(&lab)?;
        one.unload()?;
        two.unload()?;
    }
    Ok(())
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
            // The thread that comes second finds no interface.
            let _ = cloner::destroy(vnet, "pfsync0");
        });
        fw.unload().with_context(|| format!("seed {seed}"))?;
        lab.seconds(1)?;
    }
    Ok(())
}

#[test]
fn pfsync0_may_be_made_while_the_module_is_unloaded() -> Result<()> {
    for delay in [1, 10, 100] {
        let lab = plain_lab();
        let fw = lab.boot(1)?;
        fw.start_pfsync(&Config::default())?;
        fw.destroy()?.map_err(|errno| anyhow::anyhow!("errno {errno}"))?;
        fw.kernel.group_delay.set(milliseconds(delay));
        fw.start("ifconfig", |vnet| {
            let _ = cloner::create(vnet, "pfsync0");
        });
        // The interface is made, and the kernel has not put it into the cloner's list.
        fw.run("idle", |_| thread::current().give_way())?;
        fw.unload().with_context(|| format!("delay {delay}"))?;
        lab.seconds(1)?;
    }
    Ok(())
}

#[test]
fn pfsync0_may_be_looked_at_while_the_module_is_unloaded() -> Result<()> {
    for delay in [1, 10, 100, 1000] {
        let lab = plain_lab();
        let fw = lab.boot(1)?;
        fw.start_pfsync(&Config::default())?;
        fw.kernel.user_memory_delay.set(milliseconds(delay));
        fw.start("ifconfig", move |vnet| {
            // SAFETY: plain data, for which all zeroes is valid.
            let mut old: sys::pfsyncreq = unsafe { std::mem::zeroed() };
            let fill = |request: &mut sys::ifreq| request.ifr_ifru.ifru_data = (&raw mut old).cast();
            let _ = request(vnet, sys::pfs_SIOCGETPFSYNC, fill, |_| ());
        });
        // The thread is waiting for user memory.
        fw.run("idle", |_| thread::current().give_way())?;
        fw.unload().with_context(|| format!("delay {delay}"))?;
        lab.seconds(2)?;
    }
    Ok(())
}

/// pf calls the hook for clears with no lock held.
#[test]
fn an_operator_may_clear_states_while_the_module_is_unloaded() -> Result<()> {
    for seed in 0..100 {
        let lab = Lab::new(Policy { seed, preemption: 0.5 });
        let fw = lab.boot(1)?;
        fw.start_pfsync(&Config::default())?;
        for _ in 0..3 {
            fw.start("pfctl", move |vnet| {
                (0..seed % 30).for_each(|_| thread::current().give_way());
                vnet.pf.flush("", true);
            });
        }
        fw.unload().with_context(|| format!("seed {seed}"))?;
        lab.seconds(1)?;
    }
    Ok(())
}
