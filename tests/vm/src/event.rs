// SPDX-License-Identifier: BSD-2-Clause
//! What the guests tell the harness.
//!
//! A case script sends a message by printing a line that starts with `@`; `lib.sh`
//! has a function for each message. All other lines are plain output.

/// An event, and the number of its machine.
pub(crate) type Tagged = (usize, Event);

#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    /// A line on the guest's second serial port.
    Said(Message),
    /// The kernel panicked and printed this line.
    Panicked(String),
    /// QEMU ended.
    Gone,
}

/// Which pfsync is in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loaded {
    Nothing,
    UnderTest,
    Stock,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Message {
    /// The guest waits for a case to run. It runs this release of FreeBSD on this architecture
    /// (`uname -rp`).
    Ready(String),
    /// The case ended with this exit status.
    Ended(i32),
    /// The case cannot run in this guest for this reason.
    Skip(String),
    /// The script waits until the other machine is at the barrier of the same name.
    Barrier(String),
    /// One line of a value, for `MustMatch` and `Ask`.
    Publish { key: String, line: String },
    /// Both machines must have published the same lines under this key.
    MustMatch(String),
    /// The script waits for the last line that the other machine published under this key.
    Ask(String),
    /// A measurement for the table at the end.
    Measured { key: String, value: String },
    /// Another module is about to be loaded, or was unloaded. The script waits for a reply.
    Loading(Loaded),
    /// The script waits while the other machine is switched off.
    KillPeer,
    /// The script waits while the other machine boots and starts its script with `AGAIN=yes`.
    RevivePeer,
    /// What a virtual wire does from now on; see [`crate::relay::Relay::obey`]. The script waits for
    /// the counts of its frames.
    Wire(String),
    /// Anything else.
    Output(String),
}

impl Message {
    pub(crate) fn parse(line: &str) -> Message {
        line.strip_prefix('@').and_then(parse_directive).unwrap_or_else(|| Message::Output(line.to_owned()))
    }
}

fn parse_directive(text: &str) -> Option<Message> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let message = match word {
        "ready" => Message::Ready(rest.to_owned()),
        "ended" => Message::Ended(rest.parse().ok()?),
        "skip" => Message::Skip(rest.to_owned()),
        "barrier" => Message::Barrier(rest.to_owned()),
        "publish" => {
            let (key, line) = rest.split_once(' ').unwrap_or((rest, ""));
            Message::Publish { key: key.to_owned(), line: line.to_owned() }
        }
        "must-match" => Message::MustMatch(rest.to_owned()),
        "ask" => Message::Ask(rest.to_owned()),
        "result" => {
            let (key, value) = rest.split_once('=')?;
            Message::Measured { key: key.to_owned(), value: value.to_owned() }
        }
        "kill-peer" => Message::KillPeer,
        "revive-peer" => Message::RevivePeer,
        "wire" => Message::Wire(rest.to_owned()),
        "loading" => Message::Loading(parse_loaded(rest)?),
        _ => return None,
    };
    Some(message)
}

fn parse_loaded(word: &str) -> Option<Loaded> {
    match word {
        "none" => Some(Loaded::Nothing),
        "test" => Some(Loaded::UnderTest),
        "stock" => Some(Loaded::Stock),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_told_from_output() {
        assert_eq!(Message::parse("@ready 15.0-RELEASE amd64"), Message::Ready("15.0-RELEASE amd64".into()));
        assert_eq!(Message::parse("@ended 3"), Message::Ended(3));
        assert_eq!(Message::parse("@barrier up"), Message::Barrier("up".into()));
        assert_eq!(
            Message::parse("@publish states a b"),
            Message::Publish { key: "states".into(), line: "a b".into() }
        );
        assert_eq!(
            Message::parse("@result c.time=1=2"),
            Message::Measured { key: "c.time".into(), value: "1=2".into() }
        );
        assert_eq!(Message::parse("@wire 0 both loss=5"), Message::Wire("0 both loss=5".into()));
        assert_eq!(Message::parse("@loading stock"), Message::Loading(Loaded::Stock));
    }

    #[test]
    fn what_is_not_understood_is_output() {
        for line in ["@ended soon", "@what", "plain", "", "@loading other", "@result x"] {
            assert_eq!(Message::parse(line), Message::Output(line.into()));
        }
    }
}
