// SPDX-License-Identifier: BSD-2-Clause
//! Network interfaces: `pfsync0`, and those of other drivers.

use super::error::{Errno, Result};
use super::sx::{self, Sx};
use crate::atomic::{fence, Ordering};
use core::ffi::{c_char, c_int, c_ulong, CStr};
use core::ptr::{self, NonNull};
use sys_bindings as sys;

/// The name of an interface, terminated and padded with zeroes.
pub(crate) type Name = [u8; sys::IFNAMSIZ as usize];

/// A counted reference to an interface of another driver. The structure stays, but
/// the interface may be detached meanwhile.
pub(crate) struct IfnetRef(NonNull<sys::ifnet>);

// SAFETY: an interface may be used by any thread.
unsafe impl Send for IfnetRef {}
// SAFETY: IfnetRef only reads single words, and the name, which may have any
// bytes; see [`IfnetRef::name`].
unsafe impl Sync for IfnetRef {}

impl IfnetRef {
    /// The interface of that name in the current vnet.
    pub(crate) fn by_name(name: &Name) -> Option<IfnetRef> {
        CStr::from_bytes_until_nul(name).ok()?;
        // SAFETY: the name is terminated.
        NonNull::new(unsafe { sys::ifunit_ref(name.as_ptr().cast()) }).map(IfnetRef)
    }

    /// The interface's address, for C and for comparing.
    pub(crate) fn as_ptr(&self) -> *mut sys::ifnet {
        self.0.as_ptr()
    }

    /// The MTU in bytes, as it was a moment ago: nothing orders what the kernel writes there.
    pub(crate) fn mtu(&self) -> usize {
        // SAFETY: the reference keeps the structure, and the MTU is one word.
        unsafe { (&raw const (*self.0.as_ptr()).if_mtu).read_volatile() as usize }
    }

    /// Whether the interface can send multicast (`IFF_MULTICAST`).
    pub(crate) fn is_multicast(&self) -> bool {
        self.flags() & sys::IFF_MULTICAST as i32 != 0
    }

    /// Whether the interface is enc(4), which shows what ipsec(4) decrypts.
    pub(crate) fn is_enc(&self) -> bool {
        // SAFETY: the reference keeps the structure, and the type never changes.
        u32::from(unsafe { (*self.0.as_ptr()).if_type }) == sys::IFT_ENC
    }

    /// Whether an operator set the interface up (`IFF_UP`).
    pub(crate) fn is_set_up(&self) -> bool {
        self.flags() & sys::IFF_UP as i32 != 0
    }

    /// Whether packets can pass: the interface is up (`IFF_UP`), and its driver does not
    /// say that it has no link.
    pub(crate) fn is_up(&self) -> bool {
        // SAFETY: the reference keeps the structure, and the link state is one word.
        let link = unsafe { (&raw const (*self.0.as_ptr()).if_link_state).read_volatile() };
        self.is_set_up() && u32::from(link) != sys::LINK_STATE_DOWN
    }

    fn flags(&self) -> c_int {
        // SAFETY: the reference keeps the structure, and the flags are one word.
        unsafe { (&raw const (*self.0.as_ptr()).if_flags).read_volatile() }
    }

    /// The current name. While another thread renames the interface, this may be a
    /// mix of both names, or not be terminated. Such a name is only shown, and
    /// [`IfnetRef::by_name`] does not find it.
    pub(crate) fn name(&self) -> Name {
        // SAFETY: the reference keeps the structure, and the field is an array of
        // bytes, which may have any value.
        unsafe { (&raw const (*self.0.as_ptr()).if_xname).cast::<Name>().read_volatile() }
    }

    /// The number of the routing table (FIB) that the interface's packets use.
    pub(crate) fn fib(&self) -> u32 {
        // SAFETY: the reference keeps the structure.
        unsafe { sys::if_getfib(self.0.as_ptr()) as u32 }
    }
}

impl Drop for IfnetRef {
    fn drop(&mut self) {
        // SAFETY: releases the reference that `by_name` took.
        unsafe { sys::if_rele(self.0.as_ptr()) };
    }
}

/// Proves that no other thread detaches an interface or ends a vnet
/// (`ifnet_detach_sxlock`). The thread that holds the lock may do both: the lock is
/// recursive.
///
/// The kernel holds this lock while it detaches an interface: it frees the interface's
/// memberships of multicast groups, and then tells pfsync. So a membership that pfsync has
/// not abandoned still exists as long as the lock is held.
#[must_use = "dropping it unlocks the lock"]
pub(crate) struct DetachLock {
    _lock: sx::Guard,
}

impl DetachLock {
    /// Waits for another thread that detaches an interface or ends a vnet. May sleep.
    pub(crate) fn lock() -> DetachLock {
        DetachLock { _lock: DetachLock::sx().lock() }
    }

    /// The same for a thread that must not wait. `None` if another thread detaches an interface
    /// or ends a vnet.
    pub(crate) fn try_lock() -> Option<DetachLock> {
        DetachLock::sx().try_lock().map(|lock| DetachLock { _lock: lock })
    }

    fn sx() -> Sx {
        // SAFETY: the kernel initialises the lock at boot.
        unsafe { Sx::from_raw(NonNull::new_unchecked(&raw mut sys::ifnet_detach_sxlock)) }
    }
}

/// The properties of a pseudo-device.
pub(crate) struct Description {
    /// Name without the unit number.
    pub(crate) name: &'static CStr,
    /// Unit number.
    pub(crate) unit: u32,
    /// `IFT_*`
    pub(crate) kind: u8,
    /// `DLT_*`, what bpf(4) shows.
    pub(crate) link_type: u32,
    /// Bytes of that link type's header.
    pub(crate) header_len: u8,
    /// Bytes of the largest packet.
    pub(crate) mtu: u32,
    /// `if_ioctl`
    pub(crate) ioctl: unsafe extern "C" fn(*mut sys::ifnet, c_ulong, *mut c_char) -> c_int,
    /// `if_output`
    pub(crate) output:
        unsafe extern "C" fn(*mut sys::ifnet, *mut sys::mbuf, *const sys::sockaddr, *mut sys::route) -> c_int,
}

/// A pseudo-device of this module, with a bpf(4) tap. Dropping it detaches it, and
/// so may sleep.
pub(crate) struct Ifnet(NonNull<sys::ifnet>);

// SAFETY: an interface may be used by any thread.
unsafe impl Send for Ifnet {}
// SAFETY: many threads may use an interface at once. Ifnet reads and writes single
// words.
unsafe impl Sync for Ifnet {}

/// The counters of an interface that this module changes.
#[derive(Clone, Copy)]
pub(crate) enum Counter {
    /// `IFCOUNTER_IPACKETS`
    InputPackets,
    /// `IFCOUNTER_IBYTES`
    InputBytes,
    /// `IFCOUNTER_OPACKETS`
    OutputPackets,
    /// `IFCOUNTER_OBYTES`
    OutputBytes,
    /// `IFCOUNTER_OERRORS`
    OutputErrors,
    /// `IFCOUNTER_OQDROPS`
    OutputDrops,
}

impl Ifnet {
    /// Makes and attaches an interface in the current vnet. The kernel may call the
    /// interface's functions before this returns. May sleep. `ENOMEM` if there is
    /// no memory.
    pub(crate) fn attach(description: &Description) -> Result<Ifnet> {
        // SAFETY: if_alloc returns a fresh interface. Its fields are set before
        // if_attach shows it to other threads. Name and functions live as long as
        // the module, which detaches the interface first.
        unsafe {
            let ifp = NonNull::new(sys::if_alloc(description.kind)).ok_or(Errno::ENOMEM)?;
            let ifnet = ifp.as_ptr();
            sys::if_initname(ifnet, description.name.as_ptr(), description.unit as i32);
            (*ifnet).if_ioctl = Some(description.ioctl);
            (*ifnet).if_output = Some(description.output);
            (*ifnet).if_type = description.kind;
            (*ifnet).if_hdrlen = description.header_len;
            (*ifnet).if_mtu = description.mtu as i32 as _;
            sys::if_attach(ifnet);
            sys::bpfattach(ifnet, description.link_type, description.header_len.into());
            Ok(Ifnet(ifp))
        }
    }

    /// Whether the kernel has put the interface into the list of its cloner, which happens
    /// some time after the interface is made. The cloner's lock orders that before whatever a
    /// thread then does with the cloner.
    pub(crate) fn is_in_cloner_list(&self) -> bool {
        // SAFETY: the interface lives as long as `self`. The field is one word.
        let link = unsafe { (&raw const (*self.0.as_ptr()).if_clones.le_prev).read_volatile() };
        !link.is_null()
    }

    /// The interface's address, for C and for comparing.
    pub(crate) fn as_ptr(&self) -> *mut sys::ifnet {
        self.0.as_ptr()
    }

    /// The MTU in bytes.
    pub(crate) fn mtu(&self) -> usize {
        // SAFETY: the interface lives as long as `self`, and the MTU is one word.
        unsafe { (&raw const (*self.0.as_ptr()).if_mtu).read_volatile() as usize }
    }

    /// Sets the MTU in bytes.
    pub(crate) fn set_mtu(&self, mtu: u32) {
        // SAFETY: as in `mtu`.
        unsafe { (&raw mut (*self.0.as_ptr()).if_mtu).write_volatile(mtu as _) };
    }

    /// Whether the operator set the interface up (`IFF_UP`).
    pub(crate) fn is_up(&self) -> bool {
        // SAFETY: as in `mtu`.
        let flags = unsafe { (&raw const (*self.0.as_ptr()).if_flags).read_volatile() };
        flags & sys::IFF_UP as i32 != 0
    }

    /// Whether the driver set the interface running (`IFF_DRV_RUNNING`).
    pub(crate) fn is_running(&self) -> bool {
        // SAFETY: as in `mtu`.
        let flags = unsafe { (&raw const (*self.0.as_ptr()).if_drv_flags).read_volatile() };
        // With the release of `set_running`: whoever sees the interface running also sees the
        // hooks that were set before.
        fence(Ordering::Acquire);
        flags & sys::IFF_DRV_RUNNING as i32 != 0
    }

    /// Sets or clears `IFF_DRV_RUNNING`. Callers make sure that no two threads do so
    /// at once.
    pub(crate) fn set_running(&self, running: bool) {
        // SAFETY: the interface lives as long as `self`. Only the driver writes these flags, one
        // thread at a time, as said above.
        unsafe {
            let flags = &raw mut (*self.0.as_ptr()).if_drv_flags;
            let others = flags.read_volatile() & !(sys::IFF_DRV_RUNNING as i32);
            fence(Ordering::Release);
            flags.write_volatile(others | if running { sys::IFF_DRV_RUNNING as i32 } else { 0 });
        }
    }

    /// Adds to a counter.
    pub(crate) fn count(&self, counter: Counter, by: usize) {
        let counter = match counter {
            Counter::InputPackets => sys::IFCOUNTER_IPACKETS,
            Counter::InputBytes => sys::IFCOUNTER_IBYTES,
            Counter::OutputPackets => sys::IFCOUNTER_OPACKETS,
            Counter::OutputBytes => sys::IFCOUNTER_OBYTES,
            Counter::OutputErrors => sys::IFCOUNTER_OERRORS,
            Counter::OutputDrops => sys::IFCOUNTER_OQDROPS,
        };
        // SAFETY: the counter exists, and the interface lives as long as `self`.
        unsafe { sys::if_inc_counter(self.0.as_ptr(), counter, by as i64) };
    }

    /// Whether a program watches the interface through bpf(4).
    pub(crate) fn is_watched(&self) -> bool {
        // SAFETY: `attach` attached the interface to bpf.
        unsafe { sys::pfs_bpf_peers_present(self.0.as_ptr()) }
    }

    /// Shows a packet to the programs that watch.
    pub(crate) fn tap(&self, bytes: &[u8]) {
        // SAFETY: `attach` attached the interface to bpf, which only reads the
        // bytes.
        unsafe { sys::bpf_tap((*self.0.as_ptr()).if_bpf, bytes.as_ptr().cast_mut(), bytes.len() as u32) };
    }
}

impl Drop for Ifnet {
    fn drop(&mut self) {
        // SAFETY: `attach` attached the interface, which is detached once.
        unsafe {
            sys::bpfdetach(self.0.as_ptr());
            sys::if_detach(self.0.as_ptr());
            sys::if_free(self.0.as_ptr());
        }
    }
}

/// An interface cloner, which makes `ifconfig name0 create` work. Dropping it
/// destroys its interfaces, and so may sleep.
pub(crate) struct Cloner(NonNull<sys::if_clone>);

// SAFETY: the kernel serialises operations on cloners.
unsafe impl Send for Cloner {}
// SAFETY: nothing can be done with a shared Cloner.
unsafe impl Sync for Cloner {}

/// The functions of a cloner (`struct if_clone_addreq`).
pub(crate) struct CloneFunctions {
    /// `create_f`
    pub(crate) create: unsafe extern "C" fn(
        *mut sys::if_clone,
        *mut c_char,
        usize,
        *mut sys::ifc_data,
        *mut *mut sys::ifnet,
    ) -> c_int,
    /// `destroy_f`
    pub(crate) destroy: unsafe extern "C" fn(*mut sys::if_clone, *mut sys::ifnet, u32) -> c_int,
}

impl Cloner {
    /// Registers a cloner in the current vnet. May sleep. `EEXIST` if another
    /// cloner has the name.
    pub(crate) fn attach(name: &'static CStr, functions: &CloneFunctions) -> Result<Cloner> {
        let mut request = sys::if_clone_addreq {
            version: 0,
            spare: 0,
            flags: sys::IFC_F_AUTOUNIT,
            maxunit: 0,
            match_f: None,
            create_f: Some(functions.create),
            destroy_f: Some(functions.destroy),
        };
        // SAFETY: the kernel copies the name and reads the request during the call.
        // The functions live as long as the module, which takes the cloner back
        // first.
        NonNull::new(unsafe { sys::ifc_attach_cloner(name.as_ptr(), &mut request) })
            .map(Cloner)
            .ok_or(Errno::EEXIST)
    }

    /// Gives up ownership. [`Cloner::from_raw`] takes it back.
    pub(crate) fn into_raw(self) -> *mut sys::if_clone {
        let cloner = self.0.as_ptr();
        core::mem::forget(self);
        cloner
    }

    /// Takes back the ownership that [`Cloner::into_raw`] gave up.
    ///
    /// # Safety
    ///
    /// `raw` came from `into_raw`, and is taken back once.
    pub(crate) unsafe fn from_raw(raw: NonNull<sys::if_clone>) -> Cloner {
        Cloner(raw)
    }
}

impl Drop for Cloner {
    fn drop(&mut self) {
        // SAFETY: `attach` registered the cloner, which is detached once.
        unsafe { sys::ifc_detach_cloner(self.0.as_ptr()) };
    }
}

/// Creates the interface `name` in the current vnet, as `ifconfig name create` does.
/// May sleep. Fails as the cloner's function does.
pub(crate) fn create(name: &'static CStr) -> Result<()> {
    // SAFETY: all zeroes mean a request without parameters.
    let mut data = unsafe { core::mem::zeroed::<sys::ifc_data>() };
    // SAFETY: the name is terminated, and the request is valid during the call.
    Errno::check(unsafe { sys::ifc_create_ifp(name.as_ptr(), &mut data, ptr::null_mut()) })
}
