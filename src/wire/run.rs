// SPDX-License-Identifier: BSD-2-Clause
//! Runs: the messages between two subheaders.

use super::{
    Action, CheckedState, Format, Invalid, RawBulkStatus, RawClear, RawCommon, RawCompressedUpdate, RawId,
    RawState1301, RawState1400, RawState1500, RawTdb, State, StateId,
};
use zerocopy::{FromBytes, IntoBytes};

/// Messages of one action that follow each other in a frame. They are not
/// checked yet.
#[derive(Clone, Debug, PartialEq)]
pub enum Run<'a> {
    /// [`Action::Clear`]
    Clear(&'a [RawClear]),
    /// [`Action::Insert1301`], [`Action::Insert1400`] or
    /// [`Action::Insert1500`]
    Insert(States<'a>),
    /// [`Action::InsertAck`]
    InsertAck(&'a [RawId]),
    /// [`Action::Update1301`], [`Action::Update1400`] or
    /// [`Action::Update1500`]
    Update(States<'a>),
    /// [`Action::UpdateCompressed`]
    UpdateCompressed(&'a [RawCompressedUpdate]),
    /// [`Action::UpdateRequest`]
    UpdateRequest(&'a [RawId]),
    /// [`Action::DeleteCompressed`]
    DeleteCompressed(&'a [RawId]),
    /// [`Action::BulkStatus`]
    BulkStatus(&'a [RawBulkStatus]),
    /// [`Action::Tdb`]
    Tdb(&'a [RawTdb]),
    /// [`Action::Eof`], with the count in the subheader.
    Eof(u16),
}

impl Run<'_> {
    /// The action in the subheader.
    pub fn action(&self) -> Action {
        match self {
            Run::Clear(_) => Action::Clear,
            Run::Insert(states) => states.format().insert(),
            Run::InsertAck(_) => Action::InsertAck,
            Run::Update(states) => states.format().update(),
            Run::UpdateCompressed(_) => Action::UpdateCompressed,
            Run::UpdateRequest(_) => Action::UpdateRequest,
            Run::DeleteCompressed(_) => Action::DeleteCompressed,
            Run::BulkStatus(_) => Action::BulkStatus,
            Run::Tdb(_) => Action::Tdb,
            Run::Eof(_) => Action::Eof,
        }
    }

    /// The number of messages. For the end mark, the count in the subheader.
    pub fn count(&self) -> usize {
        match self {
            Run::Clear(messages) => messages.len(),
            Run::Insert(states) | Run::Update(states) => states.len(),
            Run::InsertAck(messages) | Run::UpdateRequest(messages) | Run::DeleteCompressed(messages) => {
                messages.len()
            }
            Run::UpdateCompressed(messages) => messages.len(),
            Run::BulkStatus(messages) => messages.len(),
            Run::Tdb(messages) => messages.len(),
            Run::Eof(count) => usize::from(*count),
        }
    }
}

/// Whole states in one format: an iterator that checks each state and yields
/// its content, or why it is refused.
///
/// A refused state does not end the iteration: the states after it can still be
/// read.
///
/// # Examples
///
/// ```
/// use pfsync::wire::{Action, Frame, FrameWriter, Full, Invalid, RawState1400, Run};
/// use zerocopy::FromZeros;
///
/// let mut buffer = [0; 1480];
/// let mut writer = FrameWriter::new(&mut buffer, &[0; 16])?;
/// writer.append(Action::Insert1400, &RawState1400::new_zeroed())?;
/// let len = writer.finish();
///
/// for run in Frame::parse(&buffer[..len]).expect("the header is valid").flatten() {
///     let action = run.action();
///     if let Run::Insert(states) = run {
///         for state in states {
///             assert_eq!((action, state), (Action::Insert1400, Err(Invalid::Creator)));
///         }
///     }
/// }
/// # Ok::<(), Full>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum States<'a> {
    /// [`Format::V1301`]
    V1301(&'a [RawState1301]),
    /// [`Format::V1400`]
    V1400(&'a [RawState1400]),
    /// [`Format::V1500`]
    V1500(&'a [RawState1500]),
}

impl<'a> States<'a> {
    /// The format of the states.
    pub fn format(&self) -> Format {
        match self {
            States::V1301(_) => Format::V1301,
            States::V1400(_) => Format::V1400,
            States::V1500(_) => Format::V1500,
        }
    }

    /// Checks each state and passes the result to `take`. Iterating yields the same
    /// results, but copies each state.
    pub fn check_each(&self, mut take: impl FnMut(&Result<CheckedState, Invalid>)) {
        match self {
            States::V1301(messages) => messages.iter().for_each(|message| take(&message.checked())),
            States::V1400(messages) => messages.iter().for_each(|message| take(&message.checked())),
            States::V1500(messages) => messages.iter().for_each(|message| take(&message.checked())),
        }
    }

    /// The identities of the states, whether or not the states would pass the
    /// checks.
    pub fn ids(&self) -> impl Iterator<Item = StateId> + 'a {
        let bytes = match self {
            States::V1301(messages) => messages.as_bytes(),
            States::V1400(messages) => messages.as_bytes(),
            States::V1500(messages) => messages.as_bytes(),
        };
        // Every format begins with the common fields.
        let commons = bytes.chunks_exact(self.format().size()).flat_map(RawCommon::ref_from_prefix);
        commons.map(|(common, _)| common.state_id())
    }
}

impl Iterator for States<'_> {
    type Item = Result<State, Invalid>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            States::V1301(messages) => messages.split_off_first().map(RawState1301::check),
            States::V1400(messages) => messages.split_off_first().map(RawState1400::check),
            States::V1500(messages) => messages.split_off_first().map(RawState1500::check),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = match self {
            States::V1301(messages) => messages.len(),
            States::V1400(messages) => messages.len(),
            States::V1500(messages) => messages.len(),
        };
        (len, Some(len))
    }
}

impl ExactSizeIterator for States<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Frame, FrameWriter};
    use zerocopy::FromZeros;

    #[test]
    fn states_are_yielded_with_the_action_that_came() {
        let mut good = RawState1500::new_zeroed();
        good.common.creator = [1; 4];
        good.common.ifname[..3].copy_from_slice(b"em0");
        good.orig_ifname = good.common.ifname;
        (good.wire_af, good.stack_af, good.direction) = (2, 2, 1);
        let bad = RawState1500 { direction: 7, ..good };

        let mut buffer = vec![0; 2000];
        let mut writer = FrameWriter::new(&mut buffer, &[0; 16]).unwrap();
        for state in [bad, good] {
            writer.append(Action::Update1500, &state).unwrap();
        }
        let len = writer.finish();
        let run = Frame::parse(&buffer[..len]).unwrap().next().unwrap().unwrap();
        assert_eq!((run.action(), run.count()), (Action::Update1500, 2));
        let Run::Update(mut states) = run else { panic!("{run:?}") };
        assert_eq!(states.format(), Format::V1500);
        assert_eq!(states.ids().collect::<Vec<_>>(), [good.common.state_id(); 2]);
        assert_eq!(states.next(), Some(Err(Invalid::Direction)));
        assert_eq!(states.len(), 1);
        assert_eq!(states.next(), Some(good.check()));
        assert_eq!(states.next(), None);
    }
}
