/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * inserts ADDRESS N: sends inserts of N UDP states to pfsync at ADDRESS, in
 * message format 1400 and packets of 1,500 bytes, as fast as possible. Prints
 * when it began, in milliseconds since the machine was started.
 */

#include "clock.h"
#include "socket.h"
#include "state.h"

#include <net/if_pfsync.h>

#include <stdio.h>
#include <stdlib.h>

#define	STATES		5	/* as many as fit */

struct frame {
	struct pfsync_header header;
	struct pfsync_subheader inserts;
	union pfsync_state_union state[STATES];
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

int
main(int argc, char **argv)
{
	struct frame frame;
	uint32_t next, count;
	int s;

	if (argc != 3)
		errx(2, "usage: inserts ADDRESS N");
	s = pfsync_socket(argv[1]);
	count = strtoul(argv[2], NULL, 0);
	fill_frame(&frame);
	printf("%ld\n", milliseconds());
	fflush(stdout);
	for (next = 0; next + STATES <= count; next += STATES) {
		for (int i = 0; i < STATES; i++)
			number_state(&frame.state[i].pfs_1301, next + i);
		if (send(s, &frame, sizeof(frame), 0) == -1)
			err(1, "send");
	}
	return (0);
}
