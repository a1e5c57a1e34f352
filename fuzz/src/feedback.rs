// SPDX-License-Identifier: BSD-2-Clause
//! What libFuzzer learns about `pfsync.ko`, which has no instrumentation: the places
//! that called the simulator, probes with their arguments, and counters.

use pfsync_simulator::freebsd::kernel::Kernel;
use pfsync_simulator::freebsd::kpi::probes::Fired;
use pfsync_simulator::freebsd::machine::cpu::{self, CALLS};
use pfsync_simulator::lab::Firewall;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

/// How many counters there are for probes, and for `net.pfsync.stats`.
const PROBES: usize = 1 << 16;
const STATS: usize = 64;
const COUNTERS: usize = CALLS + PROBES + STATS;

/// libFuzzer finds these by the name of the section, and treats each as the counter
/// of one branch. It clears them before each input.
#[cfg_attr(fuzzing, link_section = "__libfuzzer_extra_counters")]
static SEEN: Counters = Counters([const { AtomicU8::new(0) }; COUNTERS]);

/// Aligned, because libFuzzer clears whole words.
#[repr(align(8))]
struct Counters([AtomicU8; COUNTERS]);

/// Reports what happened since the last call, while the module is loaded.
pub(crate) fn tell(firewall: &Firewall) {
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

/// The counter of a probe, by its small arguments, such as reasons and actions.
/// Large ones are identities, which all count as one.
fn slot(fired: &Fired) -> usize {
    let small = fired.args.iter().take(3).map(|arg| (*arg).min(15));
    small.fold(fired.probe, |slot, arg| slot * 16 + arg) % PROBES
}

fn read_stats(kernel: &std::rc::Rc<Kernel>, firewall: &Firewall) -> Vec<u64> {
    let size = size_of::<sys_bindings::pfsyncstats>();
    let bytes = kernel.sysctl_read(&firewall.vnet, "net.pfsync.stats", size).unwrap_or_default();
    bytes.chunks_exact(8).map(|value| u64::from_le_bytes(value.try_into().unwrap_or_default())).collect()
}
