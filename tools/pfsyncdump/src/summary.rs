// SPDX-License-Identifier: BSD-2-Clause
//! The summary: counts for each action and each epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use pfsync::wire::{Action, Header};
use serde::Serialize;

use crate::decode::{Decoded, DecodedRun};
use crate::epochs::{self, Epochs};
use crate::names;
use crate::view::hex;

/// The summary of a capture.
#[derive(Default)]
pub(crate) struct Summary {
    /// The counts for each action, by its number.
    actions: BTreeMap<u8, (Action, Count)>,
    trailers: Count,
    total: Count,
    epochs: Epochs,
}

/// The counts for one action, or for all.
#[derive(Default)]
struct Count {
    /// Frames with the action.
    frames: u64,
    /// An end mark counts as one message, and so does a trailer.
    messages: u64,
    /// Bytes of subheaders, messages and trailers. The total includes frame headers.
    bytes: u64,
    creators: BTreeSet<[u8; 4]>,
    rejected: u64,
}

impl Summary {
    /// Adds the content of a packet.
    pub(crate) fn add(&mut self, sender: Option<IpAddr>, decoded: &Decoded) {
        let mut seen = BTreeMap::new();
        for run in &decoded.runs {
            seen.insert(run.action as u8, run.action);
            let count = Count::of(run);
            self.total.add(&count);
            self.action(run.action).add(&count);
        }
        if let Some(trailer) = &decoded.trailer {
            let rejected = trailer.blocks.iter().filter(|block| block.content.is_err()).count();
            let (bytes, rejected) = (trailer.len as u64, rejected as u64);
            let count = Count { frames: 0, messages: 1, bytes, rejected, creators: BTreeSet::new() };
            self.trailers.add(&count);
            self.trailers.frames += 1;
            self.total.add(&count);
            self.epochs.add(sender, trailer);
        }
        if let Some(rejection) = &decoded.rejection {
            self.total.rejected += 1;
            if let Some(action) = rejection.action {
                seen.insert(action as u8, action);
                self.action(action).rejected += 1;
            }
        }
        for action in seen.into_values() {
            self.action(action).frames += 1;
        }
        self.total.frames += 1;
        self.total.bytes += decoded.checksum.map_or(0, |_| size_of::<Header>() as u64);
    }

    fn action(&mut self, action: Action) -> &mut Count {
        &mut self.actions.entry(action as u8).or_insert_with(|| (action, Count::default())).1
    }

    /// The rows of the table. The last one is the total.
    fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        let actions = self.actions.values().map(|(action, count)| Row::new(names::action(*action), count));
        let trailers = (self.trailers.frames > 0).then(|| Row::new("trailer", &self.trailers));
        actions.chain(trailers).chain([Row::new("total", &self.total)])
    }

    /// The tables as an array of objects: the rows of the actions, then those of the epochs.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        let actions = self.rows().map(AnyRow::Action);
        let rows: Vec<_> = actions.chain(self.epochs.rows().map(AnyRow::Epoch)).collect();
        serde_json::to_string_pretty(&rows)
    }
}

impl Count {
    /// The counts for a run, without its frame.
    fn of(run: &DecodedRun) -> Count {
        let checked = run.messages.iter().filter_map(|message| message.content.as_ref().ok());
        let messages = match run.action {
            Action::Eof => 1,
            _ => run.messages.len(),
        };
        Count {
            frames: 0,
            messages: messages as u64,
            bytes: run.len as u64,
            rejected: (run.messages.len() - checked.clone().count()) as u64,
            creators: checked.filter_map(|message| message.creator()).collect(),
        }
    }

    fn add(&mut self, other: &Count) {
        self.frames += other.frames;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.creators.extend(&other.creators);
        self.rejected += other.rejected;
    }
}

/// A row of any table.
#[derive(Serialize)]
#[serde(untagged)]
enum AnyRow {
    Action(Row),
    Epoch(epochs::Row),
}

/// A row of the table.
#[derive(Serialize)]
struct Row {
    action: &'static str,
    frames: u64,
    messages: u64,
    bytes: u64,
    creators: Vec<String>,
    rejected: u64,
}

impl Row {
    fn new(action: &'static str, count: &Count) -> Row {
        let Count { frames, messages, bytes, rejected, .. } = *count;
        let creators = count.creators.iter().map(|creator| hex(creator)).collect();
        Row { action, frames, messages, bytes, creators, rejected }
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        writeln!(
            f,
            "{:<17} {:>9} {:>9} {:>11} {:>9}  creators",
            "action", "frames", "messages", "bytes", "rejected"
        )?;
        for row in self.rows() {
            let Row { action, frames, messages, bytes, rejected, .. } = row;
            let creators = row.creators.join(" ");
            let line =
                format!("{action:<17} {frames:>9} {messages:>9} {bytes:>11} {rejected:>9}  {creators}");
            writeln!(f, "{}", line.trim_end())?;
        }
        let mut epochs = self.epochs.rows().peekable();
        if epochs.peek().is_some() {
            writeln!(f, "\n{}", epochs::Row::head())?;
        }
        epochs.try_for_each(|row| writeln!(f, "{row}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfsync::wire::{FrameWriter, RawBulkStatus, RawId};

    /// A delete, an invalid bulk status, and another delete.
    fn decoded() -> Decoded {
        let mut buffer = vec![0; 100];
        let mut writer = FrameWriter::new(&mut buffer, &[0; 16]).unwrap();
        let id = RawId { id: [1; 8], creator: [2; 4] };
        writer.append(Action::DeleteCompressed, &id).unwrap();
        let status = RawBulkStatus { creator: [3; 4], endtime: 0.into(), status: 9, pad: [0; 3] };
        writer.append(Action::BulkStatus, &status).unwrap();
        writer.append(Action::DeleteCompressed, &id).unwrap();
        let len = writer.finish();
        Decoded::read(&buffer[..len], 0)
    }

    #[test]
    fn a_frame_counts_once_for_an_action() {
        let mut summary = Summary::default();
        summary.add(None, &decoded());
        summary.add(None, &Decoded::read(&[], 0));
        let rows: Vec<_> =
            summary.rows().map(|row| (row.action, row.frames, row.messages, row.rejected)).collect();
        let expected =
            [("delete-compressed", 1, 2, 0), ("bulk-status", 1, 1, 1), ("eof", 1, 1, 0), ("total", 2, 4, 2)];
        assert_eq!(rows, expected);
    }

    #[test]
    fn bytes_add_up_to_the_frame() {
        let mut summary = Summary::default();
        summary.add(None, &decoded());
        let bytes: Vec<_> = summary.rows().map(|row| row.bytes).collect();
        assert_eq!(bytes, [32, 16, 4, 20 + 32 + 16 + 4]);
    }

    #[test]
    fn creators_of_rejected_messages_are_left_out() {
        let mut summary = Summary::default();
        summary.add(None, &decoded());
        assert_eq!(summary.rows().last().unwrap().creators, ["02020202"]);
    }
}
