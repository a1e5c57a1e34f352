// SPDX-License-Identifier: BSD-2-Clause
//! Checks and conversions of whole states.

use super::*;
use crate::wire::FrameWriter;
use proptest::prelude::*;
use zerocopy::byteorder::big_endian::{I32, U16};
use zerocopy::FromZeros;

/// A state that passes the checks, with as many zeros as possible.
fn plain() -> RawState1400 {
    let mut raw = RawState1400::new_zeroed();
    raw.common.creator = [1, 2, 3, 4];
    raw.common.ifname[..3].copy_from_slice(b"em0");
    raw.af = 2;
    raw.proto = 6;
    raw.direction = 1;
    raw.rtableid = I32::new(-1);
    raw
}

fn refused(change: impl FnOnce(&mut RawState1400)) -> Option<Invalid> {
    let mut raw = plain();
    change(&mut raw);
    raw.check().err()
}

/// Asserts the result for a state that sets a priority.
fn check_with_setprio(change: &mut dyn FnMut(&mut RawState1400), expected: Option<Invalid>) {
    let with_flag = |s: &mut RawState1400| {
        s.state_flags = U16::new(StateFlags::SETPRIO.bits());
        change(s);
    };
    assert_eq!(refused(with_flag), expected);
}

#[test]
fn sizes_match_the_c_headers() {
    assert_eq!(size_of::<RawState1301>(), 242);
    assert_eq!(size_of::<RawState1400>(), 277);
    assert_eq!(size_of::<RawState1500>(), 360);
}

#[test]
fn every_impossible_field_is_refused() {
    assert_eq!(refused(|_| ()), None);
    assert_eq!(refused(|s| s.af = 10), Some(Invalid::Family));
    assert_eq!(refused(|s| s.direction = 0), Some(Invalid::Direction));
    assert_eq!(refused(|s| s.direction = 3), Some(Invalid::Direction));
    for timeout in [14, 19, 25, 255] {
        assert_eq!(refused(|s| s.timeout = timeout), Some(Invalid::Timeout));
    }
    assert_eq!(refused(|s| s.timeout = 24), None);
    assert_eq!(refused(|s| s.common.src.state = 13), Some(Invalid::EndpointState));
    assert_eq!(refused(|s| s.common.dst.state = 13), Some(Invalid::EndpointState));
    assert_eq!(refused(|s| s.common.dst.wscale = 15), Some(Invalid::WindowScale));
    assert_eq!(refused(|s| s.common.creator = [0; 4]), Some(Invalid::Creator));
    assert_eq!(refused(|s| s.common.ifname = [b'a'; 16]), Some(Invalid::InterfaceName));
    assert_eq!(refused(|s| s.common.ifname = [0; 16]), Some(Invalid::InterfaceName));
    assert_eq!(refused(|s| s.common.ifname[1] = b'\n'), None);
    assert_eq!(refused(|s| s.rt = 5), Some(Invalid::RouteTo));
    assert_eq!(refused(|s| s.rt = 2), Some(Invalid::InterfaceName));
    assert_eq!(refused(|s| s.rtableid = I32::new(-2)), Some(Invalid::RoutingTable));
    assert_eq!(refused(|s| s.set_prio = [8, 0]), None);
    check_with_setprio(&mut |s| s.set_prio = [8, 0], Some(Invalid::Priority));
    check_with_setprio(&mut |s| s.set_prio = [7, 7], None);
}

#[test]
fn a_name_ends_at_its_terminator() {
    let mut bytes = *b"em0\0garbage.....";
    assert_eq!(IfName::new(&bytes).unwrap().bytes(), b"em0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    bytes[3] = b'x';
    assert_eq!(IfName::new(&bytes), Err(Invalid::InterfaceName));
}

proptest! {
    #[test]
    fn a_name_is_what_precedes_the_first_zero(
        bytes in prop::array::uniform16(prop::sample::select(vec![0u8, 1, 2, 0x7f, 0x80, 0x81, 0xff])),
    ) {
        let len = bytes.iter().position(|byte| *byte == 0);
        let name = IfName::new(&bytes);
        prop_assert_eq!(name.is_ok(), len.is_some_and(|len| len > 0));
        if let (Ok(name), Some(len)) = (name, len) {
            prop_assert_eq!(name.as_bytes(), &bytes[..len]);
            prop_assert!(name.bytes()[len..].iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn a_name_of_any_bytes_is_shown_in_one_printable_word() {
    let show = |bytes: &[u8; 16]| IfName::new(bytes).unwrap().to_string();
    assert_eq!(show(b"em0.5\0\0\0\0\0\0\0\0\0\0\0"), "em0.5");
    assert_eq!(show(b"the wan\\\0\0\0\0\0\0\0\0"), "the\\x20wan\\x5c");
    assert_eq!(show(b"\x01\xff~\x7f\0\0\0\0\0\0\0\0\0\0\0\0"), "\\x01\\xff~\\x7f");
}

#[test]
fn format_1301_keeps_the_low_flags() {
    let mut state = plain().check().unwrap();
    state.flags = StateFlags::SCRUB_TCP | StateFlags::NODF;
    assert_eq!(RawState1301::from(&state).check().unwrap().flags, StateFlags::NODF);
    assert_eq!(RawState1400::from(&state).check().unwrap().flags, state.flags);
}

/// A state of an `af-to` rule, with a tag, in format 1500.
fn translated() -> RawState1500 {
    let mut raw = RawState1500::from(&plain().check().unwrap());
    raw.stack_af = 28;
    raw.tagname[..3].copy_from_slice(b"lan");
    raw
}

fn refused_in_1500(change: impl FnOnce(&mut RawState1500)) -> Option<Invalid> {
    let mut raw = translated();
    change(&mut raw);
    raw.check().err()
}

#[test]
fn every_impossible_field_of_format_1500_is_refused() {
    assert_eq!(refused_in_1500(|_| ()), None);
    assert_eq!(refused_in_1500(|s| s.wire_af = 10), Some(Invalid::Family));
    assert_eq!(refused_in_1500(|s| s.stack_af = 10), Some(Invalid::Family));
    assert_eq!(refused_in_1500(|s| s.direction = 0), Some(Invalid::Direction));
    assert_eq!(refused_in_1500(|s| s.timeout = 14), Some(Invalid::Timeout));
    assert_eq!(refused_in_1500(|s| s.common.src.state = 13), Some(Invalid::EndpointState));
    assert_eq!(refused_in_1500(|s| s.common.creator = [0; 4]), Some(Invalid::Creator));
    assert_eq!(refused_in_1500(|s| s.orig_ifname = [0; 16]), Some(Invalid::InterfaceName));
    assert_eq!(refused_in_1500(|s| s.tagname = [b'a'; 64]), Some(Invalid::Tag));
    assert_eq!(refused_in_1500(|s| s.tagname = [0; 64]), None);
    assert_eq!(refused_in_1500(|s| s.rt = 5), Some(Invalid::RouteTo));
    assert_eq!(refused_in_1500(|s| s.rt = 2), Some(Invalid::InterfaceName));
    assert_eq!(refused_in_1500(|s| (s.rt, s.rt_ifname) = (2, s.common.ifname)), Some(Invalid::Family));
    assert_eq!(refused_in_1500(|s| (s.rt, s.rt_ifname, s.rt_af) = (2, s.common.ifname, 28)), None);
    assert_eq!(refused_in_1500(|s| s.rtableid = I32::new(-2)), Some(Invalid::RoutingTable));
    let prio = |s: &mut RawState1500| (s.state_flags, s.set_prio) = (U16::new(0x0200), [8, 0]);
    assert_eq!(refused_in_1500(prio), Some(Invalid::Priority));
}

#[test]
fn the_protocols_of_both_keys_belong_together() {
    let protocols = |wire, stack, stack_af| {
        refused_in_1500(|s| (s.wire_proto, s.stack_proto, s.stack_af) = (wire, stack, stack_af))
    };
    assert_eq!(protocols(6, 17, 28), Some(Invalid::Protocol));
    assert_eq!(protocols(1, 58, 2), Some(Invalid::Protocol));
    assert_eq!(protocols(1, 58, 28), None);
    assert_eq!(protocols(58, 1, 28), None);
    assert_eq!(protocols(1, 1, 2), None);
}

#[test]
fn only_format_1500_carries_a_translated_state() {
    let state = translated().check().unwrap();
    assert!(
        state.is_expressible_in(Format::V1500)
            && !state.is_expressible_in(Format::V1400)
            && !state.is_expressible_in(Format::V1301)
    );
    assert_eq!(RawState1500::from(&state), translated());
    assert_eq!(state.tag.unwrap().bytes()[..4], *b"lan\0");
    let untranslated = plain().check().unwrap();
    assert!(untranslated.is_expressible_in(Format::V1301));
}

#[test]
fn formats_have_their_numbers() {
    for format in [Format::V1301, Format::V1400, Format::V1500] {
        assert_eq!(Format::from_number(format as i64), Some(format));
        assert_eq!([format.insert().format(), format.update().format()], [Some(format); 2]);
        assert!(State::read(format, &vec![0; format.size()]).is_some());
        assert!(State::read(format, &vec![0; format.size() + 1]).is_none());
    }
    assert_eq!(Format::from_number(1401), None);
}

/// Messages that pass the checks: most fields have any value, and those with few
/// valid values have a valid one.
fn messages(format: Format) -> impl Strategy<Value = Vec<u8>> {
    let bytes = proptest::collection::vec(any::<u8>(), format.size());
    (bytes, proptest::sample::select(vec![1u8, 6, 17, 58, 132]), any::<bool>()).prop_map(
        move |(mut bytes, proto, inet6)| {
            let af = if inet6 { 28 } else { 2 };
            let (common, _) = RawCommon::mut_from_prefix(&mut bytes).unwrap();
            common.ifname = *b"em0\0............";
            for endpoint in [&mut common.src, &mut common.dst] {
                endpoint.state %= 3;
                endpoint.wscale &= 0xfd;
            }
            match format {
                Format::V1301 => {
                    let raw = RawState1301::mut_from_bytes(&mut bytes).unwrap();
                    (raw.af, raw.proto, raw.direction) = (af, proto, 1 + raw.direction % 2);
                    raw.timeout %= 14;
                }
                Format::V1400 => {
                    let raw = RawState1400::mut_from_bytes(&mut bytes).unwrap();
                    (raw.af, raw.proto, raw.direction) = (af, proto, 1 + raw.direction % 2);
                    (raw.timeout, raw.rt) = (raw.timeout % 14, raw.rt % 5);
                    (raw.rt_ifname, raw.set_prio) = (raw.common.ifname, [7, 0]);
                    raw.rtableid = I32::new(raw.rtableid.get().max(-1));
                }
                Format::V1500 => {
                    let raw = RawState1500::mut_from_bytes(&mut bytes).unwrap();
                    (raw.wire_af, raw.stack_af, raw.rt_af) = (af, 28, af);
                    (raw.wire_proto, raw.stack_proto, raw.direction) = (proto, proto, 1 + raw.direction % 2);
                    (raw.timeout, raw.rt) = (raw.timeout % 14, raw.rt % 5);
                    (raw.rt_ifname, raw.orig_ifname) = (raw.common.ifname, raw.common.ifname);
                    (raw.tagname[9], raw.set_prio) = (0, [7, 0]);
                    raw.rtableid = I32::new(raw.rtableid.get().max(-1));
                }
            }
            bytes
        },
    )
}

fn written(format: Format, state: &State) -> Vec<u8> {
    match format {
        Format::V1301 => RawState1301::from(state).as_bytes().to_vec(),
        Format::V1400 => RawState1400::from(state).as_bytes().to_vec(),
        Format::V1500 => RawState1500::from(state).as_bytes().to_vec(),
    }
}

/// The message of a state in a frame whose buffer has other bytes.
fn appended(format: Format, state: &State) -> Vec<u8> {
    let mut buffer = [0xaa; 500];
    let mut writer = FrameWriter::new(&mut buffer, &[0; 16]).unwrap();
    writer.append_state(format.update(), state).unwrap();
    let len = writer.finish();
    buffer.get(24..len - 4).unwrap_or_default().to_vec()
}

proptest! {
    /// Writing a state leaves none of the bytes that were there before.
    #[test]
    fn every_byte_of_a_message_is_written(
        (format, bytes) in proptest::sample::select(vec![Format::V1301, Format::V1400, Format::V1500])
            .prop_flat_map(|format| messages(format).prop_map(move |bytes| (format, bytes))),
    ) {
        let state = State::read(format, &bytes).unwrap().unwrap();
        let expected = if state.is_expressible_in(format) { written(format, &state) } else { Vec::new() };
        prop_assert_eq!(appended(format, &state), expected);
    }

    /// A state that was read, written and read again is the same.
    #[test]
    fn every_format_writes_what_was_read(
        (format, bytes) in proptest::sample::select(vec![Format::V1301, Format::V1400, Format::V1500])
            .prop_flat_map(|format| messages(format).prop_map(move |bytes| (format, bytes))),
    ) {
        let state = State::read(format, &bytes).unwrap();
        prop_assert!(state.is_ok(), "{:?}", state);
        let state = state.unwrap();
        prop_assert_eq!(State::read(format, &written(format, &state)), Some(Ok(state)));
    }

    /// A later format carries all that an earlier one does.
    #[test]
    fn later_formats_carry_as_much(bytes in messages(Format::V1400)) {
        let state = State::read(Format::V1400, &bytes).unwrap().unwrap();
        let later = RawState1500::from(&state).check().unwrap();
        let expected = State { orig_ifname: Some(state.ifname), sync_flags: 0, updates: 0, ..state };
        prop_assert_eq!(later, expected);
    }

    #[test]
    fn any_bytes_can_be_checked(bytes in proptest::collection::vec(any::<u8>(), 242..400)) {
        for format in [Format::V1301, Format::V1400, Format::V1500] {
            if let Some(Ok(state)) = bytes.get(..format.size()).and_then(|bytes| State::read(format, bytes)) {
                prop_assert_eq!(State::read(format, &written(format, &state)), Some(Ok(state)));
            }
        }
    }
}
