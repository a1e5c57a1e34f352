//! Where packets go: the sync interface and the peers behind it.

use crate::engine::config::SyncPeer;
use crate::kernel::epoch::{self, NetEpoch, Retired};
use crate::kernel::error::{Errno, Result};
use crate::kernel::ifnet::{DetachLock, IfnetRef};
use crate::kernel::ip::{self, Group4, Group6};
use crate::kernel::mbuf::Packet;
use crate::stats::{count, Stat};
use crate::wire::{Ipv4Header, Ipv6Header, TTL};
use zerocopy::IntoBytes;

/// The longest IP header in front of a frame.
pub const HEADER_MAX: usize = size_of::<Ipv6Header>();

enum Path {
    Inet {
        to: [u8; 4],
        group: Option<Group4>,
    },
    /// Addresses with their scope embedded.
    Inet6 {
        from: [u8; 16],
        to: [u8; 16],
        group: Option<Group6>,
    },
}

/// A sync interface with its peers. Read in the network epoch; dropping it
/// leaves the multicast group, and so may sleep.
pub struct Link {
    ifp: IfnetRef,
    path: Path,
}

impl Link {
    /// Opens the way to `peer`, joining its group if it is one. May sleep.
    ///
    /// `EADDRNOTAVAIL` when the interface cannot multicast.
    pub fn open(ifp: IfnetRef, peer: SyncPeer) -> Result<Link> {
        if peer.is_multicast() && !ifp.is_multicast() {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let path = match peer {
            SyncPeer::Inet(to) => {
                let group = if peer.is_multicast() { Some(Group4::join(&ifp, to, TTL)?) } else { None };
                Path::Inet { to, group }
            }
            SyncPeer::Inet6 { addr, .. } => {
                let to = ip::embed_scope(addr, &ifp)?;
                let group = if peer.is_multicast() { Some(Group6::join(&ifp, &to, TTL)?) } else { None };
                let from = epoch::enter(|epoch| ip::select_source6(&to, &ifp, epoch));
                Path::Inet6 { from, to, group }
            }
        };
        Ok(Link { ifp, path })
    }

    /// The sync interface.
    pub fn interface(&self) -> &IfnetRef {
        &self.ifp
    }

    /// Bytes of the IP header in front of a frame.
    pub fn header_len(&self) -> usize {
        match self.path {
            Path::Inet { .. } => size_of::<Ipv4Header>(),
            Path::Inet6 { .. } => size_of::<Ipv6Header>(),
        }
    }

    /// Writes the IP header of a frame of `len` bytes at the end of `to`, and
    /// returns where it begins.
    pub fn write_header(&self, to: &mut [u8], len: usize) -> usize {
        // `to` has HEADER_MAX bytes, so that the headers fit.
        let _ = match &self.path {
            Path::Inet { to: dst, .. } => {
                Ipv4Header::new(*dst, ip::identification(), len).write_to_suffix(to).is_ok()
            }
            Path::Inet6 { from, to: dst, .. } => {
                Ipv6Header::new(*from, *dst, len).write_to_suffix(to).is_ok()
            }
        };
        to.len().saturating_sub(self.header_len())
    }

    /// Sends a packet, and counts it. No lock may be held.
    pub fn send(&self, packet: Packet, epoch: &NetEpoch) -> Result<()> {
        let (result, stat) = match &self.path {
            Path::Inet { group, .. } => (ip::output4(packet, group.as_ref(), epoch), Stat::OutputPackets),
            Path::Inet6 { group, .. } => (ip::output6(packet, group.as_ref(), epoch), Stat::OutputPackets6),
        };
        count(if result.is_ok() { stat } else { Stat::OutputErrors }, 1);
        result
    }

    /// Ends a link that was replaced: waits for who still sends by it, and
    /// leaves its group. The lock is held since before the replacement, so that
    /// the departure of the sync interface finds the link, or comes after. May
    /// sleep.
    pub fn close(retired: Option<Retired<Link>>, detaching: &DetachLock) {
        let Some(retired) = retired else { return };
        match &mut retired.reclaim().path {
            Path::Inet { group: Some(group), .. } => group.leave(detaching),
            Path::Inet6 { group: Some(group), .. } => group.leave(detaching),
            _ => {}
        }
    }

    /// The interface goes away, and its memberships with it.
    pub fn abandon(&mut self) {
        match &mut self.path {
            Path::Inet { group: Some(group), .. } => group.abandon(),
            Path::Inet6 { group: Some(group), .. } => group.abandon(),
            _ => {}
        }
    }
}
