// SPDX-License-Identifier: BSD-2-Clause
//! The output of the demonstration: bars on a terminal, lines elsewhere.

use super::capture::Decoded;
use crate::lab::{Firewall, NEWEST};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use pfsync::wire::Action;
use std::cell::{Cell, RefCell};
use std::io::IsTerminal;
use std::time::Duration;

/// A role that carp gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Master,
    Backup,
}

/// A firewall at one moment.
#[derive(Clone, Copy)]
pub(super) struct Side {
    states: usize,
    demotion: i32,
    role: Role,
}

impl Side {
    pub(super) fn of(firewall: &Firewall, role: Role) -> Side {
        Side { states: firewall.vnet.pf.states(), demotion: firewall.demotion(), role }
    }

    fn describe(side: Option<Side>) -> String {
        match side {
            None => "down".to_string(),
            Some(side) => format!(
                "{:6} demotion {:3}, {} states",
                format!("{:?}", side.role).to_uppercase(),
                side.demotion,
                side.states
            ),
        }
    }
}

/// How long each picture stays, since the simulation is faster than the eye.
const FRAME: Duration = Duration::from_millis(25);

/// The output.
pub struct View {
    bars: Option<Bars>,
    /// The second that was shown last, if there are no bars.
    shown: Cell<u64>,
}

struct Bars {
    all: MultiProgress,
    one: ProgressBar,
    two: ProgressBar,
    wire: ProgressBar,
    bulk: RefCell<Option<ProgressBar>>,
}

impl Bars {
    fn new() -> Bars {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let bar = |name: &'static str| {
            let style =
                ProgressStyle::with_template("{prefix:12} [{bar:30}] {msg}").expect("a valid template");
            all.add(ProgressBar::new(0).with_style(style.progress_chars("=> ")).with_prefix(name))
        };
        let (one, two) = (bar("firewall one"), bar("firewall two"));
        let style = ProgressStyle::with_template("{prefix:12} {msg}").expect("a valid template");
        let wire = all.add(ProgressBar::new(0).with_style(style).with_prefix("wire"));
        Bars { all, one, two, wire, bulk: RefCell::default() }
    }
}

impl View {
    /// Bars if stdout is a terminal, lines if not.
    pub fn new() -> View {
        View { bars: std::io::stdout().is_terminal().then(Bars::new), shown: Cell::new(0) }
    }

    /// Prints a line that stays.
    pub(super) fn say(&self, text: &str) {
        match &self.bars {
            // Nothing can be done about a terminal that is gone.
            Some(bars) => drop(bars.all.println(text)),
            None => println!("{text}"),
        }
    }

    /// Shows both firewalls; `None` stands for one that is down.
    pub(super) fn update(
        &self,
        seconds: f64,
        total: u32,
        one: Option<Side>,
        two: Option<Side>,
        decoded: &Decoded,
    ) {
        let wire = format!(
            "t={seconds:.2} s, {} packets: {} inserts, {} updates, {} compressed",
            decoded.packets.get(),
            decoded.messages(NEWEST.insert()),
            decoded.messages(NEWEST.update()),
            decoded.messages(Action::UpdateCompressed),
        );
        let Some(bars) = &self.bars else {
            if self.shown.replace(seconds as u64) != seconds as u64 {
                println!("  {wire}\n    one: {}\n    two: {}", Side::describe(one), Side::describe(two));
            }
            return;
        };
        for (bar, side) in [(&bars.one, one), (&bars.two, two)] {
            bar.set_length(total.into());
            bar.set_position(side.map_or(0, |side| side.states as u64));
            bar.set_message(Side::describe(side));
        }
        bars.wire.set_message(wire);
        std::thread::sleep(FRAME);
        if let (Some(bulk), Some(two)) = (&*bars.bulk.borrow(), two) {
            bulk.set_position(two.states as u64);
        }
    }

    /// A bulk update begins.
    pub(super) fn begin_bulk(&self, total: u32) {
        if let Some(bars) = &self.bars {
            let style = ProgressStyle::with_template("{prefix:12} [{bar:30}] {pos}/{len} states")
                .expect("a valid template");
            let bar = ProgressBar::new(total.into())
                .with_style(style.progress_chars("=> "))
                .with_prefix("bulk update");
            *bars.bulk.borrow_mut() = Some(bars.all.add(bar));
        }
    }

    /// The bulk update is over.
    pub(super) fn end_bulk(&self) {
        if let Some(bulk) = self.bars.as_ref().and_then(|bars| bars.bulk.take()) {
            bulk.finish();
        }
    }

    /// Leaves the bars as they are.
    pub(super) fn finish(&self) {
        if let Some(bars) = &self.bars {
            [&bars.one, &bars.two, &bars.wire].into_iter().for_each(ProgressBar::abandon);
        }
    }
}

impl Default for View {
    fn default() -> View {
        View::new()
    }
}
