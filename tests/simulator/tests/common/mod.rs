// SPDX-License-Identifier: BSD-2-Clause
//! What the tests share. Each test file uses a part of it.
#![allow(dead_code)]

pub(crate) mod target;

use anyhow::{Context, Result};
use pfsync::wire::{Action, Frame, Run, StateId};
use pfsync_simulator::freebsd::kernel::world::Policy;
use pfsync_simulator::freebsd::net::Sent;
use pfsync_simulator::freebsd::pf::traffic::Connection;
use pfsync_simulator::lab::{connection, Config, Firewall, Lab, SyncPeer, GROUP6};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use sys_bindings as sys;

/// Firewalls without preemption and without faults.
pub(crate) fn plain_lab() -> Lab {
    Lab::new(Policy::PLAIN)
}

/// A configuration with a sync peer that does not exist.
pub(crate) fn no_peer() -> Config {
    Config { syncpeer: Some(SyncPeer::Inet([192, 0, 2, 99])), ..Config::default() }
}

/// The usual configuration, with numbered frames.
pub(crate) fn numbered() -> Config {
    Config { numbered: true, ..Config::default() }
}

/// Loses the packets that `choice` chooses as long as the cell is true.
pub(crate) fn lose(lab: &Lab, choice: impl Fn(&Sent) -> bool + 'static) -> Rc<Cell<bool>> {
    let loses = Rc::new(Cell::new(true));
    let flag = loses.clone();
    lab.world.network.lose(move |sent| flag.get() && choice(sent));
    loses
}

/// Two firewalls in sync.
pub(crate) fn pair(lab: &Lab) -> Result<[Firewall; 2]> {
    pair_with(lab, [Config::default(), Config::default()])
}

/// Two firewalls in sync, with these configurations.
pub(crate) fn pair_with(lab: &Lab, configs: [Config; 2]) -> Result<[Firewall; 2]> {
    let firewalls = [lab.boot(1)?, lab.boot(2)?];
    for (firewall, config) in firewalls.iter().zip(configs) {
        firewall.start_pfsync(&config)?;
    }
    lab.seconds(10)?;
    assert!(firewalls.iter().all(|firewall| firewall.demotion() == 0));
    Ok(firewalls)
}

/// Unloads the module of two firewalls.
pub(crate) fn unload(firewalls: [Firewall; 2]) -> Result<()> {
    firewalls.iter().try_for_each(Firewall::unload)
}

/// Opens, advances and ends connections on one firewall, and checks that their
/// states follow on the other.
pub(crate) fn follows(lab: &Lab, configs: [Config; 2]) -> Result<()> {
    let [one, two] = pair_with(lab, configs)?;
    let ids: Vec<_> = (1..=30).map(|number| one.open(&tcp(number))).collect::<Result<_, _>>()?;
    lab.seconds(2)?;
    assert_eq!(two.states().len(), 30);
    for id in &ids {
        one.pass(*id, |st| {
            st.src.state = sys::TCPS_ESTABLISHED as u8;
            st.dst.state = sys::TCPS_ESTABLISHED as u8;
            st.src.seqlo = 5000;
            st.dst.seqlo = 7000;
            st.timeout = sys::PFTM_TCP_ESTABLISHED as u8;
        })?;
    }
    lab.seconds(2)?;
    for id in &ids {
        let state = two.state(*id).expect("synchronised");
        assert_eq!((state.seqlo, state.timeout), ([5000, 7000], sys::PFTM_TCP_ESTABLISHED as u8));
    }
    ids.iter().try_for_each(|id| one.kill(*id))?;
    lab.seconds(2)?;
    assert!(two.states().is_empty());
    unload([one, two])
}

/// Runs `meanwhile` while the sync interface departs, in every order of events that
/// the seeds give, with the multicast group of either family.
pub(crate) fn departs_during(meanwhile: fn(&Firewall) -> Result<()>) -> Result<()> {
    for seed in 0..60 {
        for syncpeer in [None, Some(SyncPeer::Inet6(GROUP6))] {
            let lab = Lab::new(Policy { seed, preemption: 0.3 });
            let fw = lab.boot(1)?;
            fw.start_pfsync(&Config { syncpeer, ..Config::default() })?;
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

/// The n-th TCP connection.
pub(crate) fn tcp(number: u32) -> Connection {
    connection(number, sys::IPPROTO_TCP)
}

/// Records the packets that go over the network from now on.
pub(crate) fn record(lab: &Lab) -> Rc<RefCell<Vec<Sent>>> {
    let sent = Rc::new(RefCell::new(Vec::new()));
    let log = sent.clone();
    lab.world.network.observe(move |packet| log.borrow_mut().push(packet.clone()));
    sent
}

/// Whether a packet asks for a bulk update.
pub(crate) fn requests_bulk(sent: &Sent) -> bool {
    Frame::parse(sent.frame()).expect("a frame").flatten().any(|run| match run {
        Run::UpdateRequest(ids) => ids.iter().any(|raw| StateId::from(*raw) == StateId::ALL),
        _ => false,
    })
}

/// The runs of frames: the action and the number of messages of each, without end marks.
pub(crate) fn actions(frames: &[Vec<u8>]) -> Vec<(Action, usize)> {
    let mut all = Vec::new();
    for frame in frames {
        let frame = Frame::parse(frame).expect("a frame");
        all.extend(frame.map(|run| run.expect("a run")).map(|run| (run.action(), run.count())));
    }
    all.retain(|(action, _)| *action != Action::Eof);
    all
}
