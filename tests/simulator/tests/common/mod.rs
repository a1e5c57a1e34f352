//! What the tests share.
#![allow(dead_code)]

pub mod target;

use pfsync::wire::{Action, Frame};
use pfsync_simulator::freebsd::kernel::world::Policy;
use pfsync_simulator::freebsd::net::Sent;
use pfsync_simulator::freebsd::pf::traffic::Connection;
use pfsync_simulator::lab::{connection, Config, Firewall, Lab};
use std::cell::RefCell;
use std::rc::Rc;
use sys_bindings as sys;

/// Firewalls without preemption and without faults.
pub fn plain_lab() -> Lab {
    Lab::new(Policy::PLAIN)
}

/// Two firewalls whose first full update is over.
pub fn pair(lab: &Lab, configs: [Config; 2]) -> anyhow::Result<[Firewall; 2]> {
    let firewalls = [lab.boot(1)?, lab.boot(2)?];
    for (firewall, config) in firewalls.iter().zip(configs) {
        firewall.start_pfsync(&config)?;
    }
    lab.seconds(10)?;
    assert!(firewalls.iter().all(|firewall| firewall.demotion() == 0));
    Ok(firewalls)
}

/// The n-th TCP connection.
pub fn tcp(number: u32) -> Connection {
    connection(number, sys::IPPROTO_TCP)
}

/// What goes over the network from now on.
pub fn record(lab: &Lab) -> Rc<RefCell<Vec<Sent>>> {
    let sent = Rc::new(RefCell::new(Vec::new()));
    let log = sent.clone();
    lab.world.network.observe(move |packet| log.borrow_mut().push(packet.clone()));
    sent
}

/// The frame in an IP packet.
pub fn carried(packet: &[u8]) -> Vec<u8> {
    packet[if packet[0] >> 4 == 4 { 20 } else { 40 }..].to_vec()
}

/// The actions of frames, each with the number of messages.
pub fn actions(frames: &[Vec<u8>]) -> Vec<(Action, usize)> {
    let mut all = Vec::new();
    for frame in frames {
        let frame = Frame::parse(frame).expect("a frame");
        all.extend(frame.map(|run| run.expect("a run")).map(|run| (run.action(), run.count())));
    }
    all.retain(|(action, _)| *action != Action::Eof);
    all
}
