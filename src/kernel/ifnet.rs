//! Network interfaces, ours and others'.

use super::error::{Errno, Result};
use super::sx::{self, Sx};
use core::ffi::{c_int, c_ulong, CStr};
use core::ptr::{self, NonNull};
use sys_bindings as sys;

/// The interface name's type, terminated and padded with zeroes.
pub type Name = [u8; sys::IFNAMSIZ as usize];

/// An interface of another driver, referenced: it does not go away, but may
/// be detached meanwhile.
pub struct IfnetRef(NonNull<sys::ifnet>);

// SAFETY: an interface may be used by any thread.
unsafe impl Send for IfnetRef {}
// SAFETY: what is read here are single words, and the name, of which any bytes
// will do; see [`IfnetRef::name`].
unsafe impl Sync for IfnetRef {}

impl IfnetRef {
    /// The interface of that name in the current network stack.
    pub fn by_name(name: &Name) -> Option<IfnetRef> {
        CStr::from_bytes_until_nul(name).ok()?;
        // SAFETY: the name is terminated.
        NonNull::new(unsafe { sys::ifunit_ref(name.as_ptr().cast()) }).map(IfnetRef)
    }

    /// For the C side and for comparing.
    pub fn as_ptr(&self) -> *mut sys::ifnet {
        self.0.as_ptr()
    }

    pub fn mtu(&self) -> usize {
        // SAFETY: the reference keeps the interface; one word is read.
        unsafe { (&raw const (*self.0.as_ptr()).if_mtu).read_volatile() as usize }
    }

    /// Whether it can multicast (`IFF_MULTICAST`).
    pub fn is_multicast(&self) -> bool {
        self.flags() & sys::IFF_MULTICAST as i32 != 0
    }

    /// Whether it shows what ipsec(4) decrypts: enc(4).
    pub fn is_enc(&self) -> bool {
        // SAFETY: the reference keeps the interface; its type does not change.
        u32::from(unsafe { (*self.0.as_ptr()).if_type }) == sys::IFT_ENC
    }

    fn flags(&self) -> c_int {
        // SAFETY: as in `mtu`.
        unsafe { (&raw const (*self.0.as_ptr()).if_flags).read_volatile() }
    }

    /// Its current name. While another thread renames the interface this may
    /// be a mix of both names, maybe without an end: that does no harm where
    /// it is shown, and [`IfnetRef::by_name`] does not find it.
    pub fn name(&self) -> Name {
        // SAFETY: the reference keeps the interface; the field is an array of
        // bytes, which may have any value.
        unsafe { (&raw const (*self.0.as_ptr()).if_xname).cast::<Name>().read_volatile() }
    }

    /// The routing table of its packets.
    pub fn fib(&self) -> u32 {
        // SAFETY: the reference keeps the interface.
        unsafe { sys::if_getfib(self.0.as_ptr()) as u32 }
    }
}

impl Drop for IfnetRef {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that `by_name` took.
        unsafe { sys::if_rele(self.0.as_ptr()) };
    }
}

/// Shows that no other thread detaches an interface or ends a network stack
/// (`ifnet_detach_sxlock`). The thread that has it may still do so: the lock is
/// recursive.
///
/// The kernel detaches an interface under this lock from beginning to end: it
/// frees the interface's group memberships, and then tells who listens. So a
/// membership that is not abandoned is still there while the lock is held.
#[must_use]
pub struct DetachLock {
    _lock: sx::Guard,
}

impl DetachLock {
    /// Waits for who detaches an interface or ends a network stack. May sleep.
    pub fn lock() -> DetachLock {
        // SAFETY: the kernel initialises the lock when it boots.
        let lock = unsafe { Sx::from_raw(NonNull::new_unchecked(&raw mut sys::ifnet_detach_sxlock)) };
        DetachLock { _lock: lock.lock() }
    }
}

/// How a pseudo-device presents itself.
pub struct Description {
    pub name: &'static CStr,
    pub unit: u32,
    /// `IFT_*`
    pub kind: u8,
    /// `DLT_*`, and the length of its header.
    pub link_type: u32,
    pub header_len: u8,
    pub mtu: u32,
    pub ioctl: unsafe extern "C" fn(*mut sys::ifnet, c_ulong, *mut i8) -> c_int,
    pub output:
        unsafe extern "C" fn(*mut sys::ifnet, *mut sys::mbuf, *const sys::sockaddr, *mut sys::route) -> c_int,
}

/// A pseudo-device of our own, with a bpf(4) tap. Dropping it detaches it,
/// and so may sleep.
pub struct Ifnet(NonNull<sys::ifnet>);

// SAFETY: an interface may be used by any thread.
unsafe impl Send for Ifnet {}
// SAFETY: an interface may be used by many threads at once; what is read and
// written here are single words.
unsafe impl Sync for Ifnet {}

/// Counters of an interface that this module changes.
#[derive(Clone, Copy)]
#[allow(missing_docs)]
pub enum Counter {
    InputPackets,
    InputBytes,
    OutputPackets,
    OutputBytes,
    OutputErrors,
    OutputDrops,
}

impl Ifnet {
    /// Makes and attaches an interface in the current network stack. From here
    /// on its functions are called. May sleep.
    pub fn attach(description: &Description) -> Result<Ifnet> {
        // SAFETY: if_alloc gives a fresh interface; its fields are set before
        // if_attach shows it to others; names and functions live for ever.
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

    /// For the C side and for comparing.
    pub fn as_ptr(&self) -> *mut sys::ifnet {
        self.0.as_ptr()
    }

    pub fn mtu(&self) -> usize {
        // SAFETY: the interface is ours; one word is read.
        unsafe { (&raw const (*self.0.as_ptr()).if_mtu).read_volatile() as usize }
    }

    pub fn set_mtu(&self, mtu: u32) {
        // SAFETY: the interface is ours; one word is written.
        unsafe { (&raw mut (*self.0.as_ptr()).if_mtu).write_volatile(mtu as _) };
    }

    /// Whether the operator has it up (`IFF_UP`).
    pub fn is_up(&self) -> bool {
        // SAFETY: as in `mtu`.
        let flags = unsafe { (&raw const (*self.0.as_ptr()).if_flags).read_volatile() };
        flags & sys::IFF_UP as i32 != 0
    }

    /// Whether the driver has it running (`IFF_DRV_RUNNING`).
    pub fn is_running(&self) -> bool {
        // SAFETY: as in `mtu`.
        let flags = unsafe { (&raw const (*self.0.as_ptr()).if_drv_flags).read_volatile() };
        flags & sys::IFF_DRV_RUNNING as i32 != 0
    }

    pub fn set_running(&self, running: bool) {
        // SAFETY: only the driver writes these flags, from its ioctl function,
        // which callers serialise.
        unsafe {
            let flags = &raw mut (*self.0.as_ptr()).if_drv_flags;
            let others = flags.read_volatile() & !(sys::IFF_DRV_RUNNING as i32);
            flags.write_volatile(others | if running { sys::IFF_DRV_RUNNING as i32 } else { 0 });
        }
    }

    /// Adds to a counter.
    pub fn count(&self, counter: Counter, by: usize) {
        let counter = match counter {
            Counter::InputPackets => sys::IFCOUNTER_IPACKETS,
            Counter::InputBytes => sys::IFCOUNTER_IBYTES,
            Counter::OutputPackets => sys::IFCOUNTER_OPACKETS,
            Counter::OutputBytes => sys::IFCOUNTER_OBYTES,
            Counter::OutputErrors => sys::IFCOUNTER_OERRORS,
            Counter::OutputDrops => sys::IFCOUNTER_OQDROPS,
        };
        // SAFETY: the counter exists, and the interface is ours.
        unsafe { sys::if_inc_counter(self.0.as_ptr(), counter, by as i64) };
    }

    /// Whether a program watches the interface with bpf(4).
    pub fn is_watched(&self) -> bool {
        // SAFETY: bpf attached to the interface in `attach`.
        unsafe { sys::pfs_bpf_peers_present(self.0.as_ptr()) }
    }

    /// Shows bytes to the programs that watch.
    pub fn tap(&self, bytes: &[u8]) {
        // SAFETY: bpf attached to the interface in `attach`, and only reads
        // the bytes.
        unsafe { sys::bpf_tap((*self.0.as_ptr()).if_bpf, bytes.as_ptr().cast_mut(), bytes.len() as u32) };
    }
}

impl Drop for Ifnet {
    fn drop(&mut self) {
        // SAFETY: attached in `attach`, detached once.
        unsafe {
            sys::bpfdetach(self.0.as_ptr());
            sys::if_detach(self.0.as_ptr());
            sys::if_free(self.0.as_ptr());
        }
    }
}

/// An interface cloner: what makes `ifconfig name0 create` work. Dropping it
/// destroys its interfaces, and so may sleep.
pub struct Cloner(NonNull<sys::if_clone>);

// SAFETY: the kernel serialises operations on cloners.
unsafe impl Send for Cloner {}
// SAFETY: a shared Cloner can do nothing.
unsafe impl Sync for Cloner {}

/// The functions of a cloner, as the kernel calls them.
pub struct CloneFunctions {
    pub create: unsafe extern "C" fn(
        *mut sys::if_clone,
        *mut i8,
        usize,
        *mut sys::ifc_data,
        *mut *mut sys::ifnet,
    ) -> c_int,
    pub destroy: unsafe extern "C" fn(*mut sys::if_clone, *mut sys::ifnet, u32) -> c_int,
}

impl Cloner {
    /// Registers a cloner in the current network stack. May sleep.
    pub fn attach(name: &'static CStr, functions: &CloneFunctions) -> Result<Cloner> {
        let mut request = sys::if_clone_addreq {
            version: 0,
            spare: 0,
            flags: sys::IFC_F_AUTOUNIT,
            maxunit: 0,
            match_f: None,
            create_f: Some(functions.create),
            destroy_f: Some(functions.destroy),
        };
        // SAFETY: the name is copied, the request is read during the call, and
        // the functions live as long as the module.
        NonNull::new(unsafe { sys::ifc_attach_cloner(name.as_ptr(), &mut request) })
            .map(Cloner)
            .ok_or(Errno::EEXIST)
    }

    /// The cloner as a pointer for C to keep, which [`Cloner::from_raw`] takes
    /// back.
    pub fn into_raw(self) -> *mut sys::if_clone {
        let cloner = self.0.as_ptr();
        core::mem::forget(self);
        cloner
    }

    /// Takes back what [`Cloner::into_raw`] gave up.
    ///
    /// # Safety
    ///
    /// `raw` came from `into_raw`, and this happens once.
    pub unsafe fn from_raw(raw: NonNull<sys::if_clone>) -> Cloner {
        Cloner(raw)
    }
}

impl Drop for Cloner {
    fn drop(&mut self) {
        // SAFETY: attached in `attach`, detached once.
        unsafe { sys::ifc_detach_cloner(self.0.as_ptr()) };
    }
}

/// Creates the interface `name` of a cloner in the current network stack, as
/// `ifconfig name create` does. May sleep.
pub fn create(name: &'static CStr) -> Result<()> {
    // SAFETY: all zeroes is a request without parameters.
    let mut data = unsafe { core::mem::zeroed::<sys::ifc_data>() };
    // SAFETY: the name is terminated and the request valid during the call.
    Errno::check(unsafe { sys::ifc_create_ifp(name.as_ptr(), &mut data, ptr::null_mut()) })
}
