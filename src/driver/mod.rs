// SPDX-License-Identifier: BSD-2-Clause
//! The kernel half of pfsync: it connects [`crate::wire`] and [`crate::engine`] with the
//! FreeBSD kernel and with pf.
//!
//! [`kernel`] wraps FreeBSD's interfaces in safe types, and [`pf`] does the same for pf's
//! state table. The other modules are pfsync itself:
//!
//! - To send: [`hooks`] queues a state in the [`queues`] of a bucket, [`schedule`] says when
//!   it leaves, [`sender`] sends it, [`output`] builds the packet in [`buffer`], and [`link`] sends it.
//! - To receive: [`input`] handles a packet, and [`import`] inserts new states.
//! - To defer: [`deferral`] keeps the first packet of a connection until a peer knows its
//!   state.
//! - A bulk update: [`bulk_request`] requests one, and [`bulk_answer`] answers a request.
//! - To agree with the peers on what is missing: [`agreement`] has the numbers of frames,
//!   [`hello`] reports, and [`repair`] tells again what peers lack.
//! - To choose what is sent: [`format`] follows what the peers read.
//! - To configure: [`ifconfig`] has the ioctls, and [`configuration`] carries them out.
//! - To start and end: [`module`] has the entry points from C, [`lifecycle`] counts the
//!   vnets, [`instance`] publishes the interface, and [`storage`] is what C stores.
//! - To observe: [`stats`] has the counters, and [`probe`] the DTrace probes.
//!
//! These modules import each other without a circle, which `tests/modules.rs` checks.

mod agreement;
mod buffer;
mod bulk_answer;
mod bulk_request;
mod configuration;
mod conflict;
mod deferral;
mod format;
mod hello;
mod hooks;
mod ifconfig;
mod import;
mod input;
mod instance;
mod kernel;
mod keys;
mod lifecycle;
mod link;
mod module;
mod output;
mod pf;
mod probe;
mod queues;
mod repair;
mod schedule;
mod sender;
mod softc;
mod stats;
mod storage;

/// What Rust demands of a crate without the standard library.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // SAFETY: panic(9) stops the system, and its format has no arguments. This is never
    // called: the build refuses a module that refers to Rust's panics.
    unsafe { sys_bindings::panic(c"pfsync: panic in Rust code".as_ptr()) }
}
