// SPDX-License-Identifier: BSD-2-Clause
//! The link: the sync interface and the sync peer that packets go to.

use crate::atomic::{AtomicBool, Ordering};
use crate::driver::kernel::epoch::{NetEpoch, Retired};
use crate::driver::kernel::error::{Errno, Result};
use crate::driver::kernel::ifnet::{DetachLock, IfnetRef};
use crate::driver::kernel::ip::{self, Group4, Group6};
use crate::driver::kernel::mbuf::Packet;
use crate::driver::stats::{count, Stat};
use crate::engine::bulk::Audience;
use crate::engine::config::SyncPeer;
use crate::wire::{Ipv4Header, Ipv6Header, PeerAddress, TTL};
use zerocopy::IntoBytes;

/// Bytes of the longest IP header in front of a frame.
pub(crate) const HEADER_MAX: usize = size_of::<Ipv6Header>();

/// Addresses in network byte order, and the membership if the sync peer is a multicast
/// group.
enum Path {
    Inet {
        to: [u8; 4],
        group: Option<Group4>,
    },
    /// The scope is embedded in the address.
    Inet6 {
        to: [u8; 16],
        group: Option<Group6>,
    },
}

/// A sync interface with its sync peer. Threads read it in the network epoch. Before it is
/// dropped, [`Link::close`] or [`Link::abandon`] ends its membership of a multicast group.
pub(crate) struct Link {
    ifp: IfnetRef,
    path: Path,
    /// Whether packets could pass when that changed last. Each change is told to one thread, and
    /// says nothing of other memory.
    was_up: AtomicBool,
}

impl Link {
    /// Makes a link to `peer`, and joins the group if `peer` is one. May sleep.
    ///
    /// `EADDRNOTAVAIL` if the peer is a group and the interface cannot multicast, or the
    /// error of joining the group.
    pub(crate) fn open(ifp: IfnetRef, peer: SyncPeer) -> Result<Link> {
        if peer.is_multicast() && !ifp.is_multicast() {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let path = match peer {
            SyncPeer::Inet(to) => {
                let group = if peer.is_multicast() { Some(Group4::join(&ifp, &to, TTL)?) } else { None };
                Path::Inet { to, group }
            }
            SyncPeer::Inet6 { addr, .. } => {
                let to = ip::embed_scope(addr, &ifp)?;
                let group = if peer.is_multicast() { Some(Group6::join(&ifp, &to, TTL)?) } else { None };
                Path::Inet6 { to, group }
            }
        };
        let was_up = AtomicBool::new(ifp.is_up());
        Ok(Link { ifp, path, was_up })
    }

    /// The sync interface.
    pub(crate) fn interface(&self) -> &IfnetRef {
        &self.ifp
    }

    /// How many peers may be behind the link.
    pub(crate) fn audience(&self) -> Audience {
        match &self.path {
            Path::Inet { group: None, .. } | Path::Inet6 { group: None, .. } => Audience::One,
            _ => Audience::Group,
        }
    }

    /// Whether a packet from that address is to be expected: from the sync peer, or from
    /// any firewall of the group.
    pub(crate) fn expects(&self, from: PeerAddress) -> bool {
        match &self.path {
            Path::Inet { to, group: None } => from == (*to).into(),
            Path::Inet6 { to, group: None, .. } => from == PeerAddress(*to),
            _ => true,
        }
    }

    /// Whether packets can pass, and whether they could when this was asked last. `is_down`
    /// tells that they cannot, although the interface may still have its flag.
    pub(crate) fn follow_interface(&self, is_down: bool) -> (bool, bool) {
        let is_up = !is_down && self.ifp.is_up();
        (is_up, self.was_up.swap(is_up, Ordering::Relaxed))
    }

    /// The source address of packets to the sync peer, as it is now: the addresses of the
    /// sync interface may change. `None` without one. In IPv4 `ip_output` chooses, which `::`
    /// stands for.
    pub(crate) fn source(&self, epoch: &NetEpoch) -> Option<[u8; 16]> {
        match &self.path {
            Path::Inet { .. } => Some([0; 16]),
            Path::Inet6 { to, .. } => ip::select_source6(to, &self.ifp, epoch),
        }
    }

    /// Bytes of the IP header in front of a frame.
    pub(crate) fn header_len(&self) -> usize {
        match self.path {
            Path::Inet { .. } => size_of::<Ipv4Header>(),
            Path::Inet6 { .. } => size_of::<Ipv6Header>(),
        }
    }

    /// Writes the IP header of a frame of `len` bytes to the end of `to`, with a source that
    /// [`Link::source`] returned. Returns the offset at which the header begins.
    pub(crate) fn write_header(&self, to: &mut [u8], len: usize, source: [u8; 16]) -> usize {
        // The header fits: `to` has HEADER_MAX bytes.
        let _ = match &self.path {
            Path::Inet { to: dst, .. } => {
                Ipv4Header::new(*dst, ip::identification(), len).write_to_suffix(to).is_ok()
            }
            Path::Inet6 { to: dst, .. } => Ipv6Header::new(source, *dst, len).write_to_suffix(to).is_ok(),
        };
        to.len().saturating_sub(self.header_len())
    }

    /// Sends a packet, and counts it. The thread must hold no lock. `ENOBUFS` if the
    /// interface has no space.
    pub(crate) fn send(&self, packet: Packet, epoch: &NetEpoch) -> Result<()> {
        let (result, stat) = match &self.path {
            Path::Inet { group, .. } => (ip::output4(packet, group.as_ref(), epoch), Stat::OutputPackets),
            Path::Inet6 { group, .. } => (ip::output6(packet, group.as_ref(), epoch), Stat::OutputPackets6),
        };
        count(if result.is_ok() { stat } else { Stat::OutputErrors }, 1);
        result
    }

    /// Closes a link that was replaced: waits until no thread uses it, and leaves its group.
    /// May sleep.
    ///
    /// The caller has held the lock since before it replaced the link. So if the sync
    /// interface departs, it does so before, and finds the link, or after this.
    pub(crate) fn close(retired: Option<Retired<Link>>, detaching: &DetachLock) {
        let Some(retired) = retired else { return };
        match &mut retired.reclaim().path {
            Path::Inet { group: Some(group), .. } => group.leave(detaching),
            Path::Inet6 { group: Some(group), .. } => group.leave(detaching),
            _ => {}
        }
    }

    /// Forgets the membership of a group, which departed with the sync interface.
    pub(crate) fn abandon(&mut self) {
        match &mut self.path {
            Path::Inet { group: Some(group), .. } => group.abandon(),
            Path::Inet6 { group: Some(group), .. } => group.abandon(),
            _ => {}
        }
    }
}
