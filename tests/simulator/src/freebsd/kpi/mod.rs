// SPDX-License-Identifier: BSD-2-Clause
//! The functions that kernel modules call, by the kernel's names. Each makes the
//! kernel's checks, and then does what the kernel does as far as pfsync can tell.

pub(crate) mod carp;
mod ip;
mod libc;
pub mod locks;
pub mod mbuf;
pub mod memory;
mod nvlist;
pub mod probes;
pub(crate) mod protocol;
mod sysctl;
pub(crate) mod time;

use std::collections::HashMap;
use std::sync::OnceLock;

/// Defines functions that modules can call, and `symbols()`, which lists them.
macro_rules! symbols {
    ($(
        $(#[$attribute:meta])*
        pub unsafe extern "C" fn $name:ident($($arguments:tt)*) $(-> $result:ty)? $body:block
    )*) => {
        $(
            $(#[$attribute])*
            #[doc = concat!("`", stringify!($name), "`.\n\n# Safety\n\nAs for the kernel's function of that name.")]
            // Tests call the functions of some modules, and these alone are reachable.
            #[allow(non_snake_case, unreachable_pub)]
            pub unsafe extern "C" fn $name($($arguments)*) $(-> $result)? {
                let _paused = $crate::freebsd::machine::steps::pause();
                $body
            }
        )*

        /// The functions of this file that modules can call.
        pub(crate) fn symbols() -> Vec<(&'static str, usize)> {
            vec![$((stringify!($name), $name as *const () as usize)),*]
        }
    };
}
pub(crate) use symbols;

/// The address of a function that modules can call.
pub(crate) fn find(name: &str) -> Option<usize> {
    static TABLE: OnceLock<HashMap<&'static str, usize>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let files = [
            crate::freebsd::kernel::callout::symbols(),
            crate::freebsd::kernel::event::symbols(),
            crate::freebsd::kernel::cloner::symbols(),
            crate::freebsd::kernel::interface::symbols(),
            crate::freebsd::kernel::interrupt::symbols(),
            crate::freebsd::kernel::module::symbols(),
            crate::freebsd::kernel::task::symbols(),
            crate::freebsd::pf::exported::symbols(),
            crate::freebsd::pf::release::symbols(),
            ip::symbols(),
            libc::symbols(),
            locks::symbols(),
            mbuf::symbols(),
            memory::symbols(),
            nvlist::symbols(),
            protocol::symbols(),
            sysctl::symbols(),
            time::symbols(),
        ];
        files.into_iter().flatten().collect()
    });
    table.get(name).copied()
}
