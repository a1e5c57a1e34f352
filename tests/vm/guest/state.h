/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * UDP states that differ in their client and their id alone, in message
 * format 1301, which format 1400 begins with.
 */

#include <sys/param.h>
#include <sys/endian.h>
#include <sys/socket.h>

#include <net/if.h>
#include <netinet/in.h>
#include <net/pfvar.h>

#include <string.h>

#define	CREATOR		0x01020304
#define	FIRST_ID	1000000
#define	PORTS		50000	/* of one client address */

/* What all of these states have. */
static inline void
fill_state(struct pfsync_state_1301 *state)
{
	memset(state, 0, sizeof(*state));
	state->creatorid = htonl(CREATOR);
	strlcpy(state->ifname, "all", sizeof(state->ifname));
	state->rule = state->anchor = state->nat_rule = htonl(-1);
	state->af = AF_INET;
	state->proto = IPPROTO_UDP;
	state->direction = PF_OUT;
	state->timeout = PFTM_UDP_MULTIPLE;
	state->src.state = state->dst.state = PFUDPS_MULTIPLE;
	state->expire = htonl(3600);
}

/* What the state of that number has. */
static inline void
number_state(struct pfsync_state_1301 *state, uint32_t number)
{
	struct pfsync_state_key *key;

	state->id = htobe64(FIRST_ID + number);
	for (key = state->key; key < state->key + 2; key++) {
		key->addr[0].v4.s_addr = htonl(0x0a000000 + number / PORTS);
		key->addr[1].v4.s_addr = htonl(0x0a800001);
		key->port[0] = htons(1024 + number % PORTS);
		key->port[1] = htons(53);
	}
}
