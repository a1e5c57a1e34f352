// SPDX-License-Identifier: BSD-2-Clause
//! When new and ended states are on the peer, and how many packets that takes.

mod common;

use anyhow::Result;
use common::{actions, pair, plain_lab, record, tcp, unload};
use pfsync::wire::Action;
use pfsync_simulator::freebsd::kernel::world::{Sbt, SECOND};
use pfsync_simulator::lab::{connection, Firewall, Lab, NEWEST};
use sys_bindings as sys;

/// `kern.hz` of the firewalls.
const HZ: [i64; 2] = [100, 1000];

/// Two firewalls in sync that send no hellos, with that many ticks in a second.
fn pair_at(lab: &Lab, hz: i64) -> Result<[Firewall; 2]> {
    let firewalls = pair(lab)?;
    for firewall in &firewalls {
        // SAFETY: the kernel's own variable, and no thread runs.
        unsafe { (*firewall.kernel.variables.globals()).set_hz(hz) };
    }
    lab.seconds(2)?;
    Ok(firewalls)
}

fn pass(lab: &Lab, time: Sbt) -> Result<()> {
    lab.world.advance(time);
    Ok(lab.check()?)
}

/// How many states fit into a packet of 1500 bytes.
fn states_in_a_packet() -> usize {
    (1500 - 20 - 20 - 4 - 4) / NEWEST.size()
}

#[test]
fn news_is_on_the_peer_within_two_ticks() -> Result<()> {
    for hz in HZ {
        let lab = plain_lab();
        let [one, two] = pair_at(&lab, hz)?;
        let id = one.open(&tcp(1))?;
        pass(&lab, 2 * SECOND / hz)?;
        assert!(two.state(id).is_some(), "hz {hz}: the state is not there");
        one.kill(id)?;
        pass(&lab, 2 * SECOND / hz)?;
        assert!(two.state(id).is_none(), "hz {hz}: the state is still there");
        unload([one, two])?;
    }
    Ok(())
}

#[test]
fn a_full_packet_leaves_at_once() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair_at(&lab, 100)?;
    let sent = record(&lab);
    // Each in another bucket.
    for number in 0..states_in_a_packet() {
        assert_eq!(two.states().len(), 0);
        one.open(&tcp(number as u32))?;
    }
    pass(&lab, SECOND / 1000)?;
    assert_eq!(two.states().len(), states_in_a_packet());
    assert_eq!(sent.borrow().len(), 1);
    unload([one, two])
}

#[test]
fn a_packet_takes_messages_of_all_buckets() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair_at(&lab, 100)?;
    let ids = [1, 2, 3].map(|number| one.open(&tcp(number)).expect("made"));
    lab.seconds(1)?;
    let sent = record(&lab);
    ids.iter().try_for_each(|id| one.kill(*id))?;
    one.open(&tcp(4))?;
    one.open(&tcp(5))?;
    pass(&lab, SECOND / 100)?;
    let frames: Vec<_> = sent.borrow().iter().map(|sent| sent.frame().to_vec()).collect();
    assert_eq!(frames.len(), 1);
    assert_eq!(actions(&frames), [(Action::DeleteCompressed, 3), (NEWEST.insert(), 2)]);
    unload([one, two])
}

#[test]
fn an_update_of_a_known_state_keeps_its_second() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair_at(&lab, 1000)?;
    let id = one.open(&connection(1, sys::IPPROTO_UDP))?;
    pass(&lab, SECOND / 100)?;
    let sent = record(&lab);
    for _ in 0..90 {
        one.pass(id, |st| st.packets[0] += 1)?;
        pass(&lab, SECOND / 100)?;
    }
    assert_eq!(sent.borrow().len(), 0);
    pass(&lab, SECOND / 5)?;
    assert_eq!(sent.borrow().len(), 1);
    unload([one, two])
}

#[test]
fn at_rest_no_callout_is_armed() -> Result<()> {
    for hz in HZ {
        let lab = plain_lab();
        let [one, two] = pair_at(&lab, hz)?;
        for number in 0..20 {
            one.open(&connection(number, sys::IPPROTO_UDP))?;
        }
        lab.seconds(3)?;
        assert_eq!(two.states().len(), 20);
        for firewall in [&one, &two] {
            assert_eq!(firewall.kernel.armed_callouts(), 0, "hz {hz}");
        }
        unload([one, two])?;
    }
    Ok(())
}

/// What the stock module would send: each bucket has a packet that leaves when the next state
/// does not fit, or a second after its first state.
struct Stock {
    buckets: Vec<(usize, Sbt)>,
    packets: usize,
}

impl Stock {
    fn new(buckets: usize) -> Stock {
        Stock { buckets: vec![(0, 0); buckets], packets: 0 }
    }

    fn insert(&mut self, number: usize, now: Sbt) {
        let index = number % self.buckets.len();
        self.pass_time(now);
        let (states, since) = &mut self.buckets[index];
        if *states == states_in_a_packet() {
            *states = 0;
            self.packets += 1;
        }
        if *states == 0 {
            *since = now;
        }
        *states += 1;
    }

    fn pass_time(&mut self, now: Sbt) {
        for (states, since) in &mut self.buckets {
            if *states > 0 && now - *since >= SECOND {
                *states = 0;
                self.packets += 1;
            }
        }
    }
}

/// Opens that many connections in a second, at random moments. Returns how many packets this
/// module sent and the stock module would have sent, and the longest time that a state took.
fn connect(hz: i64, rate: usize, count: usize) -> Result<(usize, usize, Sbt)> {
    let lab = plain_lab();
    let [one, two] = pair_at(&lab, hz)?;
    let sent = record(&lab);
    let mut stock = Stock::new(4);
    let start = lab.world.now();
    let (mut waiting, mut longest) = (Vec::new(), 0);
    let quarter = SECOND / hz / 4;
    let (mut due, mut next_look, mut random) = (start, start, 1u64);
    for number in 0..count {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let uniform = ((random >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        due += (-uniform.ln() * SECOND as f64 / rate as f64) as Sbt;
        while next_look < due {
            pass(&lab, next_look - lab.world.now())?;
            waiting.retain(|(id, since)| {
                let is_there = two.state(*id).is_some();
                longest = longest.max(next_look - since);
                !is_there
            });
            next_look += quarter;
        }
        pass(&lab, due - lab.world.now())?;
        waiting.push((one.open(&connection(number as u32, sys::IPPROTO_UDP))?, due));
        stock.insert(number, due);
    }
    pass(&lab, 2 * SECOND / hz)?;
    assert_eq!(two.states().len(), count);
    stock.pass_time(lab.world.now() + SECOND);
    let packets = sent.borrow().len();
    unload([one, two])?;
    Ok((packets, stock.packets, longest))
}

/// At low rates at most one packet leaves in a tick. At others, no more leave than of the stock
/// module. In between, at the rate that fills a packet in a tick, chance fills two in one tick
/// and none in the next, which takes up to a tenth more.
#[test]
fn no_more_packets_leave_than_of_the_stock_module() -> Result<()> {
    for hz in HZ {
        for (rate, count) in [(1, 5), (10, 50), (100, 200), (1_000, 1_500), (10_000, 5_000), (50_000, 10_000)]
        {
            let (packets, stock, longest) = connect(hz, rate, count)?;
            println!("hz {hz}, {rate}/s: {packets} packets, the stock module {stock}");
            let ticks = count * hz as usize / rate;
            let most = stock.max(ticks.min(count));
            assert!(packets <= most + most / 50 + 1, "hz {hz}, {rate}/s: {packets} packets, not {most}");
            assert!(longest <= 9 * SECOND / hz / 4, "hz {hz}, {rate}/s: {longest}");
        }
        let rate = states_in_a_packet() * hz as usize;
        let (packets, stock, _) = connect(hz, rate, 2_000)?;
        println!("hz {hz}, {rate}/s: {packets} packets, the stock module {stock}");
        assert!(packets <= stock + stock / 8, "hz {hz}, {rate}/s: {packets} packets, not {stock}");
    }
    Ok(())
}
