/* SPDX-License-Identifier: BSD-2-Clause */
/* The shims of shims.h. A shim decides nothing: it has no `if`. */
#include "kernel.h"
#include "shims.h"

#include <net/route.h>

int
(bcmp)(const void *a, const void *b, size_t len)
{
	return (memcmp(a, b, len));
}

struct vnet *
pfs_curvnet(void)
{
	return (curvnet);
}

struct vnet *
pfs_curvnet_set(struct vnet *vnet)
{
	struct vnet *previous = curvnet;

	curvnet = vnet;
	return (previous);
}

void
pfs_vnet_list_rlock(void)
{
	VNET_LIST_RLOCK_NOSLEEP();
}

void
pfs_vnet_list_runlock(void)
{
	VNET_LIST_RUNLOCK_NOSLEEP();
}

struct vnet *
pfs_vnet_list_first(void)
{
	return (LIST_FIRST(&vnet_head));
}

struct vnet *
pfs_vnet_list_next(struct vnet *vnet)
{
	return (LIST_NEXT(vnet, vnet_le));
}

void
pfs_net_epoch_enter(struct epoch_tracker *et)
{
	NET_EPOCH_ENTER(*et);
}

void
pfs_net_epoch_exit(struct epoch_tracker *et)
{
	NET_EPOCH_EXIT(*et);
}

void
pfs_net_epoch_assert(void)
{
	NET_EPOCH_ASSERT();
}

void
pfs_net_epoch_wait(void)
{
	NET_EPOCH_WAIT();
}

void
pfs_counter_u64_add(counter_u64_t c, int64_t delta)
{
	counter_u64_add(c, delta);
}

uint64_t
pfs_counter_u64_fetch(counter_u64_t c)
{
	return (counter_u64_fetch(c));
}

sbintime_t
pfs_getsbinuptime(void)
{
	return (getsbinuptime());
}

void
pfs_pause(const char *name)
{
	pause(name, 1);
}

void
pfs_callout_drain(struct callout *c)
{
	callout_drain(c);
}

int
pfs_m_trailingspace(const struct mbuf *m)
{
	return (M_TRAILINGSPACE(__DECONST(struct mbuf *, m)));
}

struct thread *
pfs_curthread(void)
{
	return (curthread);
}

bool
pfs_bpf_peers_present(struct ifnet *ifp)
{
	return (bpf_peers_present(ifp->if_bpf));
}

void
pfs_ip_fillid(struct ip *ip)
{
	PFS_IP_FILLID(ip);
}

void
pfs_imo_join(struct ip_moptions *imo, struct in_mfilter *imf)
{
	ip_mfilter_init(&imo->imo_head);
	ip_mfilter_insert(&imo->imo_head, imf);
}

void
pfs_im6o_join(struct ip6_moptions *im6o, struct in6_mfilter *im6f)
{
	ip6_mfilter_init(&im6o->im6o_head);
	ip6_mfilter_insert(&im6o->im6o_head, im6f);
}

struct pf_kstatus *
pfs_pf_status(void)
{
	return (&V_pf_status);
}

struct pf_idhash *
pfs_pf_idhash(void)
{
	return (V_pf_idhash);
}

unsigned long
pfs_pf_hashmask(void)
{
	return (V_pf_hashmask);
}

struct pf_krule *
pfs_pf_default_rule(void)
{
	return (&V_pf_default_rule);
}

struct pf_kruleset *
pfs_pf_main_ruleset(void)
{
	return (&pf_main_ruleset);
}

struct pf_idhash *
pfs_pf_row_of(const struct pf_kstate *st)
{
	return (&V_pf_idhash[PF_IDHASH(st)]);
}

unsigned int
pfs_pf_state_limit(void)
{
	return (V_pf_limits[PF_LIMIT_STATES].limit);
}

uma_zone_t
pfs_pf_state_z(void)
{
	return (V_pf_state_z);
}

uma_zone_t
pfs_pf_state_key_z(void)
{
	return (V_pf_state_key_z);
}

uma_zone_t
pfs_pf_state_scrub_z(void)
{
	return (V_pf_state_scrub_z);
}

void
pfs_pf_rules_rlock(struct rm_priotracker *tracker)
{
	rm_rlock(&V_pf_rules_lock, tracker);
}

void
pfs_pf_rules_runlock(struct rm_priotracker *tracker)
{
	rm_runlock(&V_pf_rules_lock, tracker);
}

void
pfs_pf_rules_rassert(void)
{
	PF_RULES_RASSERT();
}

void
pfs_pf_set_hooks(const struct pfs_hooks *hooks)
{
	PF_RULES_WLOCK();
	V_pfsync_state_import_ptr = hooks->import;
	V_pfsync_insert_state_ptr = hooks->insert;
	V_pfsync_update_state_ptr = hooks->update;
	V_pfsync_delete_state_ptr = hooks->remove;
	V_pfsync_clear_states_ptr = hooks->clear;
	V_pfsync_defer_ptr = hooks->defer;
	PF_RULES_WUNLOCK();
}

void
pfs_pf_row_lock(struct pf_idhash *row)
{
	PF_HASHROW_LOCK(row);
}

void
pfs_pf_row_unlock(struct pf_idhash *row)
{
	PF_HASHROW_UNLOCK(row);
}

void
pfs_pf_state_lock(struct pf_kstate *st)
{
	PF_STATE_LOCK(st);
}

void
pfs_pf_state_unlock(struct pf_kstate *st)
{
	PF_STATE_UNLOCK(st);
}

void
pfs_pf_state_assert_locked(struct pf_kstate *st)
{
	PF_STATE_LOCK_ASSERT(st);
}

void
pfs_pf_state_ref(struct pf_kstate *st)
{
	pf_ref_state(st);
}

void
pfs_pf_state_release(struct pf_kstate *st)
{
	pf_release_state(st);
}

unsigned int
pfs_rt_numfibs(void)
{
	return (rt_numfibs);
}
