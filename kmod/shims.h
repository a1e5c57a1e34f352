/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Macros, inline functions and VNET variables of the kernel, as functions that
 * Rust can call. None of them decides anything. src/driver/kernel and
 * src/driver/pf wrap them in safe types, and say what each requires.
 */
#ifndef _PFSYNC_SHIMS_H_
#define	_PFSYNC_SHIMS_H_

/* Messages and packets that a limit on the peers rejected: net.pfsync.limited. */
struct pfs_limited {
	unsigned long	 share;
	unsigned long	 inserts;
	unsigned long	 requests;
	unsigned long	 clears;
	unsigned long	 rows;
	unsigned long	 strangers;
	unsigned long	 reflected;
};

/* Messages of peers that contradict what is known here: net.pfsync.conflicts. */
struct pfs_conflicts {
	unsigned long	 host_ids;
	unsigned long	 states;
};

/* What the module stores for each vnet. */
struct pfs_vnet {
	struct sx		 config_lock;	/* protects the configuration */
	int			 config_users;	/* threads that have or want it */
	void			*softc;		/* the interface, NULL without one */
	struct if_clone		*cloner;
	void			*swi_cookie;
	struct intr_event	*swi_event;
	int			 present;	/* 1 if the vnet has a part of the module */
	int			 carp_adj;	/* net.pfsync.carp_demotion_factor */
	unsigned int		 defer_delay;	/* net.pfsync.defer_delay, ms */
	unsigned int		 peer_share;	/* net.pfsync.peer_share, % */
	unsigned int		 peer_inserts;	/* net.pfsync.peer_inserts */
	unsigned int		 peer_requests;	/* net.pfsync.peer_requests */
	unsigned int		 only_peer;	/* net.pfsync.only_peer */
	int			 numbered;	/* net.pfsync.numbered */
	int			 require_key;	/* net.pfsync.require_key */
	unsigned char		 keys[2][32];	/* net.pfsync.key, key_also */
	struct pfs_limited	 limited;
	struct pfs_conflicts	 conflicts;
};

/* What the sysctls of net.pfsync.agreement, and in_sync, show. */
enum pfs_agreement_field {
	PFS_IN_SYNC,
	PFS_KEYED,
	PFS_MISSING,
	PFS_LOST,
	PFS_REPAIRED,
	PFS_LATE,
	PFS_RETOLD,
	PFS_FORGOTTEN,
	PFS_HELLOS_SENT,
	PFS_HELLOS_RECEIVED,
	PFS_UNTRACKED,
};

/* What the sysctls of net.pfsync.peer.N show. */
enum pfs_peer_field {
	PFS_PEER_PRESENT,
	PFS_PEER_NUMBERED,
	PFS_PEER_HOSTID,
	PFS_PEER_SILENT_MS,
	PFS_PEER_FRAMES,
	PFS_PEER_LOST,
	PFS_PEER_REPAIRED,
	PFS_PEER_MISSING,
	PFS_PEER_LACKS,
	PFS_PEER_STATES,
	PFS_PEER_IN_SYNC,
	PFS_PEER_STATE,
};

/* pf's hooks, which are set or cleared together. */
struct pfs_hooks {
	pfsync_state_import_t	*import;
	pfsync_insert_state_t	*insert;
	pfsync_update_state_t	*update;
	pfsync_delete_state_t	*remove;
	pfsync_clear_states_t	*clear;
	pfsync_defer_t		*defer;
};

/* Ioctl commands, whose macros bindgen cannot evaluate. */
static const unsigned long pfs_SIOCSETPFSYNC = SIOCSETPFSYNC;
static const unsigned long pfs_SIOCGETPFSYNC = SIOCGETPFSYNC;
static const unsigned long pfs_SIOCSETPFSYNCNV = SIOCSETPFSYNCNV;
static const unsigned long pfs_SIOCGETPFSYNCNV = SIOCGETPFSYNCNV;
static const unsigned long pfs_SIOCSIFFLAGS = SIOCSIFFLAGS;
static const unsigned long pfs_SIOCSIFMTU = SIOCSIFMTU;

/* The major release of FreeBSD that the module is built for. */
static const int pfs_freebsd = __FreeBSD__;

/*
 * Whether Rust checks assertions. In a kernel without INVARIANTS, the functions
 * that assert do nothing, and calling them would cost time.
 */
#ifdef INVARIANTS
static const int pfs_invariants = 1;
#else
static const int pfs_invariants = 0;
#endif

/* The module's own VNET variables and tunables. */
struct pfs_vnet		*pfs_vnet(void);
struct pfsyncstats	*pfs_stats(void);
extern unsigned long	 pfs_buckets;
extern unsigned int	 pfs_log_entries;
extern const char	 pfs_version[];
extern struct malloc_type pfs_malloc_type[1];

/* sys/_vnet.h, net/vnet.h */
struct vnet		*pfs_curvnet(void);
struct vnet		*pfs_curvnet_set(struct vnet *);
void			 pfs_vnet_list_rlock(void);
void			 pfs_vnet_list_runlock(void);
struct vnet		*pfs_vnet_list_first(void);
struct vnet		*pfs_vnet_list_next(struct vnet *);

/* sys/epoch.h */
void			 pfs_net_epoch_enter(struct epoch_tracker *);
void			 pfs_net_epoch_exit(struct epoch_tracker *);
void			 pfs_net_epoch_assert(void);
void			 pfs_net_epoch_wait(void);

/* sys/counter.h */
void			 pfs_counter_u64_add(counter_u64_t, int64_t);
uint64_t		 pfs_counter_u64_fetch(counter_u64_t);

/* sys/time.h, sys/systm.h */
sbintime_t		 pfs_getsbinuptime(void);
void			 pfs_pause(const char *);

/* sys/callout.h */
void			 pfs_callout_drain(struct callout *);

/* sys/mbuf.h */
int			 pfs_m_trailingspace(const struct mbuf *);

/* sys/mutex.h, sys/rmlock.h, sys/proc.h */
struct thread		*pfs_curthread(void);

/* net/bpf.h */
bool			 pfs_bpf_peers_present(struct ifnet *);

/* netinet/ip_var.h */
void			 pfs_ip_fillid(struct ip *);

/* netinet/in_var.h, netinet6/in6_var.h: the options have that one filter */
void			 pfs_imo_join(struct ip_moptions *, struct in_mfilter *);
void			 pfs_im6o_join(struct ip6_moptions *, struct in6_mfilter *);

/* net/pfvar.h */
struct pf_kstatus	*pfs_pf_status(void);
struct pf_idhash	*pfs_pf_idhash(void);
unsigned long		 pfs_pf_hashmask(void);
struct pf_krule		*pfs_pf_default_rule(void);
struct pf_kruleset	*pfs_pf_main_ruleset(void);
struct pf_idhash	*pfs_pf_row_of(const struct pf_kstate *);
unsigned int		 pfs_pf_state_limit(void);
uma_zone_t		 pfs_pf_state_z(void);
uma_zone_t		 pfs_pf_state_key_z(void);
uma_zone_t		 pfs_pf_state_scrub_z(void);
void			 pfs_pf_rules_rlock(struct rm_priotracker *);
void			 pfs_pf_rules_runlock(struct rm_priotracker *);
void			 pfs_pf_rules_rassert(void);
void			 pfs_pf_set_hooks(const struct pfs_hooks *);
void			 pfs_pf_row_lock(struct pf_idhash *);
void			 pfs_pf_row_unlock(struct pf_idhash *);
void			 pfs_pf_state_lock(struct pf_kstate *);
void			 pfs_pf_state_unlock(struct pf_kstate *);
void			 pfs_pf_state_assert_locked(struct pf_kstate *);
void			 pfs_pf_state_ref(struct pf_kstate *);
void			 pfs_pf_state_release(struct pf_kstate *);
unsigned int		 pfs_rt_numfibs(void);

/* freebsd15.c: net/pfvar.h */
uint16_t		 pfs_pf_tag(const char *);
void			 pfs_pf_state_tagname(struct pf_kstate *, char *);

/* probes.c: sys/sdt.h */
void			 pfs_probe_state_queued(uint64_t, uint32_t, int);
void			 pfs_probe_state_imported(uint64_t, uint32_t, int);
void			 pfs_probe_state_merged(uint64_t, uint32_t, int);
void			 pfs_probe_state_conflict(uint64_t, uint32_t, int);
void			 pfs_probe_message_sent(int, int);
void			 pfs_probe_message_received(int, int);
void			 pfs_probe_message_rejected(int, int);
void			 pfs_probe_bulk_sending(uint64_t, uint64_t);
void			 pfs_probe_bulk_awaited(int);
void			 pfs_probe_packet_deferred(uint64_t, uint32_t, int);
void			 pfs_probe_agreement_gap(uint64_t, uint64_t, uint64_t);
void			 pfs_probe_agreement_repaired(int);
void			 pfs_probe_agreement_retold(int);
void			 pfs_probe_agreement_refused(int);
void			 pfs_probe_agreement_epoch(uint64_t);

/* LLVM generates calls of bcmp, which the kernel does not export. */
int			 (bcmp)(const void *, const void *, size_t);

/* Entry points, written in Rust: src/driver/module.rs. */
int			 pfs_modevent(module_t, int, void *);
void			 pfs_vnet_init(const void *);
void			 pfs_vnet_uninit(const void *);
void			 pfs_sysctls_gone(const void *);
int			 pfs_sysctl_bulk_request(struct sysctl_oid *, void *,
			    intmax_t, struct sysctl_req *);
int			 pfs_sysctl_key(struct sysctl_oid *, void *, intmax_t,
			    struct sysctl_req *);
int			 pfs_sysctl_peers(struct sysctl_oid *, void *, intmax_t,
			    struct sysctl_req *);
int			 pfs_sysctl_agreement(struct sysctl_oid *, void *,
			    intmax_t, struct sysctl_req *);
int			 pfs_sysctl_peer(struct sysctl_oid *, void *, intmax_t,
			    struct sysctl_req *);

#endif /* !_PFSYNC_SHIMS_H_ */
