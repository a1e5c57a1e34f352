// SPDX-License-Identifier: BSD-2-Clause
//! Page faults and the like: the process prints the module's function and ends,
//! as a kernel panics.

use super::thread;
use crate::freebsd::machine::cpu::Call;
use std::sync::Once;

/// Makes the process report faults from now on.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL] {
            // SAFETY: all zeroes is an action without flags; the handler has
            // the three arguments that SA_SIGINFO calls for.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = report as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESETHAND;
                libc::sigaction(signal, &action, std::ptr::null_mut());
            }
        }
    });
}

extern "C" fn report(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: Linux passes valid structures.
    let (address, registers) =
        unsafe { ((*info).si_addr() as usize, &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs) };
    let register = |index: i32| registers[index as usize] as usize;
    let at = register(libc::REG_RIP);
    eprintln!("fatal trap (signal {signal}): address {address:#x}, instruction {at:#x}");
    if let Some(thread) = thread::try_current() {
        eprintln!(
            "kernel {}, thread {}, seed {}",
            thread.kernel.name,
            thread.name,
            thread.kernel.world().policy.seed
        );
        if let Some(function) = thread.kernel.symbolise(at) {
            eprintln!("    at {function}");
            // SAFETY: the module is built with frame pointers: behind the
            // function's frame lie its caller's frame and return address.
            let frame = unsafe { *(register(libc::REG_RBP) as *const usize) };
            let call = Call { stack: register(libc::REG_RBP) + 8, frame };
            thread.kernel.backtrace(call).iter().for_each(|function| eprintln!("    in {function}"));
        } else {
            let call = crate::freebsd::machine::cpu::this().call.get();
            thread.kernel.backtrace(call).iter().for_each(|function| eprintln!("    in {function}"));
        }
    }
    // SAFETY: ends the process.
    unsafe { libc::abort() };
}
