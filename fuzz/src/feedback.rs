// SPDX-License-Identifier: BSD-2-Clause
//! What libFuzzer is told of `pfsync.ko`, which carries no instrumentation: the
//! places that called the host, probes with their arguments, and counters.

use pfsync_host::kernel::Kernel;
use pfsync_host::kpi::probes::Fired;
use pfsync_host::lab::Firewall;
use pfsync_host::machine::cpu::{self, CALLS};
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

/// Room for probes and for counters of `net.pfsync.stats`.
const PROBES: usize = 1 << 16;
const STATS: usize = 64;
const COUNTERS: usize = CALLS + PROBES + STATS;

/// libFuzzer finds these by the section's name, and takes each for a counter
/// of one branch. It clears them before each input.
#[cfg_attr(fuzzing, link_section = "__libfuzzer_extra_counters")]
static SEEN: Counters = Counters([const { AtomicU8::new(0) }; COUNTERS]);

/// libFuzzer clears whole words.
#[repr(align(8))]
struct Counters([AtomicU8; COUNTERS]);

/// Tells what happened since the last call. The module is loaded.
pub fn tell(firewall: &Firewall) {
    let (calls, rest) = SEEN.0.split_at(CALLS);
    let (probes, stats) = rest.split_at(PROBES);
    for (to, from) in calls.iter().zip(cpu::take_calls().iter()) {
        add(to, *from);
    }
    for fired in firewall.kernel.take_fired() {
        add(&probes[slot(&fired)], 1);
    }
    for (to, from) in stats.iter().zip(read_stats(&firewall.kernel, firewall)) {
        to.store(u8::try_from(from).unwrap_or(u8::MAX), Relaxed);
    }
}

fn add(counter: &AtomicU8, by: u8) {
    counter.store(counter.load(Relaxed).saturating_add(by), Relaxed);
}

/// Where a probe is counted: by its small arguments, such as reasons and
/// actions; large ones are identities.
fn slot(fired: &Fired) -> usize {
    let small = fired.args.iter().take(3).map(|arg| (*arg).min(15));
    small.fold(fired.probe, |slot, arg| slot * 16 + arg) % PROBES
}

fn read_stats(kernel: &std::rc::Rc<Kernel>, firewall: &Firewall) -> Vec<u64> {
    let size = size_of::<sys_bindings::pfsyncstats>();
    let bytes = kernel.sysctl_read(&firewall.vnet, "net.pfsync.stats", size).unwrap_or_default();
    bytes.chunks_exact(8).map(|value| u64::from_le_bytes(value.try_into().unwrap_or_default())).collect()
}
