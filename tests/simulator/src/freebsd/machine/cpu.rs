// SPDX-License-Identifier: BSD-2-Clause
//! The area of a CPU, which kernel code finds behind `%gs` and which begins with
//! the current thread. Every OS thread of the simulator is a CPU.

use super::steps;
use std::cell::{Cell, UnsafeCell};
use std::ptr;
use sys_bindings as sys;

/// The area of a CPU. Kernel code reads the first field. The stubs through which
/// it calls the simulator write the others (see [`super::image`]).
#[repr(C)]
pub(crate) struct Cpu {
    pub(crate) thread: Cell<*mut sys::thread>,
    /// Stack and frame pointer of the module's last call of the simulator.
    pub(crate) call: Cell<Call>,
    /// How often each place in the module called the simulator, modulo 256. The
    /// index is the lower half of the return address's offset in the module.
    calls: UnsafeCell<[u8; CALLS]>,
}

/// How many places are distinguished: as many as 16 bits can name.
pub const CALLS: usize = 1 << 16;

/// Where kernel code called the simulator.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Call {
    /// The address of the return address.
    pub(crate) stack: usize,
    /// The caller's frame.
    pub(crate) frame: usize,
}

// Offsets in the area, for the stubs.
pub(crate) const CALL_STACK: u32 = 8;
pub(crate) const CALL_FRAME: u32 = 16;
pub(crate) const CALL_COUNTS: u32 = 24;
const _: () = assert!(std::mem::offset_of!(Cpu, call) == CALL_STACK as usize);
const _: () = assert!(std::mem::offset_of!(Call, frame) + CALL_STACK as usize == CALL_FRAME as usize);
const _: () = assert!(std::mem::offset_of!(Cpu, calls) == CALL_COUNTS as usize);

const ARCH_SET_GS: libc::c_long = 0x1001;

thread_local! {
    static CPU: &'static Cpu = install();
}

/// Makes an area for this OS thread, which keeps it until the process ends.
fn install() -> &'static Cpu {
    let cpu: &'static Cpu = Box::leak(Box::new(Cpu {
        thread: Cell::new(ptr::null_mut()),
        call: Cell::new(Call::default()),
        calls: UnsafeCell::new([0; CALLS]),
    }));
    // SAFETY: nothing else in the process uses %gs: glibc's thread data lie
    // behind %fs. The area is never freed.
    let error = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, ptr::from_ref(cpu)) };
    assert_eq!(error, 0, "arch_prctl: {}", std::io::Error::last_os_error());
    cpu
}

/// The area of this OS thread.
pub(crate) fn this() -> &'static Cpu {
    CPU.with(|cpu| *cpu)
}

/// Runs `inside`, which calls the module, and restores the record of where the
/// module called the simulator.
pub(crate) fn into_module<R>(inside: impl FnOnce() -> R) -> R {
    let call = this().call.get();
    let result = steps::stepping(inside);
    this().call.set(call);
    result
}

/// The counts of the module's calls of the simulator, by place, since the last look.
pub fn take_calls() -> Box<[u8; CALLS]> {
    // SAFETY: only this OS thread uses its area, and no kernel thread runs on
    // it now.
    Box::new(unsafe { std::mem::replace(&mut *this().calls.get(), [0; CALLS]) })
}

/// The counter(9) of an address: kernel code adds at `%gs:(counter)`.
pub(crate) fn counter_of(value: *mut u64) -> sys::counter_u64_t {
    (value as usize).wrapping_sub(ptr::from_ref(this()) as usize) as sys::counter_u64_t
}

/// The address of a counter's value.
pub(crate) fn value_of(counter: sys::counter_u64_t) -> *mut u64 {
    (counter as usize).wrapping_add(ptr::from_ref(this()) as usize) as *mut u64
}
