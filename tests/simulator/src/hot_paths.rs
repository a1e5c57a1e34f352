// SPDX-License-Identifier: BSD-2-Clause
//! What the hot paths cost: the module's instructions and its calls of the
//! kernel's functions, for one state, message or row.
//!
//! The same `pfsync.ko` gives the same numbers on any machine.

use crate::freebsd::kernel::world::Policy;
use crate::freebsd::machine::steps::Steps;
use crate::freebsd::pf::rules::Rules;
use crate::freebsd::pf::traffic::Id;
use crate::lab::{connection, Config, Firewall, Lab, NEWEST};
use anyhow::{ensure, Context, Result};
use pfsync::wire::{Action, Frame};
use std::cell::RefCell;
use std::rc::Rc;
use sys_bindings as sys;

/// What a path costs, rounded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cost {
    /// The name of the path.
    pub path: &'static str,
    /// How many instructions of the module it takes.
    pub instructions: u64,
    /// How many functions of the kernel it calls.
    pub calls: u64,
    /// How many instructions each function of the module takes, in descending order.
    pub functions: Vec<(String, u64)>,
}

/// Whether the firewalls number their frames, and with a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Numbers {
    /// Not numbered.
    Off,
    /// Numbered, without a key.
    #[default]
    On,
    /// Numbered, and each frame with a tag.
    Keyed,
}

/// Too few states to fill a packet of any bucket.
const FEW: usize = 16;
/// How many states fill nearly all packets.
pub const MANY: usize = 136;
/// The key of both firewalls.
const KEY: &[u8] = &[b'5'; 64];
/// How many rows the id hash has. With fewer states, each has its own row.
const ROWS: usize = 1024;

/// Measures all paths of firewalls that number their frames.
pub fn measure() -> Result<Vec<Cost>> {
    let mut costs = hooks()?;
    costs.extend(messages(Numbers::On, MANY)?);
    costs.push(empty_row()?);
    Ok(costs)
}

/// What the hooks cost, for TCP states.
fn hooks() -> Result<Vec<Cost>> {
    let pair = Pair::boot(Numbers::On)?;
    let one = &pair.firewalls[0];
    let mut ids = Vec::new();
    let insert = || {
        ids = open(one, FEW)?;
        Ok(())
    };
    let mut costs = pair.count(["insert hook"], FEW, insert)?.to_vec();
    pair.lab.seconds(2)?;
    costs.extend(pair.count(["update hook: first in a second"], FEW, || pass(one, &ids))?);
    costs.extend(pair.count(["update hook: queued already"], FEW, || pass(one, &ids))?);
    pair.lab.seconds(2)?;
    costs.extend(pair.count(["delete hook"], FEW, || kill(one, &ids))?);
    Ok(costs)
}

/// What each kind of message costs its sender and its receiver, if so many are sent. Each
/// has a share of its frame, and of the hellos of two seconds.
pub fn messages(numbers: Numbers, count: usize) -> Result<Vec<Cost>> {
    let pair = Pair::boot(numbers)?;
    let [one, two] = &pair.firewalls;
    let ids = open(one, count)?;
    let mut costs = pair.exchange(["send insert", "receive insert"], NEWEST.insert(), count)?;
    pass(one, &ids)?;
    let names = ["send compressed update", "receive compressed update"];
    costs.extend(pair.exchange(names, Action::UpdateCompressed, count)?);
    two.request_bulk_update()?;
    costs.extend(pair.exchange(["send bulk update", "receive bulk update"], NEWEST.update(), count)?);
    kill(one, &ids)?;
    costs.extend(pair.exchange(["send delete", "receive delete"], Action::DeleteCompressed, count)?);
    ensure!(two.states().is_empty(), "the deletes did not arrive");
    Ok(costs)
}

/// What an empty row of the table costs in a bulk update.
fn empty_row() -> Result<Cost> {
    let pair = Pair::boot(Numbers::On)?;
    pair.firewalls[1].request_bulk_update()?;
    let [cost] = pair.count(["bulk update: an empty row"], ROWS, || Ok(pair.lab.seconds(2)?))?;
    Ok(cost)
}

/// Two firewalls in sync, and the messages between them.
struct Pair {
    lab: Lab,
    firewalls: [Firewall; 2],
    sent: Rc<RefCell<Vec<(Action, usize)>>>,
}

impl Pair {
    fn boot(numbers: Numbers) -> Result<Pair> {
        let lab = Lab::new(Policy::PLAIN);
        let rules = |number| Rules { host_id: number, rows: ROWS, ..Rules::default() };
        let firewalls = [lab.boot_with(1, &rules(1))?, lab.boot_with(2, &rules(2))?];
        for firewall in &firewalls {
            firewall.start_pfsync(&Config { numbered: numbers != Numbers::Off, ..Config::default() })?;
            if numbers == Numbers::Keyed {
                firewall.write_sysctl("net.pfsync.key", KEY)?;
            }
        }
        lab.seconds(10)?;
        ensure!(firewalls.iter().all(|firewall| firewall.demotion() == 0), "the bulk updates do not end");
        let sent = Rc::new(RefCell::new(Vec::new()));
        let log = sent.clone();
        lab.world.network.observe(move |sent| log.borrow_mut().extend(runs(sent.frame())));
        Ok(Pair { lab, firewalls, sent })
    }

    /// Counts what the first firewall's module executes during `inside`, and also
    /// the second's if there are two names, divided by `times`.
    fn count<const N: usize>(
        &self,
        names: [&'static str; N],
        times: usize,
        inside: impl FnOnce() -> Result<()>,
    ) -> Result<[Cost; N]> {
        let images = self.firewalls.iter().take(N).map(|firewall| firewall.kernel.image());
        let images = images.collect::<Option<_>>().context("no module is loaded")?;
        let mut result = Ok(());
        let steps = Steps::count(images, || result = inside());
        result?;
        let each = |total: u64| (total + times as u64 / 2) / times as u64;
        Ok(std::array::from_fn(|index| {
            let steps = &steps[index];
            let functions = steps.functions().into_iter().map(|(name, hits)| (name, each(hits))).collect();
            let (instructions, calls) = (each(steps.instructions()), each(steps.calls()));
            Cost { path: names[index], instructions, calls, functions }
        }))
    }

    /// The first firewall sends what is queued, one message for each state, and the
    /// second receives it.
    fn exchange(&self, names: [&'static str; 2], action: Action, count: usize) -> Result<Vec<Cost>> {
        self.sent.take();
        let costs = self.count(names, count, || Ok(self.lab.seconds(2)?))?;
        let sent: usize = self.sent.borrow().iter().filter(|run| run.0 == action).map(|run| run.1).sum();
        ensure!(sent == count, "{action:?}: {sent} messages were sent, not {count}");
        Ok(costs.to_vec())
    }
}

/// The runs of a frame: the action and the number of messages of each.
fn runs(frame: &[u8]) -> Vec<(Action, usize)> {
    let frame = Frame::parse(frame).expect("a frame");
    frame.map(|run| run.expect("a run")).map(|run| (run.action(), run.count())).collect()
}

/// The first packets of connections. All of them pass before any timer or software
/// interrupt runs.
fn open(firewall: &Firewall, count: usize) -> Result<Vec<Id>> {
    let connections: Vec<_> = (0..count as u32).map(|number| connection(number, sys::IPPROTO_TCP)).collect();
    let opened = firewall.run("em1", move |vnet| {
        connections.iter().map(|connection| vnet.pf.open(connection, None)).collect::<Option<Vec<_>>>()
    })?;
    Ok(opened.context("no state was made")?.into_iter().map(|(id, _)| id).collect())
}

/// Further packets of the connections.
fn pass(firewall: &Firewall, ids: &[Id]) -> Result<()> {
    let ids = ids.to_vec();
    let passed = firewall.run("em1", move |vnet| {
        ids.iter().all(|id| {
            vnet.pf.pass(*id, |st| {
                (st.src.state, st.dst.state) = (sys::TCPS_ESTABLISHED as u8, sys::TCPS_ESTABLISHED as u8);
                st.src.seqlo = st.src.seqlo.wrapping_add(100);
            })
        })
    })?;
    ensure!(passed, "a state is gone");
    Ok(())
}

/// The connections end.
fn kill(firewall: &Firewall, ids: &[Id]) -> Result<()> {
    let ids = ids.to_vec();
    Ok(firewall.run("pfctl", move |vnet| ids.iter().for_each(|id| vnet.pf.kill(*id)))?)
}
