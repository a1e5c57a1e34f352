//! One kernel: the module loads, is configured, hears of states, and goes
//! without leaving anything.

mod common;

use anyhow::Context;
use common::{actions, pair, plain_lab};
use pfsync::wire::Action;
use pfsync_host::kernel::world::Policy;
use pfsync_host::kernel::{interface, thread};
use pfsync_host::lab::{connection, Config, Firewall, Lab, Peer, GROUP6, NEWEST, OUTSIDE, SYNC};
use pfsync_host::pf::rules::NO_SYNC;
use pfsync_host::pf::traffic::Connection;
use sys_bindings as sys;

/// Configured with a peer that does not exist.
fn alone() -> Config {
    Config { peer: Some(Peer::Inet([192, 0, 2, 99])), ..Config::default() }
}

#[test]
fn loading_makes_pfsync0_and_unloading_leaves_nothing() -> anyhow::Result<()> {
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
fn the_console_tells_what_is_loaded() -> anyhow::Result<()> {
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
fn a_kernel_of_another_major_release_is_refused() -> anyhow::Result<()> {
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
fn every_network_stack_gets_an_interface() -> anyhow::Result<()> {
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
fn a_network_stack_may_end_while_the_module_is_unloaded() -> anyhow::Result<()> {
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
fn an_interface_that_was_moved_takes_down_its_own_stack() -> anyhow::Result<()> {
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

#[test]
fn a_clear_leaves_before_what_was_made_since() -> anyhow::Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab, [Config::default(), Config::default()])?;
    one.run("pfctl", |vnet| {
        vnet.pf.flush(true);
        // So many that a packet is full before the sender has its turn.
        for number in 0..100 {
            vnet.pf.open(&connection(number, sys::IPPROTO_TCP), None).expect("made");
        }
    })?;
    lab.seconds(2)?;
    assert_eq!((one.states().len(), two.states().len()), (100, 100));
    one.unload()?;
    two.unload()
}

#[test]
fn what_is_set_holds_for_an_interface_that_was_renamed() -> anyhow::Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab, [Config::default(), Config::default()])?;
    let (sync, outside) =
        (one.sync() as usize, one.vnet.interfaces.find(OUTSIDE).expect("attached") as usize);
    one.run("ifconfig", move |_| {
        interface::rename(sync as *mut _, "sync0");
        interface::rename(outside as *mut _, SYNC);
    })?;
    let renamed = Config { syncdev: Some("sync0".into()), maxupd: 5, ..Config::default() };
    assert_eq!(one.configure(&renamed)?, Ok(()));
    assert_eq!(one.demotion(), 0, "the same interface by its new name is no reason for a full update");
    assert_eq!(one.configure(&Config::default())?, Ok(()));
    assert_ne!(one.demotion(), 0, "another interface by the old name is one");
    one.unload()?;
    two.unload()
}

#[test]
fn packets_may_be_as_large_as_ip_allows() -> anyhow::Result<()> {
    let lab = plain_lab();
    for peer in [None, Some(Peer::Inet6(GROUP6))] {
        let config = Config { peer, ..Config::default() };
        let [one, two] = pair(&lab, [config.clone(), config])?;
        for firewall in [&one, &two] {
            // SAFETY: the interface lives; one word is written.
            unsafe { (&raw mut (*firewall.sync()).if_mtu).write(65_535) };
            assert_eq!(firewall.set_mtu(65_535)?, Ok(()));
        }
        for number in 0..300 {
            one.open(&connection(number, sys::IPPROTO_UDP))?;
        }
        lab.seconds(3)?;
        assert_eq!(two.states().len(), 300);
        one.unload()?;
        two.unload()?;
    }
    Ok(())
}

#[test]
fn an_interface_that_was_never_up_shows_and_sends_states() -> anyhow::Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.kernel.load()?;
    fw.watch();
    assert_eq!(fw.configure(&alone())?, Ok(()));
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
fn carp_that_comes_during_a_full_update_keeps_its_balance() -> anyhow::Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.kernel.set_carp(false);
    fw.start_pfsync(&alone())?;
    fw.kernel.set_carp(true);
    lab.seconds(100)?;
    assert_eq!(fw.demotion(), 0);
    fw.unload()
}

#[test]
fn the_interface_can_be_destroyed_and_made_again() -> anyhow::Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.start_pfsync(&alone())?;
    fw.open(&connection(1, sys::IPPROTO_TCP))?;
    assert_eq!(fw.destroy()?, Ok(()));
    assert!(fw.pfsync0().is_none());
    assert_eq!(fw.demotion(), 0);
    fw.open(&connection(2, sys::IPPROTO_TCP))?;
    assert_eq!(fw.create()?, Ok(()));
    assert_eq!(fw.create()?, Err(sys::EEXIST as i32));
    fw.start_pfsync(&alone())?;
    fw.unload()
}

#[test]
fn a_configuration_reads_back_as_set() -> anyhow::Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.kernel.load()?;
    let config = Config { maxupd: 7, defer: true, version: 1301, ..Config::default() };
    assert_eq!(fw.configure(&config)?, Ok(()));
    let list = fw.configuration()?.expect("readable");
    assert_eq!(list.number(c"maxupdates"), Some(7));
    assert_eq!(list.number(c"version"), Some(1301));
    assert_ne!(list.number(c"flags").unwrap_or(0) & u64::from(sys::PFSYNCF_DEFER), 0);
    let old = fw.configuration_old()?.expect("readable");
    assert_eq!(old.pfsyncr_maxupdates, 7);
    assert!(SYNC.bytes().chain([0]).eq(old.pfsyncr_syncdev[..4].iter().map(|byte| *byte as u8)));
    fw.unload()
}

#[test]
fn the_old_request_configures_too() -> anyhow::Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.kernel.load()?;
    let mut old = fw.configuration_old()?.expect("readable");
    old.pfsyncr_syncdev.iter_mut().zip(SYNC.bytes()).for_each(|(to, from)| *to = from as i8);
    old.pfsyncr_maxupdates = 9;
    assert_eq!(fw.configure_old(old)?, Ok(()));
    assert_eq!(fw.configuration_old()?.expect("readable").pfsyncr_maxupdates, 9);
    old.pfsyncr_maxupdates = 256;
    assert_eq!(fw.configure_old(old)?, Err(sys::EINVAL as i32));
    fw.unload()
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() -> anyhow::Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.kernel.load()?;
    let before = fw.configuration()?;
    let invalid = sys::EINVAL as i32;
    let no_such_interface = Config { syncdev: Some("em9".into()), ..Config::default() };
    assert_eq!(fw.configure(&no_such_interface)?, Err(invalid));
    assert_eq!(fw.configure(&Config { maxupd: 256, ..Config::default() })?, Err(invalid));
    assert_eq!(fw.configure(&Config { version: 1501, ..Config::default() })?, Err(invalid));
    assert_eq!(fw.configure_bytes(vec![0x6c; 40])?, Err(invalid));
    assert_eq!(fw.configure_bytes(Vec::new())?, Err(invalid));
    assert_eq!(fw.set_mtu(1400)?, Err(invalid));
    assert_eq!(fw.configuration()?, before);
    fw.unload()
}

#[test]
fn the_life_of_a_state_shows_on_bpf() -> anyhow::Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.start_pfsync(&Config { syncdev: None, ..Config::default() })?;
    fw.watch();
    let id = fw.open(&connection(1, sys::IPPROTO_TCP))?;
    lab.seconds(2)?;
    assert_eq!(actions(&fw.frames()), [(NEWEST.insert(), 1)]);
    fw.pass(id, |st| st.src.seqlo += 100)?;
    fw.pass(id, |st| st.src.seqlo += 100)?;
    lab.seconds(2)?;
    assert_eq!(actions(&fw.frames()), [(Action::UpdateCompressed, 1)]);
    fw.kill(id)?;
    lab.seconds(2)?;
    assert_eq!(actions(&fw.frames()), [(Action::DeleteCompressed, 1)]);
    fw.unload()
}

#[test]
fn probes_fire_once_somebody_traces() -> anyhow::Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.start_pfsync(&Config { syncdev: None, ..Config::default() })?;
    fw.watch();
    fw.open(&connection(1, sys::IPPROTO_TCP))?;
    assert_eq!(fw.kernel.take_fired(), []);
    let names = fw.kernel.trace();
    let id = fw.open(&connection(2, sys::IPPROTO_TCP))?;
    let fired = fw.kernel.take_fired();
    let [queued] = fired[..] else { panic!("{fired:?}") };
    assert_eq!(names[queued.probe - 1], "queued");
    const INSERT: usize = 0;
    assert_eq!(queued.args[..3], [u64::from_be(id.id) as usize, u32::from_be(id.creator) as usize, INSERT]);
    fw.unload()
}

#[test]
fn states_of_a_nosync_rule_are_not_shown() -> anyhow::Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.start_pfsync(&Config { syncdev: None, ..Config::default() })?;
    fw.watch();
    let id = fw.open(&Connection { rule: NO_SYNC, ..connection(1, sys::IPPROTO_UDP) })?;
    fw.pass(id, |st| st.packets[1] += 1)?;
    fw.kill(id)?;
    lab.seconds(3)?;
    assert_eq!(actions(&fw.frames()), []);
    fw.unload()
}

#[test]
fn the_group_of_either_family_can_be_joined() -> anyhow::Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.start_pfsync(&Config::default())?;
    fw.start_pfsync(&Config { peer: Some(Peer::Inet6(GROUP6)), ..Config::default() })?;
    assert_eq!(fw.configure(&Config { syncdev: None, ..Config::default() })?, Ok(()));
    assert_eq!(fw.demotion(), 0);
    fw.unload()
}

#[test]
fn the_sync_interface_may_go_away() -> anyhow::Result<()> {
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
fn sysctls_work_in_their_stack() -> anyhow::Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    let jail = fw.jail(&lab, 2)?;
    fw.kernel.load()?;
    let read = |stack: &Firewall| fw.kernel.sysctl_read(&stack.vnet, "net.pfsync.carp_demotion_factor", 4);
    assert_eq!(read(&fw)?, 240i32.to_le_bytes());
    fw.kernel.sysctl_write(&fw.vnet, "net.pfsync.carp_demotion_factor", &3i32.to_le_bytes())?;
    assert_eq!((read(&fw)?, read(&jail)?), (3i32.to_le_bytes().into(), 240i32.to_le_bytes().into()));
    fw.start_pfsync(&Config::default())?;
    assert_eq!(fw.demotion(), 3);
    fw.kernel.sysctl_write(&fw.vnet, "net.pfsync.bulk_request", &1i32.to_le_bytes())?;
    assert!(fw.kernel.sysctl_write(&fw.vnet, "net.pfsync.bulk_request", &2i32.to_le_bytes()).is_err());
    assert_eq!(fw.demotion(), 3);
    fw.set_up(false)?.expect("down");
    assert_eq!(fw.demotion(), 0);
    fw.unload()
}

#[test]
fn a_peer_that_never_answers_is_given_up() -> anyhow::Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.start_pfsync(&alone())?;
    assert_eq!(fw.demotion(), 240);
    lab.seconds(120)?;
    assert_eq!(fw.demotion(), 0);
    fw.unload()
}

/// The sync interface departs while `meanwhile` runs, in every order of events
/// that the seeds give, with the group of either family.
fn departs_during(meanwhile: fn(&Firewall) -> anyhow::Result<()>) -> anyhow::Result<()> {
    for seed in 0..60 {
        for peer in [None, Some(Peer::Inet6(GROUP6))] {
            let lab = Lab::new(Policy { seed, preemption: 0.3 });
            let fw = lab.boot(1)?;
            fw.start_pfsync(&Config { peer, ..Config::default() })?;
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
fn the_sync_interface_may_depart_while_the_link_is_replaced() -> anyhow::Result<()> {
    departs_during(|fw| {
        let _ = fw.configure(&Config { syncdev: None, ..Config::default() })?;
        Ok(())
    })
}

#[test]
fn the_sync_interface_may_depart_while_pfsync0_is_destroyed() -> anyhow::Result<()> {
    departs_during(|fw| fw.destroy()?.map_err(|error| anyhow::anyhow!("destroy: error {error}")))
}

#[test]
fn the_sync_interface_may_depart_while_the_module_is_unloaded() -> anyhow::Result<()> {
    departs_during(|fw| fw.unload())
}

#[test]
fn pfsync0_may_be_destroyed_while_the_module_is_unloaded() -> anyhow::Result<()> {
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
