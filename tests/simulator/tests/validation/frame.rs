// SPDX-License-Identifier: BSD-2-Clause
//! The packet that a message comes in, and the frame's header.

use super::common::target::{frame, in_packet, state, Target};
use super::common::{pair, tcp, unload};
use super::state::rule_number;
use super::Counter;
use anyhow::Result;
use pfsync::wire::{Action, RawId, RawTdb, ACTIONS};
use pfsync_simulator::freebsd::kernel::world::{milliseconds, Policy};
use pfsync_simulator::freebsd::net;
use pfsync_simulator::freebsd::net::Faults;
use pfsync_simulator::lab::{address4, Config, Lab, SyncPeer, NEWEST, OUTSIDE};
use zerocopy::byteorder::big_endian::U32;
use zerocopy::FromZeros;

/// Sends a changed packet to a firewall, which drops and counts it.
fn frame_is_refused(change: impl FnOnce(Vec<u8>) -> Vec<u8>, counter: Counter) -> Result<()> {
    let target = Target::new()?;
    target.send_packet(change(in_packet(&frame(Action::Insert1400, &[state()]))))?;
    assert_eq!((target.has_state(), counter(&target.stats())), (false, 1));
    target.finish()
}

/// Changes one byte, counted from the start of the IP header.
fn with(at: usize, byte: u8) -> impl FnOnce(Vec<u8>) -> Vec<u8> {
    move |mut packet| {
        packet[at] = byte;
        packet
    }
}

const FRAME: usize = 20;
const SUBHEADER: usize = FRAME + 20;

#[test]
fn ttl() -> Result<()> {
    frame_is_refused(with(8, 254), |stats| stats.pfsyncs_badttl)
}

#[test]
fn header_whole() -> Result<()> {
    frame_is_refused(|packet| in_packet(&packet[FRAME..FRAME + 19]), |stats| stats.pfsyncs_hdrops)
}

#[test]
fn version() -> Result<()> {
    frame_is_refused(with(FRAME, 6), |stats| stats.pfsyncs_badver)
}

/// A number above 3 announces a later format, whose reader reads 1500 too.
#[test]
fn announcement() -> Result<()> {
    let newest = NEWEST as u64;
    for (number, sent) in [(0, 1400), (1, 1301), (2, 1400), (4, newest), (255, newest)] {
        let target = Target::new()?;
        let mut bytes = frame::<RawId>(Action::InsertAck, &[]);
        bytes[1] = number;
        target.send_bytes(&bytes)?;
        let list = target.fw.configuration()?.expect("readable");
        assert_eq!(list.number(c"version"), Some(sent), "{number}");
        target.finish()?;
    }
    Ok(())
}

#[test]
fn header_len_beyond_the_packet() -> Result<()> {
    frame_is_refused(with(FRAME + 2, 0xff), |stats| stats.pfsyncs_badlen)
}

#[test]
fn header_len_below_the_header() -> Result<()> {
    let short = |mut packet: Vec<u8>| {
        packet[FRAME + 2..FRAME + 4].copy_from_slice(&[0, 19]);
        packet
    };
    frame_is_refused(short, |stats| stats.pfsyncs_badlen)
}

#[test]
fn action() -> Result<()> {
    for number in [6, 8, 9, ACTIONS as u8, 255] {
        frame_is_refused(with(SUBHEADER, number), |stats| stats.pfsyncs_badact)?;
    }
    Ok(())
}

#[test]
fn count() -> Result<()> {
    frame_is_refused(with(SUBHEADER + 2, 0xff), |stats| stats.pfsyncs_badlen)
}

#[test]
fn end_mark() -> Result<()> {
    let target = Target::new()?;
    let mut bytes = frame(Action::Insert1400, &[state()]);
    bytes.extend([0; 4]);
    target.send_bytes(&bytes)?;
    assert!(target.has_state(), "what came before the end mark counts");
    assert_eq!(target.stats().pfsyncs_badlen, 1);
    target.finish()
}

#[test]
fn interface() -> Result<()> {
    let target = Target::new()?;
    let packet = in_packet(&frame(Action::Insert1400, &[state()]));
    target.fw.run("netisr", move |vnet| {
        let outside = vnet.interfaces.find(OUTSIDE).expect("attached");
        net::receive(&packet, outside, packet.len());
    })?;
    assert_eq!((target.has_state(), target.stats().pfsyncs_badif), (false, 1));
    target.finish()
}

#[test]
fn decrypted() -> Result<()> {
    let target = Target::new()?;
    let (kernel, sync) = (target.fw.kernel.clone(), target.fw.sync() as usize);
    target.fw.run("kldload", move |vnet| kernel.attach_enc(vnet))?;
    let syncpeer = Some(SyncPeer::Inet(address4(2)));
    let config = Config { syncdev: Some("enc0".into()), syncpeer, ..Config::default() };
    assert_eq!(target.fw.configure(&config)?, Ok(()));
    let packet = in_packet(&frame(Action::Insert1400, &[state()]));
    let plain = packet.clone();
    target.fw.run("netisr", move |_| net::receive(&plain, sync as *mut _, plain.len()))?;
    assert_eq!((target.has_state(), target.stats().pfsyncs_badif), (false, 1));
    target.fw.run("netisr", move |_| net::receive_decrypted(&packet, sync as *mut _))?;
    assert_eq!((target.has_state(), target.stats().pfsyncs_badif), (true, 1));
    target.finish()
}

#[test]
fn checksum() -> Result<()> {
    let target = Target::new()?;
    let mut raw = state();
    raw.common.rule = U32::new(1);
    let mut bytes = frame(Action::Insert1400, &[raw]);
    bytes[4] ^= 1;
    target.send_bytes(&bytes)?;
    // The default rule has the number -1.
    assert_eq!(target.look(rule_number), Some(u32::MAX));
    target.finish()
}

#[test]
fn packet_of_this_firewall() -> Result<()> {
    let target = Target::new()?;
    let mut packet = in_packet(&frame(Action::Insert1400, &[state()]));
    packet[12..16].copy_from_slice(&address4(1));
    target.send_packet(packet)?;
    assert_eq!((target.has_state(), target.limited("reflected")), (false, 1));
    target.finish()
}

#[test]
fn tdb() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::Tdb, &[RawTdb::new_zeroed()])?;
    let stats = target.stats();
    assert_eq!((stats.pfsyncs_iacts[Action::Tdb as usize], stats.pfsyncs_badlen), (1, 0));
    target.finish()
}

#[test]
fn corrupted_packets_do_no_harm() -> Result<()> {
    let lab = Lab::new(Policy { seed: 5, preemption: 0.0 });
    let [one, two] = pair(&lab)?;
    lab.world.network.set_faults(Faults { corruption: 1.0, delay: milliseconds(50), ..Faults::NONE });
    for number in 0..300 {
        let id = one.open(&tcp(number))?;
        one.pass(id, |st| st.src.seqlo += 1000)?;
        lab.advance(20)?;
    }
    lab.seconds(3)?;
    unload([one, two])
}
