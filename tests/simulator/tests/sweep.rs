// SPDX-License-Identifier: BSD-2-Clause
//! Runs scenarios again and again, and lets one call fail each time, until each
//! call has failed that can: allocations that do not wait, output, access to user
//! memory, registration, joining a group. Whatever the module cannot do then, it
//! leaks nothing, breaks nothing and ends its demotion, and a bulk update afterwards
//! makes the tables equal.

mod common;

use common::{plain_lab, tcp};
use pfsync_simulator::freebsd::kernel::violation::Violation;
use pfsync_simulator::freebsd::pf::rules::NO_SYNC;
use pfsync_simulator::freebsd::pf::traffic::{Connection, Id};
use pfsync_simulator::lab::{connection, Config, Firewall, Lab, SyncPeer, GROUP6, SYNC};
use sys_bindings as sys;

/// A scenario goes on after an operation that fails. Only a violation ends it.
type Scenario = fn(&Lab, &[Firewall; 2]) -> Result<(), Violation>;

/// The result of an operation, unless there was a violation.
fn attempt<T>(lab: &Lab, result: anyhow::Result<T>) -> Result<Option<T>, Violation> {
    lab.check()?;
    Ok(result.ok())
}

fn start(lab: &Lab, firewalls: &[Firewall; 2], config: &Config) -> Result<(), Violation> {
    for firewall in firewalls {
        attempt(lab, firewall.start_pfsync(config))?;
    }
    lab.seconds(10)
}

fn open(lab: &Lab, firewall: &Firewall, connection: Connection) -> Result<Option<Id>, Violation> {
    attempt(lab, firewall.open(&connection))
}

fn life(lab: &Lab, firewalls: &[Firewall; 2], config: &Config) -> Result<(), Violation> {
    let [one, two] = firewalls;
    start(lab, firewalls, config)?;
    let mut ids = Vec::new();
    for number in 0..8 {
        ids.extend(open(lab, one, tcp(number))?);
    }
    ids.extend(open(lab, one, Connection { nat: Some(tcp(90).client), ..connection(20, sys::IPPROTO_UDP) })?);
    ids.extend(open(lab, one, Connection { rule: NO_SYNC, ..tcp(21) })?);
    lab.seconds(2)?;
    for id in &ids {
        attempt(lab, one.pass(*id, |st| st.src.seqlo += 1000))?;
        attempt(lab, two.pass(*id, |st| st.dst.seqlo += 1000))?;
    }
    lab.seconds(2)?;
    ids.truncate(4);
    for id in ids {
        attempt(lab, one.kill(id))?;
    }
    lab.seconds(3)
}

fn multicast(lab: &Lab, firewalls: &[Firewall; 2]) -> Result<(), Violation> {
    life(lab, firewalls, &Config::default())
}

fn inet6_and_format_1301(lab: &Lab, firewalls: &[Firewall; 2]) -> Result<(), Violation> {
    life(
        lab,
        firewalls,
        &Config { syncpeer: Some(SyncPeer::Inet6(GROUP6)), version: 1301, ..Config::default() },
    )
}

fn deferral(lab: &Lab, firewalls: &[Firewall; 2]) -> Result<(), Violation> {
    let [one, _] = firewalls;
    start(lab, firewalls, &Config { defer: true, ..Config::default() })?;
    let mut deferred = 0;
    for number in 0..6 {
        let opened = attempt(lab, one.open_with(&tcp(number), vec![0x45; 60]))?;
        deferred += usize::from(opened.is_some_and(|(_, deferred)| deferred));
    }
    lab.seconds(2)?;
    assert_eq!(lab.world.network.take_forwarded().len(), deferred);
    Ok(())
}

fn bulk_update_and_reconfiguration(lab: &Lab, firewalls: &[Firewall; 2]) -> Result<(), Violation> {
    let [one, two] = firewalls;
    attempt(lab, one.start_pfsync(&Config::default()))?;
    for number in 0..20 {
        open(lab, one, tcp(number))?;
    }
    lab.seconds(2)?;
    attempt(lab, two.start_pfsync(&Config::default()))?;
    lab.seconds(5)?;
    attempt(lab, two.configure(&Config { syncpeer: Some(SyncPeer::Inet6(GROUP6)), ..Config::default() }))?;
    attempt(lab, two.configuration())?;
    attempt(lab, two.configuration_old())?;
    attempt(lab, two.destroy())?;
    attempt(lab, two.create())?;
    attempt(lab, one.flush())?;
    lab.seconds(3)
}

fn loss_of_the_sync_interface(lab: &Lab, firewalls: &[Firewall; 2]) -> Result<(), Violation> {
    let [one, two] = firewalls;
    start(lab, firewalls, &Config::default())?;
    open(lab, one, tcp(1))?;
    attempt(lab, two.detach_sync())?;
    open(lab, one, tcp(2))?;
    lab.seconds(2)
}

/// Once no call fails any more, the tables become equal, and unloading leaves nothing.
fn finish(lab: &Lab, firewalls: &[Firewall; 2]) -> anyhow::Result<()> {
    for firewall in firewalls {
        firewall.kernel.heap.fail_once(None);
        if firewall.kernel.module.borrow().is_none() {
            firewall.kernel.load()?;
        }
        if firewall.pfsync0().is_none() {
            firewall.create()?.expect("created");
        }
    }
    lab.seconds(90)?;
    if firewalls.iter().all(|firewall| firewall.vnet.interfaces.find(SYNC).is_some()) {
        make_equal(lab, firewalls)?;
    }
    for firewall in firewalls {
        anyhow::ensure!(firewall.demotion() == 0, "{} stays demoted", firewall.kernel.name);
        firewall.unload()?;
        anyhow::ensure!(firewall.vnet.interfaces.extra_references() == 0, "an interface stays referenced");
        anyhow::ensure!(firewall.kernel.mbufs() == 0, "mbufs are left");
    }
    Ok(())
}

/// Bulk updates in both directions. Then each firewall must have all states of the other.
fn make_equal(lab: &Lab, firewalls: &[Firewall; 2]) -> anyhow::Result<()> {
    for firewall in firewalls {
        firewall.start_pfsync(&Config::default())?;
        firewall.request_bulk_update()?;
    }
    lab.seconds(10)?;
    for (from, to) in [(&firewalls[0], &firewalls[1]), (&firewalls[1], &firewalls[0])] {
        let known: Vec<_> = to.states().iter().map(|state| state.id).collect();
        let missing = from
            .states()
            .into_iter()
            .filter(|state| !state.of_nosync_rule && !known.contains(&state.id))
            .count();
        anyhow::ensure!(missing == 0, "{} lacks {missing} states", to.kernel.name);
    }
    Ok(())
}

/// Runs a scenario in which the n-th call of one firewall fails. Returns how many
/// calls could have failed.
fn run(scenario: Scenario, failing: Option<(usize, u64)>) -> anyhow::Result<[u64; 2]> {
    let lab = plain_lab();
    let firewalls = [lab.boot(1)?, lab.boot(2)?];
    if let Some((index, n)) = failing {
        firewalls[index].kernel.heap.fail_once(Some(n));
    }
    scenario(&lab, &firewalls)?;
    let chances = firewalls.each_ref().map(|firewall| firewall.kernel.heap.chances());
    finish(&lab, &firewalls)?;
    Ok(chances)
}

fn sweep(scenario: Scenario) -> anyhow::Result<()> {
    let chances = run(scenario, None)?;
    assert!(chances.iter().all(|count| *count > 5), "{chances:?}");
    for (index, count) in chances.into_iter().enumerate() {
        for n in 1..=count {
            run(scenario, Some((index, n)))
                .map_err(|error| error.context(format!("firewall {index}, call {n}")))?;
        }
    }
    Ok(())
}

#[test]
fn states_by_multicast() -> anyhow::Result<()> {
    sweep(multicast)
}

#[test]
fn states_over_ipv6_in_format_1301() -> anyhow::Result<()> {
    sweep(inet6_and_format_1301)
}

#[test]
fn deferred_packets() -> anyhow::Result<()> {
    sweep(deferral)
}

#[test]
fn bulk_updates_and_new_configurations() -> anyhow::Result<()> {
    sweep(bulk_update_and_reconfiguration)
}

#[test]
fn a_sync_interface_that_departs() -> anyhow::Result<()> {
    sweep(loss_of_the_sync_interface)
}
