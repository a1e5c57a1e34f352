// SPDX-License-Identifier: BSD-2-Clause
//! The entry points from C: load and unload, start and end of a vnet, creating and
//! destroying the interface.

use crate::atomic::{AtomicBool, Ordering};
use crate::driver::hooks::HOOKS;
use crate::driver::ifconfig::ioctl;
use crate::driver::input::{input4, input6};
use crate::driver::kernel::alloc::{KBox, KSlice, Wait};
use crate::driver::kernel::epoch;
use crate::driver::kernel::error::{to_c, Errno, Result};
use crate::driver::kernel::event::Registration;
use crate::driver::kernel::ifnet::{self, CloneFunctions, Cloner, Description, DetachLock, Ifnet};
use crate::driver::kernel::ip;
use crate::driver::kernel::mbuf::Packet;
use crate::driver::kernel::softint::SoftInterrupt;
use crate::driver::kernel::time;
use crate::driver::kernel::vnet::Vnet;
use crate::driver::keys::{self, KeyPair};
use crate::driver::link::Link;
use crate::driver::pf::{row, rules};
use crate::driver::softc::{Softc, TimerFunctions};
use crate::driver::{
    agreement, bulk_request, configuration, deferral, hello, instance, lifecycle, sender, storage,
};
use crate::engine::agreement::{KEY_LEN, TABLE_LEN};
use crate::wire::{Header, IPPROTO_PFSYNC};
use core::ffi::{c_char, c_int, c_void};
use core::ptr::NonNull;
use sys_bindings as sys;

/// The kernel loads or unloads the module.
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

/// Whether [`load`] succeeded. It fails if another module has the protocol already. Only load
/// and unload use it, in the order of the kernel's lock for modules.
static REGISTERED: AtomicBool = AtomicBool::new(false);

/// The event that an interface goes up or down (`net/if_var.h`).
static FLAGS_EVENT: Registration = Registration::new(c"ifnet_event");
/// The event that an interface got or lost its link (`net/if_var.h`).
static LINK_EVENT: Registration = Registration::new(c"ifnet_link_event");
/// The event that an interface was attached, renamed, or moved to this vnet
/// (`net/if_var.h`).
static ARRIVAL_EVENT: Registration = Registration::new(c"ifnet_arrival_event");
/// The event that an interface got or lost an address (`net/if_var.h`).
static ADDRESS_EVENT: Registration = Registration::new(c"ifaddr_event");

/// Registers the module with IPv4, IPv6, pf and the events of interfaces. `ENOEXEC` on a
/// kernel of another release.
fn load() -> Result<()> {
    check_kernel()?;
    ip::register(IPPROTO_PFSYNC, input4, input6)?;
    REGISTERED.store(true, Ordering::Release);
    // SAFETY: pf reads the pointer when an interface departs. The function lives until the
    // module is unloaded, and `unload` takes the pointer back before. Nothing that the
    // function uses has to be stored first.
    unsafe { (&raw mut sys::pfsync_detach_ifnet_ptr).write_volatile(Some(interface_departs)) };
    FLAGS_EVENT.register(interface_flags_changed);
    LINK_EVENT.register(interface_link_changed);
    ARRIVAL_EVENT.register_plain(interface_arrives);
    ADDRESS_EVENT.register_plain(interface_addresses_changed);
    Ok(())
}

/// Refuses a kernel of another major release than the module was built for, because its
/// structures differ (`ENOEXEC`). Otherwise logs the version of the module.
fn check_kernel() -> Result<()> {
    const MAJOR: c_int = sys::pfs_freebsd;
    // SAFETY: a constant of the kernel.
    let kernel = unsafe { sys::osreldate } / 100_000;
    if kernel != MAJOR {
        let text = c"pfsync: built for FreeBSD %d, and this is FreeBSD %d: not loaded\n";
        // SAFETY: the arguments are the two numbers of the format.
        unsafe { sys::printf(text.as_ptr(), MAJOR, kernel) };
        return Err(Errno::ENOEXEC);
    }
    let text = c"pfsync: Rust module %s, for FreeBSD %d\n";
    // SAFETY: the arguments are the terminated string and the number of the format.
    unsafe { sys::printf(text.as_ptr(), (&raw const sys::pfs_version).cast::<c_char>(), MAJOR) };
    Ok(())
}

/// Takes down everything, in every vnet. May sleep.
fn unload() {
    // The kernel would do this by `pfs_vnet_uninit`, but with the list of vnets locked. An
    // interface cannot be detached then.
    lifecycle::leave_all(stop);
    if !REGISTERED.swap(false, Ordering::AcqRel) {
        // `load` failed. The kernel may be of another release, and must not be touched.
        return;
    }
    FLAGS_EVENT.deregister();
    LINK_EVENT.deregister();
    ARRIVAL_EVENT.deregister();
    ADDRESS_EVENT.deregister();
    forget_departures();
    ip::unregister(IPPROTO_PFSYNC);
    // Another thread may be handling a packet.
    epoch::wait();
    lifecycle::wait_for_callers();
}

/// Takes back the pointer that [`load`] gave to pf.
fn forget_departures() {
    // SAFETY: as in `load`. `lifecycle::wait_for_callers` orders this before the end of the
    // module.
    unsafe { (&raw mut sys::pfsync_detach_ifnet_ptr).write_volatile(None) };
}

/// pf says that an interface departs or is renamed. When it departs, the kernel holds
/// `ifnet_detach_sxlock`; when it is renamed, no lock. The thread may sleep.
unsafe extern "C" fn interface_departs(ifp: *mut sys::ifnet) {
    lifecycle::call(|| configuration::interface_departs(ifp));
}

/// An interface went up, or goes down: the kernel says so before it changes the flag.
unsafe extern "C" fn interface_flags_changed(_arg: *mut c_void, ifp: *mut sys::ifnet, event: c_int) {
    configuration::interface_changed(ifp, event as u32 == sys::IFNET_EVENT_DOWN);
}

/// An interface got or lost its link.
unsafe extern "C" fn interface_link_changed(_arg: *mut c_void, ifp: *mut sys::ifnet, state: c_int) {
    configuration::interface_changed(ifp, state as u32 == sys::LINK_STATE_DOWN);
}

/// An interface arrives in this vnet.
unsafe extern "C" fn interface_arrives(_arg: *mut c_void, _ifp: *mut sys::ifnet) {
    configuration::interface_arrives();
}

/// An interface got or lost an address.
unsafe extern "C" fn interface_addresses_changed(_arg: *mut c_void, ifp: *mut sys::ifnet) {
    configuration::addresses_changed(ifp);
}

/// A vnet starts, or the module is loaded while the vnet exists.
#[no_mangle]
extern "C" fn pfs_vnet_init(_arg: *const c_void) {
    lifecycle::enter(|| {
        let error = to_c(start());
        if error != 0 {
            let text = c"pfsync: no interface in this vnet: error %d\n";
            // SAFETY: the argument is the number of the format.
            unsafe { sys::printf(text.as_ptr(), error) };
        }
    });
}

/// Sets up the current vnet's part of the module. May sleep.
fn start() -> Result<()> {
    instance::make_lock();
    let vnet = Vnet::current().ok_or(Errno::EINVAL)?;
    storage::keep_sender(SoftInterrupt::new(c"pfsync", vnet, sender::run)?);
    let functions = CloneFunctions { create: clone_create, destroy: clone_destroy };
    storage::keep_cloner(Cloner::attach(c"pfsync", &functions)?);
    ifnet::create(c"pfsync0")
}

/// A vnet ends.
#[no_mangle]
extern "C" fn pfs_vnet_uninit(_arg: *const c_void) {
    lifecycle::leave(stop);
    // SAFETY: there is no interface any more.
    unsafe { KeyPair::none().store() };
}

/// Takes down what [`start`] set up before it succeeded or failed. May sleep.
fn stop() {
    // What the kernel has not put into the cloner's list yet would stay.
    while instance::is_being_made() {
        time::pause(c"pfsync");
    }
    // Destroys the interface.
    let was_started = storage::take_cloner().is_some();
    drop(storage::take_sender());
    if was_started {
        // pf may be about to call a hook that it read before the hooks were cleared.
        row::quiesce();
    }
    instance::destroy_lock();
}

/// `ifconfig pfsync0 create`. There is only unit 0.
unsafe extern "C" fn clone_create(
    _cloner: *mut sys::if_clone,
    _name: *mut c_char,
    _len: usize,
    data: *mut sys::ifc_data,
    ifpp: *mut *mut sys::ifnet,
) -> c_int {
    lifecycle::call(|| {
        if lifecycle::is_unloading() {
            return to_c(Err(Errno::ENXIO));
        }
        // SAFETY: the kernel passes a valid request and a place for the result.
        unsafe {
            if (*data).unit != 0 {
                return to_c(Err(Errno::EINVAL));
            }
            to_c(create().map(|ifp| ifpp.write(ifp)))
        }
    })
}

/// The functions of an interface's timers and of its task.
const TIMERS: TimerFunctions = TimerFunctions {
    sender: sender::resume,
    bulk_request: bulk_request::tick,
    tick: sender::tick_passed,
    bucket: sender::bucket_timeout,
    hello: hello::timeout,
    deferral: deferral::timeout,
    link: configuration::reopen,
};

/// Makes the interface of the current vnet. May sleep.
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
    let softc = KBox::new(
        Softc::new(&TIMERS, storage::bucket_count(), || Ifnet::attach(&description))?,
        Wait::Sleep,
    )?;
    let ifp = softc.ifp.as_ptr();
    instance::publish(softc);
    rules::set_hooks(&HOOKS);
    Ok(ifp)
}

/// `ifconfig pfsync0 destroy`
unsafe extern "C" fn clone_destroy(_cloner: *mut sys::if_clone, ifp: *mut sys::ifnet, _flags: u32) -> c_int {
    lifecycle::call(|| {
        // SAFETY: the interface lives, and so does the vnet that it was made in, to which
        // everything belongs that is taken down here. The interface may have been moved to
        // another vnet.
        unsafe { Vnet::from_ptr((*ifp).if_home_vnet.cast()) }.map_or_else(destroy, |home| home.with(destroy));
        0
    })
}

/// Takes down the current vnet's interface. May sleep.
fn destroy() {
    // This lock comes before the configuration's: when an interface departs, the kernel
    // holds it already.
    let detaching = DetachLock::lock();
    let softc = instance::retract();
    // No thread can set the hooks again: there is no interface to configure any more.
    rules::set_hooks(&rules::NO_HOOKS);
    if let Some(softc) = softc {
        softc.stop();
        bulk_request::cancel(&softc);
        deferral::send_all(&softc);
        Link::close(softc.link.replace(None), &detaching);
    }
}

/// Drops a packet that the kernel sends through the interface: nothing can be sent there.
unsafe extern "C" fn output(
    _ifp: *mut sys::ifnet,
    m: *mut sys::mbuf,
    _dst: *const sys::sockaddr,
    _route: *mut sys::route,
) -> c_int {
    // SAFETY: the kernel hands the packet over.
    drop(NonNull::new(m).map(|m| unsafe { Packet::from_raw(m) }));
    0
}

/// The kernel calls this after `unload`, when it has unregistered the sysctls. It calls their
/// handlers with no lock held, and waits for no thread that is in one. So this does.
#[no_mangle]
unsafe extern "C" fn pfs_sysctls_gone(_data: *const c_void) {
    lifecycle::wait_for_callers();
}

/// `net.pfsync.bulk_request`
#[no_mangle]
unsafe extern "C" fn pfs_sysctl_bulk_request(
    oid: *mut sys::sysctl_oid,
    _arg1: *mut c_void,
    _arg2: isize,
    request: *mut sys::sysctl_req,
) -> c_int {
    let _inside = lifecycle::called();
    let mut value: c_int = 0;
    // SAFETY: the kernel passes a valid request, and the value lives during the call.
    let error = unsafe { sys::sysctl_handle_int(oid, (&raw mut value).cast(), 0, request) };
    // SAFETY: the kernel passes a valid request.
    let is_read = unsafe { (*request).newptr.is_null() };
    match (error, is_read, value) {
        (0, false, 0) => 0,
        (0, false, 1) => to_c(bulk_request::start_by_operator()),
        (0, false, _) => to_c(Err(Errno::EINVAL)),
        (error, ..) => error,
    }
}

/// `net.pfsync.key` and, if `arg2` is not 0, `net.pfsync.key_also`. A reading gives nothing.
#[no_mangle]
unsafe extern "C" fn pfs_sysctl_key(
    _oid: *mut sys::sysctl_oid,
    _arg1: *mut c_void,
    arg2: isize,
    request: *mut sys::sysctl_req,
) -> c_int {
    let _inside = lifecycle::called();
    let mut text = [0u8; 2 * KEY_LEN];
    // SAFETY: the kernel passes a valid request. `newfunc` copies as many bytes as the buffer
    // has at most.
    let result = unsafe {
        if (*request).newptr.is_null() {
            return to_c(Err(Errno::EPERM));
        }
        match (text.get_mut(..(*request).newlen), (*request).newfunc) {
            (Some(text), Some(copy)) => match copy(request, text.as_mut_ptr().cast(), text.len()) {
                0 => keys::parse(text).ok_or(Errno::EINVAL),
                error => return error,
            },
            _ => Err(Errno::EINVAL),
        }
    };
    text.fill(0);
    core::hint::black_box(&text);
    to_c(result.and_then(|key| configuration::set_key(arg2 == 0, key)))
}

/// `net.pfsync.peers`
#[no_mangle]
unsafe extern "C" fn pfs_sysctl_peers(
    oid: *mut sys::sysctl_oid,
    _arg1: *mut c_void,
    _arg2: isize,
    request: *mut sys::sysctl_req,
) -> c_int {
    let _inside = lifecycle::called();
    let buffer = KSlice::new(TABLE_LEN, Wait::Sleep, |_| Ok(0u8));
    let Ok(mut buffer) = buffer else { return to_c(Err(Errno::ENOMEM)) };
    agreement::write_table(&mut buffer);
    // SAFETY: the kernel passes a valid request. The string is terminated and lives during the
    // call; its sysctl cannot be written.
    unsafe { sys::sysctl_handle_string(oid, buffer.as_mut_ptr().cast(), 0, request) }
}

/// The sysctls of `net.pfsync.agreement`, and `net.pfsync.in_sync`. `arg2` says which.
#[no_mangle]
unsafe extern "C" fn pfs_sysctl_agreement(
    oid: *mut sys::sysctl_oid,
    _arg1: *mut c_void,
    arg2: isize,
    request: *mut sys::sysctl_req,
) -> c_int {
    let _inside = lifecycle::called();
    let value = agreement::read(arg2 as u32);
    // SAFETY: as the caller promises.
    unsafe { show(oid, value, request) }
}

/// The sysctls of `net.pfsync.peer`. `arg2` has the place and the field.
#[no_mangle]
unsafe extern "C" fn pfs_sysctl_peer(
    oid: *mut sys::sysctl_oid,
    _arg1: *mut c_void,
    arg2: isize,
    request: *mut sys::sysctl_req,
) -> c_int {
    let _inside = lifecycle::called();
    let value = agreement::read_peer((arg2 >> 8) as usize, (arg2 & 0xff) as u32);
    // SAFETY: as the caller promises.
    unsafe { show(oid, value, request) }
}

/// Shows a number as the type of the sysctl demands.
///
/// # Safety
///
/// The kernel passed the sysctl, which cannot be written, and the request.
unsafe fn show(oid: *mut sys::sysctl_oid, value: u64, request: *mut sys::sysctl_req) -> c_int {
    // SAFETY: as the caller promises. The value lives during the call.
    unsafe {
        if (*oid).oid_kind & sys::CTLTYPE == sys::CTLTYPE_ULONG {
            let mut value = value;
            sys::sysctl_handle_long(oid, (&raw mut value).cast(), 0, request)
        } else {
            let mut value = u32::try_from(value).unwrap_or(u32::MAX);
            sys::sysctl_handle_int(oid, (&raw mut value).cast(), 0, request)
        }
    }
}
