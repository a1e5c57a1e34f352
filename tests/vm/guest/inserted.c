/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * inserted INTERFACE COUNT PATIENCE: waits on an Ethernet interface for the
 * inserts of COUNT states that `connect` makes, or until none has come for
 * PATIENCE seconds after the first. Prints a line for each: the port, and when
 * the packet with the insert came, in microseconds since the machine was
 * started. Writes `ready` to standard error when it listens.
 */

#include "clock.h"
#include "ports.h"

#include <sys/param.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <net/bpf.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <net/pfvar.h>
#include <net/if_pfsync.h>

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define	PORTS		50000

/* Inserts by their action: the three formats begin alike. */
static size_t
state_len(uint8_t action)
{
	switch (action) {
	case 1:		/* format 1301 */
		return (242);
	case 13:	/* format 1400 */
		return (277);
	case 15:	/* format 1500 */
		return (360);
	default:
		return (0);
	}
}

static int64_t arrived[PORTS];
static int found;

/* The key that begins every state; one of its ports is of a connection. */
static void
note_state(const u_char *state, int64_t time)
{
	struct pfsync_state_key key;

	memcpy(&key, state + 24, sizeof(key));
	for (int i = 0; i < 2; i++) {
		int number = ntohs(key.port[i]) - FIRST_PORT;

		if (key.addr[i].v4.s_addr == htonl(0xcb007102) &&	/* 203.0.113.2 */
		    number >= 0 && number < PORTS && arrived[number] == 0) {
			arrived[number] = time;
			found++;
		}
	}
}

static void
note_packet(const u_char *packet, size_t len, int64_t time)
{
	struct pfsync_subheader run;
	size_t offset;

	offset = sizeof(struct ether_header);
	if (len < offset + sizeof(struct ip))
		return;
	offset += (packet[offset] & 0xf) * 4 + sizeof(struct pfsync_header);
	/* A run of another kind ends the search: inserts and deletes come first. */
	while (offset + sizeof(run) <= len) {
		size_t size;

		memcpy(&run, packet + offset, sizeof(run));
		offset += sizeof(run);
		size = run.action == PFSYNC_ACT_DEL_C ? sizeof(struct pfsync_del_c) : state_len(run.action);
		if (size == 0)
			return;
		for (int i = 0; i < ntohs(run.count) && offset + size <= len; i++, offset += size)
			if (run.action != PFSYNC_ACT_DEL_C)
				note_state(packet + offset, time);
	}
}

/* A bpf descriptor that reads what comes by the interface: pfsync over IPv4. */
static int
listen_on(const char *interface, u_int *size)
{
	struct bpf_insn pfsync[] = {
		BPF_STMT(BPF_LD + BPF_H + BPF_ABS, 12),
		BPF_JUMP(BPF_JMP + BPF_JEQ + BPF_K, ETHERTYPE_IP, 0, 3),
		BPF_STMT(BPF_LD + BPF_B + BPF_ABS, 23),
		BPF_JUMP(BPF_JMP + BPF_JEQ + BPF_K, IPPROTO_PFSYNC, 0, 1),
		BPF_STMT(BPF_RET + BPF_K, 65535),
		BPF_STMT(BPF_RET + BPF_K, 0),
	};
	struct bpf_program program = { nitems(pfsync), pfsync };
	struct timeval wait = { 1, 0 };
	struct ifreq ifr = { 0 };
	u_int direction = BPF_D_IN, stamp = BPF_T_MICROTIME_MONOTONIC, one = 1;
	int bpf;

	*size = 4 << 20;
	strlcpy(ifr.ifr_name, interface, sizeof(ifr.ifr_name));
	if ((bpf = open("/dev/bpf", O_RDONLY)) == -1)
		err(1, "/dev/bpf");
	if (ioctl(bpf, BIOCSBLEN, size) == -1 || ioctl(bpf, BIOCSETIF, &ifr) == -1 ||
	    ioctl(bpf, BIOCSDIRECTION, &direction) == -1 || ioctl(bpf, BIOCSTSTAMP, &stamp) == -1 ||
	    ioctl(bpf, BIOCSETF, &program) == -1 || ioctl(bpf, BIOCSRTIMEOUT, &wait) == -1 ||
	    ioctl(bpf, BIOCIMMEDIATE, &one) == -1 || ioctl(bpf, BIOCGBLEN, size) == -1)
		err(1, "bpf");
	return (bpf);
}

int
main(int argc, char **argv)
{
	u_char *buffer;
	u_int size;
	ssize_t len;
	int bpf, count, most = 0;
	long patience, last = 0;

	if (argc != 4)
		errx(2, "usage: inserted INTERFACE COUNT PATIENCE");
	count = atoi(argv[2]);
	patience = atol(argv[3]) * 1000;
	bpf = listen_on(argv[1], &size);
	if ((buffer = malloc(size)) == NULL)
		err(1, "malloc");
	fprintf(stderr, "ready\n");
	while (found < count && (found == 0 || milliseconds() - last < patience)) {
		if ((len = read(bpf, buffer, size)) == -1)
			err(1, "read");
		for (u_char *at = buffer; at < buffer + len;) {
			struct bpf_xhdr head;

			memcpy(&head, at, sizeof(head));
			note_packet(at + head.bh_hdrlen, head.bh_caplen, (int64_t)head.bh_tstamp.bt_sec * 1000000 +
			    head.bh_tstamp.bt_frac);
			at += BPF_WORDALIGN(head.bh_hdrlen + head.bh_caplen);
		}
		if (found > most) {
			most = found;
			last = milliseconds();
		}
	}
	for (int i = 0; i < PORTS; i++)
		if (arrived[i] != 0)
			printf("%d %jd\n", FIRST_PORT + i, (intmax_t)arrived[i]);
	return (0);
}
