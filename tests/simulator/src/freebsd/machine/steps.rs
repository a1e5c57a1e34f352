// SPDX-License-Identifier: BSD-2-Clause
//! Counts the instructions that the module executes. The CPU's trap flag is set
//! while the module runs, and cleared while the simulator runs. A repeated string
//! instruction counts once for each repetition.

use super::image::Image;
use std::arch::asm;
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Once;

/// The trap flag in the flags register.
const TRAP: u64 = 1 << 8;

/// What one kernel's module executed while it was watched.
pub struct Steps {
    image: Rc<Image>,
    code: Range<usize>,
    /// How often the instruction at each address of `code` was executed.
    hits: Vec<Cell<u32>>,
}

thread_local! {
    /// Where the steps of this OS thread are counted.
    static WATCHED: Cell<*const [Steps]> = const { Cell::new(NONE) };
}

const NONE: *const [Steps] = &[];

impl Steps {
    fn new(image: Rc<Image>) -> Steps {
        let code = image.code();
        Steps { image, hits: vec![Cell::new(0); code.len()], code }
    }

    /// Runs `inside` and counts what each image's code executes meanwhile on this
    /// OS thread.
    pub fn count(images: Vec<Rc<Image>>, inside: impl FnOnce()) -> Vec<Steps> {
        install();
        let watched: Vec<_> = images.into_iter().map(Steps::new).collect();
        WATCHED.set(&watched[..]);
        inside();
        WATCHED.set(NONE);
        watched
    }

    /// The addresses that were executed, and how often.
    fn executed(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let hits = self.hits.iter().enumerate().filter(|(_, hits)| hits.get() > 0);
        hits.map(|(offset, hits)| (self.code.start + offset, u64::from(hits.get())))
    }

    /// How many instructions the module executed.
    pub fn instructions(&self) -> u64 {
        self.executed().filter(|(at, _)| self.image.is_text(*at)).map(|(_, hits)| hits).sum()
    }

    /// The same for each function, in descending order.
    pub fn functions(&self) -> Vec<(String, u64)> {
        let mut all = BTreeMap::new();
        for (at, hits) in self.executed().filter(|(at, _)| self.image.is_text(*at)) {
            let name = self.image.function(at).map_or("?".into(), |(name, _)| name);
            *all.entry(name).or_insert(0) += hits;
        }
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by_key(|(_, hits)| Reverse(*hits));
        all
    }

    /// How many functions of the kernel the module called.
    pub fn calls(&self) -> u64 {
        self.executed().filter(|(at, _)| self.image.is_call(*at)).map(|(_, hits)| hits).sum()
    }
}

/// Runs module code, step by step if this OS thread counts.
pub(crate) fn stepping<R>(inside: impl FnOnce() -> R) -> R {
    if WATCHED.get().is_empty() {
        return inside();
    }
    set_flags(flags() | TRAP);
    let result = inside();
    set_flags(flags() & !TRAP);
    result
}

/// Restores stepping when it is dropped.
pub(crate) struct Paused {
    flags: u64,
}

/// The module called the simulator, whose instructions do not count: stops
/// stepping until the guard is dropped.
#[inline(always)]
pub(crate) fn pause() -> Paused {
    let flags = flags();
    if flags & TRAP != 0 {
        set_flags(flags & !TRAP);
    }
    Paused { flags }
}

impl Drop for Paused {
    fn drop(&mut self) {
        if self.flags & TRAP != 0 {
            set_flags(flags() | TRAP);
        }
    }
}

#[inline(always)]
fn flags() -> u64 {
    let flags;
    // SAFETY: reads the flags; the stack is as before.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
    flags
}

#[inline(always)]
fn set_flags(flags: u64) {
    // SAFETY: the flags were read a moment ago and differ in the trap flag
    // alone, whose signal is handled; the stack is as before.
    unsafe { asm!("push {}", "popfq", in(reg) flags) };
}

/// Makes the process handle the trap flag's signal from now on.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: all zeroes is an action without flags; the handler has the
        // three arguments that SA_SIGINFO calls for.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = step as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            libc::sigaction(libc::SIGTRAP, &action, std::ptr::null_mut());
        }
    });
}

/// Called before each instruction while the trap flag is set.
extern "C" fn step(_signal: i32, _info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: Linux passes a valid context.
    let at = unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] };
    let at = at as usize;
    // SAFETY: `count` keeps what is watched until it has set the pointer back.
    let watched = unsafe { &*WATCHED.get() };
    if let Some(steps) = watched.iter().find(|steps| steps.code.contains(&at)) {
        let hits = &steps.hits[at - steps.code.start];
        hits.set(hits.get() + 1);
    }
}
