// SPDX-License-Identifier: BSD-2-Clause
//! The simulator itself: it reports what a kernel with INVARIANTS and WITNESS
//! reports. Each test does in a kernel thread what a module must not do.

mod common;

use common::{plain_lab, tcp};
use pfsync_simulator::freebsd::kernel::thread;
use pfsync_simulator::freebsd::kpi::{locks, memory};
use pfsync_simulator::freebsd::native;
use std::mem::zeroed;
use std::ptr::{addr_of_mut, null, null_mut};
use sys_bindings as sys;

/// Runs `body` in a kernel and returns the violation that the simulator reports.
fn complaint(body: impl FnOnce() + 'static) -> String {
    let lab = plain_lab();
    let fw = lab.boot(1).expect("boots");
    match fw.run("test", move |_| body()) {
        Ok(()) => String::new(),
        Err(violation) => violation.what,
    }
}

/// A mutex for a test, which it leaks.
fn mutex(name: &'static std::ffi::CStr) -> *mut usize {
    // SAFETY: plain data, initialised as the kernel's macro does it.
    unsafe {
        let mtx: &'static mut sys::mtx = Box::leak(Box::new(zeroed()));
        locks::_mtx_init((&raw mut mtx.mtx_lock).cast(), name.as_ptr(), null(), 0);
        (&raw mut mtx.mtx_lock).cast()
    }
}

fn lock(word: *mut usize) {
    // SAFETY: the mutex is initialised.
    unsafe { locks::__mtx_lock_flags(word, 0, null(), 0) };
}

fn unlock(word: *mut usize) {
    // SAFETY: the mutex is initialised.
    unsafe { locks::__mtx_unlock_flags(word, 0, null(), 0) };
}

/// Memory of malloc type `nvlist`.
fn memory(flags: u32) -> *mut u8 {
    let globals = thread::current().kernel.variables.globals();
    // SAFETY: the kernel's own malloc type.
    unsafe { memory::malloc(32, addr_of_mut!((*globals).malloc_nvlist).cast(), flags as i32).cast() }
}

fn release(memory: *mut u8) {
    let globals = thread::current().kernel.variables.globals();
    // SAFETY: as above.
    unsafe { memory::free(memory.cast(), addr_of_mut!((*globals).malloc_nvlist).cast()) };
}

#[test]
fn a_well_behaved_thread_is_left_alone() {
    assert_eq!(
        complaint(|| {
            let mtx = mutex(c"a");
            lock(mtx);
            unlock(mtx);
            release(memory(sys::M_WAITOK));
        }),
        ""
    );
}

#[test]
fn taking_a_mutex_twice_is_reported() {
    assert!(complaint(|| {
        let mtx = mutex(c"a");
        lock(mtx);
        lock(mtx);
    })
    .contains("not recursive"));
}

#[test]
fn a_lock_order_reversal_is_reported() {
    assert!(complaint(|| {
        let [a, b] = [mutex(c"a"), mutex(c"b")];
        lock(a);
        lock(b);
        unlock(b);
        unlock(a);
        lock(b);
        lock(a);
    })
    .contains("lock order reversal"));
}

#[test]
fn two_locks_of_a_class_are_reported() {
    assert!(complaint(|| {
        lock(mutex(c"a"));
        lock(mutex(c"a"));
    })
    .contains("second lock of class"));
}

#[test]
fn unlocking_what_is_not_held_is_reported() {
    assert!(complaint(|| unlock(mutex(c"a"))).contains("without holding it"));
}

#[test]
fn ending_with_a_lock_is_reported() {
    assert!(complaint(|| lock(mutex(c"a"))).contains("thread ends with a locked"));
}

#[test]
fn sleeping_with_a_mutex_is_reported() {
    assert!(complaint(|| {
        lock(mutex(c"a"));
        memory(sys::M_WAITOK);
    })
    .contains("may sleep"));
}

#[test]
fn sleeping_in_the_network_epoch_is_reported() {
    assert!(complaint(|| {
        pfsync_simulator::freebsd::kernel::sleep::epoch_enter();
        memory(sys::M_WAITOK);
    })
    .contains("in the network epoch"));
}

#[test]
fn waiting_for_the_epoch_in_the_epoch_is_reported() {
    assert!(complaint(|| {
        pfsync_simulator::freebsd::kernel::sleep::epoch_enter();
        pfsync_simulator::freebsd::kernel::sleep::epoch_wait();
    })
    .contains("in the network epoch"));
}

#[test]
fn freeing_twice_is_reported() {
    assert!(complaint(|| {
        let block = memory(sys::M_WAITOK);
        release(block);
        release(block);
    })
    .contains("twice"));
}

#[test]
fn writing_beyond_memory_is_reported() {
    assert!(complaint(|| {
        let block = memory(sys::M_WAITOK);
        // SAFETY: the fence of the block lies behind it.
        unsafe { *block.add(32) = 1 };
        release(block);
    })
    .contains("writes beyond"));
}

#[test]
fn writing_after_free_is_reported() {
    assert!(complaint(|| {
        let block = memory(sys::M_WAITOK);
        release(block);
        // SAFETY: freed memory stays allocated until the simulator has checked it.
        unsafe { *block.add(5) = 1 };
        thread::current().kernel.heap.check_freed();
    })
    .contains("after it is freed"));
}

#[test]
fn using_a_callout_without_initialising_it_is_reported() {
    assert!(complaint(|| {
        // SAFETY: plain data.
        let callout: &mut sys::callout = Box::leak(Box::new(unsafe { zeroed() }));
        // SAFETY: the function only looks the address up.
        unsafe {
            pfsync_simulator::freebsd::kernel::callout::_callout_stop_safe(callout, native::CS_DRAIN as i32)
        };
    })
    .contains("not initialised"));
}

#[test]
fn a_state_that_pf_cannot_work_with_is_reported() {
    let lab = plain_lab();
    let fw = lab.boot(1).expect("boots");
    let id = fw.open(&tcp(1)).expect("opened");
    fw.pass(id, |st| st.act.rtableid = 9).expect("a usable state");
    let error = fw.pass(id, |_| ()).expect_err("an unusable state");
    assert!(error.to_string().contains("routing table is 9"), "{error}");
}

#[test]
fn a_deadlock_is_reported() {
    let lab = plain_lab();
    let fw = lab.boot(1).expect("boots");
    let result = fw.run("test", |_| thread::current().wait("nothing", || false));
    assert!(result.is_err_and(|violation| violation.what.contains("deadlock")));
}

#[test]
fn a_module_with_unknown_symbols_is_refused() {
    let lab = plain_lab();
    let fw = lab.boot(1).expect("boots");
    let mut bytes =
        std::fs::read(pfsync_simulator::freebsd::kernel::module::path()).expect("pfsync.ko is built");
    let name = b"\0ip_fillid\0";
    let at = bytes.windows(name.len()).position(|window| window == name).expect("a symbol's name");
    bytes[at + 1] = b'x';
    let error = fw.kernel.load_bytes(&bytes).expect_err("refused");
    assert!(format!("{error:#}").contains("symbol xp_fillid undefined"), "{error:#}");
}

#[test]
fn a_null_mbuf_is_nothing_to_free() {
    assert_eq!(
        complaint(|| {
            // SAFETY: null is allowed.
            unsafe { pfsync_simulator::freebsd::kpi::mbuf::m_freem(null_mut()) };
        }),
        ""
    );
}
