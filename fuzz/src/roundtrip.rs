// SPDX-License-Identifier: BSD-2-Clause
//! Messages that are written are read back. A frame that is read is written as it
//! was, without refused messages and without bytes that mean nothing.

use crate::messages::Message;
use arbitrary::{Result, Unstructured};
use pfsync::wire::{Action, Frame, FrameWriter, Run};

/// Bytes of the largest frame that is written.
const LARGEST: usize = 9000;

/// The most bytes after one subheader that the stock module takes (`MCLBYTES`).
const CLUSTER: usize = 2048;

/// The first byte says whether the rest is a frame or makes messages.
pub fn run(input: &[u8]) {
    match input.split_first() {
        Some((first, rest)) if first % 2 == 0 => rewrite(rest),
        Some((_, rest)) => drop(write(&mut Unstructured::new(rest))),
        None => {}
    }
}

/// Reads a frame, writes what was accepted, and reads that.
fn rewrite(bytes: &[u8]) {
    let Ok(frame) = Frame::parse(bytes) else { return };
    let messages: Vec<_> =
        frame.flatten().flat_map(|run| Message::all(&run)).flatten().map(Message::carried).collect();
    // Each message may need a subheader of its own, and ends a longer run.
    let mut buffer = vec![0xff; bytes.len() + 4 * messages.len() + 28];
    let written = fill(&mut buffer, &messages);
    assert_eq!(written, messages.len(), "all of them fit");
    assert_eq!(read(&buffer), messages);
}

/// Writes as many messages as fit, and reads them.
fn write(u: &mut Unstructured) -> Result<()> {
    let len = u.int_in_range(0..=LARGEST)?;
    let mut messages = Vec::new();
    while !u.is_empty() {
        messages.push(Message::arbitrary(u)?);
    }
    let mut buffer = vec![0xff; len];
    if len < 24 {
        assert!(FrameWriter::new(&mut buffer, &[7; 16]).is_err());
        return Ok(());
    }
    let written = fill(&mut buffer, &messages);
    messages.truncate(written);
    assert_eq!(read(&buffer), messages.into_iter().map(Message::carried).collect::<Vec<_>>());
    Ok(())
}

/// Fills a buffer with a frame, up to the first message that does not fit.
/// Returns the number of messages written.
fn fill(buffer: &mut Vec<u8>, messages: &[Message]) -> usize {
    let buffer_len = buffer.len();
    let mut writer = FrameWriter::new(buffer, &[7; 16]).expect("an empty frame fits");
    let mut written = 0;
    for message in messages {
        let fits = writer.fits(message.action(), message.size()) > 0;
        let appended = message.append(&mut writer).is_ok();
        // A run that is full may be followed by another of its kind.
        assert!(appended || !fits, "a message that fits can be appended");
        if !appended {
            writer.end_run();
            if message.append(&mut writer).is_err() {
                break;
            }
        }
        written += 1;
    }
    let len = writer.finish();
    assert!(len <= buffer_len, "{len} bytes in a buffer of {buffer_len}");
    buffer.truncate(len);
    written
}

/// Reads a frame that was written. Checks its structure and returns its
/// messages.
fn read(bytes: &[u8]) -> Vec<Message> {
    let frame = Frame::parse(bytes).expect("a whole frame");
    assert_eq!(frame.checksum, &[7; 16]);
    let runs: Vec<_> = frame.collect::<core::result::Result<_, _>>().expect("whole runs");
    let (end, runs) = runs.split_last().expect("an end mark");
    assert_eq!(*end, Run::Eof(1));
    let mut messages = Vec::new();
    for run in runs {
        assert_ne!(run.action(), Action::Eof);
        let read = Message::all(run);
        let bytes: usize = read.iter().flatten().map(Message::size).sum();
        assert!(!read.is_empty() && bytes <= CLUSTER, "a run of {bytes} bytes");
        messages
            .extend(read.into_iter().map(|message| message.expect("a message that was written is accepted")));
    }
    messages
}
