// SPDX-License-Identifier: BSD-2-Clause
//! Kernel threads: coroutines that the scheduler runs one at a time.

use super::lock::Held;
use super::Kernel;
use crate::freebsd::machine::cpu::{self, Call};
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::cell::{Cell, RefCell, UnsafeCell};
use std::ptr;
use std::rc::Rc;
use sys_bindings as sys;

/// Bytes of a thread's stack: far more than a kernel thread has, because the
/// simulator's functions run on it too.
pub(crate) const STACK: usize = 512 * 1024;

type Body = Coroutine<(), (), (), DefaultStack>;

/// What a thread waits for.
struct Wait {
    reason: String,
    over: Box<dyn Fn() -> bool>,
}

/// A thread of one kernel.
pub struct Thread {
    pub(crate) id: usize,
    pub(crate) name: String,
    /// Its kernel.
    pub kernel: Rc<Kernel>,
    /// What `curthread` points to.
    td: UnsafeCell<Box<sys::thread>>,
    body: RefCell<Option<Body>>,
    yielder: Cell<*const Yielder<(), ()>>,
    wait: RefCell<Option<Wait>>,
    call: Cell<Call>,
    done: Cell<bool>,
    /// The locks that the thread holds, in the order in which it took them.
    pub(crate) held: RefCell<Vec<Held>>,
    /// How many nested sections of the network epoch the thread is in.
    pub(crate) epoch: Cell<usize>,
    /// The number of its current or last outermost section.
    pub(crate) sections: Cell<usize>,
    /// No call of the thread fails: it uses memory that was allocated before.
    pub(crate) reliable: Cell<bool>,
    /// Why it must not sleep, such as being a callout.
    pub(crate) no_sleep: RefCell<Vec<&'static str>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Thread>>> = const { RefCell::new(None) };
}

/// The thread that runs, if there is one.
pub(crate) fn try_current() -> Option<Rc<Thread>> {
    CURRENT.with_borrow(Clone::clone)
}

/// The thread that runs.
pub fn current() -> Rc<Thread> {
    try_current().expect("a kernel's function is called by a kernel thread")
}

impl Thread {
    /// A thread in a vnet that will run `body`.
    pub(crate) fn new(
        id: usize,
        name: &str,
        kernel: &Rc<Kernel>,
        vnet: *mut sys::vnet,
        stack: DefaultStack,
        body: impl FnOnce() + 'static,
    ) -> Rc<Thread> {
        // SAFETY: struct thread is plain data, for which all zeroes is valid.
        let mut td: Box<sys::thread> = unsafe { Box::new(std::mem::zeroed()) };
        td.td_vnet = vnet;
        let thread = Rc::new(Thread {
            id,
            name: name.to_string(),
            kernel: kernel.clone(),
            td: UnsafeCell::new(td),
            body: RefCell::new(None),
            yielder: Cell::new(ptr::null()),
            wait: RefCell::new(None),
            call: Cell::new(Call::default()),
            done: Cell::new(false),
            held: RefCell::default(),
            epoch: Cell::new(0),
            sections: Cell::new(0),
            reliable: Cell::new(false),
            no_sleep: RefCell::default(),
        });
        let me = Rc::downgrade(&thread);
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            if let Some(thread) = me.upgrade() {
                thread.yielder.set(yielder);
            }
            body();
        });
        *thread.body.borrow_mut() = Some(coroutine);
        thread
    }

    /// `curthread` for kernel code.
    pub(crate) fn td(&self) -> *mut sys::thread {
        // SAFETY: only the address is taken.
        unsafe { &raw mut **self.td.get() }
    }

    /// `curvnet` of the thread.
    pub(crate) fn vnet(&self) -> *mut sys::vnet {
        // SAFETY: the structure lives as long as the thread; kernel code
        // writes it only while the thread runs.
        unsafe { (*self.td()).td_vnet }
    }

    /// Sets `curvnet`, and returns the vnet before.
    pub(crate) fn set_vnet(&self, vnet: *mut sys::vnet) -> *mut sys::vnet {
        // SAFETY: as above.
        unsafe { std::mem::replace(&mut (*self.td()).td_vnet, vnet) }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done.get()
    }

    /// What the thread waits for, if it waits.
    pub(crate) fn waits_for(&self) -> Option<String> {
        self.wait.borrow().as_ref().map(|wait| wait.reason.clone())
    }

    /// Whether the thread can go on.
    pub(crate) fn is_runnable(&self) -> bool {
        let mut wait = self.wait.borrow_mut();
        if wait.as_ref().is_some_and(|wait| !(wait.over)()) {
            return false;
        }
        *wait = None;
        !self.done.get()
    }

    /// Runs the thread until it waits, gives way or ends. Returns its stack if it
    /// has ended.
    pub(crate) fn resume(self: &Rc<Self>) -> Option<DefaultStack> {
        let cpu = cpu::this();
        cpu.thread.set(self.td());
        cpu.call.set(self.call.get());
        self.kernel.variables.set_uptime(&self.kernel);
        CURRENT.set(Some(self.clone()));
        let mut body = self.body.borrow_mut();
        let result = body.as_mut().map(|body| body.resume(()));
        CURRENT.set(None);
        cpu.thread.set(ptr::null_mut());
        self.call.set(cpu.call.get());
        match result {
            Some(CoroutineResult::Return(())) => {
                self.done.set(true);
                body.take().map(Coroutine::into_stack)
            }
            _ => None,
        }
    }

    /// Lets other threads run. Only the thread itself may call this.
    pub fn give_way(&self) {
        // SAFETY: set when the coroutine began; it lives until the coroutine
        // ends, which this thread has not.
        unsafe { (*self.yielder.get()).suspend(()) };
    }

    /// Waits until `over` holds. Only the thread itself may call this.
    pub fn wait(&self, reason: &str, over: impl Fn() -> bool + 'static) {
        let over = Rc::new(over);
        while !over() {
            let over = over.clone();
            *self.wait.borrow_mut() =
                Some(Wait { reason: reason.to_string(), over: Box::new(move || over()) });
            self.give_way();
            *self.wait.borrow_mut() = None;
        }
    }
}

/// Runs `inside` without letting any call of the current thread fail.
pub(crate) fn without_failures<R>(inside: impl FnOnce() -> R) -> R {
    let thread = current();
    let before = thread.reliable.replace(true);
    let result = inside();
    thread.reliable.set(before);
    result
}

impl Drop for Thread {
    fn drop(&mut self) {
        if let Some(body) = self.body.get_mut() {
            if body.started() && !body.done() {
                // SAFETY: the stack cannot be unwound through the module's
                // frames. What is on it is leaked: the thread belongs to a
                // kernel that crashed.
                unsafe { body.force_reset() };
            }
        }
    }
}
