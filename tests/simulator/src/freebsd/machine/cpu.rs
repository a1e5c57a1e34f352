//! What kernel code finds behind `%gs`: the CPU's own area, which begins with
//! the current thread. Every OS thread is a CPU here.

use super::steps;
use std::cell::{Cell, UnsafeCell};
use std::ptr;
use sys_bindings as sys;

/// The area. Kernel code reads the first field; the stubs through which it
/// calls the host write the others (see [`super::image`]).
#[repr(C)]
pub struct Cpu {
    pub thread: Cell<*mut sys::thread>,
    /// Stack and frame pointer of the module's last call of the host.
    pub call: Cell<Call>,
    /// How often each place in the module called the host, modulo 256: by the
    /// lower bits of the return address's distance from the module's start.
    calls: UnsafeCell<[u8; CALLS]>,
}

/// Number of places that are told apart, as many as 16 bits name.
pub const CALLS: usize = 1 << 16;

/// Where kernel code called the host from.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Call {
    /// Points at the return address.
    pub stack: usize,
    /// The caller's frame.
    pub frame: usize,
}

/// Offsets in the area, for the stubs.
pub const CALL_STACK: u32 = 8;
pub const CALL_FRAME: u32 = 16;
pub const CALL_COUNTS: u32 = 24;
const _: () = assert!(std::mem::offset_of!(Cpu, call) == CALL_STACK as usize);
const _: () = assert!(std::mem::offset_of!(Call, frame) + CALL_STACK as usize == CALL_FRAME as usize);

const _: () = assert!(std::mem::offset_of!(Cpu, calls) == CALL_COUNTS as usize);

const ARCH_SET_GS: libc::c_long = 0x1001;

thread_local! {
    static CPU: &'static Cpu = install();
}

/// Makes an area for this OS thread, which keeps it for ever.
fn install() -> &'static Cpu {
    let cpu: &'static Cpu = Box::leak(Box::new(Cpu {
        thread: Cell::new(ptr::null_mut()),
        call: Cell::new(Call::default()),
        calls: UnsafeCell::new([0; CALLS]),
    }));
    // SAFETY: nothing else in the process uses %gs: glibc's thread data lie
    // behind %fs. The area lives for ever.
    let error = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, ptr::from_ref(cpu)) };
    assert_eq!(error, 0, "arch_prctl: {}", std::io::Error::last_os_error());
    cpu
}

/// The area of this OS thread.
pub fn this() -> &'static Cpu {
    CPU.with(|cpu| *cpu)
}

/// Runs `inside`, which calls into the module, and keeps the place that the
/// module called the host from.
pub fn into_module<R>(inside: impl FnOnce() -> R) -> R {
    let call = this().call.get();
    let result = steps::stepping(inside);
    this().call.set(call);
    result
}

/// The module's calls of the host on this OS thread since they were taken last.
pub fn take_calls() -> Box<[u8; CALLS]> {
    // SAFETY: only this OS thread uses its area, and no kernel thread runs on
    // it now.
    Box::new(unsafe { std::mem::replace(&mut *this().calls.get(), [0; CALLS]) })
}

/// What counter(9) keeps for an address: kernel code adds at `%gs:(counter)`.
pub fn counter_of(value: *mut u64) -> sys::counter_u64_t {
    (value as usize).wrapping_sub(ptr::from_ref(this()) as usize) as sys::counter_u64_t
}

/// The value that a counter stands for.
pub fn value_of(counter: sys::counter_u64_t) -> *mut u64 {
    (counter as usize).wrapping_add(ptr::from_ref(this()) as usize) as *mut u64
}
