// SPDX-License-Identifier: BSD-2-Clause
//! Loads and unloads the module, in the kernel's order.

use super::lock::{Flags, Kind, Mode};
use super::violation::{violation, Violation};
use super::vnet::Vnet;
use super::{event, interface};
use super::{thread, Kernel};
use crate::freebsd::kpi;
use crate::freebsd::machine::cpu::into_module;
use crate::freebsd::machine::image::{Environment, Image, Outside};
use crate::freebsd::native;
use anyhow::{ensure, Context, Result};
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use sys_bindings as sys;

/// The file of the module: `PFSYNC_KO`, or the one that the repository builds.
pub fn path() -> PathBuf {
    match std::env::var_os("PFSYNC_KO") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pfsync.ko"),
    }
}

/// A function that initialises or takes down each vnet.
type VnetFunction = *const native::vnet_sysinit;

/// The loaded module.
#[derive(Default)]
pub struct Module {
    event: Cell<Option<*const native::moduledata>>,
    /// The error with which the module refused to be loaded, or 0.
    refused: Cell<i32>,
    vnet_init: RefCell<Vec<VnetFunction>>,
    vnet_uninit: RefCell<Vec<VnetFunction>>,
}

/// The lock under which vnets are initialised and taken down.
const SYSINIT_LOCK: &str = "vnet_sysinit_sxlock";

/// The functions of a set in the order in which the kernel runs them: by
/// subsystem, then by order.
fn sorted(set: &[usize]) -> Vec<*const native::sysinit> {
    let mut set: Vec<_> = set.iter().map(|entry| *entry as *const native::sysinit).collect();
    // SAFETY: a set's entries point to the module's data.
    set.sort_by_key(|entry| unsafe { ((**entry).subsystem, (**entry).order) });
    set
}

fn run_sysinit(entry: *const native::sysinit) {
    // SAFETY: the entry is the module's, as above; its function takes its
    // data.
    into_module(|| unsafe {
        if let Some(function) = (*entry).func {
            function((*entry).udata);
        }
    });
}

fn run_vnet_function(function: VnetFunction, vnet: &Vnet) {
    let thread = thread::current();
    let previous = thread.set_vnet(vnet.raw());
    // SAFETY: as for `run_sysinit`.
    into_module(|| unsafe {
        if let Some(run) = (*function).func {
            run((*function).arg);
        }
    });
    thread.set_vnet(previous);
}

impl Kernel {
    /// `kldload pfsync`
    pub fn load(self: &Rc<Self>) -> Result<()> {
        let file = path();
        let bytes = std::fs::read(&file).with_context(|| format!("{}: run `make` first", file.display()))?;
        self.load_bytes(&bytes)
    }

    /// Loads a module from the contents of its file.
    pub fn load_bytes(self: &Rc<Self>, bytes: &[u8]) -> Result<()> {
        ensure!(self.module.borrow().is_none(), "a module is loaded already");
        let data = Cell::new((0, 0));
        let image = Image::load(
            bytes,
            &Environment {
                memory: self.low_memory(),
                resolve: &|name| kpi::find(name).map(Outside::Function).or_else(|| self.variables.find(name)),
                place_vnet: &|len| {
                    let place = self.variables.place_module(len)?;
                    data.set((place, len));
                    Some(place)
                },
            },
        )?;
        let (start, len) = data.get();
        self.vnets.borrow().iter().for_each(|vnet| vnet.copy_module_data(start, len));
        self.set_image(Some(Rc::new(image)));
        *self.module.borrow_mut() = Some(Module::default());
        let kernel = self.clone();
        let refused = self.run("kldload", &self.vnet(), move || kernel.start_module())??;
        if refused != 0 {
            self.forget_module();
        }
        ensure!(refused == 0, "the module refuses to be loaded: error {refused}");
        Ok(())
    }

    /// Runs the module's initialisation. Returns the error with which the module
    /// refuses, after which it is taken down again, or 0.
    fn start_module(&self) -> Result<i32> {
        let image = self.image().context("linked")?;
        *self.sysctls.borrow_mut() = image.set("sysctl_set").to_vec();
        for entry in sorted(image.set("sysinit_set")) {
            run_sysinit(entry);
        }
        let refused = self.module.borrow().as_ref().map_or(0, |module| module.refused.get());
        if refused != 0 {
            self.end_module()?;
        }
        Ok(refused)
    }

    /// `kldunload pfsync`. Reports a violation if the module leaves anything behind.
    pub fn unload(self: &Rc<Self>) -> Result<()> {
        let kernel = self.clone();
        self.run("kldunload", &self.vnet(), move || kernel.stop_module())??;
        self.forget_module();
        Ok(())
    }

    fn forget_module(&self) {
        self.module.take();
        self.set_image(None);
        self.variables.free_module();
    }

    fn stop_module(&self) -> Result<()> {
        let error = self.module_event(sys::MOD_UNLOAD);
        ensure!(error == 0, "the module refuses to be unloaded: error {error}");
        if !self.forgot_unlocked_callers.take() {
            violation("leaves while a thread may be about to call it with no lock held".into());
        }
        self.end_module()
    }

    fn end_module(&self) -> Result<()> {
        let image = self.image().context("linked")?;
        // The kernel does not wait for the threads in their handlers.
        self.sysctls.take();
        for entry in sorted(image.set("sysuninit_set")).into_iter().rev() {
            run_sysinit(entry);
        }
        if !self.forgot_unlocked_callers.take() {
            violation("leaves while a thread may be in the handler of a sysctl".into());
        }
        self.check_left_nothing();
        Ok(())
    }

    fn module_event(&self, event: sys::modeventtype) -> i32 {
        let module = self.module.borrow();
        let data = module.as_ref().and_then(|module| module.event.get());
        drop(module);
        // SAFETY: the module registered its data, which live in its image.
        let handler = data.and_then(|data| unsafe { (*data).evhand.map(|handler| (handler, (*data).priv_)) });
        into_module(|| {
            // SAFETY: the handler is the module's; it makes no use of module_t.
            handler.map_or(0, |(handler, private)| unsafe {
                handler(std::ptr::null_mut(), event as i32, private)
            })
        })
    }

    /// Reports a violation for what a kernel would find only by a later panic.
    fn check_left_nothing(&self) {
        let kinds = [
            "pfsync",
            event::ENTRY,
            "mbuf",
            "cluster",
            "nvlist",
            "in_mfilter",
            "in6_mfilter",
            "in_multi",
            "intr_event",
            "intr_handler",
        ];
        let leaks = self.heap.leaks(self, &kinds);
        if !leaks.is_empty() {
            violation(format!("leaks memory: {}", leaks.join("; ")));
        }
        if let Some(place) = self.lists.borrow().values().next() {
            violation(format!("leaks an nvlist from {}", place.name(self)));
        }
        if self.callouts.pending() > 0 {
            violation("leaves callouts armed".into());
        }
        if self.tasks.pending() > 0 {
            violation("leaves tasks queued".into());
        }
        if !self.protocols.borrow().is_empty() {
            violation("leaves protocol handlers registered".into());
        }
        for vnet in self.vnets.borrow().iter() {
            if !vnet.cloners.borrow().is_empty() {
                violation("leaves a cloner attached".into());
            }
            vnet.pf.check_no_hooks();
            vnet.pf.check_references();
            vnet.pf.check_counters();
        }
        self.heap.check_freed();
    }

    /// Runs the module's initialisation in a vnet that is made after loading.
    pub(crate) fn start_module_in(self: &Rc<Self>, vnet: &Rc<Vnet>) -> Result<(), Violation> {
        let Some(functions) = self.module.borrow().as_ref().map(|module| module.vnet_init.borrow().clone())
        else {
            return Ok(());
        };
        let inner = vnet.clone();
        self.run("jail", vnet, move || {
            with_sysinit_lock(|| functions.iter().for_each(|function| run_vnet_function(*function, &inner)));
        })
    }

    /// Destroys a vnet, as the end of a jail does.
    pub fn remove_vnet(self: &Rc<Self>, vnet: &Rc<Vnet>) -> Result<(), Violation> {
        let (kernel, inner) = (self.clone(), vnet.clone());
        self.run("jail", vnet, move || kernel.end_vnet(&inner))
    }

    /// The same, called in a thread of the vnet.
    pub fn end_vnet(&self, vnet: &Rc<Vnet>) {
        vnet.listed.set(false);
        self.variables.link_vnets(self);
        interface::with_lock(interface::detach_lock(self), || {
            with_sysinit_lock(|| {
                let module = self.module.borrow();
                let functions = module.as_ref().map(|module| module.vnet_uninit.borrow().clone());
                drop(module);
                functions.iter().flatten().rev().for_each(|function| run_vnet_function(*function, vnet));
                interface::detach_all(vnet);
            });
        });
        vnet.pf.check_no_hooks();
        vnet.dismantle(self);
        self.vnets.borrow_mut().retain(|other| !Rc::ptr_eq(other, vnet));
    }
}

fn with_sysinit_lock(inside: impl FnOnce()) {
    let kernel = thread::current().kernel.clone();
    let address = kernel.variables.globals() as usize + 1;
    static_lock(&kernel, address, SYSINIT_LOCK);
    kernel.locks.lock(address, Mode::Exclusive);
    inside();
    kernel.locks.unlock(address, Mode::Exclusive);
}

/// Makes sure that a sleepable lock of the kernel's own exists.
pub(crate) fn static_lock(kernel: &Kernel, address: usize, class: &str) {
    if !kernel.locks.exists(address) {
        kernel.locks.init(address, class, Kind::Sx, Flags::default());
    }
}

kpi::symbols! {
    pub unsafe extern "C" fn module_register_init(data: *const native::moduledata) {
        let kernel = thread::current().kernel.clone();
        kernel.module.borrow().iter().for_each(|module| module.event.set(Some(data)));
        let error = kernel.module_event(sys::MOD_LOAD);
        if error != 0 {
            kernel.module_event(sys::MOD_UNLOAD);
            kernel.module.borrow().iter().for_each(|module| module.refused.set(error));
        }
    }

    pub unsafe extern "C" fn vnet_register_sysinit(function: VnetFunction) {
        let kernel = thread::current().kernel.clone();
        with_sysinit_lock(|| {
            kernel.module.borrow().iter().for_each(|module| module.vnet_init.borrow_mut().push(function));
            let vnets = kernel.vnets.borrow().clone();
            let listed = vnets.iter().filter(|vnet| vnet.listed.get());
            listed.for_each(|vnet| run_vnet_function(function, vnet));
        });
    }

    pub unsafe extern "C" fn vnet_deregister_sysinit(function: VnetFunction) {
        let kernel = thread::current().kernel.clone();
        with_sysinit_lock(|| {
            let module = kernel.module.borrow();
            module.iter().for_each(|module| module.vnet_init.borrow_mut().retain(|other| *other != function));
        });
    }

    pub unsafe extern "C" fn vnet_register_sysuninit(function: VnetFunction) {
        let kernel = thread::current().kernel.clone();
        with_sysinit_lock(|| {
            kernel.module.borrow().iter().for_each(|module| module.vnet_uninit.borrow_mut().push(function));
        });
    }

    pub unsafe extern "C" fn vnet_deregister_sysuninit(function: VnetFunction) {
        let kernel = thread::current().kernel.clone();
        with_sysinit_lock(|| {
            let vnets = kernel.vnets.borrow().clone();
            let listed = vnets.iter().filter(|vnet| vnet.listed.get());
            listed.for_each(|vnet| run_vnet_function(function, vnet));
            let module = kernel.module.borrow();
            module.iter().for_each(|module| module.vnet_uninit.borrow_mut().retain(|other| *other != function));
        });
    }
}
