/*
 * inserts ADDRESS N: sends inserts of N UDP states, with ends and ids of their
 * own, to a firewall's pfsync, in message format 1400 and packets of 1,500
 * bytes, as fast as they go.
 */
#include <sys/param.h>
#include <sys/endian.h>
#include <sys/socket.h>

#include <net/if.h>
#include <netinet/in.h>
#include <net/pfvar.h>
#include <net/if_pfsync.h>
#include <arpa/inet.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define	TTL		255
#define	STATES		5	/* as many as fit */

struct frame {
	struct pfsync_header header;
	struct pfsync_subheader inserts;
	struct pfsync_state_1400 state[STATES];
} __packed;

static int
open_socket(const char *address)
{
	struct sockaddr_in to = { .sin_len = sizeof(to), .sin_family = AF_INET };
	int s, ttl = TTL;

	if (inet_pton(AF_INET, address, &to.sin_addr) != 1)
		errx(2, "%s is no IPv4 address", address);
	if ((s = socket(AF_INET, SOCK_RAW, IPPROTO_PFSYNC)) == -1)
		err(1, "socket");
	if (setsockopt(s, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl)) == -1)
		err(1, "ttl");
	if (connect(s, (struct sockaddr *)&to, sizeof(to)) == -1)
		err(1, "connect");
	return (s);
}

/* What all states have. */
static void
prepare(struct frame *frame)
{
	struct pfsync_state_1400 *state;

	memset(frame, 0, sizeof(*frame));
	frame->header.version = PFSYNC_VERSION;
	frame->header.len = htons(sizeof(*frame));
	frame->inserts.action = PFSYNC_ACT_INS_1400;
	frame->inserts.count = htons(STATES);
	for (state = frame->state; state < frame->state + STATES; state++) {
		state->creatorid = htonl(0x01020304);
		strlcpy(state->ifname, "all", sizeof(state->ifname));
		state->rule = state->anchor = state->nat_rule = htonl(-1);
		state->af = AF_INET;
		state->proto = IPPROTO_UDP;
		state->direction = PF_OUT;
		state->timeout = PFTM_UDP_MULTIPLE;
		state->src.state = state->dst.state = PFUDPS_MULTIPLE;
		state->expire = htonl(3600);
		state->rtableid = htonl(-1);
	}
}

static void
number(struct pfsync_state_1400 *state, uint32_t number)
{
	struct pfsync_state_key *key;

	state->id = htobe64(1000000 + number);
	for (key = state->key; key < state->key + 2; key++) {
		key->addr[0].v4.s_addr = htonl(0x0a000000 + number / 50000);
		key->addr[1].v4.s_addr = htonl(0x0a800001);
		key->port[0] = htons(1024 + number % 50000);
		key->port[1] = htons(53);
	}
}

int
main(int argc, char **argv)
{
	struct frame frame;
	struct timespec now;
	uint32_t next, count;
	int s, i;

	if (argc != 3)
		errx(2, "usage: inserts ADDRESS N");
	s = open_socket(argv[1]);
	count = strtoul(argv[2], NULL, 0);
	prepare(&frame);
	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("%ld\n", now.tv_sec * 1000 + now.tv_nsec / 1000000);
	fflush(stdout);
	for (next = 0; next + STATES <= count; next += STATES) {
		for (i = 0; i < STATES; i++)
			number(&frame.state[i], next + i);
		if (send(s, &frame, sizeof(frame), 0) == -1)
			err(1, "send");
	}
	return (0);
}
