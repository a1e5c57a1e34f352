/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * hostile ADDRESS COUNT SEED: sends COUNT pfsync packets such as a hostile peer
 * might send: states, updates and all other messages, most of them valid except
 * for a few bytes, and some noise.
 *
 * The states belong to connections that `blast 127.0.0.1 9` and `meet` have on
 * the receiver, so that packets match the states that it inserted.
 */

#include "hostile.h"
#include "socket.h"

#include <sys/endian.h>

#include <net/if.h>
#include <net/pfvar.h>
#include <net/if_pfsync.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define	LARGEST		1400

static int
chance(int in)
{
	return (random() % in == 0);
}

static void
fill_address(struct pf_addr *addr, int family)
{
	if (family == AF_INET)
		addr->v4.s_addr = htonl(INADDR_LOOPBACK);
	else
		addr->v6 = in6addr_loopback;
}

/* A state as a peer's pf would have it. */
static void
fill_state(struct pfsync_state_1400 *state)
{
	static const uint8_t protocols[] = { IPPROTO_UDP, IPPROTO_TCP, IPPROTO_ICMP, IPPROTO_SCTP, PROTO_GRE };
	uint16_t ports[2] = { htons(SERVER_PORT), htons(FIRST_PORT + random() % PORTS) };
	int key;

	memset(state, 0, sizeof(*state));
	state->id = htobe64(random() % 500);
	state->creatorid = htonl(1 + random() % 3);
	strlcpy(state->ifname, chance(4) ? "lo0" : "all", sizeof(state->ifname));
	state->af = chance(3) ? AF_INET6 : AF_INET;
	state->proto = protocols[random() % nitems(protocols)];
	/* What pf keeps in place of ports. */
	if (state->proto == IPPROTO_ICMP && state->af == AF_INET6)
		state->proto = IPPROTO_ICMPV6;
	if (state->proto == IPPROTO_ICMP || state->proto == IPPROTO_ICMPV6)
		ports[0] = htons(state->af == AF_INET ? ICMP4_ECHO : ICMP6_ECHO);
	if (state->proto == PROTO_GRE)
		ports[0] = ports[1] = 0;
	for (key = 0; key < 2; key++) {
		fill_address(&state->key[key].addr[0], state->af);
		fill_address(&state->key[key].addr[1], state->af);
		memcpy(state->key[key].port, ports, sizeof(ports));
	}
	state->rule = chance(3) ? htonl(random() % 4) : htonl(-1);
	state->anchor = state->nat_rule = htonl(-1);
	state->creation = htonl(random() % 100);
	state->expire = htonl(random() % 100);
	state->direction = 1 + random() % 2;
	state->timeout = random() % 25;
	state->src.state = random() % 13;
	state->dst.state = random() % 13;
	state->rtableid = htonl(chance(3) ? random() : -1);
	state->state_flags = htons(random());
	state->rt = chance(4) ? random() % 6 : 0;
	strlcpy(state->rt_ifname, chance(2) ? "lo0" : "pfsync0", sizeof(state->rt_ifname));
}

/* A message of an action, at `to`. Returns its length. */
static size_t
fill_message(uint8_t action, uint8_t *to)
{
	struct pfsync_state_1400 state;
	struct pfsync_upd_c *update = (struct pfsync_upd_c *)to;
	struct pfsync_del_c *id = (struct pfsync_del_c *)to;
	struct pfsync_bus *mark = (struct pfsync_bus *)to;

	fill_state(&state);
	switch (action) {
	case PFSYNC_ACT_INS_1301:
	case PFSYNC_ACT_UPD_1301:
		memcpy(to, &state, sizeof(struct pfsync_state_1301));
		return (sizeof(struct pfsync_state_1301));
	case PFSYNC_ACT_INS_1400:
	case PFSYNC_ACT_UPD_1400:
		memcpy(to, &state, sizeof(state));
		return (sizeof(state));
	case PFSYNC_ACT_UPD_C:
		memset(update, 0, sizeof(*update));
		update->id = state.id;
		update->creatorid = state.creatorid;
		update->src = state.src;
		update->dst = state.dst;
		update->timeout = state.timeout;
		return (sizeof(*update));
	case PFSYNC_ACT_BUS:
		memset(mark, 0, sizeof(*mark));
		mark->status = 1 + random() % 2;
		return (sizeof(*mark));
	case PFSYNC_ACT_CLR:
		memset(to, 0, sizeof(struct pfsync_clr));
		((struct pfsync_clr *)to)->creatorid = state.creatorid;
		return (sizeof(struct pfsync_clr));
	case PFSYNC_ACT_TDB:
		return (sizeof(struct pfsync_tdb));
	case PFSYNC_ACT_EOF:
		return (0);
	default:
		id->id = chance(20) ? 0 : state.id;
		id->creatorid = chance(20) ? 0 : state.creatorid;
		return (sizeof(*id));
	}
}

/* Most states are inserted or updated; clears are rare. */
static uint8_t
pick_action(void)
{
	if (chance(2))
		return (chance(2) ? PFSYNC_ACT_INS_1400 : PFSYNC_ACT_UPD_1400);
	if (chance(30))
		return (PFSYNC_ACT_CLR);
	return (1 + random() % (chance(10) ? 255 : 14));
}

static size_t
fill_frame(uint8_t *frame)
{
	struct pfsync_header *header = (struct pfsync_header *)frame;
	struct pfsync_subheader *run;
	size_t len = sizeof(*header), message;
	int i, count;

	memset(frame, 0, LARGEST);
	header->version = PFSYNC_VERSION;
	while (!chance(3) && len < LARGEST / 2) {
		run = (struct pfsync_subheader *)(frame + len);
		run->action = pick_action();
		count = 1 + random() % 2;
		run->count = htons(count);
		len += sizeof(*run);
		for (i = 0; i < count; i++) {
			message = fill_message(run->action, frame + len);
			len += message;
		}
	}
	run = (struct pfsync_subheader *)(frame + len);
	run->action = PFSYNC_ACT_EOF;
	run->count = htons(1);
	len += sizeof(*run);
	header->len = htons(len);
	return (len);
}

/* Changes some bytes, or the length. */
static size_t
spoil(uint8_t *frame, size_t len)
{
	int changes;

	if (chance(3))
		return (len);
	for (changes = random() % 5; changes > 0; changes--)
		frame[(chance(3) ? 0 : sizeof(struct pfsync_header)) +
		    random() % (len - sizeof(struct pfsync_header))] = random();
	if (chance(10))
		len = 1 + random() % len;
	if (chance(50))
		arc4random_buf(frame, len);
	return (len);
}

int
main(int argc, char **argv)
{
	static uint8_t frame[2 * LARGEST];
	long count, sent;
	int s;

	if (argc != 4)
		errx(2, "usage: hostile ADDRESS COUNT SEED");
	s = pfsync_socket(argv[1]);
	count = strtol(argv[2], NULL, 0);
	srandom(strtoul(argv[3], NULL, 0));
	for (sent = 0; sent < count; sent++) {
		size_t len = spoil(frame, fill_frame(frame));

		while (send(s, frame, len, 0) == -1)
			usleep(1000);
		if (sent % 64 == 63)
			usleep(1000);
	}
	printf("%ld packets sent\n", sent);
	return (0);
}
