//! Load and unload, in the system and in each network stack; creating and
//! destroying the interface.

use crate::configuration::{self, request_bulk_by_hand};
use crate::hooks::HOOKS;
use crate::ifconfig::ioctl;
use crate::input::{input4, input6};
use crate::kernel::alloc::{Box, Wait};
use crate::kernel::epoch;
use crate::kernel::error::{to_c, Errno, Result};
use crate::kernel::ifnet::{self, CloneFunctions, Cloner, Description, DetachLock, Ifnet};
use crate::kernel::ip;
use crate::kernel::mbuf::Packet;
use crate::kernel::softint::SoftInterrupt;
use crate::kernel::vnet::Vnet;
use crate::link::Link;
use crate::pf::{rules, table};
use crate::softc::Softc;
use crate::wire::{Header, IPPROTO_PFSYNC};
use crate::{transmit, vnet};
use core::ffi::{c_char, c_int, c_void};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use sys_bindings as sys;

/// The module is loaded or unloaded.
#[no_mangle]
extern "C" fn pfs_modevent(_module: sys::module_t, event: c_int, _arg: *mut c_void) -> c_int {
    to_c(match event as sys::modeventtype {
        sys::MOD_LOAD => load(),
        sys::MOD_UNLOAD => {
            unload();
            Ok(())
        }
        _ => Err(Errno::EINVAL),
    })
}

/// [`load`] succeeded: another module may have had the protocol first.
static REGISTERED: AtomicBool = AtomicBool::new(false);

fn load() -> Result<()> {
    check_kernel()?;
    ip::register(IPPROTO_PFSYNC, input4, input6)?;
    REGISTERED.store(true, Ordering::Release);
    // SAFETY: pf reads the pointer whenever an interface departs; the function
    // lives until `unload` takes it back.
    unsafe { (&raw mut sys::pfsync_detach_ifnet_ptr).write_volatile(Some(interface_departs)) };
    Ok(())
}

/// Refuses a kernel of another major release, whose structures are not those
/// that the module was built with; otherwise says what is loaded.
fn check_kernel() -> Result<()> {
    const MAJOR: c_int = sys::pfs_freebsd;
    // SAFETY: a constant of the kernel.
    let kernel = unsafe { sys::osreldate } / 100_000;
    if kernel != MAJOR {
        let text = c"pfsync: built for FreeBSD %d, and this is FreeBSD %d: not loaded\n";
        // SAFETY: the text's two numbers.
        unsafe { sys::printf(text.as_ptr(), MAJOR, kernel) };
        return Err(Errno::ENOEXEC);
    }
    let text = c"pfsync: Rust module %s, for FreeBSD %d\n";
    // SAFETY: the text's string, which is terminated, and its number.
    unsafe { sys::printf(text.as_ptr(), (&raw const sys::pfs_version).cast::<c_char>(), MAJOR) };
    Ok(())
}

fn unload() {
    // Before the kernel does so by `pfs_vnet_uninit`, with the list of network
    // stacks locked, under which an interface cannot be detached.
    vnet::leave_all(stop);
    if !REGISTERED.swap(false, Ordering::AcqRel) {
        // `load` refused, and the kernel may be of another release.
        return;
    }
    forget_departures();
    ip::unregister(IPPROTO_PFSYNC);
    // A packet may be under way.
    epoch::wait();
}

/// Takes back what [`load`] told pf. Interfaces depart with the lock held:
/// nobody is in [`interface_departs`] any more when this returns.
fn forget_departures() {
    let _detaching = DetachLock::lock();
    // SAFETY: as in `load`.
    unsafe { (&raw mut sys::pfsync_detach_ifnet_ptr).write_volatile(None) };
}

/// pf tells of an interface that goes away. Called where sleeping is allowed.
unsafe extern "C" fn interface_departs(ifp: *mut sys::ifnet) {
    configuration::interface_departs(ifp);
}

/// A network stack starts, or the module is loaded into one.
#[no_mangle]
extern "C" fn pfs_vnet_init(_arg: *const c_void) {
    vnet::enter(|| {
        let error = to_c(start());
        if error != 0 {
            let text = c"pfsync: no interface in this network stack: error %d\n";
            // SAFETY: the text's number.
            unsafe { sys::printf(text.as_ptr(), error) };
        }
    });
}

fn start() -> Result<()> {
    let vnet = Vnet::current().ok_or(Errno::EINVAL)?;
    vnet::keep_sender(SoftInterrupt::new(c"pfsync", vnet, transmit::run)?);
    let functions = CloneFunctions { create: clone_create, destroy: clone_destroy };
    vnet::keep_cloner(Cloner::attach(c"pfsync", &functions)?);
    ifnet::create(c"pfsync0")
}

/// A network stack ends.
#[no_mangle]
extern "C" fn pfs_vnet_uninit(_arg: *const c_void) {
    vnet::leave(stop);
}

/// Takes down what [`start`] set up, as far as it came. May sleep.
fn stop() {
    // Destroys the interface.
    let was_started = vnet::take_cloner().is_some();
    drop(vnet::take_sender());
    if was_started {
        // pf may be about to call a hook that it read before.
        table::quiesce();
    }
}

/// `ifconfig pfsync0 create`: there is only unit 0.
unsafe extern "C" fn clone_create(
    _cloner: *mut sys::if_clone,
    _name: *mut i8,
    _len: usize,
    data: *mut sys::ifc_data,
    ifpp: *mut *mut sys::ifnet,
) -> c_int {
    // SAFETY: the kernel passes its request and a place for the interface.
    unsafe {
        if (*data).unit != 0 {
            return to_c(Err(Errno::EINVAL));
        }
        to_c(create().map(|ifp| ifpp.write(ifp)))
    }
}

fn create() -> Result<*mut sys::ifnet> {
    let description = Description {
        name: c"pfsync",
        unit: 0,
        kind: sys::IFT_PFSYNC as u8,
        link_type: sys::DLT_PFSYNC,
        header_len: size_of::<Header>() as u8,
        mtu: sys::ETHERMTU,
        ioctl,
        output,
    };
    let softc = Box::new(Softc::new(|| Ifnet::attach(&description))?, Wait::Sleep)?;
    let ifp = softc.ifp.as_ptr();
    vnet::publish(softc);
    rules::set_hooks(&HOOKS);
    Ok(ifp)
}

/// `ifconfig pfsync0 destroy`
unsafe extern "C" fn clone_destroy(_cloner: *mut sys::if_clone, ifp: *mut sys::ifnet, _flags: u32) -> c_int {
    // SAFETY: the interface lives, and so does the stack that it was made in,
    // to which all belongs that is taken down here. It may have been moved to
    // another meanwhile.
    unsafe { Vnet::from_ptr((*ifp).if_home_vnet.cast()) }.map_or_else(destroy, |home| home.with(destroy));
    0
}

fn destroy() {
    // Before the configuration: a departing interface comes with it held.
    let detaching = DetachLock::lock();
    let softc = vnet::retract();
    // Nobody can set them again: there is no interface to configure any more.
    rules::set_hooks(&rules::NO_HOOKS);
    if let Some(softc) = softc {
        softc.stop();
        softc.cancel_bulk();
        softc.release_all();
        Link::close(softc.link.replace(None), &detaching);
    }
}

/// Nothing can be sent by way of the interface.
unsafe extern "C" fn output(
    _ifp: *mut sys::ifnet,
    m: *mut sys::mbuf,
    _dst: *const sys::sockaddr,
    _route: *mut sys::route,
) -> c_int {
    // SAFETY: the packet was handed over.
    drop(NonNull::new(m).map(|m| unsafe { Packet::from_raw(m) }));
    0
}

/// `net.pfsync.bulk_request`
#[no_mangle]
unsafe extern "C" fn pfs_sysctl_bulk_request(
    oid: *mut sys::sysctl_oid,
    _arg1: *mut c_void,
    _arg2: isize,
    request: *mut sys::sysctl_req,
) -> c_int {
    let mut value: c_int = 0;
    // SAFETY: the kernel's request; the value lives during the call.
    let error = unsafe { sys::sysctl_handle_int(oid, (&raw mut value).cast(), 0, request) };
    // SAFETY: as above.
    let is_read = unsafe { (*request).newptr.is_null() };
    match (error, is_read, value) {
        (0, false, 0) => 0,
        (0, false, 1) => to_c(request_bulk_by_hand()),
        (0, false, _) => to_c(Err(Errno::EINVAL)),
        (error, ..) => error,
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // SAFETY: stops the system. No code here gets to it: the build checks that
    // the module has no reference to Rust's panics.
    unsafe { sys::panic(c"pfsync: panic in Rust code".as_ptr()) }
}
