// SPDX-License-Identifier: BSD-2-Clause
//! `pfsync.ko` in the simulator receives frames from peers, while local traffic
//! passes, time passes, operators work and calls fail. At the end a packet of every
//! state passes, the states expire, and the module is unloaded.

pub(crate) mod frames;

use crate::feedback;
use crate::firewall::{ends_input, Fuzzed};
use crate::messages::Message;
use anyhow::{ensure, Result};
use arbitrary::Unstructured;
use frames::{envelope, packet, put_right, Sender, CHECKSUM};
use pfsync::wire::Frame;
use pfsync_simulator::freebsd::net::Sent;
use pfsync_simulator::freebsd::pf::rules::NO_SYNC;
use pfsync_simulator::freebsd::pf::traffic::{Connection, Id};
use pfsync_simulator::lab::{address4, address6, connection, Config, SyncPeer, GROUP6, OUTSIDE, SYNC};
use std::cell::RefCell;
use std::rc::Rc;

/// The first byte, modulo [`STEP_KINDS`], of a step in which a frame arrives. An
/// [`envelope`], the frame's length in two bytes, and the frame follow.
pub(crate) const FRAME: u8 = 0;
/// The same for time that passes; see [`pause`].
pub(crate) const TIME: u8 = 1;
const STEP_KINDS: u8 = 14;

/// How many steps are run; further ones are ignored.
const STEPS: usize = 64;

/// Runs an input as a sequence of steps.
pub fn run(input: &[u8]) {
    if let Err(error) = play(&mut Unstructured::new(input)) {
        panic!("{error:#}");
    }
}

fn play(u: &mut Unstructured) -> Result<()> {
    let mut run = Run::start()?;
    for _ in 0..STEPS {
        if u.is_empty() || ends_input(run.step(u))? {
            break;
        }
        run.fuzzed.lab.check()?;
    }
    run.end(u.arbitrary().unwrap_or(false))
}

/// An input that is being run.
struct Run {
    fuzzed: Fuzzed,
    opened: u32,
    deferred: usize,
    sent: Rc<RefCell<Vec<Sent>>>,
}

impl Run {
    fn start() -> Result<Run> {
        let fuzzed = Fuzzed::boot()?;
        let sent = Rc::new(RefCell::new(Vec::new()));
        let log = sent.clone();
        fuzzed.lab.world.network.observe(move |packet| log.borrow_mut().push(packet.clone()));
        let Fuzzed { lab, firewall } = &fuzzed;
        let outside = firewall.vnet.interfaces.find(OUTSIDE).expect("attached");
        lab.world.network.plug(&firewall.kernel, &firewall.vnet, outside, 1);
        firewall.start_pfsync(&Config::default())?;
        Ok(Run { fuzzed, opened: 0, deferred: 0, sent })
    }

    fn step(&mut self, u: &mut Unstructured) -> Result<()> {
        match u.arbitrary::<u8>()? % STEP_KINDS {
            FRAME => {
                let envelope = u.arbitrary()?;
                let len = usize::from(u.arbitrary::<u16>()?).min(u.len());
                let frame = u.bytes(len)?.to_vec();
                self.deliver(frame, envelope)
            }
            TIME => Ok(self.fuzzed.lab.advance(pause(u.arbitrary()?))?),
            2..=6 => {
                let envelope = u.arbitrary()?;
                let frame = Sender(&self.fuzzed.firewall).frame(u)?;
                self.deliver(frame, envelope)
            }
            7 => self.open(u),
            8 => self.pass(u),
            9 => self.end_states(u),
            10 => self.configure(u),
            11 => self.change_interface(u),
            12 => self.sysctl(u),
            _ => self.fail(u),
        }
    }

    /// Lets some call from now on fail.
    fn fail(&self, u: &mut Unstructured) -> Result<()> {
        let calls = u64::from(u.arbitrary::<u8>()?);
        self.fuzzed.firewall.kernel.heap.fail_once((calls > 0).then_some(calls));
        Ok(())
    }

    /// A packet with a frame arrives.
    fn deliver(&self, mut frame: Vec<u8>, how: u8) -> Result<()> {
        if how & envelope::RAW == 0 {
            put_right(&mut frame, if how & envelope::OTHER_RULES == 0 { CHECKSUM } else { [8; 16] });
        }
        let aside = how & envelope::ASIDE == envelope::ASIDE;
        let packet = packet(&frame, how, aside);
        let interfaces = &self.fuzzed.firewall.vnet.interfaces;
        if let Some(ifp) = interfaces.find(if aside { OUTSIDE } else { SYNC }) {
            let world = &self.fuzzed.lab.world;
            world.network.deliver(world, ifp as usize, &packet);
        }
        Ok(self.fuzzed.lab.advance(0)?)
    }

    /// The first packet of a connection, which pfsync may defer.
    fn open(&mut self, u: &mut Unstructured) -> Result<()> {
        let kind: u8 = u.arbitrary()?;
        self.opened += 1;
        let made = connection(self.opened % 32, [6, 17, 1, 6][usize::from(kind % 4)]);
        let nat = (kind & 4 != 0).then_some(made.client);
        let rule = if kind & 8 != 0 { NO_SYNC } else { made.rule };
        let made = Connection { is_inet6: kind & 16 != 0, nat, rule, ..made };
        let opened = self.fuzzed.firewall.open_with(&made, vec![0x45; 60]);
        self.deferred += usize::from(self.fuzzed.attempt(opened)?.is_some_and(|(_, deferred)| deferred));
        Ok(())
    }

    fn some_state(&self, u: &mut Unstructured) -> Result<Option<Id>> {
        let states = self.fuzzed.firewall.states();
        let number = usize::from(u.arbitrary::<u8>()?);
        Ok(states.get(number % states.len().max(1)).map(|seen| seen.id))
    }

    fn pass(&self, u: &mut Unstructured) -> Result<()> {
        let (id, by) = (self.some_state(u)?, u32::from(u.arbitrary::<u8>()?) << 4);
        if let Some(id) = id {
            self.fuzzed.firewall.pass(id, move |st| st.src.seqlo = st.src.seqlo.wrapping_add(by))?;
        }
        Ok(())
    }

    fn end_states(&self, u: &mut Unstructured) -> Result<()> {
        let firewall = &self.fuzzed.firewall;
        match u.arbitrary::<u8>()? {
            0 => firewall.flush(),
            1..=31 => firewall.purge(),
            _ => self.some_state(u)?.map_or(Ok(()), |id| firewall.kill(id)),
        }
    }

    fn configure(&self, u: &mut Unstructured) -> Result<()> {
        let peers = [
            None,
            Some(SyncPeer::Inet(address4(2))),
            Some(SyncPeer::Inet6(GROUP6)),
            Some(SyncPeer::Inet6(address6(2))),
        ];
        let config = Config {
            syncdev: u.ratio(7, 8)?.then(|| SYNC.to_string()),
            syncpeer: *u.choose(&peers)?,
            maxupd: u64::from(u.arbitrary::<u8>()?),
            defer: u.arbitrary()?,
            version: *u.choose(&[0, 1301, 1400, 1500])?,
            numbered: false,
        };
        self.fuzzed.attempt(self.fuzzed.firewall.configure(&config))?;
        Ok(())
    }

    /// Interfaces depart, arrive, and are brought up and down.
    fn change_interface(&mut self, u: &mut Unstructured) -> Result<()> {
        let fuzzed = &mut self.fuzzed;
        match u.arbitrary::<u8>()? {
            0..=31 => _ = fuzzed.attempt(fuzzed.firewall.destroy())?,
            32..=95 => {
                _ = fuzzed.attempt(fuzzed.firewall.create())?;
                _ = fuzzed.attempt(fuzzed.firewall.start_pfsync(&Config::default()))?;
            }
            96..=127 => _ = fuzzed.attempt(fuzzed.firewall.set_up(false))?,
            128..=191 => _ = fuzzed.attempt(fuzzed.firewall.set_up(true))?,
            192..=223 => _ = fuzzed.attempt(fuzzed.firewall.set_mtu(u.arbitrary::<u16>()?.into()))?,
            _ if fuzzed.has_sync() => fuzzed.firewall.detach_sync()?,
            _ => {
                fuzzed.firewall.attach_sync(&fuzzed.lab)?;
                fuzzed.firewall.set_sync_up(true)?;
            }
        }
        Ok(())
    }

    fn sysctl(&self, u: &mut Unstructured) -> Result<()> {
        let (name, value) = match u.int_in_range(0..=5)? {
            0 => ("net.pfsync.bulk_request", 1),
            1 => ("net.pfsync.carp_demotion_factor", u.int_in_range(-1..=255)?),
            2 => ("net.pfsync.defer_delay", u.int_in_range(0..=2000)?),
            3 => ("net.pfsync.peer_share", u.int_in_range(0..=100)?),
            4 => ("net.pfsync.peer_inserts", u.int_in_range(0..=8)?),
            _ => ("net.pfsync.peer_requests", u.int_in_range(0..=8)?),
        };
        let Fuzzed { firewall, .. } = &self.fuzzed;
        let written = firewall.kernel.sysctl_write(&firewall.vnet, name, &i32::to_le_bytes(value));
        self.fuzzed.attempt(written)?;
        Ok(())
    }

    /// A packet of every state passes, then all states expire, and the module is unloaded.
    fn end(self, destroy: bool) -> Result<()> {
        let Fuzzed { lab, firewall } = &self.fuzzed;
        firewall.kernel.heap.fail_once(None);
        for seen in firewall.states() {
            firewall.pass(seen.id, |st| st.dst.seqlo = st.dst.seqlo.wrapping_add(1))?;
        }
        lab.seconds(2)?;
        feedback::tell(firewall);
        // No state has a timeout of more than a day.
        lab.seconds(24 * 3600 + 1)?;
        firewall.purge()?;
        ensure!(firewall.states().is_empty(), "states do not expire: {:?}", firewall.states());
        lab.seconds(2)?;
        ensure!(firewall.demotion() == 0, "the firewall stays demoted");
        if destroy {
            _ = self.fuzzed.attempt(firewall.destroy())?;
        }
        let (world, deferred) = (lab.world.clone(), self.deferred);
        self.fuzzed.finish()?;
        let forwarded = world.network.take_forwarded().len();
        ensure!(forwarded == deferred, "{deferred} packets were deferred, and {forwarded} sent on");
        self.sent.borrow().iter().try_for_each(check_sent)
    }
}

/// The length of a pause in milliseconds, mostly short.
pub(crate) fn pause(byte: u8) -> i64 {
    let unit = [1, 10, 100, 500, 1_000, 1_000, 10_000, 60_000][usize::from(byte % 8)];
    unit * (1 + i64::from(byte >> 5))
}

/// Checks that a packet that was sent has a whole frame, whose messages pass the
/// reader's checks.
fn check_sent(sent: &Sent) -> Result<()> {
    let frame = Frame::parse(sent.frame());
    let frame = frame.map_err(|error| anyhow::anyhow!("sends a frame with a bad header: {error:?}"))?;
    for run in frame {
        let run = run.map_err(|error| anyhow::anyhow!("sends a bad frame: {error:?}"))?;
        ensure!(Message::all(&run).iter().all(Option::is_some), "sends a message it would refuse: {run:?}");
    }
    Ok(())
}
