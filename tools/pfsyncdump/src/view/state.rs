//! Whole states, of inserts and updates.

use std::fmt::{self, Display, Formatter};

use pfsync::wire::{Direction, Family, State, StateFlags};
use serde::Serialize;

use super::peer::peers;
use super::{optional, unless, words, ActionsView, IdView, KeyView, PeerView, RouteView, Words};
use crate::names::{self, PeerKind};

#[derive(Serialize)]
pub struct StateView {
    #[serde(flatten)]
    pub id: IdView,
    pub interface: String,
    pub direction: &'static str,
    pub family: &'static str,
    pub proto: String,
    pub wire: KeyView,
    /// Where it differs from the wire key: the state is of a translation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<KeyView>,
    pub src: PeerView,
    pub dst: PeerView,
    pub timeout: &'static str,
    pub age: u32,
    pub expires: u32,
    pub packets: [u64; 2],
    pub bytes: [u64; 2],
    pub rule: Option<u32>,
    pub anchor: Option<u32>,
    pub nat_rule: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteView>,
    pub flags: Words,
    pub log: Words,
    pub sync_flags: Words,
    pub updates: u8,
    /// Only in format 1400.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actions: Option<ActionsView>,
}

impl From<&State> for StateView {
    fn from(state: &State) -> StateView {
        let kind = PeerKind::of_protocol(state.proto);
        let wire = KeyView::new(&state.wire, state.family, state.direction);
        let stack = KeyView::new(&state.stack, state.family, state.direction);
        StateView {
            id: state.id.into(),
            interface: state.ifname.as_str().to_owned(),
            direction: direction(state.direction),
            family: family(state.family),
            proto: names::protocol(state.proto),
            stack: (stack != wire).then_some(stack),
            wire,
            src: PeerView::new(&state.src, kind),
            dst: PeerView::new(&state.dst, kind),
            timeout: names::timeout(state.timeout),
            age: state.age,
            expires: state.expires_in,
            packets: state.packets,
            bytes: state.bytes,
            rule: state.rule,
            anchor: state.anchor,
            nat_rule: state.nat_rule,
            route: RouteView::of(state),
            flags: flags(state.flags),
            log: names::bits(state.log, &names::LOG),
            sync_flags: names::bits(state.sync_flags, &names::SYNC_FLAGS),
            updates: state.updates,
            actions: state.extra.as_ref().map(ActionsView::from),
        }
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::InOut => "in-out",
        Direction::In => "in",
        Direction::Out => "out",
    }
}

fn family(family: Family) -> &'static str {
    match family {
        Family::Inet => "inet",
        Family::Inet6 => "inet6",
    }
}

/// `PFSTATE_*` in lower case.
fn flags(flags: StateFlags) -> Words {
    let mut named = flags.iter_names();
    let mut words: Words = named.by_ref().map(|(name, _)| name.to_lowercase().into()).collect();
    let rest = named.remaining().bits();
    if rest != 0 {
        words.push(format!("{rest:#x}").into());
    }
    words
}

impl Display for StateView {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{} on {} {} {} {}", self.id, self.interface, self.direction, self.proto, self.wire)?;
        optional(f, "stack", self.stack.as_ref())?;
        peers(f, &self.src, &self.dst)?;
        write!(f, " timeout {} age {}s expires {}s", self.timeout, self.age, self.expires)?;
        write!(f, " packets {}:{}", self.packets[0], self.packets[1])?;
        write!(f, " bytes {}:{}", self.bytes[0], self.bytes[1])?;
        optional(f, "rule", self.rule)?;
        optional(f, "anchor", self.anchor)?;
        optional(f, "nat-rule", self.nat_rule)?;
        if let Some(route) = &self.route {
            write!(f, " {route}")?;
        }
        words(f, "flags", &self.flags)?;
        words(f, "log", &self.log)?;
        words(f, "sync-flags", &self.sync_flags)?;
        optional(f, "updates", unless(self.updates, 0))?;
        self.actions.as_ref().map_or(Ok(()), |actions| actions.fmt(f))
    }
}
