// SPDX-License-Identifier: BSD-2-Clause
//! A wire between two firewalls that loses packets: what the standby lacks without numbers, and
//! with them.

use super::view::View;
use crate::freebsd::kernel::world::Policy;
use crate::freebsd::net::Faults;
use crate::lab::{connection, Config, Firewall, Lab};
use anyhow::{ensure, Result};
use sys_bindings as sys;

/// One packet in twenty is lost.
const LOSS: f64 = 0.05;
/// How many connections open, each with a packet or two.
const CONNECTIONS: u32 = 2000;
/// How many of them open in a millisecond.
const PACE: u32 = 4;

/// Shows both. Fails if something is missing although the firewalls number their frames.
pub(super) fn show(seed: u64, view: &View) -> Result<()> {
    view.say(&format!(
        "a wire loses {:.0} % of the packets while {CONNECTIONS} more connections open",
        LOSS * 100.0
    ));
    let (_lab, [_, two]) = open_connections(seed, false)?;
    let missing = missing_on(&two);
    let claim = if two.is_complete()? { "and says that it has all" } else { "and says so" };
    view.say(&format!("without numbers, firewall two lacks {missing} of them, {claim}"));
    let (_lab, [_, two]) = open_connections(seed, true)?;
    let missing = missing_on(&two);
    let [lost, repaired] =
        ["lost", "repaired"].map(|name| two.number(&format!("net.pfsync.agreement.{name}")));
    view.say(&format!(
        "with numbers, it lacks {missing}: of {} lost packets, {} were told again",
        lost?, repaired?
    ));
    view.say("sysctl net.pfsync.peers on firewall two:");
    let table = two.kernel.sysctl_read(&two.vnet, "net.pfsync.peers", 4096)?;
    let table = String::from_utf8_lossy(&table);
    table.trim_end_matches('\0').lines().for_each(|line| view.say(&format!("  {line}")));
    ensure!(missing == 0, "firewall two lacks {missing} states (seed {seed})");
    Ok(())
}

/// Connections open through the first of two firewalls. Returns both, a little later.
fn open_connections(seed: u64, numbered: bool) -> Result<(Lab, [Firewall; 2])> {
    let lab = Lab::new(Policy { seed, preemption: 0.0 });
    let firewalls = [lab.boot(1)?, lab.boot(2)?];
    for firewall in &firewalls {
        firewall.start_pfsync(&Config { numbered, ..Config::default() })?;
    }
    lab.seconds(10)?;
    lab.world.network.set_faults(Faults { loss: LOSS, ..Faults::NONE });
    for number in 0..CONNECTIONS {
        firewalls[0].open(&connection(number, sys::IPPROTO_UDP))?;
        if number % PACE == 0 {
            lab.advance(1)?;
        }
    }
    lab.seconds(5)?;
    Ok((lab, firewalls))
}

fn missing_on(firewall: &Firewall) -> usize {
    CONNECTIONS as usize - firewall.vnet.pf.states()
}
