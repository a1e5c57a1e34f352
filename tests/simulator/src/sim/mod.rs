// SPDX-License-Identifier: BSD-2-Clause
//! Random simulations: firewalls, traffic through them, and faults, all decided by
//! one seed.

mod properties;
mod workload;

use crate::freebsd::kernel::violation::Violation;
use crate::freebsd::kernel::world::{milliseconds, Policy};
use crate::freebsd::net::Faults;
use crate::lab::{address4, Config, Firewall, Lab, SyncPeer, GROUP6, NEWEST};
use anyhow::{ensure, Context, Result};
use pfsync::wire::Format;
use properties::Watch;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::rc::Rc;
use workload::Workload;

/// The message formats that an operator may set; 0 stands for the default.
const VERSIONS: &[u64] = match NEWEST {
    Format::V1500 => &[0, 1301, 1400, 1500],
    _ => &[0, 1301, 1400],
};

/// The parameters of a simulation.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Decides everything that is random.
    pub seed: u64,
    /// How many things happen before the faults stop.
    pub steps: usize,
}

/// What happened in a simulation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// How many firewalls there were.
    pub firewalls: usize,
    /// How many connections opened.
    pub connections: usize,
    /// How many packets pfsync sent.
    pub packets: usize,
    /// How many times a firewall crashed.
    pub crashes: usize,
    /// How many packets were deferred.
    pub deferred: usize,
    /// How many states every firewall had in the end.
    pub states: usize,
}

/// How many seconds after the last fault the tables must be equal: the time after
/// which pfsync gives up silent peers, and that of a bulk update.
const CONVERGENCE: i64 = 120;

/// How many seconds after the last fault of the wire firewalls that number their frames must
/// agree.
const AGREEMENT: i64 = 5;

/// Seconds between the last fault of a firewall and the last of the wire. A bulk update that an
/// operator spoiled is requested again after five.
const SETTLING: i64 = 10;

struct Simulation {
    lab: Lab,
    rng: ChaCha8Rng,
    firewalls: Vec<Firewall>,
    config: Config,
    workload: Workload,
    watch: Rc<Watch>,
    corrupts: bool,
    summary: Summary,
}

/// Runs a simulation. An error says what is wrong, and names the seed.
pub fn run(plan: Plan) -> Result<Summary> {
    simulate(plan).with_context(|| format!("seed {}", plan.seed))
}

fn simulate(plan: Plan) -> Result<Summary> {
    let mut simulation = Simulation::new(plan)?;
    for step in 0..plan.steps {
        simulation.step().with_context(|| format!("step {step}"))?;
        simulation
            .watch
            .check(&simulation.firewalls, simulation.corrupts)
            .with_context(|| format!("after step {step}"))?;
        if !matches!(simulation.config.syncpeer, Some(SyncPeer::Inet(_))) {
            // A request to a single peer that is away does not get as far as the wire.
            simulation.watch.check_claims(&simulation.firewalls)?;
        }
    }
    simulation.converge()?;
    simulation.end()
}

impl Simulation {
    fn new(plan: Plan) -> Result<Simulation> {
        let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
        let preemption = [0.0, 0.02, 0.2, 0.5][rng.gen_range(0..4)];
        let lab = Lab::new(Policy { seed: plan.seed, preemption });
        let watch = Watch::on(&lab);
        let most = if rng.gen_bool(0.2) { 5 } else { 2 };
        let count = rng.gen_range(2..=most);
        let config = Config {
            syncpeer: pick_syncpeer(&mut rng, count),
            defer: rng.gen_bool(0.4),
            version: [0, 1301][usize::from(rng.gen_bool(0.3))],
            maxupd: rng.gen_range(1..=128),
            numbered: plan.seed % 2 == 1,
            ..Config::default()
        };
        let mut simulation = Simulation {
            lab,
            rng,
            firewalls: Vec::new(),
            config,
            workload: Workload::default(),
            watch,
            corrupts: false,
            summary: Summary { firewalls: count.into(), ..Summary::default() },
        };
        for number in 1..=count {
            let firewall = simulation.boot(number)?;
            simulation.firewalls.push(firewall);
        }
        Ok(simulation)
    }

    /// Boots a firewall and starts pfsync on it.
    fn boot(&mut self, number: u8) -> Result<Firewall> {
        let firewall = self.lab.boot(number)?;
        firewall.start_pfsync(&self.config_of(number))?;
        Ok(firewall)
    }

    /// The configuration of a firewall. A unicast sync peer is the other firewall.
    fn config_of(&self, number: u8) -> Config {
        let syncpeer = match self.config.syncpeer {
            Some(SyncPeer::Inet(_)) => Some(SyncPeer::Inet(address4(3 - number))),
            syncpeer => syncpeer,
        };
        Config { syncpeer, ..self.config.clone() }
    }

    fn pick(&mut self) -> usize {
        self.rng.gen_range(0..self.firewalls.len())
    }

    fn step(&mut self) -> Result<()> {
        let index = self.pick();
        match self.rng.gen_range(0..1000) {
            0..=349 => self.workload.open(&mut self.rng, &self.firewalls[index], self.config.defer),
            350..=699 => self.workload.pass(&mut self.rng, &self.firewalls[index]),
            700..=739 => self.workload.end(&mut self.rng, &self.firewalls[index]),
            740..=904 => {
                let time = self.rng.gen_range(1..300);
                self.lab.advance(time)?;
            }
            905..=914 => self.firewalls[index].purge()?,
            915..=919 => self.flush(index)?,
            920..=939 => self.change_faults(),
            940..=949 => self.change_failures(index),
            950..=964 => self.operate(index)?,
            965..=979 => self.cut_off(index)?,
            980..=989 => self.replug(index)?,
            _ => self.crash(index)?,
        }
        self.lab.check().map_err(Into::into)
    }

    /// An operator clears the states of a firewall, which then lacks those that its peers
    /// made.
    fn flush(&mut self, index: usize) -> Result<()> {
        let firewall = &self.firewalls[index];
        if firewall.pfsync0().is_some() {
            self.watch.owes(&firewall.kernel.name);
        }
        firewall.flush()
    }

    /// Something that a firewall can know of begins or ends: its sync interface goes down
    /// or loses its link, or pf stops.
    fn cut_off(&mut self, index: usize) -> Result<()> {
        let firewall = &self.firewalls[index];
        let ends = self.rng.gen_bool(0.6);
        let what = self.rng.gen_range(0..3);
        if what < 2 && !ends {
            self.watch.owes(&firewall.kernel.name);
        }
        match what {
            0 => firewall.set_sync_up(ends),
            1 => firewall.set_sync_link(ends),
            _ if ends => firewall.start_pf(),
            _ => firewall.stop_pf(),
        }
    }

    /// Does something that may fail for lack of memory, but may not violate a rule.
    fn tolerate(
        &self,
        operation: impl FnOnce(&Firewall) -> Result<Result<(), i32>>,
        index: usize,
    ) -> Result<()> {
        // After an errno, the operator tries again later.
        let _ = operation(&self.firewalls[index])?;
        Ok(())
    }

    fn change_faults(&mut self) {
        let mut rate = |most: f64| if self.rng.gen_bool(0.5) { self.rng.gen_range(0.0..most) } else { 0.0 };
        let faults = Faults {
            loss: rate(0.5),
            duplication: rate(0.3),
            corruption: rate(0.02),
            reflection: rate(0.3),
            delay: milliseconds(rate(200.0) as i64),
        };
        let corruption = if self.rng.gen_bool(0.2) { faults.corruption } else { 0.0 };
        self.corrupts |= corruption > 0.0;
        self.lab.world.network.set_faults(Faults { corruption, ..faults });
    }

    fn change_failures(&mut self, index: usize) {
        let rate = if self.rng.gen_bool(0.6) { self.rng.gen_range(0.0..0.2) } else { 0.0 };
        self.firewalls[index].kernel.heap.fail_sometimes(rate);
    }

    /// An operator at work.
    fn operate(&mut self, index: usize) -> Result<()> {
        let number = self.firewalls[index].number;
        match self.rng.gen_range(0..7) {
            0 => self.tolerate(|firewall| firewall.destroy(), index)?,
            1 => self.tolerate(|firewall| firewall.set_up(false), index)?,
            2 => {
                self.config.maxupd = self.rng.gen_range(0..=255);
                self.config.version = VERSIONS[self.rng.gen_range(0..VERSIONS.len())];
            }
            3 => {
                let other = Config { syncdev: None, ..self.config_of(number) };
                self.tolerate(|firewall| firewall.configure(&other), index)?;
            }
            4 => {
                // The module refuses while the interface is down. The check finds
                // violations.
                let _ = self.firewalls[index].request_bulk_update();
                self.lab.check()?;
            }
            _ => {}
        }
        if self.rng.gen_bool(0.7) {
            self.set_right(index)?;
        }
        Ok(())
    }

    /// Configures a firewall and brings its interfaces and pf up, if memory allows.
    fn set_right(&self, index: usize) -> Result<()> {
        self.firewalls[index].set_sync_up(true)?;
        self.firewalls[index].set_sync_link(true)?;
        self.firewalls[index].start_pf()?;
        let config = self.config_of(self.firewalls[index].number);
        if self.firewalls[index].pfsync0().is_none() {
            self.tolerate(|firewall| firewall.create(), index)?;
        }
        self.tolerate(|firewall| firewall.configure(&config), index)?;
        self.tolerate(|firewall| firewall.set_up(true), index)
    }

    /// The card of the sync interface is pulled, and another takes its place. The module uses
    /// it by its name.
    fn replug(&mut self, index: usize) -> Result<()> {
        self.firewalls[index].detach_sync()?;
        self.lab.advance(50)?;
        self.firewalls[index].attach_sync(&self.lab)?;
        self.firewalls[index].set_sync_up(true)
    }

    /// A firewall crashes, and boots again.
    fn crash(&mut self, index: usize) -> Result<()> {
        let number = self.firewalls[index].number;
        self.firewalls[index].kernel.crash();
        self.watch.crashed(&self.firewalls[index].kernel.name);
        // More than a second, because pf's ids begin with the second of its start.
        let away = self.rng.gen_range(1000..4000);
        self.lab.advance(away)?;
        self.firewalls[index] = self.boot(number)?;
        self.summary.crashes += 1;
        Ok(())
    }

    /// Faults stop. Within [`CONVERGENCE`] all tables must become equal.
    fn converge(&mut self) -> Result<()> {
        for index in 0..self.firewalls.len() {
            self.firewalls[index].kernel.heap.fail_sometimes(0.0);
            self.set_right(index)?;
        }
        if self.config.numbered && !self.corrupts {
            self.agree()?;
        }
        self.lab.world.network.set_faults(Faults::NONE);
        self.lab.seconds(CONVERGENCE - 20)?;
        for firewall in &self.firewalls {
            ensure!(
                firewall.demotion() == 0,
                "{} stays demoted by {}",
                firewall.kernel.name,
                firewall.demotion()
            );
            firewall.request_bulk_update()?;
        }
        self.lab.seconds(20)?;
        self.watch.check(&self.firewalls, self.corrupts)?;
        for firewall in &self.firewalls {
            ensure!(firewall.is_complete()?, "{} says that states are missing", firewall.kernel.name);
        }
        if self.corrupts {
            Ok(())
        } else {
            properties::equal_tables(&self.firewalls)
        }
    }

    /// Only the wire has faults now. [`AGREEMENT`] after the last of them, firewalls that number
    /// their frames agree.
    fn agree(&mut self) -> Result<()> {
        // An operator who cleared states wants them back.
        for firewall in &self.firewalls {
            firewall.request_bulk_update()?;
        }
        self.lab.seconds(SETTLING)?;
        self.lab.world.network.set_faults(Faults::NONE);
        self.lab.seconds(AGREEMENT)?;
        for firewall in &self.firewalls {
            let name = &firewall.kernel.name;
            let is_in_sync = firewall.number("net.pfsync.in_sync")? == 1;
            ensure!(is_in_sync, "{name} is not in sync:\n{}", firewall.peers()?);
        }
        properties::equal_tables(&self.firewalls)
    }

    fn end(mut self) -> Result<Summary> {
        self.summary.states = self.firewalls[0].vnet.pf.states();
        for firewall in &self.firewalls {
            firewall.unload()?;
            let references = firewall.vnet.interfaces.extra_references();
            ensure!(references == 0, "{} references to interfaces are left", references);
            ensure!(firewall.kernel.mbufs() == 0, "{} mbufs are left", firewall.kernel.mbufs());
        }
        if !self.corrupts {
            // A damaged id may be that of any state.
            self.watch.check_nosync(&self.workload)?;
        }
        self.summary.deferred = self.watch.check_deferred(&self.workload, &self.lab)?;
        self.summary.connections = self.workload.count();
        self.summary.packets = self.watch.packets();
        self.lab.check().map_err(|violation: Violation| violation.into()).map(|()| self.summary)
    }
}

fn pick_syncpeer(rng: &mut ChaCha8Rng, count: u8) -> Option<SyncPeer> {
    match rng.gen_range(0..4) {
        0 if count == 2 => Some(SyncPeer::Inet([0; 4])),
        1 => Some(SyncPeer::Inet6(GROUP6)),
        _ => None,
    }
}
