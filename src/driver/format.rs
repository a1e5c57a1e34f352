// SPDX-License-Identifier: BSD-2-Clause
//! The format that states are sent in: what the peers read, or what the operator fixed.
//!
//! `engine::format_choice` chooses. When it chooses another format, the whole table is
//! sent once more: a peer that did not read the format before lacks states.

use crate::atomic::Ordering;
use crate::driver::bulk_answer;
use crate::driver::kernel::time;
use crate::driver::softc::Softc;
use crate::engine::format_choice::{FormatChoice, Heard};
use crate::wire::Format;

/// A frame of a peer came. Most frames tell nothing that the frame before did not, and
/// take no lock.
pub(crate) fn frame_received(softc: &Softc, heard: Heard) {
    let fingerprint = heard.fingerprint(time::uptime());
    if softc.last_heard.load(Ordering::Relaxed) == fingerprint {
        return;
    }
    // A peer that announces nothing is a stock one.
    if let (None, Some(format)) = (heard.announced, heard.spoken) {
        softc.agreement.lock().hear_format(heard.from, format);
    }
    choose(softc, |choice, now| {
        softc.last_heard.store(fingerprint, Ordering::Relaxed);
        choice.hear(heard, now)
    });
}

/// Time has passed, in which a peer may have fallen silent.
pub(crate) fn pass_time(softc: &Softc) {
    choose(softc, FormatChoice::pass_time);
}

/// The operator fixes the format, or leaves the choice to the peers.
pub(crate) fn fix(softc: &Softc, format: Option<Format>) {
    choose(softc, |choice, now| choice.fix(format, now));
}

/// The link leads to other peers from now on.
pub(crate) fn forget_peers(softc: &Softc) {
    choose(softc, |choice, now| {
        softc.last_heard.store(0, Ordering::Relaxed);
        choice.forget_peers(now)
    });
}

fn choose(softc: &Softc, choose: impl FnOnce(&mut FormatChoice, u32) -> Option<Format>) {
    let mut choice = softc.format_choice.lock();
    let Some(format) = choose(&mut choice, time::uptime()) else { return };
    // Stored with the choice locked, so that the last choice is the one that holds. Senders read
    // it without the lock, and may send the former format for a moment.
    softc.options.set_format(format);
    drop(choice);
    bulk_answer::request_received(softc);
}
