// SPDX-License-Identifier: BSD-2-Clause
//! The reader and the writer of frames. What is written reads back. What is read is
//! written as it was, except for messages that are refused and for bytes without
//! meaning.

use crate::messages::Message;
use arbitrary::{Result, Unstructured};
use pfsync::wire::{Action, Frame, FrameWriter, Run};

/// The size in bytes of the largest frame that is written.
const LARGEST: usize = 9000;

/// `MCLBYTES`: the most bytes that the C module accepts behind one subheader.
const CLUSTER: usize = 2048;

/// Runs an input as a frame or as messages, by its first byte.
pub fn run(input: &[u8]) {
    match input.split_first() {
        Some((first, rest)) if first % 2 == 0 => rewrite(rest),
        Some((_, rest)) => drop(write(&mut Unstructured::new(rest))),
        None => {}
    }
}

/// Reads a frame, writes the messages that were accepted, and reads them back.
fn rewrite(bytes: &[u8]) {
    let Ok(frame) = Frame::parse(bytes) else { return };
    let messages: Vec<_> =
        frame.flatten().flat_map(|run| Message::all(&run)).flatten().map(Message::carried).collect();
    // Each message may need a subheader of its own, and split a longer run.
    let mut buffer = vec![0xff; bytes.len() + 4 * messages.len() + 28];
    let written = fill(&mut buffer, &messages);
    assert_eq!(written, messages.len(), "some messages do not fit");
    assert_eq!(read(&buffer), messages);
}

/// Writes as many messages as there is space for, and reads them back.
fn write(u: &mut Unstructured) -> Result<()> {
    let space = u.int_in_range(0..=LARGEST)?;
    let mut messages = Vec::new();
    while !u.is_empty() {
        messages.push(Message::arbitrary(u)?);
    }
    let mut buffer = vec![0xff; space];
    if space < 24 {
        assert!(FrameWriter::new(&mut buffer, &[7; 16]).is_err());
        return Ok(());
    }
    let written = fill(&mut buffer, &messages);
    messages.truncate(written);
    assert_eq!(read(&buffer), messages.into_iter().map(Message::carried).collect::<Vec<_>>());
    Ok(())
}

/// Fills a buffer with a frame, up to the first message that does not fit. Returns
/// how many messages did.
fn fill(buffer: &mut Vec<u8>, messages: &[Message]) -> usize {
    let space = buffer.len();
    let mut writer = FrameWriter::new(buffer, &[7; 16]).expect("space for an empty frame");
    let mut written = 0;
    for message in messages {
        let fits = writer.fits(message.action(), message.size()) > 0;
        let pushed = message.push(&mut writer).is_ok();
        // Another run of its kind may follow a full run.
        assert!(pushed || !fits, "what fits can be pushed");
        if !pushed {
            writer.end_run();
            if message.push(&mut writer).is_err() {
                break;
            }
        }
        written += 1;
    }
    let len = writer.finish();
    assert!(len <= space, "{len} bytes in a buffer of {space}");
    buffer.truncate(len);
    written
}

/// Checks the structure of a frame that was written, and returns its messages.
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
        messages.extend(read.into_iter().map(|message| message.expect("what was written is accepted")));
    }
    messages
}
