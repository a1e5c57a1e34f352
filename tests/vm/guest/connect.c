/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * connect ADDRESS RATE COUNT: sends one UDP packet to each of COUNT ports of
 * ADDRESS, from FIRST_PORT on, RATE of them a second, at moments that are
 * random but the same in each run. Prints a line for each: the port, and when
 * it was sent, in microseconds since the machine was started.
 */

#include "clock.h"
#include "socket.h"
#include "ports.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
	struct sockaddr_in to;
	int64_t due, *sent;
	int s, rate, count;

	if (argc != 4)
		errx(2, "usage: connect ADDRESS RATE COUNT");
	to = inet_address(argv[1], 0);
	rate = MAX(atoi(argv[2]), 1);
	count = atoi(argv[3]);
	sent = calloc(MAX(count, 1), sizeof(*sent));
	if (sent == NULL || (s = socket(AF_INET, SOCK_DGRAM, 0)) == -1)
		err(1, "socket");
	srandom(1);
	due = microseconds();
	for (int i = 0; i < count; i++) {
		/* On average a rate-th of a second after the one before. */
		due += random() % (2000000 / rate);
		while ((sent[i] = microseconds()) < due)
			usleep(due - sent[i]);
		to.sin_port = htons(FIRST_PORT + i);
		if (sendto(s, "payload", 7, 0, (struct sockaddr *)&to, sizeof(to)) != 7)
			err(1, "port %d", FIRST_PORT + i);
	}
	for (int i = 0; i < count; i++)
		printf("%d %jd\n", FIRST_PORT + i, (intmax_t)sent[i]);
	return (0);
}
