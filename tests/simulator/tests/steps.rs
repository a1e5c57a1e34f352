// SPDX-License-Identifier: BSD-2-Clause
//! The simulator counts the module's instructions.

mod common;

use common::{pair, plain_lab, tcp};
use pfsync_simulator::freebsd::machine::steps::Steps;

#[test]
fn instructions_are_counted_the_same_each_time() -> anyhow::Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let images = || [&one, &two].map(|firewall| firewall.kernel.image().expect("loaded")).to_vec();
    let id = one.open(&tcp(1))?;
    lab.seconds(2)?;
    let mut counted = Vec::new();
    for _ in 0..2 {
        let mut passed = Ok(false);
        let steps = Steps::count(images(), || passed = one.pass(id, |st| st.src.seqlo += 1));
        assert!(passed?);
        counted.push(steps.iter().map(|steps| (steps.instructions(), steps.calls())).collect::<Vec<_>>());
        lab.seconds(2)?;
    }
    assert_eq!(counted[0], counted[1]);
    let [(instructions, calls), (0, 0)] = counted[0][..] else { panic!("the other firewall did nothing") };
    assert!(instructions > 50 && instructions < 1000, "{instructions}");
    // The module takes and releases the lock of the bucket, and starts the timer.
    assert!((2..10).contains(&calls), "{calls}");
    Ok(())
}
