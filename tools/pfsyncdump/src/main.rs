// SPDX-License-Identifier: BSD-2-Clause
//! Decodes captures of pfsync(4), with the module's own reader. See `--help`.

mod capture;
mod decode;
mod epochs;
mod link;
mod names;
mod reason;
mod record;
mod summary;
mod trailer;
mod view;

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use pfsync::engine::agreement::Key;

use crate::capture::{Capture, Packet};
use crate::decode::Decoded;
use crate::record::{records, Origin};
use crate::summary::Summary;

/// Decodes pfsync in captures in pcap or pcapng format. The captured interface
/// may be a pfsync interface (DLT_PFSYNC), Ethernet with or without VLAN tags, the
/// loopback interface, or raw IP. Prints a line for each message, each trailer and each
/// of its blocks. Malformed parts are shown with their offset in the packet and the reason. Packets that are not
/// pfsync are skipped.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Print a JSON object for each message, or the summary as JSON
    #[arg(long)]
    json: bool,
    /// Print only counts of frames, messages, bytes, creators and rejections, and for each
    /// epoch the numbers that the capture lacks
    #[arg(long)]
    summary: bool,
    /// Check the tags with the key in this file: 64 hex digits in its first line. May be
    /// given more than once, if the capture has a change of keys
    #[arg(long, value_name = "KEY")]
    key_file: Vec<PathBuf>,
    /// The capture, or - for standard input
    file: String,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args).with_context(|| args.file.clone()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pfsyncdump: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the reader of the output has exited, as head(1) does.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    error.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

fn run(args: &Args) -> Result<()> {
    let keys = args.key_file.iter().map(|file| trailer::read_key(file)).collect::<Result<Vec<_>>>()?;
    let capture = Capture::new(open(&args.file)?)?;
    // Written line by line, so that a capture in progress can be watched.
    let mut output = io::stdout().lock();
    if args.summary {
        summarise(capture, &keys, args.json, &mut output)
    } else {
        list(capture, &keys, args.json, &mut output)
    }
}

fn open(file: &str) -> Result<Box<dyn Read>> {
    match file {
        "-" => Ok(Box::new(io::stdin())),
        _ => Ok(Box::new(File::open(file)?)),
    }
}

/// Prints a record for each message, trailer, block and rejection.
fn list(capture: Capture, keys: &[Key], json: bool, output: &mut impl Write) -> Result<()> {
    for (number, packet) in (1..).zip(capture) {
        let Some((origin, decoded)) = decode(number, &packet?, keys) else { continue };
        for record in records(&origin, &decoded) {
            if json {
                writeln!(output, "{}", serde_json::to_string(&record)?)?;
            } else {
                writeln!(output, "{record}")?;
            }
        }
    }
    Ok(())
}

/// Prints the summary. If the capture is damaged, that of the packets before the
/// damage.
fn summarise(capture: Capture, keys: &[Key], json: bool, output: &mut impl Write) -> Result<()> {
    let mut summary = Summary::default();
    let mut result = Ok(());
    for (number, packet) in (1..).zip(capture) {
        match packet {
            Ok(packet) => {
                let decoded = decode(number, &packet, keys);
                decoded.iter().for_each(|(origin, decoded)| summary.add(origin.sender, decoded));
            }
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    if json {
        writeln!(output, "{}", summary.to_json()?)?;
    } else {
        write!(output, "{summary}")?;
    }
    result
}

/// Decodes a packet, and checks its tag. `None` if it is not pfsync.
fn decode(number: u64, packet: &Packet, keys: &[Key]) -> Option<(Origin, Decoded)> {
    let (addresses, decoded) = match link::locate(packet) {
        Ok(located) => {
            let located = located?;
            let mut decoded = Decoded::read(located.frame, located.offset);
            decoded.trailer.iter_mut().for_each(|trailer| trailer.check_tag(located.frame, keys));
            (located.addresses, decoded)
        }
        Err(rejection) => (None, Decoded::rejected(rejection)),
    };
    let (sender, receiver) = addresses.unzip();
    Some((Origin { time: packet.time, frame: number, sender, receiver }, decoded))
}
