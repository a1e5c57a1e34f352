// SPDX-License-Identifier: BSD-2-Clause
//! Golden vectors: what stock FreeBSD 14.2 and 15.0 sent is read, passes every
//! check and is written back byte for byte.
//!
//! The captures of formats 1301 and 1400 are of 14.2, those of format 1500 of
//! 15.0. They were recorded while two firewalls kept NAT, IPv4, IPv6, TCP, UDP
//! and ICMP states in step, with a bulk update, deferral, kills and a flush.
//! The captures `actions` are of states that only format 1500 can tell of: with a
//! tag, routed to a next hop of the other address family, and translated between
//! IPv4 and IPv6 on the way in (`af-to` in a rule `in`) and out, each also in a
//! bulk update. `wire` is Ethernet on the sync interface, `pfsync0` what bpf(4) shows of the
//! pfsync interface.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use pcap_file::pcap::PcapReader;
use pcap_file::DataLink;
use pfsync::wire::{
    Action, Direction, Family, Format, Frame, FrameWriter, Ipv4Header, RawBulkStatus, RawClear,
    RawCompressedUpdate, RawId, RawState1301, RawState1400, RawState1500, RouteTo, Run, State, StateId,
    States,
};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of an Ethernet header without a VLAN tag.
const ETHERNET_HEADER: usize = 14;
/// `INADDR_PFSYNC_GROUP`
const PFSYNC_GROUP: [u8; 4] = [224, 0, 0, 240];

/// A capture and what is in it.
struct Capture {
    name: &'static str,
    link: DataLink,
    frames: usize,
    /// Messages of each action.
    messages: &'static [(Action, usize)],
}

const CAPTURES: [Capture; 8] = [
    Capture {
        name: "1301-wire",
        link: DataLink::ETHERNET,
        frames: 76,
        messages: &[
            (Action::Clear, 1),
            (Action::Insert1301, 25),
            (Action::InsertAck, 2),
            (Action::Update1301, 43),
            (Action::UpdateCompressed, 25),
            (Action::UpdateRequest, 7),
            (Action::DeleteCompressed, 13),
            (Action::BulkStatus, 7),
            (Action::Eof, 76),
        ],
    },
    Capture {
        name: "1301-pfsync0",
        link: DataLink::PFSYNC,
        frames: 63,
        messages: &[
            (Action::Clear, 1),
            (Action::Insert1301, 24),
            (Action::Update1301, 28),
            (Action::UpdateCompressed, 24),
            (Action::UpdateRequest, 4),
            (Action::DeleteCompressed, 13),
            (Action::BulkStatus, 5),
            (Action::Eof, 63),
        ],
    },
    Capture {
        name: "1400-wire",
        link: DataLink::ETHERNET,
        frames: 88,
        messages: &[
            (Action::Clear, 1),
            (Action::InsertAck, 2),
            (Action::UpdateCompressed, 24),
            (Action::UpdateRequest, 7),
            (Action::DeleteCompressed, 12),
            (Action::BulkStatus, 7),
            (Action::Eof, 88),
            (Action::Insert1400, 23),
            (Action::Update1400, 63),
        ],
    },
    Capture {
        name: "1400-pfsync0",
        link: DataLink::PFSYNC,
        frames: 72,
        messages: &[
            (Action::Clear, 1),
            (Action::UpdateCompressed, 23),
            (Action::UpdateRequest, 4),
            (Action::DeleteCompressed, 12),
            (Action::BulkStatus, 5),
            (Action::Eof, 72),
            (Action::Insert1400, 22),
            (Action::Update1400, 46),
        ],
    },
    Capture {
        name: "1500-wire",
        link: DataLink::ETHERNET,
        frames: 107,
        messages: &[
            (Action::Clear, 1),
            (Action::InsertAck, 2),
            (Action::UpdateCompressed, 26),
            (Action::UpdateRequest, 7),
            (Action::DeleteCompressed, 8),
            (Action::BulkStatus, 7),
            (Action::Eof, 107),
            (Action::Insert1500, 26),
            (Action::Update1500, 82),
        ],
    },
    Capture {
        name: "1500-pfsync0",
        link: DataLink::PFSYNC,
        frames: 86,
        messages: &[
            (Action::Clear, 1),
            (Action::UpdateCompressed, 26),
            (Action::UpdateRequest, 4),
            (Action::DeleteCompressed, 8),
            (Action::BulkStatus, 5),
            (Action::Eof, 86),
            (Action::Insert1500, 25),
            (Action::Update1500, 56),
        ],
    },
    Capture {
        name: "1500-actions-wire",
        link: DataLink::ETHERNET,
        frames: 41,
        messages: &[
            (Action::Clear, 1),
            (Action::UpdateCompressed, 2),
            (Action::UpdateRequest, 2),
            (Action::DeleteCompressed, 4),
            (Action::BulkStatus, 3),
            (Action::Eof, 41),
            (Action::Insert1500, 19),
            (Action::Update1500, 10),
        ],
    },
    Capture {
        name: "1500-actions-pfsync0",
        link: DataLink::PFSYNC,
        frames: 39,
        messages: &[
            (Action::Clear, 1),
            (Action::UpdateCompressed, 2),
            (Action::DeleteCompressed, 4),
            (Action::BulkStatus, 3),
            (Action::Eof, 39),
            (Action::Insert1500, 19),
            (Action::Update1500, 10),
        ],
    },
];

impl Capture {
    /// The packets as they were recorded.
    fn packets(&self) -> Vec<Vec<u8>> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(self.name);
        let mut reader = PcapReader::new(File::open(path.with_extension("pcap")).unwrap()).unwrap();
        assert_eq!(reader.header().datalink, self.link, "{}", self.name);
        std::iter::from_fn(|| reader.next_packet().map(|packet| packet.unwrap().data.into_owned())).collect()
    }

    /// The pfsync frames in the packets.
    fn frames(&self) -> Vec<Vec<u8>> {
        let skip = match self.link {
            DataLink::ETHERNET => ETHERNET_HEADER + size_of::<Ipv4Header>(),
            _ => 0,
        };
        self.packets().into_iter().map(|mut packet| packet.split_off(skip)).collect()
    }

    /// The states in the inserts and whole updates.
    fn states(&self) -> Vec<State> {
        let mut found = Vec::new();
        for frame in self.frames() {
            for run in Frame::parse(&frame).unwrap() {
                if let Run::Insert(states) | Run::Update(states) = run.unwrap() {
                    found.extend(states.map(Result::unwrap));
                }
            }
        }
        found
    }

    /// Counts the messages by the number of their action.
    fn count(&self) -> BTreeMap<u8, usize> {
        let mut messages = BTreeMap::new();
        for frame in self.frames() {
            for run in Frame::parse(&frame).unwrap() {
                let run = run.unwrap();
                *messages.entry(run.action() as u8).or_default() += run.count();
            }
        }
        messages
    }
}

/// Reads frames in the order they were sent and writes them anew.
#[derive(Default)]
struct Rewriter {
    /// IP protocols of the states seen so far: what the checks of a
    /// compressed update need and a firewall knows from its state table.
    protocols: BTreeMap<StateId, u8>,
}

impl Rewriter {
    /// The frame, written from the checked values of its messages into a
    /// buffer that has no byte to spare.
    fn rewrite(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0xff; bytes.len()];
        let frame = Frame::parse(bytes).unwrap();
        let mut writer = FrameWriter::new(&mut buffer, frame.checksum).unwrap();
        for run in frame {
            self.write(&mut writer, run.unwrap());
        }
        let len = writer.finish();
        buffer.truncate(len);
        buffer
    }

    fn write(&mut self, writer: &mut FrameWriter, run: Run) {
        let action = run.action();
        match run {
            Run::Clear(messages) => {
                append_all(writer, action, messages, |raw| RawClear::from(&raw.check().unwrap()))
            }
            Run::Insert(states) | Run::Update(states) => self.write_states(writer, action, states),
            Run::InsertAck(messages) | Run::UpdateRequest(messages) | Run::DeleteCompressed(messages) => {
                append_all(writer, action, messages, |raw| RawId::from(StateId::from(*raw)))
            }
            Run::UpdateCompressed(messages) => append_all(writer, action, messages, |raw| {
                let protocol = self.protocols.get(&raw.state_id()).copied();
                RawCompressedUpdate::from(&raw.check(protocol).unwrap())
            }),
            Run::BulkStatus(messages) => {
                append_all(writer, action, messages, |raw| RawBulkStatus::from(&raw.check().unwrap()))
            }
            Run::Tdb(_) => panic!("FreeBSD sends no IPsec replay counters"),
            Run::Eof(_) => {}
        }
    }

    fn write_states(&mut self, writer: &mut FrameWriter, action: Action, states: States) {
        let format = states.format();
        for state in states {
            let state = state.unwrap();
            self.protocols.insert(state.id, state.proto);
            let appended = match format {
                Format::V1301 => writer.append(action, &RawState1301::from(&state)),
                Format::V1400 => writer.append(action, &RawState1400::from(&state)),
                Format::V1500 => writer.append(action, &RawState1500::from(&state)),
            };
            appended.unwrap();
        }
    }
}

/// Appends the messages of a run, each made from one that was read.
fn append_all<T, U: IntoBytes + zerocopy::Immutable>(
    writer: &mut FrameWriter,
    action: Action,
    messages: &[T],
    mut make: impl FnMut(&T) -> U,
) {
    for message in messages {
        writer.append(action, &make(message)).unwrap();
    }
}

#[test]
fn every_message_is_counted() {
    for capture in &CAPTURES {
        assert_eq!(capture.frames().len(), capture.frames, "{}", capture.name);
        let expected = capture.messages.iter().map(|(action, count)| (*action as u8, *count)).collect();
        assert_eq!(capture.count(), expected, "{}", capture.name);
    }
}

#[test]
fn what_only_format_1500_can_say_is_read() {
    for capture in CAPTURES.iter().filter(|capture| capture.name.starts_with("1500-actions")) {
        let states = capture.states();
        let has = |wanted: &dyn Fn(&State) -> bool| {
            assert!(states.iter().any(wanted), "{}", capture.name);
        };
        has(&|state| state.tag.is_some_and(|tag| tag.bytes().starts_with(b"sometag\0")));
        let is_routed_to = |state: &State, to| {
            let route = state.rule_actions.map(|actions| actions.route);
            matches!(route, Some(RouteTo::Via { family, .. }) if family == to)
        };
        has(&|state| state.family == Family::Inet && is_routed_to(state, Family::Inet6));
        has(&|state| state.family == Family::Inet && is_routed_to(state, Family::Inet));
        for direction in [Direction::In, Direction::Out] {
            has(&|state| state.direction == direction && state.family != state.stack_family);
        }
        // A floating state names the interface that made it; a bound state is on that interface.
        has(&|state| state.ifname.to_string() == "all" && state.orig_ifname.is_some());
        has(&|state| state.ifname.to_string() == "outif" && state.proto != state.stack_proto);
    }
}

#[test]
fn every_frame_is_written_as_it_was_sent() {
    for capture in &CAPTURES {
        let mut rewriter = Rewriter::default();
        for (number, frame) in (1..).zip(capture.frames()) {
            let written = rewriter.rewrite(&frame);
            let difference = frame.iter().zip(&written).position(|(sent, written)| sent != written);
            assert_eq!(difference, None, "{}: offset in frame {number}", capture.name);
            assert_eq!(frame.len(), written.len(), "{}: length of frame {number}", capture.name);
        }
    }
}

#[test]
fn ip_headers_are_those_of_the_c_module() {
    for capture in CAPTURES.iter().filter(|capture| capture.link == DataLink::ETHERNET) {
        for (number, packet) in (1..).zip(capture.packets()) {
            let (sent, frame) = Ipv4Header::read_from_prefix(&packet[ETHERNET_HEADER..]).unwrap();
            let header = Ipv4Header::new(PFSYNC_GROUP, sent.id, frame.len());
            let header = Ipv4Header { src: sent.src, checksum: sent.checksum, ..header };
            assert_eq!(header, sent, "{}: frame {number}", capture.name);
        }
    }
}
