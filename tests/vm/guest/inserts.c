/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * inserts ADDRESS N [RATE [FIRST]]: sends inserts of N UDP states to pfsync at
 * ADDRESS, in message format 1400 and packets of 1,500 bytes: RATE states a
 * second, a hundredth of them every 10 ms, or as fast as possible if RATE is 0
 * or missing. FIRST states are counted as made before. Prints when it began, in
 * milliseconds since the machine was started.
 */

#include "clock.h"
#include "socket.h"
#include "state.h"

#include <net/if_pfsync.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define	STATES		5	/* as many as fit */

/* Format 1400, which begins as format 1301 does. FreeBSD's union also has longer formats. */
union state {
	struct pfsync_state_1301 pfs_1301;
	struct pfsync_state_1400 pfs_1400;
};

struct frame {
	struct pfsync_header header;
	struct pfsync_subheader inserts;
	union state state[STATES];
} __packed;

/* What all frames have. */
static void
fill_frame(struct frame *frame)
{
	memset(frame, 0, sizeof(*frame));
	frame->header.version = PFSYNC_VERSION;
	frame->header.len = htons(sizeof(*frame));
	frame->inserts.action = PFSYNC_ACT_INS_1400;
	frame->inserts.count = htons(STATES);
	for (int i = 0; i < STATES; i++) {
		fill_state(&frame->state[i].pfs_1301);
		frame->state[i].pfs_1400.rtableid = htonl(-1);
	}
}

/* Waits until so many states may have been sent since START. */
static void
keep_pace(int64_t start, uint32_t sent, uint32_t rate)
{
	int64_t bursts = (int64_t)sent * 100 / rate;
	int64_t early = start + bursts * 10000 - microseconds();

	if (early > 0)
		usleep(early);
}

static uint32_t
number_or_zero(const char *text)
{
	return (text == NULL ? 0 : strtoul(text, NULL, 0));
}

int
main(int argc, char **argv)
{
	struct frame frame;
	uint32_t next, count, rate, first;
	int64_t start;
	int s;

	if (argc < 3 || argc > 5)
		errx(2, "usage: inserts ADDRESS N [RATE [FIRST]]");
	s = pfsync_socket(argv[1]);
	count = strtoul(argv[2], NULL, 0);
	rate = number_or_zero(argv[3]);
	first = argc == 5 ? number_or_zero(argv[4]) : 0;
	fill_frame(&frame);
	printf("%ld\n", milliseconds());
	fflush(stdout);
	start = microseconds();
	for (next = 0; next + STATES <= count; next += STATES) {
		if (rate != 0)
			keep_pace(start, next, rate);
		for (int i = 0; i < STATES; i++)
			number_state(&frame.state[i].pfs_1301, first + next + i);
		if (send(s, &frame, sizeof(frame), 0) == -1)
			err(1, "send");
	}
	return (0);
}
