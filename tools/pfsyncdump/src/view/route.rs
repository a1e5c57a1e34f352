// SPDX-License-Identifier: BSD-2-Clause
//! Where packets of a state are sent.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use pfsync::wire::{RouteTo, State};
use serde::Serialize;

use super::key::address;
use crate::names;

/// A rule's `route-to`, `dup-to` or `reply-to`.
#[derive(Serialize)]
pub(crate) struct RouteView {
    /// `None` in format 1301, which carries only the address.
    pub(crate) kind: Option<&'static str>,
    pub(crate) interface: Option<String>,
    pub(crate) addr: IpAddr,
}

impl RouteView {
    /// Where packets of the state are sent. `None` if the routing table decides.
    pub(crate) fn of(state: &State) -> Option<RouteView> {
        let addr = address(&state.rt_addr, state.family);
        match state.rule_actions.as_ref().map(|actions| &actions.route) {
            Some(RouteTo::Via { kind, ifname, family }) => Some(RouteView {
                kind: Some(names::route(*kind)),
                interface: Some(ifname.to_string()),
                addr: address(&state.rt_addr, *family),
            }),
            Some(RouteTo::No) | None if addr.is_unspecified() => None,
            Some(RouteTo::No) | None => Some(RouteView { kind: None, interface: None, addr }),
        }
    }
}

impl Display for RouteView {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match (self.kind, &self.interface) {
            (Some(kind), Some(interface)) => write!(f, "{kind} {}@{interface}", self.addr),
            _ => write!(f, "gateway {}", self.addr),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfsync::wire::{Direction, Family, RawState1400, RuleActions};
    use zerocopy::FromZeros;

    /// A state whose gateway is 192.0.2.9.
    fn state(rule_actions: Option<RuleActions>) -> State {
        let mut raw = RawState1400::new_zeroed();
        raw.common.creator = [1; 4];
        raw.common.ifname[..3].copy_from_slice(b"all");
        raw.af = Family::Inet as u8;
        raw.direction = Direction::In as u8;
        raw.common.rt_addr[..4].copy_from_slice(&[192, 0, 2, 9]);
        State { rule_actions, ..raw.check().unwrap() }
    }

    #[test]
    fn only_a_state_with_an_address_is_routed() {
        assert_eq!(RouteView::of(&state(None)).unwrap().to_string(), "gateway 192.0.2.9");
        assert!(RouteView::of(&State { rt_addr: [0; 16], ..state(None) }).is_none());
    }

    #[test]
    fn a_route_without_interface_is_a_gateway() {
        let addr = [192, 0, 2, 9].into();
        let route = RouteView { kind: Some("route-to"), interface: Some("em1".into()), addr };
        assert_eq!(route.to_string(), "route-to 192.0.2.9@em1");
        assert_eq!(RouteView { kind: None, interface: None, addr }.to_string(), "gateway 192.0.2.9");
    }
}
