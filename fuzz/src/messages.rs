// SPDX-License-Identifier: BSD-2-Clause
//! Messages with values that pf can have, made from a fuzzer's bytes.

use arbitrary::{Arbitrary, Result, Unstructured};
use pfsync::wire::{
    Action, BulkMark, BulkStatus, Clear, CompressedUpdate, Direction, Endpoint, Family, Format, Frame,
    FrameWriter, Full, IfName, Key, RawBulkStatus, RawClear, RawCompressedUpdate, RawId, RawState1301,
    RawState1400, RawState1500, RouteTo, RuleActions, Run, Scrub, State, StateFlags, StateId, States,
    TagName,
};

/// A message that passed its checks.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Message {
    Clear(Clear),
    Insert(Format, State),
    Ack(StateId),
    Update(Format, State),
    Compressed(CompressedUpdate),
    Request(StateId),
    Delete(StateId),
    Bulk(BulkStatus),
}

impl Message {
    pub(crate) fn arbitrary(u: &mut Unstructured) -> Result<Message> {
        Ok(match u.int_in_range(0..=7)? {
            0 => Message::Clear(Clear { ifname: maybe(u, name)?, creator: u.arbitrary()? }),
            1 => state_in_format(u).map(|(format, state)| Message::Insert(format, state))?,
            2 => Message::Ack(id(u)?),
            3 => state_in_format(u).map(|(format, state)| Message::Update(format, state))?,
            4 => Message::Compressed(CompressedUpdate {
                id: id(u)?,
                src: endpoint(u, 132)?,
                dst: endpoint(u, 132)?,
                timeout: timeout(u)?,
            }),
            5 => Message::Request(id(u)?),
            6 => Message::Delete(id(u)?),
            _ => Message::Bulk(BulkStatus {
                creator: u.arbitrary()?,
                age: u.arbitrary()?,
                mark: *u.choose(&[BulkMark::Start, BulkMark::End])?,
            }),
        })
    }

    pub(crate) fn action(&self) -> Action {
        match self {
            Message::Clear(_) => Action::Clear,
            Message::Insert(format, _) => format.insert(),
            Message::Ack(_) => Action::InsertAck,
            Message::Update(format, _) => format.update(),
            Message::Compressed(_) => Action::UpdateCompressed,
            Message::Request(_) => Action::UpdateRequest,
            Message::Delete(_) => Action::DeleteCompressed,
            Message::Bulk(_) => Action::BulkStatus,
        }
    }

    /// Bytes of the message.
    pub(crate) fn size(&self) -> usize {
        match self {
            Message::Clear(_) => size_of::<RawClear>(),
            Message::Insert(format, _) | Message::Update(format, _) => format.size(),
            Message::Ack(_) | Message::Request(_) | Message::Delete(_) => size_of::<RawId>(),
            Message::Compressed(_) => size_of::<RawCompressedUpdate>(),
            Message::Bulk(_) => size_of::<RawBulkStatus>(),
        }
    }

    pub(crate) fn append(&self, writer: &mut FrameWriter) -> core::result::Result<(), Full> {
        let action = self.action();
        match self {
            Message::Clear(clear) => writer.append(action, &RawClear::from(clear)),
            Message::Insert(format, state) | Message::Update(format, state) => match format {
                Format::V1301 => writer.append(action, &RawState1301::from(state)),
                Format::V1400 => writer.append(action, &RawState1400::from(state)),
                Format::V1500 => writer.append(action, &RawState1500::from(state)),
            },
            Message::Ack(id) | Message::Request(id) | Message::Delete(id) => {
                writer.append(action, &RawId::from(*id))
            }
            Message::Compressed(update) => writer.append(action, &RawCompressedUpdate::from(update)),
            Message::Bulk(status) => writer.append(action, &RawBulkStatus::from(status)),
        }
    }

    /// The messages of a run. `None` stands for a message that is refused.
    pub(crate) fn all(run: &Run) -> Vec<Option<Message>> {
        match run {
            Run::Clear(raw) => each(raw, |raw| raw.check().ok().map(Message::Clear)),
            Run::Insert(states) => each_state(states, Message::Insert),
            Run::Update(states) => each_state(states, Message::Update),
            Run::InsertAck(raw) => each(raw, |raw| Some(Message::Ack((*raw).into()))),
            Run::UpdateRequest(raw) => each(raw, |raw| Some(Message::Request((*raw).into()))),
            Run::DeleteCompressed(raw) => each(raw, |raw| Some(Message::Delete((*raw).into()))),
            Run::UpdateCompressed(raw) => each(raw, |raw| raw.check(None).ok().map(Message::Compressed)),
            Run::BulkStatus(raw) => each(raw, |raw| raw.check().ok().map(Message::Bulk)),
            Run::Tdb(_) | Run::Eof(_) => Vec::new(),
        }
    }

    /// Writes the message and reads it again.
    pub(crate) fn reread(&self) -> Option<Message> {
        let mut buffer = [0; 512];
        let mut writer = FrameWriter::new(&mut buffer, &[0; 16]).ok()?;
        self.append(&mut writer).ok()?;
        let len = writer.finish();
        let run = Frame::parse(&buffer[..len]).ok()?.next()?.ok()?;
        Message::all(&run).pop()?
    }

    /// The message without what its format does not carry.
    pub(crate) fn carried(mut self) -> Message {
        if let Message::Insert(format, state) | Message::Update(format, state) = &mut self {
            *state = in_format(*format, *state);
        }
        self
    }
}

/// The state without what a format does not carry.
fn in_format(format: Format, mut state: State) -> State {
    if format >= Format::V1500 {
        return State { sync_flags: 0, updates: 0, ..state };
    }
    if format == Format::V1301 {
        state.flags &= StateFlags::from_bits_truncate(0xff);
        state.rule_actions = None;
    }
    if let Some(RuleActions { route: RouteTo::Via { family, .. }, .. }) = &mut state.rule_actions {
        *family = state.family;
    }
    let (stack_family, stack_proto) = (state.family, state.proto);
    State { orig_ifname: None, stack_family, stack_proto, tag: None, ..state }
}

fn each<T>(raw: &[T], read: impl Fn(&T) -> Option<Message>) -> Vec<Option<Message>> {
    raw.iter().map(read).collect()
}

fn each_state(states: &States, make: impl Fn(Format, State) -> Message) -> Vec<Option<Message>> {
    let format = states.format();
    states.clone().map(|state| Some(make(format, state.ok()?))).collect()
}

fn maybe<'a, T>(
    u: &mut Unstructured<'a>,
    make: impl FnOnce(&mut Unstructured<'a>) -> Result<T>,
) -> Result<Option<T>> {
    bool::arbitrary(u)?.then(|| make(u)).transpose()
}

pub(crate) fn id(u: &mut Unstructured) -> Result<StateId> {
    Ok(StateId { id: u.arbitrary()?, creator: u.arbitrary()? })
}

fn name(u: &mut Unstructured) -> Result<IfName> {
    let mut bytes = [0; 16];
    let len = u.int_in_range(1..=15)?;
    for byte in &mut bytes[..len] {
        *byte = u.int_in_range(0x21..=0x7e)?;
    }
    IfName::new(&bytes).map_err(|_| arbitrary::Error::IncorrectFormat)
}

fn timeout(u: &mut Unstructured) -> Result<u8> {
    let number = u.int_in_range(0..=18)?;
    Ok(if number < 14 { number } else { number + 6 })
}

fn endpoint(u: &mut Unstructured, proto: u8) -> Result<Endpoint> {
    let highest = match proto {
        6 => 12,
        132 => 0x80,
        _ => 2,
    };
    Ok(Endpoint {
        seqlo: u.arbitrary()?,
        seqhi: u.arbitrary()?,
        seqdiff: u.arbitrary()?,
        max_win: u.arbitrary()?,
        mss: u.arbitrary()?,
        state: u.int_in_range(0..=highest)?,
        wscale: u.int_in_range(0..=14)? | u.int_in_range(0..=15)? << 4,
        scrub: maybe(u, |u| {
            Ok(Scrub { timestamp: u.arbitrary()?, ttl: u.arbitrary()?, ts_mod: u.arbitrary()? })
        })?,
    })
}

fn key(u: &mut Unstructured) -> Result<Key> {
    Ok(Key { addr: u.arbitrary()?, port: u.arbitrary()? })
}

fn rule(u: &mut Unstructured) -> Result<Option<u32>> {
    maybe(u, |u| u.int_in_range(0..=u32::MAX - 1))
}

fn rule_actions(u: &mut Unstructured) -> Result<RuleActions> {
    Ok(RuleActions {
        qid: u.arbitrary()?,
        pqid: u.arbitrary()?,
        dnpipe: u.arbitrary()?,
        dnrpipe: u.arbitrary()?,
        rtableid: u.int_in_range(-1..=i32::MAX)?,
        min_ttl: u.arbitrary()?,
        set_tos: u.arbitrary()?,
        max_mss: u.arbitrary()?,
        set_prio: [u.int_in_range(0..=7)?, u.int_in_range(0..=7)?],
        route: match u.int_in_range(0..=4)? {
            0 => RouteTo::No,
            kind => RouteTo::Via { kind, ifname: name(u)?, family: family(u)? },
        },
    })
}

fn state_in_format(u: &mut Unstructured) -> Result<(Format, State)> {
    Ok((*u.choose(&[Format::V1301, Format::V1400, Format::V1500])?, state(u)?))
}

fn family(u: &mut Unstructured) -> Result<Family> {
    Ok(*u.choose(&[Family::Inet, Family::Inet6])?)
}

fn tag(u: &mut Unstructured) -> Result<Option<TagName>> {
    let mut bytes: [u8; TagName::SIZE] = u.arbitrary()?;
    bytes[TagName::SIZE - 1] = 0;
    TagName::new(&bytes).map_err(|_| arbitrary::Error::IncorrectFormat)
}

/// A state of format 1500.
pub(crate) fn state(u: &mut Unstructured) -> Result<State> {
    let proto = *u.choose(&[6, 17, 1, 58, 132, 0, 47, 255])?;
    let family = family(u)?;
    let is_translated = u.ratio(1, 8)?;
    let other = |one, two| if is_translated == (family == one) { two } else { one };
    let mut id = id(u)?;
    id.creator[0] |= 1;
    let wire = key(u)?;
    Ok(State {
        id,
        ifname: name(u)?,
        orig_ifname: Some(name(u)?),
        wire,
        stack: maybe(u, key)?.unwrap_or(wire),
        family,
        proto,
        stack_family: other(Family::Inet, Family::Inet6),
        stack_proto: proto,
        direction: *u.choose(&[Direction::In, Direction::Out])?,
        src: endpoint(u, proto)?,
        dst: endpoint(u, proto)?,
        rt_addr: u.arbitrary()?,
        rule: rule(u)?,
        anchor: rule(u)?,
        nat_rule: rule(u)?,
        age: u.arbitrary()?,
        expires_in: u.arbitrary()?,
        packets: u.arbitrary()?,
        bytes: u.arbitrary()?,
        log: u.arbitrary()?,
        flags: StateFlags::from_bits_truncate(u.arbitrary()?),
        timeout: timeout(u)?,
        sync_flags: u.arbitrary()?,
        updates: u.arbitrary()?,
        rule_actions: Some(rule_actions(u)?),
        tag: tag(u)?,
    })
}
