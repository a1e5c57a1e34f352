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
	.numbered = 1,
};
VNET_DEFINE_STATIC(struct pfsyncstats, pfs_stats);

unsigned long pfs_buckets;
unsigned int pfs_log_entries = 65536;

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

SYSCTL_INT(_net_pfsync, OID_AUTO, numbered, CTLFLAG_VNET | CTLFLAG_RW,
    &VNET_NAME(pfs_vnet.numbered), 0,
    "Number frames, and have what was lost told again");
SYSCTL_INT(_net_pfsync, OID_AUTO, require_key, CTLFLAG_VNET | CTLFLAG_RW,
    &VNET_NAME(pfs_vnet.require_key), 0,
    "Take only frames with the tag of a key");
SYSCTL_PROC(_net_pfsync, OID_AUTO, key,
    CTLTYPE_STRING | CTLFLAG_VNET | CTLFLAG_WR | CTLFLAG_SKIP | CTLFLAG_MPSAFE,
    NULL, 0, pfs_sysctl_key, "A",
    "Key of the tags of frames, 64 hexadecimal digits; cannot be read");
SYSCTL_PROC(_net_pfsync, OID_AUTO, key_also,
    CTLTYPE_STRING | CTLFLAG_VNET | CTLFLAG_WR | CTLFLAG_SKIP | CTLFLAG_MPSAFE,
    NULL, 1, pfs_sysctl_key, "A",
    "Another key whose tags are taken; cannot be read");
SYSCTL_PROC(_net_pfsync, OID_AUTO, in_sync,
    CTLTYPE_INT | CTLFLAG_VNET | CTLFLAG_RD | CTLFLAG_MPSAFE, NULL,
    PFS_IN_SYNC, pfs_sysctl_agreement, "I",
    "1 if nothing is known to be missing here");
SYSCTL_PROC(_net_pfsync, OID_AUTO, peers,
    CTLTYPE_STRING | CTLFLAG_VNET | CTLFLAG_RD | CTLFLAG_MPSAFE, NULL, 0,
    pfs_sysctl_peers, "A", "Table of the peers that are heard");
SYSCTL_UINT(_net_pfsync, OID_AUTO, log_entries, CTLFLAG_RDTUN,
    &pfs_log_entries, 0,
    "Messages of which a vnet remembers that it sent them (16 bytes each)");

SYSCTL_NODE(_net_pfsync, OID_AUTO, agreement, CTLFLAG_RD | CTLFLAG_MPSAFE, 0,
    "Numbers of frames, since the sync interface was set");
SYSCTL_PROC(_net_pfsync_agreement, OID_AUTO, keyed,
    CTLTYPE_INT | CTLFLAG_VNET | CTLFLAG_RD | CTLFLAG_MPSAFE, NULL,
    PFS_KEYED, pfs_sysctl_agreement, "I",
    "0 no key, 1 a key, 2 a key that is required");
SYSCTL_PROC(_net_pfsync_agreement, OID_AUTO, missing,
    CTLTYPE_UINT | CTLFLAG_VNET | CTLFLAG_RD | CTLFLAG_MPSAFE, NULL,
    PFS_MISSING, pfs_sysctl_agreement, "IU",
    "Frames that are missing here now");
SYSCTL_PROC(_net_pfsync_agreement, OID_AUTO, lost,
    CTLTYPE_ULONG | CTLFLAG_VNET | CTLFLAG_RD | CTLFLAG_MPSAFE, NULL,
    PFS_LOST, pfs_sysctl_agreement, "LU",
    "Frames that were missing here");
SYSCTL_PROC(_net_pfsync_agreement, OID_AUTO, repaired,
    CTLTYPE_ULONG | CTLFLAG_VNET | CTLFLAG_RD | CTLFLAG_MPSAFE, NULL,
    PFS_REPAIRED, pfs_sysctl_agreement, "LU",
    "Missing frames that came late, or whose messages were told again");
SYSCTL_PROC(_net_pfsync_agreement, OID_AUTO, late,
    CTLTYPE_ULONG | CTLFLAG_VNET | CTLFLAG_RD | CTLFLAG_MPSAFE, NULL,
    PFS_LATE, pfs_sysctl_agreement, "LU",
    "Frames dropped because they came twice or much too late");
SYSCTL_PROC(_net_pfsync_agreement, OID_AUTO, retold,
    CTLTYPE_ULONG | CTLFLAG_VNET | CTLFLAG_RD | CTLFLAG_MPSAFE, NULL,
    PFS_RETOLD, pfs_sysctl_agreement, "LU",
    "Messages told again for peers");
SYSCTL_PROC(_net_pfsync_agreement, OID_AUTO, forgotten,
    CTLTYPE_ULONG | CTLFLAG_VNET | CTLFLAG_RD | CTLFLAG_MPSAFE, NULL,
    PFS_FORGOTTEN, pfs_sysctl_agreement, "LU",
    "Times that only a bulk update could help");
SYSCTL_PROC(_net_pfsync_agreement, OID_AUTO, hellos_sent,
    CTLTYPE_ULONG | CTLFLAG_VNET | CTLFLAG_RD | CTLFLAG_MPSAFE, NULL,
    PFS_HELLOS_SENT, pfs_sysctl_agreement, "LU",
    "Hellos sent");
SYSCTL_PROC(_net_pfsync_agreement, OID_AUTO, hellos_received,
    CTLTYPE_ULONG | CTLFLAG_VNET | CTLFLAG_RD | CTLFLAG_MPSAFE, NULL,
    PFS_HELLOS_RECEIVED, pfs_sysctl_agreement, "LU",
    "Hellos received");
SYSCTL_PROC(_net_pfsync_agreement, OID_AUTO, untracked,
    CTLTYPE_ULONG | CTLFLAG_VNET | CTLFLAG_RD | CTLFLAG_MPSAFE, NULL,
    PFS_UNTRACKED, pfs_sysctl_agreement, "LU",
    "Frames of peers for which the table has no place");

SYSCTL_NODE(_net_pfsync, OID_AUTO, peer, CTLFLAG_RD | CTLFLAG_MPSAFE, 0,
    "Each place of the table of peers");

#define	PFS_PEER_SYSCTL(n, name, field, type, format, descr)		\
SYSCTL_PROC(_net_pfsync_peer_##n, OID_AUTO, name,			\
    type | CTLFLAG_VNET | CTLFLAG_RD | CTLFLAG_MPSAFE, NULL,		\
    (n) << 8 | (field), pfs_sysctl_peer, format, descr)
#define	PFS_PEER(n)							\
SYSCTL_NODE(_net_pfsync_peer, OID_AUTO, n, CTLFLAG_RD | CTLFLAG_MPSAFE,	\
    0, "A peer");							\
PFS_PEER_SYSCTL(n, present, PFS_PEER_PRESENT, CTLTYPE_INT, "I",	\
    "1 if the place is taken"); \
PFS_PEER_SYSCTL(n, numbered, PFS_PEER_NUMBERED, CTLTYPE_INT, "I",	\
    "1 if the peer numbers its frames"); \
PFS_PEER_SYSCTL(n, hostid, PFS_PEER_HOSTID, CTLTYPE_UINT, "IU",	\
    "Host id"); \
PFS_PEER_SYSCTL(n, silent_ms, PFS_PEER_SILENT_MS, CTLTYPE_UINT, "IU",	\
    "Milliseconds since the last frame"); \
PFS_PEER_SYSCTL(n, frames, PFS_PEER_FRAMES, CTLTYPE_ULONG, "LU",	\
    "Frames received"); \
PFS_PEER_SYSCTL(n, lost, PFS_PEER_LOST, CTLTYPE_ULONG, "LU",	\
    "Frames that were missing here"); \
PFS_PEER_SYSCTL(n, repaired, PFS_PEER_REPAIRED, CTLTYPE_ULONG, "LU",	\
    "Of these, those told again"); \
PFS_PEER_SYSCTL(n, missing, PFS_PEER_MISSING, CTLTYPE_UINT, "IU",	\
    "Frames that are missing here now"); \
PFS_PEER_SYSCTL(n, lacks, PFS_PEER_LACKS, CTLTYPE_UINT, "IU",	\
    "Frames of this firewall that it lacks"); \
PFS_PEER_SYSCTL(n, states, PFS_PEER_STATES, CTLTYPE_UINT, "IU",	\
    "States that it says it has"); \
PFS_PEER_SYSCTL(n, in_sync, PFS_PEER_IN_SYNC, CTLTYPE_INT, "I",	\
    "1 if nothing of it is missing here"); \
PFS_PEER_SYSCTL(n, state, PFS_PEER_STATE, CTLTYPE_INT, "I",	\
    "1 in sync, 2 repairing, 3 full update, 4 silent, 5 stock, 6 unproven")

PFS_PEER(0);
PFS_PEER(1);
PFS_PEER(2);
PFS_PEER(3);
PFS_PEER(4);
PFS_PEER(5);
PFS_PEER(6);
PFS_PEER(7);

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

/*
 * The kernel's linker unregisters the sysctls after pfs_modevent has unloaded
 * the module and before it calls this.
 */
SYSUNINIT(pfs_sysctls_gone, SI_SUB_PROTO_FIREWALL, SI_ORDER_FIRST,
    pfs_sysctls_gone, NULL);
