// SPDX-License-Identifier: BSD-2-Clause
//! The kernel's variables that modules refer to by name, and the region of VNET
//! variables.

use super::world::{milliseconds, Sbt, SECOND};
use super::Kernel;
use crate::freebsd::machine::image::Outside;
use crate::freebsd::machine::low::LowMemory;
use crate::freebsd::native;
use anyhow::{Context, Result};
use std::cell::Cell;
use std::mem::offset_of;
use sys_bindings as sys;

/// The time between two clock ticks: `kern.hz` is 100.
const TICK: Sbt = milliseconds(10);

/// Global variables, at low addresses.
#[repr(C)]
pub struct Globals {
    /// `M_NVLIST`
    pub malloc_nvlist: [sys::malloc_type; 1],
    pub(crate) carp_demote: Option<unsafe extern "C" fn(i32, *mut i8)>,
    pub(crate) max_linkhdr: i32,
    pub(crate) release: i32,
    pub(crate) cpus: i32,
    pub(crate) net_epoch: usize,
    /// `taskqueue_thread`
    pub(crate) taskqueue: usize,
    pub(crate) tick: Sbt,
    pub(crate) uptime: i64,
    pub(crate) detach_ifnet: sys::pfsync_detach_ifnet_t,
    pub(crate) sysctl_net: sys::sysctl_oid,
    pub(crate) vnet_lock: native::rwlock,
    pub(crate) detach_lock: sys::sx,
    pub(crate) vnet_head: *mut sys::vnet,
    /// Whether a tracer runs.
    pub(crate) probes_enabled: bool,
    /// What probes call then.
    pub(crate) probe_function: usize,
}

impl Globals {
    /// Sets `mp_ncpus`, the number of CPUs.
    pub fn set_cpus(&mut self, cpus: i32) {
        self.cpus = cpus;
    }

    /// Sets `kern.hz`, the number of clock ticks in a second.
    pub fn set_hz(&mut self, hz: i64) {
        self.tick = SECOND / hz;
    }
}

/// The VNET variables of the kernel and of pf, at the start of each vnet's
/// region.
#[repr(C)]
pub(crate) struct VnetVariables {
    pub(crate) status: sys::pf_kstatus,
    pub(crate) idhash: *mut sys::pf_idhash,
    pub(crate) hashmask: u64,
    pub(crate) default_rule: sys::pf_krule,
    pub(crate) main_anchor: sys::pf_kanchor,
    pub(crate) rules_lock: sys::rmlock,
    pub(crate) limits: [sys::pf_limit; sys::PF_LIMIT_MAX as usize],
    pub(crate) state_zone: sys::uma_zone_t,
    pub(crate) state_key_zone: sys::uma_zone_t,
    pub(crate) scrub_zone: sys::uma_zone_t,
    pub(crate) import: sys::pfsync_state_import_t,
    pub(crate) insert: sys::pfsync_insert_state_t,
    pub(crate) update: sys::pfsync_update_state_t,
    pub(crate) delete: sys::pfsync_delete_state_t,
    pub(crate) clear: sys::pfsync_clear_states_t,
    pub(crate) defer: sys::pfsync_defer_t,
    pub(crate) numfibs: u32,
    pub(crate) random_id: i32,
}

/// Bytes for the VNET variables of modules.
const MODULE_VNET: usize = 16 << 10;

/// The variables of a kernel.
pub struct Variables {
    globals: *mut Globals,
    /// The region that each vnet has a copy of.
    vnet_start: usize,
    vnet_len: usize,
    vnet_used: Cell<usize>,
}

macro_rules! addresses {
    ($base:expr, $struct:ty, $name:expr, { $($symbol:literal => $field:ident),* $(,)? }) => {
        match $name {
            $($symbol => Some($base + offset_of!($struct, $field)),)*
            _ => None,
        }
    };
}

impl Variables {
    pub(crate) fn new(low: &LowMemory) -> Result<Variables> {
        let globals = low.take(size_of::<Globals>(), 64).context("low memory")?;
        low.next_page();
        let vnet_len = size_of::<VnetVariables>().next_multiple_of(64) + MODULE_VNET;
        let vnet_start = low.take(vnet_len, 64).context("low memory")?;
        Ok(Variables {
            globals: globals as *mut Globals,
            vnet_start,
            vnet_len,
            vnet_used: Cell::new(size_of::<VnetVariables>().next_multiple_of(64)),
        })
    }

    /// Sets what a kernel sets at boot.
    pub(crate) fn initialise(&self, kernel: &Kernel) {
        // SAFETY: the memory is zeroed, which is valid for every field, and
        // lives as long as the kernel.
        let globals = unsafe { &mut *self.globals };
        globals.max_linkhdr = 16;
        globals.release = sys::pfs_freebsd * 100_000 + 2000;
        globals.cpus = 2;
        globals.net_epoch = self.globals as usize;
        globals.taskqueue = self.globals as usize + 2;
        globals.tick = TICK;
        globals.malloc_nvlist[0].ks_shortdesc = c"nvlist".as_ptr();
        globals.sysctl_net.oid_name = c"net".as_ptr();
        globals.carp_demote = Some(crate::freebsd::kpi::carp::demote);
        let lock = &raw const globals.vnet_lock;
        use super::lock::{Flags, Kind};
        kernel.locks.init(lock as usize, "vnet_rwlock", Kind::ReadWrite, Flags::default());
        let lock = &raw const globals.detach_lock;
        let recursive = Flags { recursive: true, ..Flags::default() };
        kernel.locks.init(lock as usize, "ifnet_detach_sx", Kind::Sx, recursive);
        self.set_uptime(kernel);
    }

    /// The global variables, for the kernel's own side.
    pub fn globals(&self) -> *mut Globals {
        self.globals
    }

    /// Sets `osreldate`, the release that the kernel claims to be: 1402000 for 14.2.
    pub fn set_release(&self, release: i32) {
        // SAFETY: the memory lives as long as the kernel.
        unsafe { (*self.globals).release = release };
    }

    /// `osreldate`, the release that the kernel claims to be.
    pub fn release(&self) -> i32 {
        // SAFETY: the memory lives as long as the kernel.
        unsafe { (*self.globals).release }
    }

    /// Sets `time_uptime`.
    pub(crate) fn set_uptime(&self, kernel: &Kernel) {
        // SAFETY: the memory lives as long as the kernel.
        unsafe { (*self.globals).uptime = kernel.uptime() >> 32 };
    }

    /// The address of a variable.
    pub(crate) fn find(&self, name: &str) -> Option<Outside> {
        let globals = self.globals as usize;
        let global = addresses!(globals, Globals, name, {
            "M_NVLIST" => malloc_nvlist,
            "carp_demote_adj_p" => carp_demote,
            "max_linkhdr" => max_linkhdr,
            "mp_ncpus" => cpus,
            "osreldate" => release,
            "net_epoch_preempt" => net_epoch,
            "taskqueue_thread" => taskqueue,
            "tick_sbt" => tick,
            "time_uptime" => uptime,
            "pfsync_detach_ifnet_ptr" => detach_ifnet,
            "sysctl___net" => sysctl_net,
            "vnet_rwlock" => vnet_lock,
            "ifnet_detach_sxlock" => detach_lock,
            "vnet_head" => vnet_head,
            "sdt_probes_enabled" => probes_enabled,
            "sdt_probe_func" => probe_function,
        });
        let of_vnet = addresses!(self.vnet_start, VnetVariables, name, {
            "vnet_entry_pf_status" => status,
            "vnet_entry_pf_idhash" => idhash,
            "vnet_entry_pf_hashmask" => hashmask,
            "vnet_entry_pf_default_rule" => default_rule,
            "vnet_entry_pf_main_anchor" => main_anchor,
            "vnet_entry_pf_rules_lock" => rules_lock,
            "vnet_entry_pf_limits" => limits,
            "vnet_entry_pf_state_z" => state_zone,
            "vnet_entry_pf_state_key_z" => state_key_zone,
            "vnet_entry_pf_state_scrub_z" => scrub_zone,
            "vnet_entry_pfsync_state_import_ptr" => import,
            "vnet_entry_pfsync_insert_state_ptr" => insert,
            "vnet_entry_pfsync_update_state_ptr" => update,
            "vnet_entry_pfsync_delete_state_ptr" => delete,
            "vnet_entry_pfsync_clear_states_ptr" => clear,
            "vnet_entry_pfsync_defer_ptr" => defer,
            "vnet_entry__rt_numfibs" => numfibs,
            "vnet_entry_ip_random_id" => random_id,
        });
        global.or(of_vnet).map(Outside::Data)
    }

    /// `vnet_data_alloc`: space for a module's VNET variables.
    pub(crate) fn place_module(&self, len: usize) -> Option<usize> {
        let at = self.vnet_used.get();
        let end = at.checked_add(len)?.next_multiple_of(64);
        if end > self.vnet_len {
            return None;
        }
        self.vnet_used.set(end);
        Some(self.vnet_start + at)
    }

    /// `vnet_data_free`, when the module is gone.
    pub(crate) fn free_module(&self) {
        self.vnet_used.set(size_of::<VnetVariables>().next_multiple_of(64));
    }

    /// Start and length of the region that each vnet has a copy of.
    pub(crate) fn vnet_region(&self) -> (usize, usize) {
        (self.vnet_start, self.vnet_len)
    }

    /// Links the vnets into `vnet_head`.
    pub(crate) fn link_vnets(&self, kernel: &Kernel) {
        let vnets = kernel.vnets.borrow();
        // SAFETY: the structures live as long as the kernel has them; no
        // kernel thread walks the list now, since none runs.
        unsafe {
            let mut link = &raw mut (*self.globals).vnet_head;
            for vnet in vnets.iter().filter(|vnet| vnet.listed.get()) {
                *link = vnet.raw();
                (*vnet.raw()).vnet_le.le_prev = link;
                link = &raw mut (*vnet.raw()).vnet_le.le_next;
            }
            *link = std::ptr::null_mut();
        }
    }
}
