//! What an operator may set, and what a change of it entails.

use crate::wire::{Format, IfName};

/// The multicast group that firewalls talk in when no peer is named:
/// 224.0.0.240 (`INADDR_PFSYNC_GROUP`).
pub const GROUP4: [u8; 4] = [224, 0, 0, 240];
/// The same for IPv6: ff12::f0.
pub const GROUP6: [u8; 16] = [0xff, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf0];

/// Where packets go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncPeer {
    Inet([u8; 4]),
    Inet6 { addr: [u8; 16], scope: u32 },
}

impl SyncPeer {
    /// The multicast group of IPv4.
    pub const UNSPECIFIED: SyncPeer = SyncPeer::Inet([0; 4]);

    pub fn is_multicast(&self) -> bool {
        match self {
            SyncPeer::Inet([first, ..]) => (224..240).contains(first),
            SyncPeer::Inet6 { addr: [first, ..], .. } => *first == 0xff,
        }
    }

    /// The peer to use for an address that may be unspecified.
    fn or_group(self) -> SyncPeer {
        match self {
            SyncPeer::Inet([0, 0, 0, 0]) => SyncPeer::Inet(GROUP4),
            SyncPeer::Inet6 { addr, scope } if addr == [0; 16] => SyncPeer::Inet6 { addr: GROUP6, scope },
            peer => peer,
        }
    }
}

/// The interface's configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    pub syncdev: Option<IfName>,
    /// `None` until a peer or a sync interface was set.
    pub peer: Option<SyncPeer>,
    pub maxupd: u8,
    pub format: Format,
    /// The newest format that pf knows here, which is the default.
    newest: Format,
    pub defer: bool,
}

/// What an ioctl asks for, before it is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    pub syncdev: Option<IfName>,
    /// `None` or an unspecified address is the multicast group.
    pub peer: Option<SyncPeer>,
    pub maxupd: i64,
    /// A message format, 0 for the default.
    pub version: i64,
    pub defer: bool,
}

/// A value is out of range (`EINVAL`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfRange;

impl Config {
    /// That of a new interface, where pf knows message formats up to `newest`.
    pub fn new(newest: Format) -> Config {
        Config { syncdev: None, peer: None, maxupd: 128, format: newest, newest, defer: false }
    }

    /// The configuration that a request leads to.
    pub fn with(&self, request: &Request) -> Result<Config, OutOfRange> {
        let peer = match request.peer {
            Some(peer) => Some(peer.or_group()),
            None if request.syncdev.is_some() => Some(SyncPeer::Inet(GROUP4)),
            None => self.peer,
        };
        Ok(Config {
            syncdev: request.syncdev,
            peer,
            maxupd: request.maxupd.try_into().map_err(|_| OutOfRange)?,
            format: match request.version {
                0 => self.newest,
                version => {
                    Format::from_number(version).filter(|format| *format <= self.newest).ok_or(OutOfRange)?
                }
            },
            newest: self.newest,
            defer: request.defer,
        })
    }

    /// Whether packets go to the same peers by the same interface: then no
    /// full update is needed, and no group is left or joined.
    pub fn same_link(&self, other: &Config) -> bool {
        self.syncdev == other.syncdev && (self.syncdev.is_none() || self.peer == other.peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request { syncdev: None, peer: None, maxupd: 128, version: 0, defer: false }
    }

    fn fresh() -> Config {
        Config::new(Format::V1400)
    }

    fn em0() -> Option<IfName> {
        Some(IfName::new(b"em0\0\0\0\0\0\0\0\0\0\0\0\0\0").unwrap())
    }

    #[test]
    fn a_sync_interface_without_a_peer_uses_the_group() {
        let config = fresh().with(&Request { syncdev: em0(), ..request() }).unwrap();
        assert_eq!(config.peer, Some(SyncPeer::Inet(GROUP4)));
        assert!(config.peer.unwrap().is_multicast());
        let zero = SyncPeer::Inet6 { addr: [0; 16], scope: 0 };
        let config = fresh().with(&Request { peer: Some(zero), ..request() }).unwrap();
        assert_eq!(config.peer, Some(SyncPeer::Inet6 { addr: GROUP6, scope: 0 }));
    }

    #[test]
    fn a_peer_set_first_is_kept_until_the_interface_comes() {
        let peer = SyncPeer::Inet([192, 0, 2, 1]);
        let first = fresh().with(&Request { peer: Some(peer), ..request() }).unwrap();
        let second = first.with(&Request { maxupd: 1, ..request() }).unwrap();
        assert_eq!(second.peer, Some(peer));
        assert!(!peer.is_multicast());
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let config = fresh();
        for maxupd in [-1, 256, i64::MAX] {
            assert_eq!(config.with(&Request { maxupd, ..request() }), Err(OutOfRange));
        }
        for version in [-1, 1300, 1500] {
            assert_eq!(config.with(&Request { version, ..request() }), Err(OutOfRange));
        }
        assert_eq!(config.with(&Request { version: 1301, ..request() }).unwrap().format, Format::V1301);
    }

    #[test]
    fn the_newest_format_is_the_default() {
        for newest in [Format::V1400, Format::V1500] {
            let old = Config::new(newest).with(&Request { version: 1301, ..request() }).unwrap();
            assert_eq!(old.with(&request()).unwrap(), Config::new(newest));
            assert_eq!(Config::new(newest).with(&request()).unwrap().format, newest);
        }
        let config = Config::new(Format::V1500);
        assert_eq!(config.with(&Request { version: 1500, ..request() }).unwrap().format, Format::V1500);
    }

    #[test]
    fn only_the_link_makes_a_new_link() {
        let config = fresh().with(&Request { syncdev: em0(), ..request() }).unwrap();
        let other = config.with(&Request { syncdev: em0(), maxupd: 1, version: 1301, ..request() }).unwrap();
        assert!(config.same_link(&other));
        let peer = Some(SyncPeer::Inet([192, 0, 2, 1]));
        assert!(!config.same_link(&config.with(&Request { syncdev: em0(), peer, ..request() }).unwrap()));
        assert!(!config.same_link(&fresh()));
    }
}
