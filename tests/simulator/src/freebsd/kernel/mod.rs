//! A FreeBSD kernel, as far as pfsync can tell.

pub mod callout;
pub mod fault;
pub mod heap;
pub mod interface;
pub mod interrupt;
pub mod lock;
pub mod module;
pub mod place;
pub mod sleep;
pub mod thread;
pub mod variables;
pub mod violation;
pub mod vnet;
pub mod world;

use crate::freebsd::machine::cpu::Call;
use crate::freebsd::machine::image::Image;
use crate::freebsd::machine::low::LowMemory;
use crate::freebsd::pf::rules::Rules;
use anyhow::{Context, Result};
use callout::Callouts;
use heap::Heap;
use interrupt::Interrupts;
use lock::Locks;
use module::Module;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use thread::Thread;
use variables::Variables;
use violation::Violation;
use vnet::Vnet;
use world::{Sbt, World};

/// Low memory of a kernel: the module, its stubs, variables.
const LOW_MEMORY: usize = 4 << 20;

/// The longest that an operation may take. Timers keep time passing even when
/// the operation waits for ever.
const PATIENCE: Sbt = 3600 * world::SECOND;

/// A running kernel.
pub struct Kernel {
    pub name: String,
    world: Weak<World>,
    booted: Sbt,
    pub heap: Heap,
    pub locks: Locks,
    pub callouts: Callouts,
    pub interrupts: Interrupts,
    pub protocols: RefCell<std::collections::HashMap<(u8, u8), crate::freebsd::kpi::protocol::Input>>,
    pub variables: Variables,
    pub module: RefCell<Option<Module>>,
    pub vnets: RefCell<Vec<Rc<Vnet>>>,
    pub sysctls: RefCell<Vec<usize>>,
    /// What was printed on the console.
    pub console: RefCell<String>,
    /// nvlists that the module owns, and where it got them.
    pub lists: RefCell<std::collections::HashMap<usize, place::Place>>,
    /// Probes that fired since somebody looked.
    pub fired: RefCell<Vec<crate::freebsd::kpi::probes::Fired>>,
    image: RefCell<Option<Rc<Image>>>,
    crashed: Cell<bool>,
    /// Last: what is above refers to it.
    low: LowMemory,
}

impl Kernel {
    /// Boots a kernel with one network stack and pf in it.
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
            protocols: RefCell::default(),
            variables,
            module: RefCell::default(),
            vnets: RefCell::default(),
            sysctls: RefCell::default(),
            console: RefCell::default(),
            lists: RefCell::default(),
            fired: RefCell::default(),
            image: RefCell::default(),
            crashed: Cell::new(false),
            low,
        });
        kernel.variables.initialise(&kernel);
        kernel.add_vnet(rules)?;
        Ok(kernel)
    }

    /// The world that the kernel is in.
    pub fn world(&self) -> Rc<World> {
        self.world.upgrade().expect("kernels do not outlive their world")
    }

    /// The kernel's first network stack.
    pub fn vnet(&self) -> Rc<Vnet> {
        self.vnets.borrow()[0].clone()
    }

    /// Time since boot. Kernels do not boot at 0 either.
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

    pub fn low_memory(&self) -> &LowMemory {
        &self.low
    }

    /// Whether the kernel was stopped by [`Kernel::crash`].
    pub fn is_crashed(&self) -> bool {
        self.crashed.get()
    }

    /// Stops the kernel where it is, and takes its memory away. Nothing of it
    /// may be looked at afterwards but its name.
    pub fn crash(&self) {
        self.crashed.set(true);
        self.world().kill_threads_of(self);
        self.world().network.unplug(self);
        // The stacks of its threads cannot be unwound: what they refer to,
        // the kernel among it, is never dropped.
        self.set_image(None);
        self.heap.release_all();
        self.low.unmap();
    }

    /// Starts a thread in a network stack.
    pub fn spawn(self: &Rc<Self>, name: &str, vnet: &Vnet, body: impl FnOnce() + 'static) -> Rc<Thread> {
        self.world().spawn(self, name, vnet.raw(), body)
    }

    /// Runs something in a thread of a network stack, until it is done.
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

    /// The module's image, if one is linked.
    pub fn image(&self) -> Option<Rc<Image>> {
        self.image.borrow().clone()
    }

    pub fn set_image(&self, image: Option<Rc<Image>>) {
        *self.image.borrow_mut() = image;
    }

    /// Function and offset of an address in the module.
    pub fn symbolise(&self, address: usize) -> Option<String> {
        self.image()?.symbolise(address)
    }

    /// Return addresses in the module of a call of the host.
    pub fn walk(&self, call: Call) -> impl Iterator<Item = usize> {
        let image = self.image();
        let addresses: Vec<_> = image.iter().flat_map(|image| image.walk(call)).take(16).collect();
        addresses.into_iter()
    }

    /// The module's functions of a call of the host, innermost first.
    pub fn backtrace(&self, call: Call) -> Vec<String> {
        self.walk(call).filter_map(|address| self.symbolise(address.wrapping_sub(1))).collect()
    }

    /// The network stack of a pointer that kernel code has.
    pub fn vnet_of(&self, raw: *mut sys_bindings::vnet) -> Option<Rc<Vnet>> {
        self.vnets.borrow().iter().find(|vnet| vnet.raw() == raw).cloned()
    }

    /// The current thread's network stack.
    pub fn current_vnet() -> Rc<Vnet> {
        let thread = thread::current();
        let vnet = thread.kernel.vnet_of(thread.vnet());
        vnet.unwrap_or_else(|| violation::violation("curvnet is not set".into()))
    }

    /// Adds a network stack.
    pub fn add_vnet(self: &Rc<Self>, rules: &Rules) -> Result<Rc<Vnet>> {
        let vnet = Vnet::new(self, rules).context("a network stack")?;
        self.vnets.borrow_mut().push(vnet.clone());
        self.start_module_in(&vnet)?;
        vnet.listed.set(true);
        self.variables.link_vnets(self);
        Ok(vnet)
    }
}
