// SPDX-License-Identifier: BSD-2-Clause
//! The atomics of the module.
//!
//! FreeBSD also runs where loads and stores do not keep their order. So a comment at each
//! atomic says what orders it: its own ordering, or a lock that all threads take. The models in
//! `tests/models` compile some modules of the driver with atomics of a model checker, which
//! stand in the place of this module.

pub(crate) use core::sync::atomic::*;
