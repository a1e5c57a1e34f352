// SPDX-License-Identifier: BSD-2-Clause
//! How many frames of a bulk update may be on their way to a peer.
//!
//! The window grows with every frame that the peer reports, and halves when one was
//! lost. So a bulk update runs as fast as the wire and the peer allow.

/// The smallest window, in frames. A peer reports more often than that.
pub const MIN_WINDOW: u64 = 64;
/// The largest window, in frames. Input queues hold a few hundred packets.
pub const MAX_WINDOW: u64 = 1024;
/// A peer that awaits a bulk update reports each time this many frames arrived.
pub const REPORT_FRAMES: u32 = 32;

/// The window towards one peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    window: u64,
    /// Frames that the peer has reported since the window last grew by one. `None`
    /// until the first loss: the window then grows by one for each frame.
    reported: Option<u64>,
    /// The last number that had been given when the window last halved. A loss of
    /// earlier numbers does not halve it again.
    halved_at: u64,
}

impl Flow {
    /// The window at the beginning of a bulk update.
    pub(super) const fn new() -> Flow {
        Flow { window: MIN_WINDOW, reported: None, halved_at: 0 }
    }

    /// How many more frames may be sent if the peer's reports have come to `heard` and
    /// the last number given is `number`.
    pub(super) fn space(&self, heard: u64, number: u64) -> u64 {
        self.window.saturating_sub(number.saturating_sub(heard))
    }

    /// A report arrived that tells of `frames` more numbers than the one before.
    /// `last_missing` is the highest number that it says is missing, and `number` the
    /// last that was given.
    pub(super) fn receive_report(&mut self, frames: u64, last_missing: Option<u64>, number: u64) {
        if last_missing.is_some_and(|missing| missing > self.halved_at) {
            self.window = (self.window / 2).max(MIN_WINDOW);
            self.reported = Some(0);
            self.halved_at = number;
            return;
        }
        self.window = match &mut self.reported {
            None => self.window.saturating_add(frames),
            Some(reported) => {
                *reported = reported.saturating_add(frames);
                let growth = reported.checked_div(self.window).unwrap_or(0);
                *reported = reported.checked_rem(self.window).unwrap_or(0);
                // A window of a few hundred would take minutes to double one by one.
                self.window.saturating_add(growth.saturating_mul(8))
            }
        }
        .min(MAX_WINDOW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_grows_and_halves() {
        let mut flow = Flow::new();
        assert_eq!(flow.space(100, 100), MIN_WINDOW);
        assert_eq!(flow.space(100, 100 + MIN_WINDOW), 0);
        flow.receive_report(64, None, 164);
        flow.receive_report(128, None, 292);
        assert_eq!(flow.window, 256);
        flow.receive_report(10, Some(300), 320);
        assert_eq!(flow.window, 128);
        // The same loss, and another from before.
        flow.receive_report(0, Some(320), 400);
        assert_eq!(flow.window, 128);
        flow.receive_report(127, None, 500);
        assert_eq!(flow.window, 128);
        flow.receive_report(1, None, 500);
        assert_eq!(flow.window, 136);
    }

    #[test]
    fn the_window_has_bounds() {
        let mut flow = Flow::new();
        flow.receive_report(u64::MAX, None, 1);
        assert_eq!(flow.window, MAX_WINDOW);
        for number in 2..100 {
            flow.receive_report(1, Some(number), number);
        }
        assert_eq!(flow.window, MIN_WINDOW);
    }
}
