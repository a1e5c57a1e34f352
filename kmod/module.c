/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What makes pfsync.ko a FreeBSD kernel module: its declaration, its storage
 * in each vnet, and its sysctls. The code is in src/.
 */
#include "kernel.h"
#include "shims.h"

MALLOC_DEFINE(pfs_malloc_type, "pfsync", "pfsync(4) data");

VNET_DEFINE_STATIC(struct pfs_vnet, pfs_vnet) = {
	.carp_adj = 240,	/* ip_carp.h's CARP_MAXSKEW */
	.defer_delay = 20,
	.peer_share = 100,
	.peer_inserts = 500000,
	.peer_requests = 100000,
};
VNET_DEFINE_STATIC(struct pfsyncstats, pfs_stats);

unsigned long pfs_buckets;

const char pfs_version[] = PFS_VERSION;

struct pfs_vnet *
pfs_vnet(void)
{
	return (&VNET(pfs_vnet));
}

struct pfsyncstats *
pfs_stats(void)
{
	return (&VNET(pfs_stats));
}

SYSCTL_NODE(_net, OID_AUTO, pfsync, CTLFLAG_RW | CTLFLAG_MPSAFE, 0,
    "pfsync(4)");
SYSCTL_CONST_STRING(_net_pfsync, OID_AUTO, version, CTLFLAG_RD, pfs_version,
    "Version of this module, and the commit that it was built from");
SYSCTL_STRUCT(_net_pfsync, OID_AUTO, stats, CTLFLAG_VNET | CTLFLAG_RW,
    &VNET_NAME(pfs_stats), pfsyncstats,
    "Statistics (struct pfsyncstats, net/if_pfsync.h)");
SYSCTL_INT(_net_pfsync, OID_AUTO, carp_demotion_factor,
    CTLFLAG_VNET | CTLFLAG_RW, &VNET_NAME(pfs_vnet.carp_adj), 0,
    "Added to carp(4)'s demotion while a bulk update is awaited");
SYSCTL_ULONG(_net_pfsync, OID_AUTO, pfsync_buckets, CTLFLAG_RDTUN,
    &pfs_buckets, 0, "Number of buckets that states are spread over");
SYSCTL_UINT(_net_pfsync, OID_AUTO, defer_delay, CTLFLAG_VNET | CTLFLAG_RW,
    &VNET_NAME(pfs_vnet.defer_delay), 0,
    "Milliseconds that a deferred packet waits at most");
SYSCTL_PROC(_net_pfsync, OID_AUTO, bulk_request,
    CTLTYPE_INT | CTLFLAG_VNET | CTLFLAG_RW | CTLFLAG_MPSAFE, NULL, 0,
    pfs_sysctl_bulk_request, "I",
    "Write 1 to request a bulk update from the peers");

SYSCTL_UINT(_net_pfsync, OID_AUTO, peer_share, CTLFLAG_VNET | CTLFLAG_RW,
    &VNET_NAME(pfs_vnet.peer_share), 0,
    "Percent of pf's limit of states that peers may fill");
SYSCTL_UINT(_net_pfsync, OID_AUTO, peer_inserts, CTLFLAG_VNET | CTLFLAG_RW,
    &VNET_NAME(pfs_vnet.peer_inserts), 0,
    "States inserted for peers per second, 0 for no limit");
SYSCTL_UINT(_net_pfsync, OID_AUTO, peer_requests, CTLFLAG_VNET | CTLFLAG_RW,
    &VNET_NAME(pfs_vnet.peer_requests), 0,
    "States sent to and requested from peers per second, 0 for no limit");

SYSCTL_UINT(_net_pfsync, OID_AUTO, only_peer, CTLFLAG_VNET | CTLFLAG_RW,
    &VNET_NAME(pfs_vnet.only_peer), 0,
    "Accept packets only from the sync peer, if that is one firewall");

SYSCTL_NODE(_net_pfsync, OID_AUTO, limited, CTLFLAG_RD | CTLFLAG_MPSAFE, 0,
    "Messages and packets that limits on the peers rejected");
SYSCTL_ULONG(_net_pfsync_limited, OID_AUTO, share, CTLFLAG_VNET | CTLFLAG_RD,
    &VNET_NAME(pfs_vnet.limited.share), 0,
    "States beyond peer_share");
SYSCTL_ULONG(_net_pfsync_limited, OID_AUTO, inserts,
    CTLFLAG_VNET | CTLFLAG_RD, &VNET_NAME(pfs_vnet.limited.inserts), 0,
    "States beyond peer_inserts");
SYSCTL_ULONG(_net_pfsync_limited, OID_AUTO, requests,
    CTLFLAG_VNET | CTLFLAG_RD, &VNET_NAME(pfs_vnet.limited.requests), 0,
    "Requests beyond peer_requests");
SYSCTL_ULONG(_net_pfsync_limited, OID_AUTO, clears,
    CTLFLAG_VNET | CTLFLAG_RD, &VNET_NAME(pfs_vnet.limited.clears), 0,
    "Clears beyond 16 per second");
SYSCTL_ULONG(_net_pfsync_limited, OID_AUTO, rows, CTLFLAG_VNET | CTLFLAG_RD,
    &VNET_NAME(pfs_vnet.limited.rows), 0,
    "States whose row of pf's id hash is full");
SYSCTL_ULONG(_net_pfsync_limited, OID_AUTO, strangers,
    CTLFLAG_VNET | CTLFLAG_RD, &VNET_NAME(pfs_vnet.limited.strangers), 0,
    "Packets from others than the sync peer, with only_peer");
SYSCTL_ULONG(_net_pfsync_limited, OID_AUTO, reflected,
    CTLFLAG_VNET | CTLFLAG_RD, &VNET_NAME(pfs_vnet.limited.reflected), 0,
    "This firewall's own packets, which came back");

SYSCTL_NODE(_net_pfsync, OID_AUTO, conflicts, CTLFLAG_RD | CTLFLAG_MPSAFE, 0,
    "Messages of peers that contradict what is known here");
SYSCTL_ULONG(_net_pfsync_conflicts, OID_AUTO, host_ids,
    CTLFLAG_VNET | CTLFLAG_RD, &VNET_NAME(pfs_vnet.conflicts.host_ids), 0,
    "Messages of a peer with the host id of this firewall");
SYSCTL_ULONG(_net_pfsync_conflicts, OID_AUTO, states,
    CTLFLAG_VNET | CTLFLAG_RD, &VNET_NAME(pfs_vnet.conflicts.states), 0,
    "States whose id is that of another connection here");

static moduledata_t pfsync_module = { "pfsync", pfs_modevent, NULL };

/*
 * The kernel calls pfs_modevent after pf and the inet domain have started,
 * because the module registers with both, and before it calls pfs_vnet_init,
 * because pfs_modevent may refuse the kernel. Before that, the kernel's linker
 * compares the versions that are declared here.
 */
DECLARE_MODULE(pfsync, pfsync_module, SI_SUB_PROTO_FIREWALL, SI_ORDER_FOURTH);
MODULE_VERSION(pfsync, PFSYNC_MODVER);
MODULE_DEPEND(pfsync, pf, PF_MODVER, PF_MODVER, PF_MODVER);

VNET_SYSINIT(pfs_vnet_init, SI_SUB_PROTO_FIREWALL, SI_ORDER_ANY,
    pfs_vnet_init, NULL);
VNET_SYSUNINIT(pfs_vnet_uninit, SI_SUB_PROTO_FIREWALL, SI_ORDER_FOURTH,
    pfs_vnet_uninit, NULL);
