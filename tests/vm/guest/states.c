/*
 * states N [CREATOR]: puts N UDP states into pf's table by DIOCADDSTATE, as
 * pfctl -L would, all with the same ends but for address and port.
 */
#include <sys/param.h>
#include <sys/ioctl.h>
#include <sys/endian.h>
#include <sys/socket.h>

#include <net/if.h>
#include <netinet/in.h>
#include <net/pfvar.h>

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (ts.tv_sec + ts.tv_nsec / 1e9);
}

/* The state of that number. */
static void
fill(struct pfsync_state_1301 *state, uint32_t number, uint32_t creator)
{
	int key;

	memset(state, 0, sizeof(*state));
	state->id = htobe64(1000000 + number);
	state->creatorid = htonl(creator);
	strlcpy(state->ifname, "all", sizeof(state->ifname));
	for (key = 0; key < 2; key++) {
		state->key[key].addr[0].v4.s_addr = htonl(0x0a000000 + number / 50000);
		state->key[key].addr[1].v4.s_addr = htonl(0x0a800001);
		state->key[key].port[0] = htons(1024 + number % 50000);
		state->key[key].port[1] = htons(53);
	}
	state->rule = state->anchor = state->nat_rule = htonl(-1);
	state->af = AF_INET;
	state->proto = IPPROTO_UDP;
	state->direction = PF_OUT;
	state->timeout = PFTM_UDP_MULTIPLE;
	state->src.state = state->dst.state = PFUDPS_MULTIPLE;
	state->expire = htonl(3600);
}

int
main(int argc, char **argv)
{
	struct pfioc_state request;
	uint32_t number, count, creator;
	double start;
	int pf;

	if (argc < 2)
		errx(2, "usage: states N [CREATOR]");
	count = strtoul(argv[1], NULL, 0);
	creator = argc > 2 ? strtoul(argv[2], NULL, 0) : 0x01020304;
	if ((pf = open("/dev/pf", O_RDWR)) == -1)
		err(1, "/dev/pf");
	start = now();
	for (number = 0; number < count; number++) {
		fill(&request.state, number, creator);
		if (ioctl(pf, DIOCADDSTATE, &request) == -1)
			err(1, "state %u", number);
	}
	printf("%u states in %.2f seconds\n", count, now() - start);
	return (0);
}
