// SPDX-License-Identifier: BSD-2-Clause
//! The demonstration: two firewalls, connections through one of them, and the
//! crash of that one. Then a wire that loses packets.

mod capture;
mod lossy;
mod view;

use crate::freebsd::kernel::world::{Policy, SECOND};
use crate::freebsd::net::Faults;
use crate::freebsd::pf::rules::Rules;
use crate::freebsd::pf::traffic::Id;
use crate::lab::{connection, Config, Firewall, Lab};
use anyhow::{ensure, Result};
use capture::{Captures, Decoded};
use std::path::PathBuf;
use std::rc::Rc;
use sys_bindings as sys;
pub use view::View;
use view::{Role, Side};

/// The parameters of a demonstration.
pub struct Show {
    /// How many connections open.
    pub states: u32,
    /// The probability that a packet between the firewalls is lost.
    pub loss: f64,
    /// Decides everything that is random.
    pub seed: u64,
    /// The directory for captures.
    pub captures: PathBuf,
}

/// How many bytes a connection transfers with each packet.
const SEGMENT: u32 = 1460;
/// How many bytes behind a connection a firewall may be and still pass its
/// packets: a full window, which is pf's tolerance.
const WINDOW: u32 = 65_535;
/// How many rows the id hashes have.
const ROWS: usize = 8192;
/// How many times to transfer 20 more packets of each connection until all states are there.
const HEALING: usize = 60;
/// Milliseconds between two packets of a connection.
const PACE: i64 = 250;

/// A connection, as its two ends know it.
struct Transfer {
    id: Id,
    seq: u32,
}

struct Demo {
    lab: Lab,
    show: Show,
    view: View,
    one: Firewall,
    two: Option<Firewall>,
    transfers: Vec<Transfer>,
    decoded: Rc<Decoded>,
    captures: Rc<Captures>,
}

/// Runs the demonstration. Fails if a connection is lost.
pub fn run(show: Show, view: View) -> Result<()> {
    let mut demo = Demo::new(show, view)?;
    demo.open_connections()?;
    demo.start_second()?;
    demo.view.say("every connection transfers data");
    demo.transfer(30, 1.0)?;
    demo.wait_for_healing()?;
    demo.kill_first()?;
    demo.finish()
}

fn boot(lab: &Lab, number: u8) -> Result<Firewall> {
    let rules = Rules { host_id: 0x0100_0000 + u32::from(number), rows: ROWS, ..Rules::default() };
    let firewall = lab.boot_with(number, &rules)?;
    firewall.start_pfsync(&Config { numbered: true, ..Config::default() })?;
    firewall.watch();
    Ok(firewall)
}

impl Demo {
    fn new(show: Show, view: View) -> Result<Demo> {
        let lab = Lab::new(Policy { seed: show.seed, preemption: 0.0 });
        lab.world.network.set_faults(Faults { loss: show.loss, ..Faults::NONE });
        let decoded = Rc::new(Decoded::default());
        let captures = Rc::new(Captures::create(&show.captures)?);
        let (counts, files) = (decoded.clone(), captures.clone());
        lab.world.network.observe(move |sent| {
            counts.count(sent);
            files.wire(sent);
        });
        view.say("firewall one boots and loads pfsync.ko");
        let one = boot(&lab, 1)?;
        Ok(Demo { lab, show, view, one, two: None, transfers: Vec::new(), decoded, captures })
    }

    /// Lets time pass, and shows both firewalls.
    fn pass_time(&mut self, milliseconds: i64) -> Result<()> {
        self.lab.advance(milliseconds)?;
        self.captures.pfsync0(self.lab.world.now(), "one", self.one.frames())?;
        if let Some(two) = &self.two {
            self.captures.pfsync0(self.lab.world.now(), "two", two.frames())?;
        }
        let one = (!self.one.kernel.is_crashed()).then(|| Side::of(&self.one, self.role_of_first()));
        let two = self.two.as_ref().map(|two| Side::of(two, self.role_of_second(two)));
        let seconds = self.lab.world.now() as f64 / SECOND as f64;
        self.view.update(seconds, self.show.states, one, two, &self.decoded);
        Ok(())
    }

    /// The role that carp gives the first firewall: the less demoted one is master,
    /// or the first if both are equal.
    fn role_of_first(&self) -> Role {
        let demotion_of_second = self.two.as_ref().map_or(i32::MAX, Firewall::demotion);
        if self.one.demotion() <= demotion_of_second {
            Role::Master
        } else {
            Role::Backup
        }
    }

    fn role_of_second(&self, two: &Firewall) -> Role {
        if self.one.kernel.is_crashed() || two.demotion() < self.one.demotion() {
            Role::Master
        } else {
            Role::Backup
        }
    }

    fn open_connections(&mut self) -> Result<()> {
        self.view.say(&format!("{} connections open through firewall one", self.show.states));
        let chunk = (self.show.states / 50).max(1);
        for number in 0..self.show.states {
            let id = self.one.open(&connection(number, sys::IPPROTO_TCP))?;
            self.one.pass(id, establish)?;
            self.transfers.push(Transfer { id, seq: 1000 });
            if number % chunk == 0 {
                self.pass_time(20)?;
            }
        }
        // No peer answers its request for a bulk update yet.
        while self.one.demotion() > 0 {
            self.pass_time(10_000)?;
        }
        Ok(())
    }

    /// The second firewall boots, and receives all states.
    fn start_second(&mut self) -> Result<()> {
        self.view.say("firewall two boots and requests a bulk update");
        let began = self.lab.world.now();
        self.two = Some(boot(&self.lab, 2)?);
        self.view.begin_bulk(self.show.states);
        while self.two.as_ref().is_some_and(|two| two.demotion() > 0) {
            self.pass_time(2)?;
        }
        self.view.end_bulk();
        let took = (self.lab.world.now() - began) as f64 / SECOND as f64;
        let states = self.two.as_ref().map_or(0, |two| two.vnet.pf.states());
        self.view.say(&format!("bulk update complete after {took:.2} s: {states} states on firewall two"));
        Ok(())
    }

    /// Every connection transfers a segment in each round, and a part of them in the
    /// last round.
    fn transfer(&mut self, rounds: usize, last: f64) -> Result<()> {
        for round in 1..=rounds {
            let part = if round == rounds { last } else { 1.0 };
            let count = (self.transfers.len() as f64 * part) as usize;
            for transfer in &mut self.transfers[..count] {
                transfer.seq = transfer.seq.wrapping_add(SEGMENT);
                let seq = transfer.seq;
                self.one.pass(transfer.id, move |st| advance(st, seq))?;
            }
            self.pass_time(PACE)?;
        }
        Ok(())
    }

    /// Lost packets leave the second firewall without some states, which it requests
    /// when later packets of these connections cause updates.
    fn wait_for_healing(&mut self) -> Result<()> {
        for _ in 0..HEALING {
            let missing = self.transfers.len() - self.two.as_ref().map_or(0, |two| two.vnet.pf.states());
            if missing == 0 {
                break;
            }
            self.view.say(&format!("firewall two lacks {missing} states; transfers go on"));
            self.transfer(20, 1.0)?;
        }
        Ok(())
    }

    fn kill_first(&mut self) -> Result<()> {
        self.transfer(5, 0.5)?;
        self.view.say("firewall one is killed in mid-transfer");
        self.one.kernel.crash();
        self.pass_time(1000)
    }

    /// Every connection must go on through the second firewall.
    fn finish(mut self) -> Result<()> {
        let two = self.two.take().expect("booted before");
        let mut lost = 0;
        for transfer in &self.transfers {
            let behind = two.run("em1", is_alive(transfer))?;
            if behind.is_some_and(|behind| behind <= WINDOW) {
                let seq = transfer.seq.wrapping_add(SEGMENT);
                two.pass(transfer.id, move |st| advance(st, seq))?;
            } else {
                lost += 1;
            }
        }
        self.two = Some(two);
        self.pass_time(1500)?;
        if let Some(two) = &self.two {
            two.unload()?;
        }
        self.captures.check()?;
        self.view.finish();
        let alive = self.transfers.len() - lost;
        self.view
            .say(&format!("{alive} of {} connections live on through firewall two", self.transfers.len()));
        self.view.say(&self.decoded.summary());
        lossy::show(self.show.seed, &self.view)?;
        self.view.say(&format!("captures are in {}", self.show.captures.display()));
        ensure!(lost == 0, "{lost} connections were lost (seed {})", self.show.seed);
        Ok(())
    }
}

/// A handshake completes.
fn establish(st: &mut sys::pf_kstate) {
    st.src.state = sys::TCPS_ESTABLISHED as u8;
    st.dst.state = sys::TCPS_ESTABLISHED as u8;
    st.timeout = sys::PFTM_TCP_ESTABLISHED as u8;
}

/// A segment up to `seq` passes.
fn advance(st: &mut sys::pf_kstate, seq: u32) {
    st.src.seqlo = seq;
    st.src.seqhi = seq.wrapping_add(WINDOW);
}

/// How many bytes a firewall is behind a transfer; `None` if it does not have the state.
fn is_alive(
    transfer: &Transfer,
) -> impl FnOnce(&Rc<crate::freebsd::kernel::vnet::Vnet>) -> Option<u32> + 'static {
    let (id, seq) = (transfer.id, transfer.seq);
    move |vnet| {
        let mut behind = None;
        vnet.pf.pass(id, |st| {
            let established = u32::from(st.src.state) == sys::TCPS_ESTABLISHED;
            behind = established.then(|| seq.wrapping_sub(st.src.seqlo));
        });
        behind
    }
}
