// SPDX-License-Identifier: BSD-2-Clause
//! Requests of ifconfig(8), sysctl(8) and older programs to `pfsync.ko` in the
//! simulator. The configuration that the module accepted last reads back. A request
//! that it refuses changes nothing, and fails with an errno of the C module.

mod lists;
mod settings;

use crate::feedback;
use crate::firewall::{ends_input, Fuzzed};
use anyhow::{ensure, Context, Result};
use arbitrary::Unstructured;
use lists::list;
use pfsync_simulator::freebsd::nv::{List, Value};
use settings::{parse_syncpeer, Settings, SyncPeer, GROUP4, INTERFACES};
use std::ffi::CStr;
use sys_bindings as sys;

/// The first byte, modulo [`STEP_KINDS`], of a step that sends a packed nvlist. Its
/// length in two bytes and the nvlist follow.
pub(crate) const BYTES: u8 = 0;
const STEP_KINDS: u8 = 11;

/// How many steps are run; further ones are ignored.
const STEPS: usize = 48;
/// Runs an input as a sequence of requests.
pub fn run(input: &[u8]) {
    if let Err(error) = play(&mut Unstructured::new(input)) {
        panic!("{error:#}");
    }
}

fn play(u: &mut Unstructured) -> Result<()> {
    let mut run = Run { fuzzed: Fuzzed::boot()?, settings: Settings::default(), failing: false };
    for _ in 0..STEPS {
        if u.is_empty() || ends_input(run.step(u))? {
            break;
        }
        run.fuzzed.lab.check()?;
    }
    run.stop_failing()?;
    feedback::tell(&run.fuzzed.firewall);
    run.fuzzed.finish()
}

/// An input that is being run.
struct Run {
    fuzzed: Fuzzed,
    settings: Settings,
    /// Whether some call may fail.
    failing: bool,
}

impl Run {
    fn step(&mut self, u: &mut Unstructured) -> Result<()> {
        match u.arbitrary::<u8>()? % STEP_KINDS {
            BYTES => {
                let len = usize::from(u.arbitrary::<u16>()?).min(u.len());
                self.set(u.bytes(len)?.to_vec())
            }
            1..=3 => {
                let mut bytes = list(u)?.pack();
                for _ in 0..u.int_in_range(2..=4)? - 2 {
                    let at = usize::from(u.arbitrary::<u16>()?) % bytes.len();
                    bytes[at] = u.arbitrary()?;
                }
                self.set(bytes)
            }
            4 => self.set_old(u),
            5 => self.read_short(u),
            6 => self.set_mtu(u.arbitrary()?),
            7 => {
                let up = u.arbitrary()?;
                let answer = self.fuzzed.firewall.set_up(up)?;
                ensure!(answer.is_ok(), "flags: {answer:?}");
                Ok(())
            }
            8 => self.sysctl(u),
            9 => self.other(u),
            _ => {
                let calls = u64::from(u.arbitrary::<u8>()? % 32);
                self.failing = calls > 0;
                self.fuzzed.firewall.kernel.heap.fail_once(self.failing.then_some(calls));
                Ok(())
            }
        }
    }

    /// `SIOCSETPFSYNCNV`
    fn set(&mut self, bytes: Vec<u8>) -> Result<()> {
        let wanted = List::unpack(&bytes).and_then(|list| self.settings.asked_by(&list));
        let wanted = wanted.filter(|_| bytes.len() <= sys::IFR_CAP_NV_MAXBUFSIZE as usize);
        let answer = self.fuzzed.firewall.configure_bytes(bytes)?;
        self.compare(answer, wanted)
    }

    /// `SIOCSETPFSYNC`
    fn set_old(&mut self, u: &mut Unstructured) -> Result<()> {
        // SAFETY: plain data, for which all zeroes is valid.
        let mut old: sys::pfsyncreq = unsafe { std::mem::zeroed() };
        let mut name: [u8; 16] = [0; 16];
        match u.choose(&INTERFACES).copied() {
            Ok(known) if u.ratio(3, 4)? => name[..known.len()].copy_from_slice(known.as_bytes()),
            _ => name = u.arbitrary()?,
        }
        old.pfsyncr_syncdev = name.map(|byte| byte as i8);
        old.pfsyncr_syncpeer.s_addr = *u.choose(&[0, u32::from_ne_bytes(GROUP4), 0x0200_00c0, u32::MAX])?;
        old.pfsyncr_maxupdates = if u.arbitrary()? { u.arbitrary::<u8>()?.into() } else { u.arbitrary()? };
        old.pfsyncr_defer = u.arbitrary()?;
        let wanted = self.settings.asked_by_old(&old);
        let answer = self.fuzzed.firewall.configure_old(old)?;
        self.compare(answer, wanted)
    }

    /// Compares the answer to a request with the expected one, and then the settings
    /// with what was accepted last.
    fn compare(&mut self, answer: Result<(), i32>, wanted: Option<Settings>) -> Result<()> {
        match (answer, wanted) {
            (Ok(()), Some(wanted)) => self.settings = wanted,
            (Ok(()), None) => anyhow::bail!("a senseless request is accepted"),
            (Err(error), Some(wanted)) => {
                ensure!(self.failing, "{wanted:?} is refused: error {error}");
                self.check_error(error)?;
            }
            (Err(error), None) => self.check_error(error)?,
        }
        self.stop_failing()?;
        self.check_settings()
    }

    /// Checks that the C module has this errno: for wrong values, or for calls that fail.
    fn check_error(&self, error: i32) -> Result<()> {
        let (of_values, of_calls) =
            ([sys::EINVAL, sys::EADDRNOTAVAIL], [sys::EFAULT, sys::ENOMEM, sys::ENOBUFS]);
        let error = error as u32;
        let known = of_values.contains(&error) || (self.failing && of_calls.contains(&error));
        ensure!(known, "errno {error}, which the C module does not return");
        Ok(())
    }

    /// Lets no call fail from now on.
    fn stop_failing(&mut self) -> Result<()> {
        self.failing = false;
        self.fuzzed.firewall.kernel.heap.fail_once(None);
        Ok(self.fuzzed.lab.check()?)
    }

    /// Checks that both requests read back what was accepted last.
    fn check_settings(&self) -> Result<()> {
        let list = self.fuzzed.firewall.configuration()?;
        let list = list.map_err(|error| anyhow::anyhow!("reads back with error {error}"))?;
        let read = Settings {
            syncdev: match list.get(c"syncdev") {
                Some(Value::String(name)) => Some(name.to_str()?.to_string()),
                _ => None,
            },
            syncpeer: match list.get(c"syncpeer") {
                Some(Value::List(syncpeer)) => parse_syncpeer(syncpeer).context("a sync peer")?,
                _ => None,
            },
            maxupd: list.number(c"maxupdates").context("maxupdates")?,
            defer: list.number(c"flags").context("flags")? & u64::from(sys::PFSYNCF_DEFER) != 0,
            version: list.number(c"version").context("version")?,
        };
        ensure!(read == self.settings, "{:?} reads back as {read:?}", self.settings);
        self.check_old_settings()
    }

    fn check_old_settings(&self) -> Result<()> {
        let old = self.fuzzed.firewall.configuration_old()?;
        let old = old.map_err(|error| anyhow::anyhow!("reads back with error {error}"))?;
        let bytes = old.pfsyncr_syncdev.map(|byte| byte as u8);
        let name = CStr::from_bytes_until_nul(&bytes)?.to_str()?;
        ensure!(name == self.settings.syncdev.as_deref().unwrap_or(""), "old syncdev {name}");
        ensure!(old.pfsyncr_maxupdates as u64 == self.settings.maxupd, "old maxupdates");
        let defer = old.pfsyncr_defer as u32 & sys::PFSYNCF_DEFER != 0;
        ensure!(defer == self.settings.defer, "old defer");
        let syncpeer = match self.settings.syncpeer {
            Some(SyncPeer::Inet(address)) => address,
            _ => [0; 4],
        };
        ensure!(old.pfsyncr_syncpeer.s_addr.to_ne_bytes() == syncpeer, "old syncpeer");
        Ok(())
    }

    /// `SIOCGETPFSYNCNV` with a buffer of any size.
    fn read_short(&mut self, u: &mut Unstructured) -> Result<()> {
        let space = u32::from(u.arbitrary::<u8>()?) * 2;
        let mut buffer = vec![0u8; space as usize];
        let pointer = buffer.as_mut_ptr();
        let fill = move |request: &mut sys::ifreq| {
            request.ifr_ifru.ifru_nv =
                sys::ifreq_nv_req { buf_length: space, length: 0, buffer: pointer.cast() };
        };
        // SAFETY: this request's argument is a buffer for an nvlist.
        let read = |request: &sys::ifreq| unsafe { request.ifr_ifru.ifru_nv.length };
        match self.fuzzed.firewall.ioctl(sys::pfs_SIOCGETPFSYNCNV, fill, read)? {
            Ok(len) => ensure!(List::unpack(&buffer[..len as usize]).is_some(), "{len} bytes are no list"),
            Err(error) if error == sys::EFBIG as i32 => {
                self.stop_failing()?;
                let whole = self.fuzzed.firewall.configuration()?;
                let len = whole.map_err(|error| anyhow::anyhow!("error {error}"))?.pack().len();
                ensure!(len > space as usize, "{len} bytes are said not to fit {space}");
            }
            Err(error) => {
                ensure!(self.failing, "reading fails with error {error}");
                self.check_error(error)?;
            }
        }
        Ok(())
    }

    fn set_mtu(&self, mtu: i32) -> Result<()> {
        // EndpointVerdict of them are close to the limits.
        let mtu = if mtu % 2 == 0 { mtu } else { mtu.rem_euclid(2000) };
        let pfsync0 = self.fuzzed.firewall.pfsync0().context("pfsync0")?;
        // SAFETY: the interface stays during the input.
        let now = || unsafe { (*pfsync0).if_mtu };
        let before = now();
        let answer = self.fuzzed.firewall.set_mtu(mtu)?;
        match answer {
            Ok(()) => ensure!(now() == mtu as u32 && (300..=1500).contains(&mtu), "MTU {mtu} is accepted"),
            Err(error) => {
                ensure!(error == sys::EINVAL as i32 && now() == before, "MTU {mtu}: error {error}");
                // At most that of the sync interface, which may be pfsync0 itself.
                let largest = match self.settings.syncdev.as_deref() {
                    None => 0,
                    Some("pfsync0") => before as i32,
                    Some(_) => 1500,
                };
                ensure!(!(576..=largest).contains(&mtu), "MTU {mtu} is refused");
            }
        }
        Ok(())
    }

    fn sysctl(&self, u: &mut Unstructured) -> Result<()> {
        let names = [
            "bulk_request",
            "carp_demotion_factor",
            "defer_delay",
            "stats",
            "peer_share",
            "peer_inserts",
            "peer_requests",
        ];
        let name = format!("net.pfsync.{}", u.choose(&names)?);
        let len = if u.arbitrary()? { 4 } else { usize::from(u.arbitrary::<u8>()?) };
        let mut value = vec![0; len];
        u.fill_buffer(&mut value)?;
        let Fuzzed { firewall, .. } = &self.fuzzed;
        let written = firewall.kernel.sysctl_write(&firewall.vnet, &name, &value);
        self.fuzzed.attempt(written)?;
        Ok(())
    }

    /// Requests that pfsync does not know, and time that passes.
    fn other(&mut self, u: &mut Unstructured) -> Result<()> {
        if u.arbitrary()? {
            return Ok(self.fuzzed.lab.advance(crate::receive::pause(u.arbitrary()?))?);
        }
        let command = u64::from(u.arbitrary::<u32>()?);
        let known = [
            sys::pfs_SIOCSIFFLAGS,
            sys::pfs_SIOCSIFMTU,
            sys::pfs_SIOCGETPFSYNC,
            sys::pfs_SIOCSETPFSYNC,
            sys::pfs_SIOCGETPFSYNCNV,
            sys::pfs_SIOCSETPFSYNCNV,
        ];
        let answer = self.fuzzed.firewall.ioctl(command, |_| (), |_| ())?;
        ensure!(known.contains(&command) || answer == Err(sys::ENOTTY as i32), "{command:#x}: {answer:?}");
        Ok(())
    }
}
