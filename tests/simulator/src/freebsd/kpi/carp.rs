// SPDX-License-Identifier: BSD-2-Clause
//! carp(4)'s demotion counter.

use crate::freebsd::kernel::violation::violation;
use crate::freebsd::kernel::Kernel;

/// What `carp_demote_adj_p` points to.
///
/// # Safety
///
/// Only kernel code calls this, in a thread of a vnet.
pub(crate) unsafe extern "C" fn demote(by: i32, _reason: *mut i8) {
    let vnet = Kernel::current_vnet();
    let demotion = vnet.demotion.get() + by;
    if demotion < 0 {
        violation(format!("takes {} off carp's demotion of {}", -by, vnet.demotion.get()));
    }
    vnet.demotion.set(demotion);
}
