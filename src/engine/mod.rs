// SPDX-License-Identifier: BSD-2-Clause
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]
//! The decisions of pfsync, independent of any kernel: the caller passes time
//! and values in, and carries out what comes back.
//!
//! | module | decides |
//! |---|---|
//! | [`agreement`] | which frames of peers are missing, and what is told again |
//! | [`bucket`] | which changes of states are sent, and when |
//! | [`bulk`] | when to request a bulk update, and how to answer a request |
//! | [`config`] | what a configuration means |
//! | [`control`] | which messages that belong to no local state wait to be sent |
//! | [`defer`] | which packets wait for an acknowledgement, and until when |
//! | [`ended`] | which states must not come back |
//! | [`ending`] | whether a state ends because of what a peer says |
//! | [`format_choice`] | which message format states are sent in |
//! | [`limit`] | how much work and memory peers may cause |
//! | [`merge`] | what an update may change in a local state |
//!
//! Nothing here locks, allocates, reads a clock or can panic. What is shared
//! between threads is behind a lock of the caller's, except for
//! [`limit::Rate`].
//!
//! # Examples
//!
//! Judge an update of a TCP state. The source is newer than here. The
//! destination is older, so it must not be applied, and the peer is behind:
//!
//! ```
//! use pfsync::engine::merge::{self, EndpointVerdict, LocalEndpoint};
//! use pfsync::wire::Endpoint;
//!
//! const ESTABLISHED: u8 = 4;
//! let local = [1_000, 5_000].map(|seqlo| LocalEndpoint { state: ESTABLISHED, seqlo });
//! let [src, dst] = [2_000, 4_000].map(|seqlo| Endpoint {
//!     state: ESTABLISHED,
//!     seqlo,
//!     seqhi: seqlo + 65_535,
//!     seqdiff: 0,
//!     max_win: 65_535,
//!     mss: 1_460,
//!     wscale: 0,
//!     scrub: None,
//! });
//! let verdict = merge::tcp(local, [&src, &dst]);
//! assert_eq!(verdict.src, EndpointVerdict::Newer);
//! assert_eq!(verdict.dst, EndpointVerdict::Stale);
//! assert!(verdict.applies_any() && verdict.peer_is_behind());
//! ```
//!
//! [`bucket`] has an example that drives the queues of a bucket.

pub mod agreement;
pub mod bucket;
pub mod bulk;
pub mod config;
pub mod control;
pub mod defer;
pub mod ended;
pub mod ending;
pub mod format_choice;
pub mod limit;
pub mod merge;
