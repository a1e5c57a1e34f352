// SPDX-License-Identifier: BSD-2-Clause
//! Firewalls: kernels with pf and pfsync, and what operators and packets do to
//! them.

use crate::freebsd::kernel::thread;
use crate::freebsd::kernel::violation::{violation, Violation};
use crate::freebsd::kernel::vnet::Vnet;
use crate::freebsd::kernel::world::{milliseconds, Policy, World, SECOND};
use crate::freebsd::kernel::{cloner, interface, Kernel};
use crate::freebsd::machine::cpu::into_module;
use crate::freebsd::nv::{List, Value};
use crate::freebsd::pf::rules::{Rules, KEEP_STATE};
use crate::freebsd::pf::traffic::{Connection, Endpoint, Id, Seen};
use anyhow::{Context, Result};
use pfsync::wire::Format;
use std::ffi::CString;
use std::rc::Rc;
use sys_bindings as sys;

/// The newest message format of this FreeBSD, which is its default.
pub const NEWEST: Format = match Format::from_number(sys::PFSYNC_MSG_VERSION_NEWEST as i64) {
    Some(format) => format,
    None => panic!("an unknown message format"),
};
/// The name of the sync interface.
pub const SYNC: &str = "em0";
/// The name of the interface that connections leave by.
pub const OUTSIDE: &str = "em1";

/// A sync peer: the address that frames are sent to.
#[derive(Clone, Copy, Debug)]
pub enum SyncPeer {
    /// An address of IPv4.
    Inet([u8; 4]),
    /// An address of IPv6.
    Inet6([u8; 16]),
}

/// What an operator sets with ifconfig(8).
#[derive(Clone, Debug)]
pub struct Config {
    /// The sync interface.
    pub syncdev: Option<String>,
    /// The sync peer; `None` stands for IPv4's multicast group.
    pub syncpeer: Option<SyncPeer>,
    /// How many updates of a TCP state may collapse.
    pub maxupd: u64,
    /// Whether first packets are deferred.
    pub defer: bool,
    /// The message format; 0 stands for the default.
    pub version: u64,
    /// Whether frames are numbered (`net.pfsync.numbered`). Most tests are about frames as
    /// stock modules send them.
    pub numbered: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            syncdev: Some(SYNC.to_string()),
            syncpeer: None,
            maxupd: 128,
            defer: false,
            version: 0,
            numbered: false,
        }
    }
}

/// pfsync's multicast group of IPv6.
pub const GROUP6: [u8; 16] = [0xff, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf0];

/// The IPv4 address of the n-th firewall on the sync interface.
pub fn address4(number: u8) -> [u8; 4] {
    [192, 0, 2, number]
}

/// The IPv6 address, a global one, so that it has no zone.
pub fn address6(number: u8) -> [u8; 16] {
    [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number]
}

impl Config {
    /// The nvlist that ifconfig(8) sends.
    pub fn to_list(&self) -> List {
        let flags = if self.defer { u64::from(sys::PFSYNCF_DEFER) } else { 0 };
        let mut list = List::default()
            .with("maxupdates", Value::Number(self.maxupd))
            .with("flags", Value::Number(flags));
        if let Some(name) = &self.syncdev {
            list = list
                .with("syncdev", Value::String(CString::new(name.as_str()).expect("a name without zeros")));
        }
        if let Some(peer) = self.syncpeer {
            list = list.with("syncpeer", Value::List(Box::new(peer.to_list())));
        }
        // The last element is what the operator sets.
        list.with("version", Value::Number(self.version))
    }
}

impl SyncPeer {
    fn to_list(self) -> List {
        let (family, address) = match self {
            SyncPeer::Inet(addr) => {
                let mut sockaddr = vec![16, sys::AF_INET as u8, 0, 0];
                sockaddr.extend(addr);
                sockaddr.extend([0; 8]);
                (sys::AF_INET, sockaddr)
            }
            SyncPeer::Inet6(addr) => {
                let mut sockaddr = vec![28, sys::AF_INET6 as u8, 0, 0, 0, 0, 0, 0];
                sockaddr.extend(addr);
                sockaddr.extend([0; 4]);
                (sys::AF_INET6, sockaddr)
            }
        };
        List::default().with("af", Value::Number(family.into())).with("address", Value::Binary(address))
    }
}

/// The n-th connection of an IP protocol, between addresses of its own.
pub fn connection(number: u32, proto: u32) -> Connection {
    let [_, a, b, c] = number.to_be_bytes();
    let address = |net: u8| {
        let mut addr = [0; 16];
        addr[..4].copy_from_slice(&[net, a, b, c]);
        addr
    };
    Connection {
        is_inet6: false,
        proto: proto as u8,
        client: Endpoint { addr: address(10), port: 1024 + (number % 60_000) as u16 },
        server: Endpoint { addr: address(172), port: 443 },
        nat: None,
        rule: KEEP_STATE,
        route_to: None,
        interface: OUTSIDE,
    }
}

/// Simulated firewalls, their clock and network.
pub struct Lab {
    /// The world of the kernels.
    pub world: Rc<World>,
}

impl Lab {
    /// A lab without firewalls.
    pub fn new(policy: Policy) -> Lab {
        Lab { world: World::new(policy) }
    }

    /// Boots the n-th firewall, with its sync interface on segment 0.
    pub fn boot(&self, number: u8) -> Result<Firewall> {
        let rules = Rules { host_id: 0x0100_0000 + u32::from(number), ..Rules::default() };
        self.boot_with(number, &rules)
    }

    /// Boots the n-th firewall with these rules.
    pub fn boot_with(&self, number: u8, rules: &Rules) -> Result<Firewall> {
        let kernel = Kernel::boot(&self.world, &format!("fw{number}"), rules)?;
        let vnet = kernel.vnet();
        Ok(Firewall::plugged(self, kernel, vnet, number))
    }

    /// Lets time pass. Fails after a violation.
    pub fn advance(&self, milliseconds_passed: i64) -> Result<(), Violation> {
        self.world.advance(milliseconds(milliseconds_passed));
        self.check()
    }

    /// Lets seconds pass. Fails after a violation.
    pub fn seconds(&self, seconds: i64) -> Result<(), Violation> {
        self.world.advance(seconds * SECOND);
        self.check()
    }

    /// Fails after a violation.
    pub fn check(&self) -> Result<(), Violation> {
        self.world.failure().map_or(Ok(()), Err)
    }
}

/// A firewall: a vnet of a kernel, with interfaces.
#[derive(Clone)]
pub struct Firewall {
    /// Its kernel.
    pub kernel: Rc<Kernel>,
    /// Its vnet.
    pub vnet: Rc<Vnet>,
    pub(crate) number: u8,
    sync: usize,
}

impl Firewall {
    fn plugged(lab: &Lab, kernel: Rc<Kernel>, vnet: Rc<Vnet>, number: u8) -> Firewall {
        let sync = kernel.attach_ethernet(&vnet, SYNC, address4(number), address6(number));
        kernel.attach_ethernet(&vnet, OUTSIDE, [0; 4], [0; 16]);
        kernel.attach_loopback(&vnet);
        lab.world.network.plug(&kernel, &vnet, sync, 0);
        Firewall { kernel, vnet, number, sync: sync as usize }
    }

    /// Adds a vnet to the kernel of the firewall, as a firewall of its own.
    pub fn jail(&self, lab: &Lab, number: u8) -> Result<Firewall> {
        let rules = Rules { host_id: 0x0100_0000 + u32::from(number), ..Rules::default() };
        let vnet = self.kernel.add_vnet(&rules)?;
        Ok(Firewall::plugged(lab, self.kernel.clone(), vnet, number))
    }

    /// Runs `body` in a thread of the vnet until it ends.
    pub fn run<R: 'static>(
        &self,
        name: &str,
        body: impl FnOnce(&Rc<Vnet>) -> R + 'static,
    ) -> Result<R, Violation> {
        let vnet = self.vnet.clone();
        self.kernel.run(name, &self.vnet, move || body(&vnet))
    }

    /// Starts `body` in a thread of the vnet, which runs beside others.
    pub fn start(&self, name: &str, body: impl FnOnce(&Rc<Vnet>) + 'static) {
        let vnet = self.vnet.clone();
        self.kernel.spawn(name, &self.vnet, move || body(&vnet));
    }

    /// pfsync0, if it exists.
    pub fn pfsync0(&self) -> Option<*mut sys::ifnet> {
        self.vnet.interfaces.find("pfsync0")
    }

    /// The sync interface.
    pub fn sync(&self) -> *mut sys::ifnet {
        self.sync as *mut sys::ifnet
    }

    /// Sends a request to pfsync0's ioctl function. The inner error is an errno.
    pub fn ioctl<R: 'static>(
        &self,
        command: u64,
        fill: impl FnOnce(&mut sys::ifreq) + 'static,
        read: impl FnOnce(&sys::ifreq) -> R + 'static,
    ) -> Result<Result<R, i32>> {
        self.run("ifconfig", move |vnet| request(vnet, command, fill, read)).map_err(Into::into)
    }

    /// `ifconfig pfsync0 ...` with an nvlist.
    pub fn configure(&self, config: &Config) -> Result<Result<(), i32>> {
        let bytes = config.to_list().pack();
        self.configure_bytes(bytes)
    }

    /// The same with any bytes.
    pub fn configure_bytes(&self, mut bytes: Vec<u8>) -> Result<Result<(), i32>> {
        self.run("ifconfig", move |vnet| {
            let fill = |request: &mut sys::ifreq| {
                request.ifr_ifru.ifru_nv = sys::ifreq_nv_req {
                    buf_length: bytes.len() as u32,
                    length: bytes.len() as u32,
                    buffer: bytes.as_mut_ptr().cast(),
                }
            };
            request(vnet, sys::pfs_SIOCSETPFSYNCNV, fill, |_| ())
        })
        .map_err(Into::into)
    }

    /// `ifconfig pfsync0`: the nvlist with the configuration.
    pub fn configuration(&self) -> Result<Result<List, i32>> {
        self.run("ifconfig", |vnet| {
            let mut buffer = vec![0u8; 4096];
            let pointer = buffer.as_mut_ptr();
            let fill = |request: &mut sys::ifreq| {
                request.ifr_ifru.ifru_nv =
                    sys::ifreq_nv_req { buf_length: 4096, length: 0, buffer: pointer.cast() }
            };
            // SAFETY: this request's argument is a buffer for an nvlist.
            let len = request(vnet, sys::pfs_SIOCGETPFSYNCNV, fill, |request| unsafe {
                request.ifr_ifru.ifru_nv.length
            })?;
            List::unpack(&buffer[..len as usize]).ok_or(sys::EINVAL as i32)
        })
        .map_err(Into::into)
    }

    /// Configures as old programs do, with `struct pfsyncreq`.
    pub fn configure_old(&self, mut old: sys::pfsyncreq) -> Result<Result<(), i32>> {
        self.run("ifconfig", move |vnet| {
            let fill = |request: &mut sys::ifreq| request.ifr_ifru.ifru_data = (&raw mut old).cast();
            request(vnet, sys::pfs_SIOCSETPFSYNC, fill, |_| ())
        })
        .map_err(Into::into)
    }

    /// Reads the configuration as old programs do.
    pub fn configuration_old(&self) -> Result<Result<sys::pfsyncreq, i32>> {
        self.run("ifconfig", |vnet| {
            // SAFETY: plain data, for which all zeroes is valid.
            let mut old: sys::pfsyncreq = unsafe { std::mem::zeroed() };
            let pointer = &raw mut old;
            request(
                vnet,
                sys::pfs_SIOCGETPFSYNC,
                |request| request.ifr_ifru.ifru_data = pointer.cast(),
                |_| (),
            )?;
            Ok(old)
        })
        .map_err(Into::into)
    }

    /// `ifconfig pfsync0 up` or `down`
    pub fn set_up(&self, up: bool) -> Result<Result<(), i32>> {
        self.run("ifconfig", move |vnet| {
            let ifp = vnet.interfaces.find("pfsync0").ok_or(sys::ENXIO as i32)?;
            // SAFETY: the interface lives as long as it is attached.
            unsafe {
                let flags = (*ifp).if_flags & !(sys::IFF_UP as i32);
                (*ifp).if_flags = flags | if up { sys::IFF_UP as i32 } else { 0 };
            }
            request(vnet, sys::pfs_SIOCSIFFLAGS, |_| (), |_| ())
        })
        .map_err(Into::into)
    }

    /// `ifconfig pfsync0 mtu`
    pub fn set_mtu(&self, mtu: i32) -> Result<Result<(), i32>> {
        self.ioctl(sys::pfs_SIOCSIFMTU, move |request| request.ifr_ifru.ifru_mtu = mtu, |_| ())
    }

    /// Loads the module, configures and starts pfsync.
    pub fn start_pfsync(&self, config: &Config) -> Result<()> {
        if self.kernel.module.borrow().is_none() {
            self.kernel.load()?;
        }
        self.write_sysctl("net.pfsync.numbered", &i32::from(config.numbered).to_le_bytes())?;
        self.configure(config)?.map_err(|error| anyhow::anyhow!("configure: error {error}"))?;
        self.set_up(true)?.map_err(|error| anyhow::anyhow!("up: error {error}"))
    }

    /// `ifconfig pfsync0 create`
    pub fn create(&self) -> Result<Result<(), i32>> {
        Ok(self.run("ifconfig", |vnet| cloner::create(vnet, "pfsync0").map(|_| ()))?)
    }

    /// `ifconfig pfsync0 destroy`
    pub fn destroy(&self) -> Result<Result<(), i32>> {
        Ok(self.run("ifconfig", |vnet| cloner::destroy(vnet, "pfsync0"))?)
    }

    /// Puts a new card in place of the one that was pulled. It is not up.
    pub fn attach_sync(&mut self, lab: &Lab) -> Result<()> {
        let sync =
            self.kernel.attach_ethernet(&self.vnet, SYNC, address4(self.number), address6(self.number));
        lab.world.network.plug(&self.kernel, &self.vnet, sync, 0);
        self.sync = sync as usize;
        let sync = self.sync;
        Ok(self.run("devctl", move |_| {
            // SAFETY: the interface was just made.
            unsafe { (*(sync as *mut sys::ifnet)).if_flags &= !(sys::IFF_UP as i32) };
            interface::arrive(sync as *mut sys::ifnet);
        })?)
    }

    /// Pulls the card of the sync interface.
    pub fn detach_sync(&self) -> Result<()> {
        let (kernel, sync) = (self.kernel.clone(), self.sync);
        Ok(self.run("devctl", move |vnet| kernel.detach_ethernet(vnet, sync as *mut sys::ifnet))?)
    }

    /// The first packet of a connection.
    pub fn open(&self, connection: &Connection) -> Result<Id> {
        let connection = connection.clone();
        let opened = self.run("em1", move |vnet| vnet.pf.open(&connection, None))?;
        opened.map(|(id, _)| id).context("no state was made")
    }

    /// The first packet of a connection. Returns whether pfsync deferred it.
    pub fn open_with(&self, connection: &Connection, packet: Vec<u8>) -> Result<(Id, bool)> {
        let connection = connection.clone();
        let opened = self.run("em1", move |vnet| vnet.pf.open(&connection, Some(&packet)))?;
        opened.context("no state was made")
    }

    /// A further packet of a connection.
    pub fn pass(&self, id: Id, change: impl FnOnce(&mut sys::pf_kstate) + 'static) -> Result<bool> {
        Ok(self.run("em1", move |vnet| vnet.pf.pass(id, change))?)
    }

    /// `pfctl -k`
    pub fn kill(&self, id: Id) -> Result<()> {
        Ok(self.run("pfctl", move |vnet| vnet.pf.kill(id))?)
    }

    /// `pfctl -Fs`
    pub fn flush(&self) -> Result<()> {
        self.flush_interface("")
    }

    /// `pfctl -i name -Fs`
    pub fn flush_interface(&self, name: &str) -> Result<()> {
        let name = name.to_string();
        Ok(self.run("pfctl", move |vnet| vnet.pf.flush(&name, true))?)
    }

    /// `pfctl -d`
    pub fn stop_pf(&self) -> Result<()> {
        let kernel = self.kernel.clone();
        Ok(self.run("pfctl", move |vnet| vnet.pf.set_running(&kernel, false))?)
    }

    /// `pfctl -e`
    pub fn start_pf(&self) -> Result<()> {
        let kernel = self.kernel.clone();
        Ok(self.run("pfctl", move |vnet| vnet.pf.set_running(&kernel, true))?)
    }

    /// Sets the sync interface up or down.
    pub fn set_sync_up(&self, up: bool) -> Result<()> {
        let sync = self.sync;
        Ok(self.run("ifconfig", move |_| interface::set_up(sync as *mut sys::ifnet, up))?)
    }

    /// Gives the sync interface an address of IPv6 in place of its own.
    pub fn set_sync_address6(&self, addr6: [u8; 16], is_tentative: bool) -> Result<()> {
        let sync = self.sync;
        Ok(self.run("ifconfig", move |_| {
            interface::set_address6(sync as *mut sys::ifnet, addr6, is_tentative);
        })?)
    }

    /// The address of the sync interface is no longer tentative.
    pub fn accept_sync_address6(&self) -> Result<()> {
        let sync = self.sync;
        Ok(self.run("nd6", move |_| interface::accept_address6(sync as *mut sys::ifnet))?)
    }

    /// Gives the sync interface a link, or takes it away.
    pub fn set_sync_link(&self, has_link: bool) -> Result<()> {
        let sync = self.sync;
        Ok(self.run("link events", move |_| interface::set_link(sync as *mut sys::ifnet, has_link))?)
    }

    /// `syncok`: whether no state is known to be missing.
    pub fn is_complete(&self) -> Result<bool> {
        let list = self.configuration()?.map_err(|error| anyhow::anyhow!("ifconfig: error {error}"))?;
        let flags = list.number(c"flags").context("flags")?;
        Ok(flags & u64::from(sys::PFSYNCF_OK) != 0)
    }

    /// pf's purge thread runs once.
    pub fn purge(&self) -> Result<()> {
        Ok(self.run("pf purge", |vnet| vnet.pf.purge())?)
    }

    /// The states. No thread may run.
    pub fn states(&self) -> Vec<Seen> {
        let mut states = self.vnet.pf.see();
        states.sort_by_key(|state| state.id);
        states
    }

    /// A state. No thread may run.
    pub fn state(&self, id: Id) -> Option<Seen> {
        self.states().into_iter().find(|state| state.id == id)
    }

    /// carp's demotion counter.
    pub fn demotion(&self) -> i32 {
        self.vnet.demotion.get()
    }

    /// Taps pfsync0, as tcpdump(1) does.
    pub fn watch(&self) {
        let pfsync0 = self.pfsync0().expect("pfsync0 exists");
        self.vnet.interfaces.watch(pfsync0, true);
    }

    /// The frames that were tapped on pfsync0 since the last call.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        self.pfsync0().map(|pfsync0| self.vnet.interfaces.take_frames(pfsync0)).unwrap_or_default()
    }

    /// `sysctl net.pfsync.bulk_request=1`
    pub fn request_bulk_update(&self) -> Result<()> {
        self.kernel.sysctl_write(&self.vnet, "net.pfsync.bulk_request", &1i32.to_le_bytes())
    }

    /// `sysctl name=value`, with the bytes of the value.
    pub fn write_sysctl(&self, name: &str, value: &[u8]) -> Result<()> {
        self.kernel.sysctl_write(&self.vnet, name, value)
    }

    /// `sysctl name`, of a number with 32 or 64 bits.
    pub fn number(&self, name: &str) -> Result<u64> {
        let mut bytes = self
            .kernel
            .sysctl_read(&self.vnet, name, 8)
            .or_else(|_| self.kernel.sysctl_read(&self.vnet, name, 4))?;
        bytes.resize(8, 0);
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
    }

    /// `sysctl net.pfsync.peers`
    pub fn peers(&self) -> Result<String> {
        let bytes = self.kernel.sysctl_read(&self.vnet, "net.pfsync.peers", 2048)?;
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// Unloads the module.
    pub fn unload(&self) -> Result<()> {
        self.kernel.unload()
    }
}

/// Calls pfsync0's ioctl function. Called in a thread of the vnet.
pub fn request<R>(
    vnet: &Vnet,
    command: u64,
    fill: impl FnOnce(&mut sys::ifreq),
    read: impl FnOnce(&sys::ifreq) -> R,
) -> Result<R, i32> {
    let ifp = vnet.interfaces.find("pfsync0").ok_or(sys::ENXIO as i32)?;
    // SAFETY: plain data, for which all zeroes is valid.
    let mut request: sys::ifreq = unsafe { std::mem::zeroed() };
    fill(&mut request);
    // SAFETY: the interface is attached, and its ioctl function takes a
    // request that lives during the call.
    let error = unsafe {
        let ioctl = (*ifp).if_ioctl.expect("pfsync0 has an ioctl function");
        into_module(|| ioctl(ifp, command, (&raw mut request).cast()))
    };
    if thread::current().kernel.module.borrow().is_none() {
        violation("an ioctl ends in a module that was unloaded".to_owned());
    }
    if error == 0 {
        Ok(read(&request))
    } else {
        Err(error)
    }
}
