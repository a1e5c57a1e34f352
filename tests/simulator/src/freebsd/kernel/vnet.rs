// SPDX-License-Identifier: BSD-2-Clause
//! Network stacks (vnets).

use super::cloner::Cloner;
use super::interface::Interfaces;
use super::variables::VnetVariables;
use super::Kernel;
use crate::freebsd::pf::rules::Rules;
use crate::freebsd::pf::Pf;
use anyhow::Result;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::rc::Rc;
use sys_bindings as sys;

/// malloc type of the VNET variables.
const DATA: &str = "vnet_data";

/// A vnet.
pub struct Vnet {
    raw: UnsafeCell<Box<sys::vnet>>,
    data: usize,
    /// Its pf.
    pub pf: Pf,
    /// Its interfaces.
    pub interfaces: Interfaces,
    /// Boxed, because the module has their addresses.
    #[allow(clippy::vec_box)]
    pub(crate) cloners: RefCell<Vec<Box<Cloner>>>,
    /// carp's demotion counter (`net.inet.carp.demotion`).
    pub(crate) demotion: Cell<i32>,
    /// Whether it is in the kernel's list of vnets: not yet while it starts, and
    /// no longer once it ends.
    pub(crate) listed: Cell<bool>,
}

impl Vnet {
    /// A vnet in which pf runs. The caller tells the module.
    pub(crate) fn new(kernel: &Kernel, rules: &Rules) -> Result<Rc<Vnet>> {
        let (start, len) = kernel.variables.vnet_region();
        let data = kernel.heap.allocate(len, DATA, true);
        // SAFETY: the region has that length, and so has the fresh memory.
        unsafe { std::ptr::copy_nonoverlapping(start as *const u8, data as *mut u8, len) };
        // SAFETY: plain data, for which all zeroes is valid.
        let mut raw: Box<sys::vnet> = unsafe { Box::new(std::mem::zeroed()) };
        raw.vnet_magic_n = 0x5e4a_6f28;
        raw.vnet_data_mem = data as *mut _;
        raw.vnet_data_base = data.wrapping_sub(start);
        let variables = data as *mut VnetVariables;
        let pf = Pf::new(kernel, variables, rules);
        Ok(Rc::new(Vnet {
            raw: UnsafeCell::new(raw),
            data,
            pf,
            interfaces: Interfaces::default(),
            cloners: RefCell::default(),
            demotion: Cell::new(0),
            listed: Cell::new(false),
        }))
    }

    /// The vnet for kernel code.
    pub(crate) fn raw(&self) -> *mut sys::vnet {
        // SAFETY: only the address is taken.
        unsafe { &raw mut **self.raw.get() }
    }

    /// The address in this vnet of a VNET variable.
    pub(crate) fn locate(&self, address: usize) -> usize {
        // SAFETY: the structure is set up.
        unsafe { (*self.raw()).vnet_data_base.wrapping_add(address) }
    }

    /// `vnet_data_copy`: initial values for the variables of a module.
    pub(crate) fn copy_module_data(&self, start: usize, len: usize) {
        // SAFETY: the range lies in the region, of which every vnet has a
        // copy of the same length.
        unsafe { std::ptr::copy_nonoverlapping(start as *const u8, self.locate(start) as *mut u8, len) };
    }

    /// Releases what the vnet has, once the module has left it.
    pub(crate) fn dismantle(&self, kernel: &Kernel) {
        self.pf.dismantle(kernel);
        kernel.heap.free(self.data, DATA);
    }
}
