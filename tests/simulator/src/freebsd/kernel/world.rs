// SPDX-License-Identifier: BSD-2-Clause
//! The scheduler and the clock of all simulated kernels. One seed decides which
//! thread runs when.

use super::thread::{self, Thread};
use super::{violation::Violation, Kernel};
use crate::freebsd::net::Network;
use corosensei::stack::DefaultStack;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use sys_bindings as sys;

/// The kernel's signed binary time: seconds in the upper half, a fraction in the lower.
pub type Sbt = i64;

/// One second.
pub const SECOND: Sbt = 1 << 32;

/// Milliseconds as an [`Sbt`].
pub const fn milliseconds(count: i64) -> Sbt {
    count * SECOND / 1000
}

/// How threads are scheduled.
#[derive(Clone, Copy)]
pub struct Policy {
    /// Decides everything that is random.
    pub seed: u64,
    /// The probability that a thread gives way where it can be preempted. At 0,
    /// each thread runs until it waits, the oldest first.
    pub preemption: f64,
}

impl Policy {
    /// Seed 0, the oldest thread first, without preemption.
    pub const PLAIN: Policy = Policy { seed: 0, preemption: 0.0 };
}

/// What happens at some time.
type Event = Box<dyn FnOnce(&Rc<World>)>;

/// The clock, the threads and the network between the kernels.
pub struct World {
    pub(crate) policy: Policy,
    /// The network between the kernels.
    pub network: Network,
    me: Weak<World>,
    rng: RefCell<ChaCha8Rng>,
    now: Cell<Sbt>,
    serial: Cell<usize>,
    threads: RefCell<Vec<Rc<Thread>>>,
    stacks: RefCell<Vec<DefaultStack>>,
    events: RefCell<BTreeMap<(Sbt, usize), Event>>,
    failure: RefCell<Option<Violation>>,
}

impl World {
    /// A world without kernels.
    pub fn new(policy: Policy) -> Rc<World> {
        super::fault::install();
        Rc::new_cyclic(|me| World {
            policy,
            network: Network::new(policy.seed),
            me: me.clone(),
            rng: RefCell::new(ChaCha8Rng::seed_from_u64(policy.seed)),
            now: Cell::new(0),
            serial: Cell::new(0),
            threads: RefCell::default(),
            stacks: RefCell::default(),
            events: RefCell::default(),
            failure: RefCell::default(),
        })
    }

    /// Time since the world began.
    pub fn now(&self) -> Sbt {
        self.now.get()
    }

    fn next_serial(&self) -> usize {
        self.serial.set(self.serial.get() + 1);
        self.serial.get()
    }

    /// The first violation, after which nothing runs.
    pub fn failure(&self) -> Option<Violation> {
        self.failure.borrow().clone()
    }

    /// Stops everything.
    pub(crate) fn fail(&self, violation: Violation) {
        self.failure.borrow_mut().get_or_insert(violation);
    }

    /// Starts a thread in a kernel.
    pub(crate) fn spawn(
        &self,
        kernel: &Rc<Kernel>,
        name: &str,
        vnet: *mut sys::vnet,
        body: impl FnOnce() + 'static,
    ) -> Rc<Thread> {
        let stack = self.stacks.borrow_mut().pop();
        let stack = stack.unwrap_or_else(|| DefaultStack::new(thread::STACK).expect("memory for a stack"));
        let thread = Thread::new(self.next_serial(), name, kernel, vnet, stack, body);
        self.threads.borrow_mut().push(thread.clone());
        thread
    }

    /// Makes an event happen after a delay. Returns the key to cancel it by.
    pub fn at(&self, delay: Sbt, event: impl FnOnce(&Rc<World>) + 'static) -> (Sbt, usize) {
        let key = (self.now.get() + delay.max(0), self.next_serial());
        self.events.borrow_mut().insert(key, Box::new(event));
        key
    }

    /// Cancels an event. Returns whether it had not happened yet.
    pub fn cancel(&self, key: (Sbt, usize)) -> bool {
        self.events.borrow_mut().remove(&key).is_some()
    }

    /// A place where the current thread may be preempted.
    pub(crate) fn preemption_point(&self) {
        if self.policy.preemption > 0.0 && self.rng.borrow_mut().gen_bool(self.policy.preemption) {
            thread::current().give_way();
        }
    }

    /// Runs one thread, if any can run.
    fn step(&self) -> bool {
        if self.failure.borrow().is_some() {
            return false;
        }
        let threads = self.threads.borrow();
        let mut runnable = threads.iter().filter(|thread| thread.is_runnable());
        let chosen = if self.policy.preemption > 0.0 {
            let runnable: Vec<_> = runnable.collect();
            if runnable.is_empty() {
                return false;
            }
            runnable[self.rng.borrow_mut().gen_range(0..runnable.len())].clone()
        } else {
            match runnable.next() {
                Some(thread) => thread.clone(),
                None => return false,
            }
        };
        drop(threads);
        if let Some(stack) = chosen.resume() {
            self.ended(&chosen, stack);
        }
        true
    }

    fn ended(&self, ended: &Rc<Thread>, stack: DefaultStack) {
        self.stacks.borrow_mut().push(stack);
        self.threads.borrow_mut().retain(|thread| thread.id != ended.id);
        if let Some(violation) = super::violation::at_end_of(ended) {
            self.fail(violation);
        }
    }

    /// Runs threads until all of them wait for time to pass.
    pub fn settle(&self) {
        while self.step() {}
    }

    /// Runs until `done` holds, and lets time pass when no thread can run. Returns
    /// whether `done` came to hold.
    pub fn run_until(&self, done: impl Fn() -> bool) -> bool {
        while !done() {
            if self.failure.borrow().is_some() || (!self.step() && !self.next_event(Sbt::MAX)) {
                return false;
            }
        }
        true
    }

    /// Lets the next event happen, if it is due by `until`.
    fn next_event(&self, until: Sbt) -> bool {
        let mut events = self.events.borrow_mut();
        let Some(entry) = events.first_entry().filter(|entry| entry.key().0 <= until) else { return false };
        let ((at, _), event) = entry.remove_entry();
        drop(events);
        self.now.set(self.now.get().max(at));
        if let Some(world) = self.me.upgrade() {
            event(&world);
        }
        true
    }

    /// Lets time pass, with all its events.
    pub fn advance(&self, by: Sbt) {
        let until = self.now.get() + by;
        self.settle();
        while self.failure.borrow().is_none() && self.next_event(until) {
            self.settle();
        }
        self.now.set(until);
    }

    /// A random number below a limit.
    pub fn random(&self, below: u64) -> u64 {
        self.rng.borrow_mut().gen_range(0..below.max(1))
    }

    /// The threads that have not ended, each with what it waits for.
    pub(crate) fn describe_threads(&self) -> String {
        let threads = self.threads.borrow();
        let lines = threads.iter().map(|thread| {
            format!(
                "  {}/{}: {}",
                thread.kernel.name,
                thread.name,
                thread.waits_for().unwrap_or("runnable".into())
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The threads of a kernel that have not ended.
    pub(crate) fn threads_of(&self, kernel: &Rc<Kernel>) -> Vec<Rc<Thread>> {
        self.threads.borrow().iter().filter(|thread| Rc::ptr_eq(&thread.kernel, kernel)).cloned().collect()
    }

    /// Ends the threads of a kernel where they are, as a crash does.
    pub(crate) fn kill_threads_of(&self, kernel: &Kernel) {
        self.threads.borrow_mut().retain(|thread| !std::ptr::eq(Rc::as_ptr(&thread.kernel), kernel));
    }
}
