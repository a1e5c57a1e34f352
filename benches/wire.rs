//! Reading and writing full frames of each kind of message, without pf and
//! without a kernel. The messages are those that the C module sent in
//! tests/captures.

use criterion::measurement::WallTime;
use criterion::{criterion_group, criterion_main, BenchmarkGroup, Criterion, Throughput};
use pcap_file::pcap::PcapReader;
use pfsync::wire::{
    Action, BulkStatus, Clear, CompressedUpdate, Frame, FrameWriter, Ipv4Header, RawBulkStatus, RawClear,
    RawCompressedUpdate, RawId, RawState1301, RawState1400, RawState1500, Run, State, StateId,
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

/// A message as it lies in a frame.
trait Message: IntoBytes + Immutable {
    /// What it says, checked.
    type Known;
    fn read(&self) -> Self::Known;
    fn write(known: &Self::Known) -> Self;
}

macro_rules! message {
    ($raw:ty, $known:ty, $read:expr, $write:expr) => {
        impl Message for $raw {
            type Known = $known;
            fn read(&self) -> $known {
                $read(self)
            }
            fn write(known: &$known) -> $raw {
                $write(known)
            }
        }
    };
}

message!(RawClear, Clear, |raw: &RawClear| raw.check().expect("in order"), RawClear::from);
message!(RawState1301, State, |raw: &RawState1301| raw.check().expect("in order"), RawState1301::from);
message!(RawState1400, State, |raw: &RawState1400| raw.check().expect("in order"), RawState1400::from);
message!(RawState1500, State, |raw: &RawState1500| raw.check().expect("in order"), RawState1500::from);
message!(
    RawCompressedUpdate,
    CompressedUpdate,
    |raw: &RawCompressedUpdate| raw.check(None).expect("in order"),
    RawCompressedUpdate::from
);
message!(
    RawBulkStatus,
    BulkStatus,
    |raw: &RawBulkStatus| raw.check().expect("in order"),
    RawBulkStatus::from
);
message!(RawId, StateId, |raw: &RawId| (*raw).into(), |id: &StateId| (*id).into());

/// Does something with a run's messages, whatever they are.
macro_rules! with_messages {
    ($run:expr, $messages:ident => $what:expr) => {
        match $run {
            Run::Clear($messages) => $what,
            Run::Insert1301($messages) | Run::Update1301($messages) => $what,
            Run::Insert1400($messages) | Run::Update1400($messages) => $what,
            Run::Insert1500($messages) | Run::Update1500($messages) => $what,
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

/// Reads every message of a frame. Returns how many there are.
fn decode(frame: &[u8]) -> usize {
    let count = |run| {
        with_messages!(run, messages => {
            messages.iter().for_each(|raw| { black_box(raw.read()); });
            messages.len()
        })
    };
    runs(frame).map(count).sum()
}

/// Fills a buffer with a message. Returns the frame's length.
fn encode<M: Message>(buffer: &mut [u8], action: Action, known: &M::Known) -> usize {
    let mut writer = FrameWriter::new(buffer, &CHECKSUM).expect("room for a header");
    while writer.push(action, &M::write(black_box(known))).is_ok() {}
    writer.finish()
}

fn full_frame<M: Message>(action: Action, message: &M) -> Vec<u8> {
    let mut frame = vec![0; FRAME];
    let len = encode::<M>(&mut frame, action, &message.read());
    frame.truncate(len);
    frame
}

/// The frames of a capture of the sync interface.
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

/// A full frame of each kind of message.
fn full_frames() -> Vec<Vec<u8>> {
    let mut kinds = Vec::new();
    let mut full = Vec::new();
    for frame in [captured("1301-wire.pcap"), captured("1400-wire.pcap")].concat() {
        for run in runs(&frame).filter(|run| run.action() != Action::Eof) {
            let action = run.action();
            if !kinds.contains(&action) {
                kinds.push(action);
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
    let known = message.read();
    let mut buffer = vec![0; FRAME];
    group.bench_function(name, |bencher| bencher.iter(|| encode::<M>(&mut buffer, action, &known)));
}

criterion_group! {
    name = wire;
    config = Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    targets = decoding, encoding
}
criterion_main!(wire);
