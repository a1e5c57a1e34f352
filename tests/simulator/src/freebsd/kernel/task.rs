// SPDX-License-Identifier: BSD-2-Clause
//! taskqueue(9): the kernel's thread for tasks, which runs one after the other.

use super::sleep::may_sleep;
use super::violation::violation;
use super::world::Sbt;
use super::{thread, Kernel};
use crate::freebsd::kpi;
use crate::freebsd::machine::cpu::into_module;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::c_void;
use std::rc::Rc;
use sys_bindings as sys;

type Function = unsafe extern "C" fn(*mut c_void, i32);

/// The tasks of a kernel, by address.
#[derive(Default)]
pub(crate) struct Tasks {
    known: RefCell<BTreeMap<usize, (Function, usize)>>,
    /// The keys of those that wait for their time.
    timed: RefCell<HashMap<usize, (Sbt, usize)>>,
    queue: RefCell<VecDeque<usize>>,
    running: Cell<Option<usize>>,
    /// Whether the thread is there.
    is_served: Cell<bool>,
}

impl Tasks {
    /// Number of tasks that wait for their time, are queued or run.
    pub(crate) fn pending(&self) -> usize {
        self.timed.borrow().len() + self.queue.borrow().len() + usize::from(self.running.get().is_some())
    }

    /// Reports a violation if a task in this memory is pending.
    pub(crate) fn check_freed(&self, address: usize, len: usize) {
        let range = address..address + len;
        let mut pending: Vec<_> = self.timed.borrow().keys().copied().collect();
        pending.extend(self.queue.borrow().iter().copied().chain(self.running.get()));
        if pending.iter().any(|task| range.contains(task)) {
            violation("frees memory with a task in it that is queued or runs".into());
        }
        self.known.borrow_mut().retain(|task, _| !range.contains(task));
    }

    fn is_busy(&self, task: usize) -> bool {
        self.running.get() == Some(task) || self.queue.borrow().contains(&task)
    }

    fn enqueue(&self, kernel: &Rc<Kernel>, task: usize) {
        if !self.queue.borrow().contains(&task) {
            self.queue.borrow_mut().push_back(task);
        }
        if !self.is_served.replace(true) {
            kernel.world().spawn(kernel, "thread taskq", std::ptr::null_mut(), serve);
        }
    }

    fn cancel(&self, kernel: &Kernel, task: usize) {
        if let Some(key) = self.timed.borrow_mut().remove(&task) {
            kernel.world().cancel(key);
        }
    }
}

/// The thread: runs tasks until none is left.
fn serve() {
    let kernel = thread::current().kernel.clone();
    let tasks = &kernel.tasks;
    loop {
        let next = tasks.queue.borrow_mut().pop_front();
        tasks.running.set(next);
        let Some(task) = next else { break };
        let (function, context) = tasks.known.borrow()[&task];
        // SAFETY: the module initialised the task with this function and argument, and has
        // not drained it.
        into_module(|| unsafe { function(context as *mut c_void, 1) });
        tasks.running.set(None);
    }
    tasks.is_served.set(false);
}

/// The kernel of the current thread. Reports a violation if the queue is not the only one, or
/// the task not initialised.
fn kernel_of(queue: usize, task: usize) -> Rc<Kernel> {
    let kernel = thread::current().kernel.clone();
    // SAFETY: the kernel's own variables.
    if queue != unsafe { (*kernel.variables.globals()).taskqueue } {
        violation("uses a queue of tasks that does not exist".into());
    }
    if !kernel.tasks.known.borrow().contains_key(&task) {
        violation("uses a task that is not initialised".into());
    }
    kernel
}

kpi::symbols! {
    pub unsafe extern "C" fn _timeout_task_init(
        _queue: usize,
        task: *mut sys::timeout_task,
        _priority: i32,
        function: Option<Function>,
        context: *mut c_void,
    ) {
        let kernel = thread::current().kernel.clone();
        let Some(function) = function else { violation("initialises a task without a function".into()) };
        let known = (function, context as usize);
        if kernel.tasks.known.borrow_mut().insert(task as usize, known).is_some() {
            violation("initialises a task twice".into());
        }
    }

    pub unsafe extern "C" fn taskqueue_enqueue_timeout_sbt(
        queue: usize,
        task: *mut sys::timeout_task,
        delay: Sbt,
        _precision: Sbt,
        _flags: i32,
    ) -> i32 {
        let task = task as usize;
        let kernel = kernel_of(queue, task);
        if delay == 0 {
            // A time that was set before still counts.
            kernel.tasks.enqueue(&kernel, task);
            return 0;
        }
        kernel.tasks.cancel(&kernel, task);
        let weak = Rc::downgrade(&kernel);
        let key = kernel.world().at(delay, move |_| {
            if let Some(kernel) = weak.upgrade().filter(|kernel| !kernel.is_crashed()) {
                kernel.tasks.timed.borrow_mut().remove(&task);
                kernel.tasks.enqueue(&kernel, task);
            }
        });
        kernel.tasks.timed.borrow_mut().insert(task, key);
        0
    }

    pub unsafe extern "C" fn taskqueue_cancel_timeout(
        queue: usize,
        task: *mut sys::timeout_task,
        _pending: *mut u32,
    ) -> i32 {
        let task = task as usize;
        let kernel = kernel_of(queue, task);
        kernel.tasks.cancel(&kernel, task);
        kernel.tasks.queue.borrow_mut().retain(|queued| *queued != task);
        if kernel.tasks.is_busy(task) { sys::EBUSY as i32 } else { 0 }
    }

    pub unsafe extern "C" fn taskqueue_drain_timeout(queue: usize, task: *mut sys::timeout_task) {
        may_sleep("taskqueue_drain_timeout");
        let task = task as usize;
        let kernel = kernel_of(queue, task);
        if kernel.tasks.running.get() == Some(task) && thread::current().name == "thread taskq" {
            violation("a task drains itself".into());
        }
        kernel.tasks.cancel(&kernel, task);
        let waited = kernel.clone();
        thread::current().wait("a task", move || !waited.tasks.is_busy(task));
    }
}
