//! What must hold all along, and what must hold in the end.

use super::workload::{number_of, Workload};
use crate::lab::{Firewall, Lab};
use crate::pf::traffic::{Id, Seen};
use anyhow::{bail, ensure, Result};
use pfsync::wire::{Frame, Run, StateId};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

/// What was last seen of a state on a firewall.
type Last = HashMap<(String, Id, u64), [u32; 2]>;

/// Watches the wire and the tables.
#[derive(Default)]
pub struct Watch {
    packets: Cell<usize>,
    /// The first thing that must not have been on the wire.
    complaint: RefCell<Option<String>>,
    /// Whole states and updates that were sent, with their senders.
    sent: RefCell<HashSet<Id>>,
    last: RefCell<Last>,
    crashed: RefCell<HashSet<String>>,
}

fn id_of(state: StateId) -> Id {
    Id { id: u64::from_ne_bytes(state.id), creator: u32::from_ne_bytes(state.creator) }
}

/// Host id of the kernel of that name, in network byte order.
fn host_id(name: &str) -> Option<u32> {
    let number: u32 = name.strip_prefix("fw")?.parse().ok()?;
    Some((0x0100_0000 + number).to_be())
}

impl Watch {
    /// Watches a lab's network.
    pub fn on(lab: &Lab) -> Rc<Watch> {
        let watch = Rc::new(Watch::default());
        let observer = watch.clone();
        lab.world.network.observe(move |sent| {
            observer.packets.set(observer.packets.get() + 1);
            let header = if sent.packet[0] >> 4 == 4 { 20 } else { 40 };
            if let Err(complaint) = observer.examine(&sent.from, &sent.packet[header..]) {
                observer.complaint.borrow_mut().get_or_insert(format!("{}: {complaint:#}", sent.from));
            }
        });
        watch
    }

    /// Packets that were sent.
    pub fn packets(&self) -> usize {
        self.packets.get()
    }

    /// A firewall stopped dead: what it held back is lost with it.
    pub fn crashed(&self, name: &str) {
        self.crashed.borrow_mut().insert(name.to_string());
        self.last.borrow_mut().retain(|(firewall, ..), _| firewall != name);
    }

    fn examine(&self, from: &str, frame: &[u8]) -> Result<()> {
        let frame = Frame::parse(frame).map_err(|error| anyhow::anyhow!("sends a bad frame: {error:?}"))?;
        for run in frame {
            match run.map_err(|error| anyhow::anyhow!("sends a bad frame: {error:?}"))? {
                Run::Insert(states) => states.ids().try_for_each(|id| self.insert(from, id))?,
                Run::Update(states) => states.ids().for_each(|id| self.update(id)),
                Run::UpdateCompressed(updates) => {
                    updates.iter().for_each(|update| self.update(update.state_id()))
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn update(&self, state: StateId) {
        self.sent.borrow_mut().insert(id_of(state));
    }

    /// Only who made a state announces it.
    fn insert(&self, from: &str, state: StateId) -> Result<()> {
        let id = id_of(state);
        if host_id(from) != Some(id.creator) {
            bail!("sends back {id:?}, which a peer made");
        }
        self.update(state);
        Ok(())
    }

    /// Checks what holds at any time.
    pub fn check(&self, firewalls: &[Firewall], corrupts: bool) -> Result<()> {
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

    /// No state that a no-sync rule made was ever sent.
    pub fn check_nosync(&self, workload: &Workload) -> Result<()> {
        let sent = self.sent.borrow();
        match workload.nosync().iter().find(|id| sent.contains(id)) {
            Some(id) => bail!("{id:?} was sent, which a no-sync rule made"),
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
                    "{firewall}: the window of {:?} slides back from {before:?} to {:?}",
                    state.id,
                    state.seqlo
                )
            }
            _ => Ok(()),
        }
    }

    /// Every packet that was held back went on its way, once. Returns how many
    /// there were.
    pub fn check_deferred(&self, workload: &Workload, lab: &Lab) -> Result<usize> {
        let mut forwarded: HashMap<u32, usize> = HashMap::new();
        for (_, packet) in lab.world.network.take_forwarded() {
            if let Some(number) = number_of(&packet) {
                *forwarded.entry(number).or_default() += 1;
            }
        }
        let held = workload.held();
        for (number, firewall) in &held {
            match forwarded.get(number) {
                Some(1) => {}
                None if self.crashed.borrow().contains(firewall) => {}
                count => bail!("packet {number}, held by {firewall}, left {} times", count.unwrap_or(&0)),
            }
        }
        Ok(held.len())
    }
}

/// What all firewalls have to agree on: each end's state, and for TCP the
/// sequence windows.
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
pub fn equal_tables(firewalls: &[Firewall]) -> Result<()> {
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
