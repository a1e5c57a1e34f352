// SPDX-License-Identifier: BSD-2-Clause
//! Network interfaces: ifnet(9) and bpf(4).

use super::heap::Heap;
use super::sleep::{epoch_assert, may_sleep};
use super::violation::violation;
use super::vnet::Vnet;
use super::{event, module, thread, Kernel};
use crate::freebsd::kpi;
use crate::freebsd::machine::cpu::into_module;
use crate::freebsd::native;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{c_char, CStr};
use std::ptr;
use std::rc::Rc;
use sys_bindings as sys;

const IFNET: &str = "ifnet";
const BPF: &str = "bpf_if";

/// What the kernel records about an interface, beside its structure.
#[derive(Default)]
pub struct Interface {
    references: usize,
    attached: bool,
    counters: HashMap<u32, i64>,
    /// Frames that were tapped, if a watcher is attached.
    frames: Option<Vec<Vec<u8>>>,
    bpf: usize,
    /// Its IPv4 address.
    pub(crate) addr4: [u8; 4],
    /// Its IPv6 address, `::` for none.
    pub(crate) addr6: [u8; 16],
    /// Whether it is still unknown if another node has the IPv6 address.
    pub(crate) is_tentative: bool,
}

/// The interfaces of a vnet, by the addresses of their structures.
#[derive(Default)]
pub struct Interfaces {
    table: RefCell<HashMap<usize, Interface>>,
    /// The attached ones, in the order in which they were attached.
    order: RefCell<Vec<usize>>,
}

/// The name of an interface.
pub(crate) fn name_of(ifp: *const sys::ifnet) -> String {
    // SAFETY: the interface lives; its name is terminated.
    unsafe { CStr::from_ptr((&raw const (*ifp).if_xname).cast()) }.to_string_lossy().into_owned()
}

impl Interface {
    /// Whether it has the address, which is one of IPv4 or IPv6.
    pub(crate) fn has_address(&self, addr: &[u8]) -> bool {
        match addr.len() {
            4 => self.addr4 == addr,
            _ => self.addr6 == addr,
        }
    }
}

impl Interfaces {
    /// The attached interface of that name.
    pub fn find(&self, name: &str) -> Option<*mut sys::ifnet> {
        let order = self.order.borrow();
        order.iter().map(|ifp| *ifp as *mut sys::ifnet).find(|ifp| name_of(*ifp) == name)
    }

    fn with<R>(&self, ifp: *const sys::ifnet, what: &str, inside: impl FnOnce(&mut Interface) -> R) -> R {
        match self.table.borrow_mut().get_mut(&(ifp as usize)) {
            Some(interface) => inside(interface),
            None => violation(format!("{what} an interface that does not exist")),
        }
    }

    /// Applies `inside` to an interface, if it exists.
    pub(crate) fn get<R>(&self, ifp: *const sys::ifnet, inside: impl FnOnce(&Interface) -> R) -> Option<R> {
        self.table.borrow().get(&(ifp as usize)).map(inside)
    }

    /// References to interfaces, beyond the one that each attached interface has to itself.
    pub fn extra_references(&self) -> usize {
        self.table
            .borrow()
            .values()
            .map(|interface| interface.references - usize::from(interface.attached))
            .sum()
    }

    /// Whether an address of IPv6 may be the source of a packet.
    pub(crate) fn is_usable(&self, addr6: &[u8; 16]) -> bool {
        let has = |interface: &Interface| interface.addr6 == *addr6 && !interface.is_tentative;
        *addr6 != [0; 16] && self.table.borrow().values().any(has)
    }

    /// Whether an interface has the address, which is one of IPv4 or IPv6.
    pub(crate) fn have_address(&self, addr: &[u8]) -> bool {
        self.table.borrow().values().any(|interface| interface.has_address(addr))
    }

    fn release(&self, heap: &Heap, ifp: usize) {
        let left = self.with(ifp as *const _, "releases", |interface| {
            interface.references -= 1;
            interface.references
        });
        if left == 0 {
            self.table.borrow_mut().remove(&ifp);
            heap.free(ifp, IFNET);
        }
    }

    /// Attaches a watcher to an interface, as tcpdump(1) does, or detaches it.
    pub(crate) fn watch(&self, ifp: *mut sys::ifnet, on: bool) {
        self.with(ifp, "watches", |interface| {
            interface.frames = on.then(Vec::new);
            let bpf = interface.bpf as *mut native::bpf_if_ext;
            // SAFETY: bpfattach allocated the structure, which lives until
            // bpfdetach. The module only reads whether the list is empty.
            unsafe { (*bpf).bif_dlist.clh_first = if on { bpf.cast() } else { ptr::null_mut() } };
        });
    }

    /// The frames that were tapped since the last call.
    pub(crate) fn take_frames(&self, ifp: *mut sys::ifnet) -> Vec<Vec<u8>> {
        self.with(ifp, "watches", |interface| {
            interface.frames.as_mut().map(std::mem::take).unwrap_or_default()
        })
    }
}

impl Kernel {
    /// Attaches an Ethernet interface with these addresses to a vnet.
    pub(crate) fn attach_ethernet(
        self: &Rc<Self>,
        vnet: &Rc<Vnet>,
        name: &str,
        addr4: [u8; 4],
        addr6: [u8; 16],
    ) -> *mut sys::ifnet {
        self.attach(vnet, name, sys::IFF_UP | sys::IFF_MULTICAST, addr4, addr6)
    }

    /// Attaches `lo0` to a vnet.
    pub(crate) fn attach_loopback(self: &Rc<Self>, vnet: &Rc<Vnet>) {
        self.attach(vnet, "lo0", sys::IFF_UP | sys::IFF_LOOPBACK, [127, 0, 0, 1], [0; 16]);
    }

    /// Attaches `enc0` to a vnet.
    pub fn attach_enc(self: &Rc<Self>, vnet: &Rc<Vnet>) {
        let ifp = self.attach(vnet, "enc0", sys::IFF_UP, [0; 4], [0; 16]);
        // SAFETY: the interface was just made.
        unsafe { (*ifp).if_type = sys::IFT_ENC as u8 };
    }

    fn attach(
        self: &Rc<Self>,
        vnet: &Rc<Vnet>,
        name: &str,
        flags: u32,
        addr4: [u8; 4],
        addr6: [u8; 16],
    ) -> *mut sys::ifnet {
        let ifp = self.heap.allocate(size_of::<sys::ifnet>(), IFNET, true) as *mut sys::ifnet;
        // SAFETY: fresh memory of that size; all zeroes is valid for it.
        unsafe {
            for (to, from) in (*ifp).if_xname.iter_mut().zip(name.bytes()) {
                *to = from as c_char;
            }
            (*ifp).if_mtu = 1500;
            (*ifp).if_flags = flags as i32;
            (*ifp).if_vnet = vnet.raw();
            // What IPv6 has for each interface but those of pflog(4) and pfsync(4).
            (*ifp).if_afdata[sys::AF_INET6 as usize] = ptr::NonNull::dangling().as_ptr();
        }
        let interface = Interface { references: 1, attached: true, addr4, addr6, ..Interface::default() };
        vnet.interfaces.table.borrow_mut().insert(ifp as usize, interface);
        vnet.interfaces.order.borrow_mut().push(ifp as usize);
        vnet.pf.add_kif(self, name, ifp);
        ifp
    }

    /// Removes an interface, as pulling its card does (`if_detach`). Called in a
    /// thread of its vnet.
    pub fn detach_ethernet(&self, vnet: &Vnet, ifp: *mut sys::ifnet) {
        vnet.interfaces.order.borrow_mut().retain(|other| *other != ifp as usize);
        with_lock(detach_lock(self), || self.depart(vnet, ifp));
        vnet.interfaces.with(ifp, "detaches", |interface| interface.attached = false);
        vnet.interfaces.release(&self.heap, ifp as usize);
    }
}

impl Kernel {
    /// `if_detach_internal`: an interface that is no longer in the list departs from its vnet.
    fn depart(&self, vnet: &Vnet, ifp: *mut sys::ifnet) {
        set_up(ifp, false);
        vnet.pf.forget_ifp(ifp);
        // The kernel frees the memberships first, and tells pfsync after.
        self.world().network.leave_all(ifp);
        self.announce_departure(ifp);
    }

    /// Has pf tell the module that an interface departs.
    fn announce_departure(&self, ifp: *mut sys::ifnet) {
        // SAFETY: the kernel's own variables; the module's function takes the interface, which
        // the caller has.
        unsafe {
            if let Some(departs) = (*self.variables.globals()).detach_ifnet {
                into_module(|| departs(ifp));
            }
        }
    }
}

/// An interface that was attached, and is not up yet, announces itself. Called in a thread of
/// its vnet.
pub fn arrive(ifp: *mut sys::ifnet) {
    event::invoke("ifnet_arrival_event", ifp, 0);
}

/// Removes the interfaces that a vnet still has, none of which a module made.
pub(crate) fn detach_all(vnet: &Rc<Vnet>) {
    let kernel = thread::current().kernel.clone();
    let all = vnet.interfaces.order.borrow().clone();
    for ifp in all {
        kernel.detach_ethernet(vnet, ifp as *mut sys::ifnet);
    }
}

/// The lock under which the kernel detaches interfaces and ends vnets.
pub(super) fn detach_lock(kernel: &Kernel) -> usize {
    // SAFETY: only the address is taken.
    unsafe { &raw const (*kernel.variables.globals()).detach_lock as usize }
}

/// The lock of the list of interfaces.
fn list_lock(kernel: &Kernel) -> usize {
    let address = kernel.variables.globals() as usize + 3;
    module::static_lock(kernel, address, "ifnet_sx");
    address
}

pub(super) fn with_lock<R>(address: usize, inside: impl FnOnce() -> R) -> R {
    use super::lock::Mode::Exclusive;
    let kernel = thread::current().kernel.clone();
    kernel.locks.lock(address, Exclusive);
    let result = inside();
    kernel.locks.unlock(address, Exclusive);
    result
}

/// Moves an interface to another vnet, as `ifconfig name vnet jail` does. It is down then.
pub fn relocate(ifp: *mut sys::ifnet, to: &Vnet) {
    let from = vnet_of(ifp);
    let thread = thread::current();
    let kernel = thread.kernel.clone();
    from.interfaces.order.borrow_mut().retain(|other| *other != ifp as usize);
    with_lock(detach_lock(&kernel), || {
        let before = thread.set_vnet(from.raw());
        kernel.depart(&from, ifp);
        let interface = from.interfaces.table.borrow_mut().remove(&(ifp as usize)).expect("attached");
        to.interfaces.table.borrow_mut().insert(ifp as usize, interface);
        to.interfaces.order.borrow_mut().push(ifp as usize);
        to.pf.add_kif(&kernel, &name_of(ifp), ifp);
        // SAFETY: the interface lives.
        unsafe { (*ifp).if_vnet = to.raw() };
        thread.set_vnet(to.raw());
        arrive(ifp);
        thread.set_vnet(before);
    });
}

/// Gives an interface another name, as `ifconfig name name other` does: the
/// kernel announces that the interface departs, and that one arrives.
pub fn rename(ifp: *mut sys::ifnet, name: &str) {
    let vnet = vnet_of(ifp);
    let kernel = thread::current().kernel.clone();
    vnet.pf.forget_ifp(ifp);
    kernel.announce_departure(ifp);
    // SAFETY: the interface lives.
    unsafe {
        (*ifp).if_xname.fill(0);
        (*ifp).if_xname.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from as c_char);
    }
    vnet.pf.add_kif(&kernel, name, ifp);
    arrive(ifp);
}

/// Sets an interface up or down, as `ifconfig name up` does. Called in a thread of its
/// vnet.
pub fn set_up(ifp: *mut sys::ifnet, up: bool) {
    /// `IFNET_EVENT_UP`
    const UP: i32 = 0;
    // SAFETY: the interface lives.
    let flags = unsafe { &raw mut (*ifp).if_flags };
    // SAFETY: the flags are the interface's.
    unsafe {
        match (*flags & sys::IFF_UP as i32 != 0, up) {
            (false, true) => {
                *flags |= sys::IFF_UP as i32;
                event::invoke("ifnet_event", ifp, UP);
            }
            (true, false) => {
                // In this order, as in if_down.
                event::invoke("ifnet_event", ifp, sys::IFNET_EVENT_DOWN as i32);
                *flags &= !(sys::IFF_UP as i32);
            }
            _ => {}
        }
    }
}

/// Gives an interface an address of IPv6 in place of the one that it has; `::` only takes
/// that away. Called in a thread of its vnet.
pub fn set_address6(ifp: *mut sys::ifnet, addr6: [u8; 16], is_tentative: bool) {
    vnet_of(ifp).interfaces.with(ifp, "configures", |interface| {
        (interface.addr6, interface.is_tentative) = (addr6, is_tentative);
    });
    event::invoke("ifaddr_event", ifp, 0);
}

/// No other node turned out to have the address of an interface. There is no event for that.
pub fn accept_address6(ifp: *mut sys::ifnet) {
    vnet_of(ifp).interfaces.with(ifp, "configures", |interface| interface.is_tentative = false);
}

/// Gives an interface a link, or takes it away, as a driver says (`if_link_state_change`).
/// Called in a thread of its vnet.
pub fn set_link(ifp: *mut sys::ifnet, has_link: bool) {
    /// `LINK_STATE_UP`
    const UP: u32 = 2;
    let state = if has_link { UP } else { sys::LINK_STATE_DOWN };
    // SAFETY: the interface lives.
    unsafe { (*ifp).if_link_state = state as u8 };
    event::invoke("ifnet_link_event", ifp, state as i32);
}

/// Whether packets can pass an interface: its driver drops them if it has no link.
pub(crate) fn has_link(ifp: *const sys::ifnet) -> bool {
    // SAFETY: the caller's interface lives.
    unsafe { u32::from((*ifp).if_link_state) != sys::LINK_STATE_DOWN }
}

/// Whether an operator set an interface up.
pub(crate) fn is_up(ifp: *const sys::ifnet) -> bool {
    // SAFETY: the caller's interface lives.
    unsafe { (*ifp).if_flags & sys::IFF_UP as i32 != 0 }
}

/// The vnet of an interface.
fn vnet_of(ifp: *mut sys::ifnet) -> Rc<Vnet> {
    // SAFETY: the caller's interface lives.
    let vnet = thread::current().kernel.vnet_of(unsafe { (*ifp).if_vnet });
    vnet.unwrap_or_else(|| violation("uses an interface of a vnet that is gone".into()))
}

kpi::symbols! {
    pub unsafe extern "C" fn if_alloc(kind: u8) -> *mut sys::ifnet {
        may_sleep("if_alloc");
        let vnet = Kernel::current_vnet();
        let heap = &thread::current().kernel.heap;
        let ifp = heap.allocate(size_of::<sys::ifnet>(), IFNET, true) as *mut sys::ifnet;
        // SAFETY: fresh memory of that size.
        unsafe {
            (*ifp).if_alloctype = kind;
            (*ifp).if_vnet = vnet.raw();
            (*ifp).if_home_vnet = vnet.raw();
        }
        let interface = Interface { references: 1, ..Interface::default() };
        vnet.interfaces.table.borrow_mut().insert(ifp as usize, interface);
        ifp
    }

    pub unsafe extern "C" fn if_initname(ifp: *mut sys::ifnet, name: *const c_char, unit: i32) {
        // SAFETY: the caller's name is terminated, and its interface lives.
        let text = unsafe { format!("{}{unit}", CStr::from_ptr(name).to_string_lossy()) };
        // SAFETY: as above.
        unsafe { (*ifp).if_xname.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from as c_char) };
    }

    pub unsafe extern "C" fn if_attach(ifp: *mut sys::ifnet) {
        may_sleep("if_attach");
        let kernel = thread::current().kernel.clone();
        with_lock(list_lock(&kernel), || {});
        let vnet = vnet_of(ifp);
        vnet.interfaces.with(ifp, "attaches", |interface| interface.attached = true);
        vnet.interfaces.order.borrow_mut().push(ifp as usize);
        vnet.pf.add_kif(&kernel, &name_of(ifp), ifp);
    }

    pub unsafe extern "C" fn if_detach(ifp: *mut sys::ifnet) {
        may_sleep("if_detach");
        let kernel = thread::current().kernel.clone();
        let vnet = vnet_of(ifp);
        with_lock(detach_lock(&kernel), || {
            with_lock(list_lock(&kernel), || {
                vnet.interfaces.order.borrow_mut().retain(|other| *other != ifp as usize);
            });
            vnet.pf.forget_ifp(ifp);
            // SAFETY: the kernel's own variables; the interface lives.
            let departs = unsafe { (*kernel.variables.globals()).detach_ifnet };
            if let Some(departs) = departs {
                // SAFETY: as above.
                into_module(|| unsafe { departs(ifp) });
            }
        });
        super::sleep::epoch_wait();
    }

    pub unsafe extern "C" fn if_free(ifp: *mut sys::ifnet) {
        let vnet = vnet_of(ifp);
        vnet.interfaces.with(ifp, "frees", |interface| {
            if interface.bpf != 0 {
                violation("frees an interface that bpf is attached to".into());
            }
            interface.attached = false;
        });
        vnet.interfaces.release(&thread::current().kernel.heap, ifp as usize);
    }

    pub unsafe extern "C" fn if_rele(ifp: *mut sys::ifnet) {
        vnet_of(ifp).interfaces.release(&thread::current().kernel.heap, ifp as usize);
    }

    pub unsafe extern "C" fn ifunit_ref(name: *const c_char) -> *mut sys::ifnet {
        let vnet = Kernel::current_vnet();
        // SAFETY: the caller's name is terminated.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
        let found = vnet.interfaces.find(&name);
        found.inspect(|ifp| vnet.interfaces.with(*ifp, "references", |interface| interface.references += 1));
        found.unwrap_or(ptr::null_mut())
    }

    pub unsafe extern "C" fn if_getfib(_ifp: *mut sys::ifnet) -> u32 {
        0
    }

    pub unsafe extern "C" fn if_inc_counter(ifp: *mut sys::ifnet, counter: u32, by: i64) {
        let vnet = vnet_of(ifp);
        vnet.interfaces.with(ifp, "counts for", |interface| {
            *interface.counters.entry(counter).or_default() += by;
        });
    }

    pub unsafe extern "C" fn bpfattach(ifp: *mut sys::ifnet, _link_type: u32, _header_len: u32) {
        may_sleep("bpfattach");
        let bpf = thread::current().kernel.heap.allocate(size_of::<native::bpf_if_ext>(), BPF, true);
        // SAFETY: the caller's interface lives.
        unsafe { (*ifp).if_bpf = bpf as *mut sys::bpf_if };
        vnet_of(ifp).interfaces.with(ifp, "watches", |interface| interface.bpf = bpf);
    }

    pub unsafe extern "C" fn bpfdetach(ifp: *mut sys::ifnet) {
        let vnet = vnet_of(ifp);
        let bpf = vnet.interfaces.with(ifp, "detaches", |interface| std::mem::take(&mut interface.bpf));
        if bpf == 0 {
            violation("detaches bpf twice".into());
        }
        thread::current().kernel.heap.free(bpf, BPF);
    }

    pub unsafe extern "C" fn bpf_tap(bpf: *mut sys::bpf_if, bytes: *mut u8, len: u32) {
        epoch_assert("bpf_tap");
        // SAFETY: the caller's bytes are that many.
        let frame = unsafe { std::slice::from_raw_parts(bytes, len as usize) }.to_vec();
        let vnet = Kernel::current_vnet();
        let mut table = vnet.interfaces.table.borrow_mut();
        let interface = table.values_mut().find(|interface| interface.bpf == bpf as usize);
        match interface {
            Some(interface) => interface.frames.iter_mut().for_each(|frames| frames.push(frame.clone())),
            None => violation("taps a frame for a bpf that is detached".into()),
        }
    }
}
