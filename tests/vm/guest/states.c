/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * states N: inserts N UDP states into pf's table by DIOCADDSTATE, as
 * `pfctl -L` does.
 */

#include "clock.h"
#include "state.h"

#include <sys/ioctl.h>

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

int
main(int argc, char **argv)
{
	struct pfioc_state request;
	uint32_t number, count;
	long start;
	int pf;

	if (argc != 2)
		errx(2, "usage: states N");
	count = strtoul(argv[1], NULL, 0);
	if ((pf = open("/dev/pf", O_RDWR)) == -1)
		err(1, "/dev/pf");
	start = milliseconds();
	for (number = 0; number < count; number++) {
		fill_state(&request.state);
		number_state(&request.state, number);
		if (ioctl(pf, DIOCADDSTATE, &request) == -1)
			err(1, "state %u", number);
	}
	printf("%u states in %.2f seconds\n", count, (milliseconds() - start) / 1e3);
	return (0);
}
