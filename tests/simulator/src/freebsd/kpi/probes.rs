// SPDX-License-Identifier: BSD-2-Clause
//! DTrace's side of a module's probes.

use crate::freebsd::kernel::{thread, Kernel};
use crate::freebsd::native;
use crate::freebsd::pf::release;

/// A probe that fired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fired {
    /// Its number, counted from 1, in the list that [`Kernel::trace`] returned.
    pub probe: usize,
    /// Its arguments.
    pub args: [usize; 5],
}

impl Kernel {
    /// Enables every probe of the loaded module. Returns their names in the
    /// order of their numbers.
    pub fn trace(&self) -> Vec<String> {
        let Some(image) = self.image() else { return Vec::new() };
        let probes = image.set("sdt_probes_set").iter().map(|probe| *probe as *mut native::sdt_probe);
        let enable = |(number, probe): (native::id_t, *mut native::sdt_probe)| {
            // SAFETY: a set's entries point to the module's data; names are
            // terminated.
            unsafe {
                (*probe).id = number;
                std::ffi::CStr::from_ptr((*probe).name).to_string_lossy().into_owned()
            }
        };
        let names = (1..).zip(probes).map(enable).collect();
        release::patch_probes(&image);
        // SAFETY: the kernel's own variables.
        unsafe {
            (*self.variables.globals()).probe_function = fire as *const () as usize;
            (*self.variables.globals()).probes_enabled = true;
        }
        names
    }

    /// The probes that fired since the last call.
    pub fn take_fired(&self) -> Vec<Fired> {
        self.fired.take()
    }
}

/// What `sdt_probe_func` points to.
pub(crate) extern "C" fn fire(id: u32, a: usize, b: usize, c: usize, d: usize, e: usize) {
    let fired = Fired { probe: id as usize, args: [a, b, c, d, e] };
    thread::current().kernel.fired.borrow_mut().push(fired);
}
