// SPDX-License-Identifier: BSD-2-Clause
//! The configuration that an operator sets, and what a change of it means.

use crate::wire::{Format, IfName};

/// The multicast group for IPv4, 224.0.0.240 (`INADDR_PFSYNC_GROUP` in
/// `netinet/in.h`). Frames go there unless the operator names a peer.
pub const GROUP4: [u8; 4] = [224, 0, 0, 240];
/// The multicast group for IPv6, ff12::f0, as in the stock module.
pub const GROUP6: [u8; 16] = [0xff, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf0];

/// The sync peer: the address that frames are sent to. It is that of one peer or
/// of a multicast group. Addresses are in network byte order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncPeer {
    /// An IPv4 address.
    Inet([u8; 4]),
    /// An IPv6 address.
    Inet6 {
        /// The address.
        addr: [u8; 16],
        /// Its zone: the index of an interface, or 0.
        scope: u32,
    },
}

impl SyncPeer {
    /// The unspecified address, 0.0.0.0. It stands for [`GROUP4`].
    pub const UNSPECIFIED: SyncPeer = SyncPeer::Inet([0; 4]);

    /// Whether the address is that of a multicast group.
    pub fn is_multicast(&self) -> bool {
        match self {
            SyncPeer::Inet([first, ..]) => (224..240).contains(first),
            SyncPeer::Inet6 { addr: [first, ..], .. } => *first == 0xff,
        }
    }

    /// This address, or the multicast group of its family if it is unspecified.
    fn or_group(self) -> SyncPeer {
        match self {
            SyncPeer::Inet([0, 0, 0, 0]) => SyncPeer::Inet(GROUP4),
            SyncPeer::Inet6 { addr, scope } if addr == [0; 16] => SyncPeer::Inet6 { addr: GROUP6, scope },
            specified => specified,
        }
    }
}

/// A valid configuration of the interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// The sync interface.
    pub syncdev: Option<IfName>,
    /// The sync peer. `None` until a sync peer or a sync interface is set.
    pub syncpeer: Option<SyncPeer>,
    /// How many updates of a TCP state may collapse into one message.
    pub maxupd: u8,
    /// The format of the states that are sent, if the operator has fixed it.
    /// Otherwise [`FormatChoice`](super::format_choice::FormatChoice) chooses.
    pub fixed_format: Option<Format>,
    /// The newest format that pf knows here.
    newest: Format,
    /// Whether the first packet of a connection is deferred.
    pub defer: bool,
}

/// What an operator sets, before it is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The sync interface.
    pub syncdev: Option<IfName>,
    /// The sync peer. `None` and an unspecified address stand for the multicast
    /// group.
    pub syncpeer: Option<SyncPeer>,
    /// How many updates of a TCP state may collapse into one message.
    pub maxupd: i64,
    /// The number of a format that the operator fixes, or 0 to have the format
    /// chosen. `None` leaves it as it is.
    pub version: Option<i64>,
    /// Whether the first packet of a connection is deferred.
    pub defer: bool,
}

/// A setting is out of range (`EINVAL`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfRange;

impl Config {
    /// The configuration of a new interface. `newest` is the newest format that
    /// pf knows here.
    pub fn new(newest: Format) -> Config {
        Config { syncdev: None, syncpeer: None, maxupd: 128, fixed_format: None, newest, defer: false }
    }

    /// The configuration that these settings lead to. Fails if `maxupd` or
    /// `version` is out of range.
    pub fn with(&self, settings: &Settings) -> Result<Config, OutOfRange> {
        let syncpeer = match settings.syncpeer {
            Some(peer) => Some(peer.or_group()),
            None if settings.syncdev.is_some() => Some(SyncPeer::Inet(GROUP4)),
            None => self.syncpeer,
        };
        let fixed_format = match settings.version {
            None => self.fixed_format,
            Some(0) => None,
            Some(version) => Some(Format::from_number(version).ok_or(OutOfRange)?),
        };
        if fixed_format.is_some_and(|format| format > self.newest) {
            return Err(OutOfRange);
        }
        Ok(Config {
            syncdev: settings.syncdev,
            syncpeer,
            maxupd: settings.maxupd.try_into().map_err(|_| OutOfRange)?,
            fixed_format,
            newest: self.newest,
            defer: settings.defer,
        })
    }

    /// Whether frames go to the same sync peer through the same sync interface. If
    /// they do, the link stays as it is and no bulk update is needed.
    pub fn same_link(&self, other: &Config) -> bool {
        self.syncdev == other.syncdev && (self.syncdev.is_none() || self.syncpeer == other.syncpeer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings { syncdev: None, syncpeer: None, maxupd: 128, version: None, defer: false }
    }

    fn fresh() -> Config {
        Config::new(Format::V1400)
    }

    fn em0() -> Option<IfName> {
        Some(IfName::new(b"em0\0\0\0\0\0\0\0\0\0\0\0\0\0").unwrap())
    }

    #[test]
    fn a_sync_interface_without_a_sync_peer_uses_the_group() {
        let config = fresh().with(&Settings { syncdev: em0(), ..settings() }).unwrap();
        assert_eq!(config.syncpeer, Some(SyncPeer::Inet(GROUP4)));
        assert!(config.syncpeer.unwrap().is_multicast());
        let zero = SyncPeer::Inet6 { addr: [0; 16], scope: 0 };
        let config = fresh().with(&Settings { syncpeer: Some(zero), ..settings() }).unwrap();
        assert_eq!(config.syncpeer, Some(SyncPeer::Inet6 { addr: GROUP6, scope: 0 }));
    }

    #[test]
    fn a_sync_peer_set_first_is_kept_for_the_sync_interface() {
        let peer = SyncPeer::Inet([192, 0, 2, 1]);
        let first = fresh().with(&Settings { syncpeer: Some(peer), ..settings() }).unwrap();
        let second = first.with(&Settings { maxupd: 1, ..settings() }).unwrap();
        assert_eq!(second.syncpeer, Some(peer));
        assert!(!peer.is_multicast());
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let config = fresh();
        for maxupd in [-1, 256, i64::MAX] {
            assert_eq!(config.with(&Settings { maxupd, ..settings() }), Err(OutOfRange));
        }
        for version in [-1, 1300, 1500] {
            assert_eq!(config.with(&Settings { version: Some(version), ..settings() }), Err(OutOfRange));
        }
    }

    #[test]
    fn a_format_stays_fixed_until_the_operator_leaves_the_choice() {
        let with = |config: Config, version| config.with(&Settings { version, ..settings() }).unwrap();
        let config = with(fresh(), Some(1301));
        assert_eq!(config.fixed_format, Some(Format::V1301));
        assert_eq!(with(config, None), config);
        assert_eq!(with(config, Some(0)), fresh());
        assert_eq!(with(Config::new(Format::V1500), Some(1500)).fixed_format, Some(Format::V1500));
    }

    #[test]
    fn only_sync_interface_and_sync_peer_make_a_new_link() {
        let config = fresh().with(&Settings { syncdev: em0(), ..settings() }).unwrap();
        let other =
            config.with(&Settings { syncdev: em0(), maxupd: 1, version: Some(1301), ..settings() }).unwrap();
        assert!(config.same_link(&other));
        let syncpeer = Some(SyncPeer::Inet([192, 0, 2, 1]));
        assert!(
            !config.same_link(&config.with(&Settings { syncdev: em0(), syncpeer, ..settings() }).unwrap())
        );
        assert!(!config.same_link(&fresh()));
    }
}
