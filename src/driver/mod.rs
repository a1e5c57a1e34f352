// SPDX-License-Identifier: BSD-2-Clause
//! The kernel half: it carries data between the kernel, pf, [`crate::wire`] and
//! [`crate::engine`].
//!
//! [`kernel`] wraps FreeBSD's interfaces in safe types, and [`pf`] does the same
//! for pf's state table. The other modules are pfsync itself:
//! - to send: `hooks` puts a state into a bucket of `softc`, `sender` decides
//!   what goes when, `output` builds the packet, `link` sends it;
//! - to receive: `input` reads a packet, `import` takes in new states;
//! - in between: `deferral` holds the first packet of a connection until its
//!   state is acknowledged, `bulk_request` asks for a bulk update and
//!   `bulk_answer` answers one;
//! - to configure: `ioctl`;
//! - to start and end: `module` has the entry points from C, `lifecycle` counts
//!   the vnets, `instance` publishes the interface, `storage` is what C keeps for
//!   each vnet.
//!
//! The modules import each other without a circle; `tests/modules.rs` holds them
//! to it.

mod buffer;
mod bulk_answer;
mod bulk_request;
mod configuration;
mod deferral;
mod hooks;
mod ifconfig;
mod import;
mod input;
mod instance;
mod kernel;
mod lifecycle;
mod link;
mod module;
mod output;
mod pf;
mod probe;
mod sender;
mod softc;
mod stats;
mod storage;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // SAFETY: panic(9) stops the system and takes a format without arguments.
    // Nothing gets here: the build refuses a module that refers to Rust's
    // panics.
    unsafe { sys_bindings::panic(c"pfsync: panic in Rust code".as_ptr()) }
}
