// SPDX-License-Identifier: BSD-2-Clause
//! Times reading and writing full frames of each action, without pf and without a
//! kernel. The messages come from the frames in tests/captures, which the stock module
//! sent.

use criterion::measurement::WallTime;
use criterion::{criterion_group, criterion_main, BenchmarkGroup, Criterion, Throughput};
use pcap_file::pcap::PcapReader;
use pfsync::wire::{
    Action, BulkStatus, Clear, CompressedUpdate, Frame, FrameWriter, Ipv4Header, RawBulkStatus, RawClear,
    RawCompressedUpdate, RawId, RawState1301, RawState1400, RawState1500, Run, State, StateId, States,
};
use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;
use zerocopy::{Immutable, IntoBytes};

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// A packet of 1,500 bytes without its IPv4 header.
const FRAME: usize = 1480;
const CHECKSUM: [u8; 16] = [7; 16];

/// The layout of a message.
trait Message: IntoBytes + Immutable {
    /// The checked content.
    type Content;
    fn read(&self) -> Self::Content;
    fn write(content: &Self::Content) -> Self;
}

macro_rules! message {
    ($raw:ty, $content:ty, $read:expr, $write:expr) => {
        impl Message for $raw {
            type Content = $content;
            fn read(&self) -> $content {
                $read(self)
            }
            fn write(content: &$content) -> $raw {
                $write(content)
            }
        }
    };
}

message!(RawClear, Clear, |raw: &RawClear| raw.check().expect("valid"), RawClear::from);
message!(RawState1301, State, |raw: &RawState1301| raw.check().expect("valid"), RawState1301::from);
message!(RawState1400, State, |raw: &RawState1400| raw.check().expect("valid"), RawState1400::from);
message!(RawState1500, State, |raw: &RawState1500| raw.check().expect("valid"), RawState1500::from);
message!(
    RawCompressedUpdate,
    CompressedUpdate,
    |raw: &RawCompressedUpdate| raw.check(None).expect("valid"),
    RawCompressedUpdate::from
);
message!(RawBulkStatus, BulkStatus, |raw: &RawBulkStatus| raw.check().expect("valid"), RawBulkStatus::from);
message!(RawId, StateId, |raw: &RawId| (*raw).into(), |id: &StateId| (*id).into());

/// Evaluates `$what` for the messages of a run, whatever their type.
macro_rules! with_messages {
    ($run:expr, $messages:ident => $what:expr) => {
        match $run {
            Run::Clear($messages) => $what,
            Run::Insert(States::V1301($messages)) | Run::Update(States::V1301($messages)) => $what,
            Run::Insert(States::V1400($messages)) | Run::Update(States::V1400($messages)) => $what,
            Run::Insert(States::V1500($messages)) | Run::Update(States::V1500($messages)) => $what,
            Run::InsertAck($messages) | Run::UpdateRequest($messages) | Run::DeleteCompressed($messages) => {
                $what
            }
            Run::UpdateCompressed($messages) => $what,
            Run::BulkStatus($messages) => $what,
            Run::Tdb(_) | Run::Eof(_) => Default::default(),
        }
    };
}

fn runs(frame: &[u8]) -> impl Iterator<Item = Run<'_>> {
    Frame::parse(frame).expect("a frame").map(|run| run.expect("a run"))
}

/// Reads every message of a frame. Returns the number of messages.
fn decode(frame: &[u8]) -> usize {
    let count = |run| {
        with_messages!(run, messages => {
            messages.iter().for_each(|raw| { black_box(raw.read()); });
            messages.len()
        })
    };
    runs(frame).map(count).sum()
}

/// Fills a buffer with copies of a message. Returns the length of the frame.
fn encode<M: Message>(buffer: &mut [u8], action: Action, content: &M::Content) -> usize {
    let mut writer = FrameWriter::new(buffer, &CHECKSUM).expect("an empty frame fits");
    while writer.append(action, &M::write(black_box(content))).is_ok() {}
    writer.finish()
}

fn full_frame<M: Message>(action: Action, message: &M) -> Vec<u8> {
    let mut frame = vec![0; FRAME];
    let len = encode::<M>(&mut frame, action, &message.read());
    frame.truncate(len);
    frame
}

/// The frames in a capture of the sync interface.
fn captured(name: &str) -> Vec<Vec<u8>> {
    const HEADERS: usize = 14 + size_of::<Ipv4Header>();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(name);
    let mut reader = PcapReader::new(File::open(path).expect("the capture")).expect("a capture");
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        frames.push(packet.expect("a packet").data[HEADERS..].to_vec());
    }
    frames
}

/// A full frame of each action.
fn full_frames() -> Vec<Vec<u8>> {
    let mut seen = Vec::new();
    let mut full = Vec::new();
    for frame in [captured("1301-wire.pcap"), captured("1400-wire.pcap")].concat() {
        for run in runs(&frame).filter(|run| run.action() != Action::Eof) {
            let action = run.action();
            if !seen.contains(&action) {
                seen.push(action);
                full.push(with_messages!(run, messages => full_frame(action, &messages[0])));
            }
        }
    }
    full
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode a full frame");
    for frame in full_frames() {
        let action = runs(&frame).next().expect("messages").action();
        let count = decode(&frame);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{action:?} x {count}"), |bencher| {
            bencher.iter(|| decode(black_box(&frame)))
        });
    }
}

fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode a full frame");
    for frame in full_frames() {
        let run = runs(&frame).next().expect("messages");
        let (action, count) = (run.action(), decode(&frame));
        group.throughput(Throughput::Elements(count as u64));
        with_messages!(run, messages => encode_bench(&mut group, format!("{action:?} x {count}"), action, &messages[0]));
    }
}

fn encode_bench<M: Message>(group: &mut Group, name: String, action: Action, message: &M) {
    let content = message.read();
    let mut buffer = vec![0; FRAME];
    group.bench_function(name, |bencher| bencher.iter(|| encode::<M>(&mut buffer, action, &content)));
}

criterion_group! {
    name = wire;
    config = Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    targets = decoding, encoding
}
criterion_main!(wire);
