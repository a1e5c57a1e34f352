// SPDX-License-Identifier: BSD-2-Clause
//! Messages as they are shown: in a line of text (`Display`) and in JSON
//! (`Serialize`).

mod actions;
mod endpoint;
mod key;
mod message;
mod route;
mod state;
mod trailer;

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::decode::Message;

pub(crate) use actions::ActionsView;
pub(crate) use endpoint::EndpointView;
pub(crate) use key::KeyView;
pub(crate) use message::{BulkStatusView, ClearView, IdView, RequestView, TdbView, UpdateView};
pub(crate) use route::RouteView;
pub(crate) use state::StateView;
pub(crate) use trailer::{epoch, ranges, show_ranges, BlockView, TrailerView};

/// Words: one for each bit that is set.
pub(crate) type Words = Vec<Cow<'static, str>>;

/// A message as it is shown.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum View {
    Clear(ClearView),
    State(Box<StateView>),
    Update(UpdateView),
    Request(RequestView),
    Id(IdView),
    BulkStatus(BulkStatusView),
    Tdb(TdbView),
}

impl From<&Message> for View {
    fn from(message: &Message) -> View {
        match message {
            Message::Clear(clear) => View::Clear(clear.into()),
            Message::State(state) => View::State(Box::new((&**state).into())),
            Message::Update(update) => View::Update(update.into()),
            Message::Request(id) => View::Request((*id).into()),
            Message::Id(id) => View::Id((*id).into()),
            Message::BulkStatus(status) => View::BulkStatus(status.into()),
            Message::Tdb(tdb) => View::Tdb(tdb.into()),
        }
    }
}

impl Display for View {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            View::Clear(clear) => clear.fmt(f),
            View::State(state) => state.fmt(f),
            View::Update(update) => update.fmt(f),
            View::Request(request) => request.fmt(f),
            View::Id(id) => id.fmt(f),
            View::BulkStatus(status) => status.fmt(f),
            View::Tdb(tdb) => tdb.fmt(f),
        }
    }
}

/// Bytes as a number in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The value, unless it is `nothing`.
fn unless<T: PartialEq>(value: T, nothing: T) -> Option<T> {
    (value != nothing).then_some(value)
}

/// Writes a label and a value, if there is a value.
fn optional(f: &mut Formatter, label: &str, value: Option<impl Display>) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(f, " {label} {value}"))
}

/// Writes a label and words, if there are words.
fn words(f: &mut Formatter, label: &str, words: &Words) -> fmt::Result {
    optional(f, label, (!words.is_empty()).then(|| words.join(",")))
}
