// SPDX-License-Identifier: BSD-2-Clause
//! The kernel: threads, locks, memory, timers, interfaces, vnets and modules.

pub mod callout;
pub mod cloner;
pub(crate) mod event;
mod fault;
pub mod heap;
pub mod interface;
pub(crate) mod interrupt;
pub(crate) mod lock;
pub mod module;
pub(crate) mod place;
pub mod sleep;
pub(crate) mod task;
pub mod thread;
pub mod variables;
pub mod violation;
pub mod vnet;
pub mod world;

use crate::freebsd::kpi::probes::Fired;
use crate::freebsd::kpi::protocol::Input;
use crate::freebsd::machine::cpu::Call;
use crate::freebsd::machine::image::Image;
use crate::freebsd::machine::low::LowMemory;
use crate::freebsd::pf::rules::Rules;
use anyhow::{Context, Result};
use callout::Callouts;
use event::Events;
use heap::Heap;
use interrupt::Interrupts;
use lock::Locks;
use module::Module;
use place::Place;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use task::Tasks;
use thread::Thread;
use variables::Variables;
use violation::Violation;
use vnet::Vnet;
use world::{Sbt, World};

/// Bytes of low memory of a kernel, for the module, its stubs and the variables.
const LOW_MEMORY: usize = 4 << 20;

/// How long an operation may take. Timers let time pass even while an operation
/// waits for ever.
const PATIENCE: Sbt = 3600 * world::SECOND;

/// A running kernel.
pub struct Kernel {
    /// Its name, such as `fw1`.
    pub name: String,
    world: Weak<World>,
    booted: Sbt,
    /// Its memory.
    pub heap: Heap,
    pub(crate) locks: Locks,
    pub(crate) callouts: Callouts,
    pub(crate) interrupts: Interrupts,
    events: Events,
    pub(crate) tasks: Tasks,
    pub(crate) protocols: RefCell<HashMap<(u8, u8), Input>>,
    /// Its variables.
    pub variables: Variables,
    /// The module, while it is loaded.
    pub module: RefCell<Option<Module>>,
    pub(crate) vnets: RefCell<Vec<Rc<Vnet>>>,
    /// The nodes that the module declares.
    pub(crate) sysctls: RefCell<Vec<usize>>,
    /// What was printed on the console.
    pub console: RefCell<String>,
    /// The nvlists that the module owns, and where it got them.
    pub(crate) lists: RefCell<HashMap<usize, Place>>,
    /// The probes that fired since the last look.
    pub(crate) fired: RefCell<Vec<Fired>>,
    /// Whether every CPU has switched to another thread since the module took back its
    /// functions that are called with no lock held.
    pub(crate) forgot_unlocked_callers: Cell<bool>,
    /// Whether pf frees both keys of a state whose wire key collides, if releases differ.
    pub frees_both_keys: Cell<bool>,
    /// Whether the programs that call it are 32-bit programs.
    pub has_32bit_programs: Cell<bool>,
    /// How long it takes to copy user memory, as with a slow file system.
    pub user_memory_delay: Cell<Sbt>,
    /// How many random numbers were drawn.
    pub(crate) drawn: Cell<u64>,
    /// How long an interface that a cloner has made waits to be added to its group.
    pub group_delay: Cell<Sbt>,
    image: RefCell<Option<Rc<Image>>>,
    crashed: Cell<bool>,
    /// Dropped last: the fields above refer to it.
    low: LowMemory,
}

impl Kernel {
    /// Boots a kernel with one vnet, in which pf runs.
    pub fn boot(world: &Rc<World>, name: &str, rules: &Rules) -> Result<Rc<Kernel>> {
        let low = LowMemory::map(LOW_MEMORY)?;
        let variables = Variables::new(&low)?;
        let kernel = Rc::new(Kernel {
            name: name.to_string(),
            world: Rc::downgrade(world),
            booted: world.now(),
            heap: Heap::default(),
            locks: Locks::default(),
            callouts: Callouts::default(),
            interrupts: Interrupts::default(),
            events: Events::default(),
            tasks: Tasks::default(),
            protocols: RefCell::default(),
            variables,
            module: RefCell::default(),
            vnets: RefCell::default(),
            sysctls: RefCell::default(),
            user_memory_delay: Cell::default(),
            group_delay: Cell::default(),
            console: RefCell::default(),
            lists: RefCell::default(),
            fired: RefCell::default(),
            forgot_unlocked_callers: Cell::new(false),
            frees_both_keys: Cell::new(false),
            has_32bit_programs: Cell::new(false),
            drawn: Cell::default(),
            image: RefCell::default(),
            crashed: Cell::new(false),
            low,
        });
        kernel.variables.initialise(&kernel);
        kernel.add_vnet(rules)?;
        Ok(kernel)
    }

    /// When it booted.
    pub(crate) fn booted(&self) -> Sbt {
        self.booted
    }

    /// The world of the kernel.
    pub fn world(&self) -> Rc<World> {
        self.world.upgrade().expect("kernels do not outlive their world")
    }

    /// The kernel's first vnet.
    pub fn vnet(&self) -> Rc<Vnet> {
        self.vnets.borrow()[0].clone()
    }

    /// The time since boot, which begins with a second as in FreeBSD.
    pub fn uptime(&self) -> Sbt {
        self.world().now() - self.booted + world::SECOND
    }

    /// Loads or unloads carp(4).
    pub fn set_carp(&self, loaded: bool) {
        // SAFETY: the kernel's own variables.
        unsafe {
            (*self.variables.globals()).carp_demote = loaded.then_some(crate::freebsd::kpi::carp::demote as _)
        };
    }

    pub(crate) fn low_memory(&self) -> &LowMemory {
        &self.low
    }

    /// How many callouts are armed.
    pub fn armed_callouts(&self) -> usize {
        self.callouts.pending()
    }

    /// Whether the kernel was stopped by [`Kernel::crash`].
    pub fn is_crashed(&self) -> bool {
        self.crashed.get()
    }

    /// Stops the kernel at once and releases its memory. Afterwards nothing of it
    /// may be used but its name.
    pub fn crash(&self) {
        self.crashed.set(true);
        self.world().kill_threads_of(self);
        self.world().network.unplug(self);
        // The stacks of its threads cannot be unwound. What they refer to, such
        // as the kernel, is never dropped.
        self.set_image(None);
        self.heap.release_all();
        self.low.unmap();
    }

    /// Starts a thread in a vnet.
    pub fn spawn(self: &Rc<Self>, name: &str, vnet: &Vnet, body: impl FnOnce() + 'static) -> Rc<Thread> {
        self.world().spawn(self, name, vnet.raw(), body)
    }

    /// Runs `body` in a thread of a vnet until it ends.
    pub fn run<R: 'static>(
        self: &Rc<Self>,
        name: &str,
        vnet: &Vnet,
        body: impl FnOnce() -> R + 'static,
    ) -> Result<R, Violation> {
        let result = Rc::new(RefCell::new(None));
        let slot = result.clone();
        let thread = self.spawn(name, vnet, move || *slot.borrow_mut() = Some(body()));
        let world = self.world();
        let patience = world.now() + PATIENCE;
        if !world.run_until(|| thread.is_done() || world.now() > patience) || !thread.is_done() {
            let stuck = || Violation::by(&thread, format!("deadlock:\n{}", world.describe_threads()));
            return Err(world.failure().unwrap_or_else(stuck));
        }
        match (world.failure(), result.take()) {
            (Some(violation), _) => Err(violation),
            (None, Some(result)) => Ok(result),
            (None, None) => Err(Violation::by(&thread, "the thread ended without a result".into())),
        }
    }

    /// The image of the module, if one is loaded.
    pub fn image(&self) -> Option<Rc<Image>> {
        self.image.borrow().clone()
    }

    pub(crate) fn set_image(&self, image: Option<Rc<Image>>) {
        *self.image.borrow_mut() = image;
    }

    /// Function and offset of an address in the module.
    pub(crate) fn symbolise(&self, address: usize) -> Option<String> {
        self.image()?.symbolise(address)
    }

    /// The return addresses in the module that led to a call of the simulator.
    pub(crate) fn walk(&self, call: Call) -> impl Iterator<Item = usize> {
        let image = self.image();
        let addresses: Vec<_> = image.iter().flat_map(|image| image.walk(call)).take(16).collect();
        addresses.into_iter()
    }

    /// The module's functions that led to a call of the simulator, innermost
    /// first.
    pub(crate) fn backtrace(&self, call: Call) -> Vec<String> {
        self.walk(call).filter_map(|address| self.symbolise(address.wrapping_sub(1))).collect()
    }

    /// The vnet that kernel code knows by this pointer.
    pub(crate) fn vnet_of(&self, raw: *mut sys_bindings::vnet) -> Option<Rc<Vnet>> {
        self.vnets.borrow().iter().find(|vnet| vnet.raw() == raw).cloned()
    }

    /// The vnet of the current thread.
    pub(crate) fn current_vnet() -> Rc<Vnet> {
        let thread = thread::current();
        let vnet = thread.kernel.vnet_of(thread.vnet());
        vnet.unwrap_or_else(|| violation::violation("curvnet is not set".into()))
    }

    /// Adds a vnet.
    pub fn add_vnet(self: &Rc<Self>, rules: &Rules) -> Result<Rc<Vnet>> {
        let vnet = Vnet::new(self, rules).context("a vnet")?;
        self.vnets.borrow_mut().push(vnet.clone());
        self.start_module_in(&vnet)?;
        vnet.listed.set(true);
        self.variables.link_vnets(self);
        Ok(vnet)
    }
}
