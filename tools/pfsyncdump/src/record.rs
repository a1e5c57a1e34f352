// SPDX-License-Identifier: BSD-2-Clause
//! What is printed for a packet: a record for each message, for the trailer and each of
//! its blocks, and for each rejection, as a line of text or a JSON object.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::time::Duration;

use pfsync::wire::StateId;
use serde::{Serialize, Serializer};

use crate::decode::{Decoded, DecodedMessage};
use crate::names;
use crate::reason::Reason;
use crate::trailer::DecodedBlock;
use crate::view::{hex, BlockView, IdView, TrailerView, View};

/// The packet that a record comes from.
#[derive(Clone, Serialize)]
pub(crate) struct Origin {
    #[serde(serialize_with = "seconds")]
    pub(crate) time: Duration,
    /// Number of the packet in the capture, beginning with 1.
    pub(crate) frame: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sender: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) receiver: Option<IpAddr>,
}

/// A record: one line of output.
#[derive(Serialize)]
pub(crate) struct Record {
    #[serde(flatten)]
    origin: Origin,
    /// The checksum of the sender's ruleset.
    #[serde(skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
    /// The newest message format that the sender says it reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    announces: Option<u16>,
    /// Where the subject of the record begins in the recorded packet.
    offset: usize,
    /// `None` if the record is about the whole frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    #[serde(flatten)]
    content: Content,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content {
    Message(View),
    Trailer(TrailerView),
    Block(BlockView),
    Rejected {
        rejected: String,
        #[serde(flatten)]
        id: Option<IdView>,
    },
}

/// As a string, because a JSON number would lose the last digits.
fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{}.{:09}", time.as_secs(), time.subsec_nanos()))
}

/// The records of a packet. The end mark has none.
pub(crate) fn records(origin: &Origin, decoded: &Decoded) -> Vec<Record> {
    let checksum = decoded.checksum.as_ref().map(|checksum| hex(checksum));
    let record = |offset, action, content| Record {
        origin: origin.clone(),
        checksum: checksum.clone(),
        announces: decoded.announces,
        offset,
        action,
        content,
    };
    let messages =
        decoded.runs.iter().flat_map(|run| run.messages.iter().map(|message| (run.action, message)));
    let messages = messages
        .map(|(action, message)| record(message.offset, Some(names::action(action)), content(message)));
    let rejection = decoded
        .rejection
        .as_ref()
        .map(|it| record(it.offset, it.action.map(names::action), rejected(&it.reason, None)));
    let trailer = decoded.trailer.iter().flat_map(|trailer| {
        let head = record(trailer.offset, Some(names::trailer(trailer)), Content::Trailer(trailer.into()));
        let blocks = trailer.blocks.iter().map(|it| record(it.offset, Some(names::block(it)), block(it)));
        [head].into_iter().chain(blocks).collect::<Vec<_>>()
    });
    messages.chain(rejection).chain(trailer).collect()
}

fn block(block: &DecodedBlock) -> Content {
    match &block.content {
        Ok(content) => Content::Block(content.into()),
        Err(field) => rejected(&Reason::Message(*field), None),
    }
}

fn content(message: &DecodedMessage) -> Content {
    match &message.content {
        Ok(content) => Content::Message(content.into()),
        Err(field) => rejected(&Reason::Message(*field), message.id),
    }
}

fn rejected(reason: &Reason, id: Option<StateId>) -> Content {
    Content::Rejected { rejected: reason.to_string(), id: id.map(IdView::from) }
}

/// `time frame sender > receiver`, or `time frame` without addresses.
impl Display for Origin {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let seconds = self.time.as_secs();
        let (hours, minutes, seconds) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "{hours:02}:{minutes:02}:{seconds:02}.{:06} {}", self.time.subsec_micros(), self.frame)?;
        match (self.sender, self.receiver) {
            (Some(sender), Some(receiver)) => write!(f, " {sender} > {receiver}"),
            _ => Ok(()),
        }
    }
}

impl Display for Record {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{} {}", self.origin, self.action.unwrap_or("frame"))?;
        match &self.content {
            Content::Message(view) => write!(f, " {view}")?,
            Content::Trailer(view) => write!(f, " {view}")?,
            Content::Block(view) => write!(f, " {view}")?,
            Content::Rejected { rejected, id } => {
                write!(f, " rejected at offset {}: {rejected}", self.offset)?;
                id.as_ref().map_or(Ok(()), |id| write!(f, " ({id})"))?;
            }
        }
        self.announces.map_or(Ok(()), |format| write!(f, " announces {format}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Rejection;

    fn rejected() -> Record {
        let origin = Origin {
            time: Duration::new(90_061, 5_000),
            frame: 3,
            sender: Some([192, 0, 2, 1].into()),
            receiver: Some([192, 0, 2, 2].into()),
        };
        let decoded = Decoded::rejected(Rejection { offset: 34, action: None, reason: Reason::Fragment });
        records(&origin, &decoded).remove(0)
    }

    #[test]
    fn lines_begin_with_the_time_of_day() {
        let expected =
            "01:01:01.000005 3 192.0.2.1 > 192.0.2.2 frame rejected at offset 34: fragment of an IP packet";
        assert_eq!(rejected().to_string(), expected);
    }

    #[test]
    fn what_a_sender_announces_ends_the_line() {
        let record = Record { announces: Some(1500), ..rejected() };
        assert!(record.to_string().ends_with("fragment of an IP packet announces 1500"));
        assert!(serde_json::to_string(&record).unwrap().contains(r#""announces":1500"#));
    }

    #[test]
    fn json_has_every_digit_of_the_time() {
        let expected = concat!(
            r#"{"time":"90061.000005000","frame":3,"sender":"192.0.2.1","receiver":"192.0.2.2","#,
            r#""offset":34,"rejected":"fragment of an IP packet"}"#
        );
        assert_eq!(serde_json::to_string(&rejected()).unwrap(), expected);
    }
}
