// SPDX-License-Identifier: BSD-2-Clause
//! What must hold all the time, and what must hold in the end.

use super::workload::{number_of, Workload};
use crate::freebsd::net::frame_of;
use crate::freebsd::pf::traffic::{Id, Seen};
use crate::lab::{Firewall, Lab};
use anyhow::{bail, ensure, Result};
use pfsync::wire::{Frame, Run, StateId};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use sys_bindings as sys;

/// The sequence numbers of each state when they were read last, by firewall,
/// identity and generation.
type Last = HashMap<(String, Id, u64), [u32; 2]>;

/// Watches the wire and the tables.
#[derive(Default)]
pub(super) struct Watch {
    packets: Cell<usize>,
    /// The first fault that was found on the wire.
    complaint: RefCell<Option<String>>,
    /// The states whose inserts or updates were sent.
    sent: RefCell<HashSet<Id>>,
    last: RefCell<Last>,
    crashed: RefCell<HashSet<String>>,
    /// The firewalls that know that states are missing, where no bulk update was requested
    /// or began since.
    owing: RefCell<HashSet<String>>,
}

fn id_of(state: StateId) -> Id {
    Id { id: u64::from_ne_bytes(state.id), creator: u32::from_ne_bytes(state.creator) }
}

/// The host id of the kernel of that name, in network byte order.
fn host_id(name: &str) -> Option<u32> {
    let number: u32 = name.strip_prefix("fw")?.parse().ok()?;
    Some((0x0100_0000 + number).to_be())
}

impl Watch {
    /// Watches a lab's network.
    pub(super) fn on(lab: &Lab) -> Rc<Watch> {
        let watch = Rc::new(Watch::default());
        let observer = watch.clone();
        lab.world.network.observe(move |sent| {
            observer.packets.set(observer.packets.get() + 1);
            if let Err(complaint) = observer.examine(&sent.from, sent.frame()) {
                observer.complaint.borrow_mut().get_or_insert(format!("{}: {complaint:#}", sent.from));
            }
        });
        let receiver = watch.clone();
        lab.world.network.observe_arrivals(move |name, packet| receiver.arrived(name, packet));
        watch
    }

    /// How many packets were sent.
    pub(super) fn packets(&self) -> usize {
        self.packets.get()
    }

    /// Notes that a firewall crashed: the packets that it deferred are lost.
    pub(super) fn crashed(&self, name: &str) {
        self.crashed.borrow_mut().insert(name.to_string());
        self.owing.borrow_mut().remove(name);
        self.last.borrow_mut().retain(|(firewall, ..), _| firewall != name);
    }

    /// Notes that a firewall is about to miss states, and will know it.
    pub(super) fn owes(&self, name: &str) {
        self.owing.borrow_mut().insert(name.to_string());
    }

    /// Checks that no firewall claims to have all states (`syncok`) if it knows that some
    /// are missing, and no bulk update was even requested since.
    pub(super) fn check_claims(&self, firewalls: &[Firewall]) -> Result<()> {
        for firewall in firewalls {
            if !self.owing.borrow().contains(&firewall.kernel.name) {
                continue;
            }
            // Without memory, or without the interface, nothing is claimed.
            let Ok(list) = firewall.configuration()? else { continue };
            let claims = list.number(c"flags").unwrap_or(0) & u64::from(sys::PFSYNCF_OK) != 0;
            ensure!(
                !claims
                    || list.get(c"syncdev").is_none()
                    || !self.owing.borrow().contains(&firewall.kernel.name),
                "{} claims to have all states",
                firewall.kernel.name
            );
        }
        Ok(())
    }

    fn examine(&self, from: &str, frame: &[u8]) -> Result<()> {
        let frame = Frame::parse(frame).map_err(|error| anyhow::anyhow!("sends a bad frame: {error:?}"))?;
        for run in frame {
            match run.map_err(|error| anyhow::anyhow!("sends a bad frame: {error:?}"))? {
                Run::Insert(states) => states.ids().try_for_each(|id| self.insert(from, id))?,
                Run::Update(states) => states.ids().for_each(|id| self.update(id)),
                Run::UpdateRequest(requests) => {
                    if requests.iter().any(|raw| StateId::from(*raw) == StateId::ALL) {
                        self.owing.borrow_mut().clear();
                    }
                }
                // The whole group hears a bulk update.
                Run::BulkStatus(_) => self.owing.borrow_mut().clear(),
                Run::UpdateCompressed(updates) => {
                    updates.iter().for_each(|update| self.update(update.state_id()))
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A mark that was on its way when states were lost tells of states that follow it.
    fn arrived(&self, name: &str, packet: &[u8]) {
        let runs = Frame::parse(frame_of(packet)).into_iter().flatten();
        if runs.into_iter().any(|run| matches!(run, Ok(Run::BulkStatus(_)))) {
            self.owing.borrow_mut().remove(name);
        }
    }

    fn update(&self, state: StateId) {
        self.sent.borrow_mut().insert(id_of(state));
    }

    /// Only the firewall that made a state may send its insert.
    fn insert(&self, from: &str, state: StateId) -> Result<()> {
        let id = id_of(state);
        if host_id(from) != Some(id.creator) {
            bail!("sends the insert of {id:?}, which a peer made");
        }
        self.update(state);
        Ok(())
    }

    /// Checks what must hold all the time.
    pub(super) fn check(&self, firewalls: &[Firewall], corrupts: bool) -> Result<()> {
        if let Some(complaint) = self.complaint.borrow().as_ref() {
            bail!("{complaint}");
        }
        for firewall in firewalls {
            ensure!(
                firewall.demotion() >= 0,
                "{} is demoted by {}",
                firewall.kernel.name,
                firewall.demotion()
            );
            for state in firewall.vnet.pf.see() {
                self.check_state(&firewall.kernel.name, &state, corrupts)?;
            }
        }
        Ok(())
    }

    /// Checks that no state of a `no-sync` rule was ever sent.
    pub(super) fn check_nosync(&self, workload: &Workload) -> Result<()> {
        let sent = self.sent.borrow();
        match workload.nosync().iter().find(|id| sent.contains(id)) {
            Some(id) => bail!("{id:?} was sent, although a no-sync rule made it"),
            None => Ok(()),
        }
    }

    fn check_state(&self, firewall: &str, state: &Seen, corrupts: bool) -> Result<()> {
        let mut last = self.last.borrow_mut();
        let before = last.insert((firewall.to_string(), state.id, state.generation), state.seqlo);
        let slid = |before: [u32; 2]| {
            state.seqlo.iter().zip(before).any(|(now, then)| (now.wrapping_sub(then) as i32) < 0)
        };
        match before {
            Some(before) if !corrupts && slid(before) => {
                bail!(
                    "{firewall}: the sequence window of {:?} slides back from {before:?} to {:?}",
                    state.id,
                    state.seqlo
                )
            }
            _ => Ok(()),
        }
    }

    /// Checks that every deferred packet was sent on, once. Returns how many there
    /// were.
    pub(super) fn check_deferred(&self, workload: &Workload, lab: &Lab) -> Result<usize> {
        let mut forwarded: HashMap<u32, usize> = HashMap::new();
        for (_, packet) in lab.world.network.take_forwarded() {
            if let Some(number) = number_of(&packet) {
                *forwarded.entry(number).or_default() += 1;
            }
        }
        let deferred = workload.deferred();
        for (number, firewall) in &deferred {
            match forwarded.get(number) {
                Some(1) => {}
                None if self.crashed.borrow().contains(firewall) => {}
                count => {
                    let count = count.unwrap_or(&0);
                    bail!("packet {number}, which {firewall} deferred, was sent on {count} times")
                }
            }
        }
        Ok(deferred.len())
    }
}

/// What all firewalls must agree on: the states of both endpoints, and their
/// sequence numbers.
fn table(firewall: &Firewall) -> BTreeMap<Id, ([u8; 2], [u32; 2])> {
    let shared = firewall.states().into_iter().filter(|state| !state.of_nosync_rule);
    shared.map(|state| (state.id, (state.states, state.seqlo))).collect()
}

/// Fails unless the second firewall has every state that the first has.
fn contains(has: &Firewall, lacks: &Firewall) -> Result<()> {
    let known: HashSet<Id> = table(lacks).into_keys().collect();
    let mut missing = has.states();
    missing.retain(|state| !state.of_nosync_rule && !known.contains(&state.id));
    let [one, two] = [&has.kernel.name, &lacks.kernel.name];
    ensure!(
        missing.is_empty(),
        "{two} lacks {} states that {one} has, such as {:?}",
        missing.len(),
        missing[0]
    );
    Ok(())
}

/// Fails unless all firewalls have the same states.
pub(super) fn equal_tables(firewalls: &[Firewall]) -> Result<()> {
    let [first, others @ ..] = firewalls else { return Ok(()) };
    let expected = table(first);
    for other in others {
        contains(first, other)?;
        contains(other, first)?;
        let found = table(other);
        let [one, two] = [&first.kernel.name, &other.kernel.name];
        for (id, here) in &expected {
            ensure!(
                found.get(id) == Some(here),
                "{id:?} is {here:?} on {one} and {:?} on {two}",
                found.get(id)
            );
        }
    }
    Ok(())
}
