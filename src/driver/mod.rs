//! The kernel half: it carries data between the kernel, pf, [`crate::wire`] and
//! [`crate::engine`].

mod bulk;
mod hooks;
mod input;
mod ioctl;
mod kernel;
mod link;
mod module;
mod pf;
mod probe;
mod softc;
mod stats;
mod transmit;
mod vnet;
