/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * arrival COUNT PATIENCE: waits until pf has COUNT states, or until no state
 * has come for PATIENCE seconds. Prints how many states pf has, and how many
 * milliseconds the machine had been up when the last one came.
 */

#include "clock.h"

#include <sys/param.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <net/if.h>
#include <netinet/in.h>
/* DIOCGETSTATES, which FreeBSD 15 has for programs of 14. */
#define	COMPAT_FREEBSD14
#include <net/pfvar.h>

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Given no buffer, pf answers how many bytes all states would take. */
static long
states(int pf)
{
	struct pfioc_states request;

	memset(&request, 0, sizeof(request));
	if (ioctl(pf, DIOCGETSTATES, &request) == -1)
		err(1, "DIOCGETSTATES");
	return (request.ps_len / sizeof(struct pfsync_state_1301));
}

int
main(int argc, char **argv)
{
	long wanted, patience, found, most = -1, last = milliseconds();
	int pf;

	if (argc != 3)
		errx(2, "usage: arrival COUNT PATIENCE");
	wanted = strtol(argv[1], NULL, 0);
	patience = strtol(argv[2], NULL, 0) * 1000;
	if ((pf = open("/dev/pf", O_RDWR)) == -1)
		err(1, "/dev/pf");
	do {
		found = states(pf);
		if (found > most) {
			most = found;
			last = milliseconds();
		}
		usleep(1000);
	} while (found < wanted && milliseconds() - last < patience);
	printf("%ld %ld\n", found, last);
	return (0);
}
