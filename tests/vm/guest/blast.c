/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * blast ADDRESS PORT FLOWS PACKETS: sends UDP packets of many flows and
 * prints how long it took.
 *
 * Each flow has a source port of its own, and the flows take turns. If there are
 * more flows than FLOW_PORTS, the others go to the addresses that follow. If
 * ADDRESS is one of this machine's, a socket that is never read swallows the
 * packets, so that no ICMP errors come back.
 */

#include "clock.h"
#include "ports.h"
#include "socket.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define	FLOW_PORTS	50000

static int
udp_socket(void)
{
	int s;

	s = socket(AF_INET, SOCK_DGRAM, 0);
	if (s == -1)
		err(1, "socket");
	return (s);
}

/* If the address is one of this machine's, binds a socket that swallows the packets. */
static void
listen_if_local(const struct sockaddr_in *to)
{
	int s = udp_socket();

	if (bind(s, (const struct sockaddr *)to, sizeof(*to)) == -1)
		close(s);
}

static int
open_port(int number)
{
	struct sockaddr_in from = inet_address("0.0.0.0", FIRST_PORT + number);
	int s = udp_socket();

	if (bind(s, (struct sockaddr *)&from, sizeof(from)) == -1)
		err(1, "source port %d", FIRST_PORT + number);
	return (s);
}

/* The address to which the flow of that number goes. */
static struct sockaddr_in
flow_address(struct sockaddr_in first, int number)
{
	first.sin_addr.s_addr = htonl(ntohl(first.sin_addr.s_addr) + number / FLOW_PORTS);
	return (first);
}

/* Sends a packet of the flow of that number. A connected socket needs no address. */
static bool
send_packet(int s, struct sockaddr_in first, int number, bool connected)
{
	struct sockaddr_in to;

	if (connected)
		return (send(s, "payload", 7, 0) == 7);
	to = flow_address(first, number);
	return (sendto(s, "payload", 7, 0, (struct sockaddr *)&to, sizeof(to)) == 7);
}

int
main(int argc, char **argv)
{
	struct sockaddr_in to;
	long start;
	int flows, ports, packets, *sockets, sent = 0;
	bool connected;

	if (argc != 5)
		errx(2, "usage: blast ADDRESS PORT FLOWS PACKETS");
	to = inet_address(argv[1], atoi(argv[2]));
	flows = atoi(argv[3]);
	packets = atoi(argv[4]);
	ports = MIN(flows, FLOW_PORTS);
	connected = flows <= FLOW_PORTS;
	sockets = calloc(MAX(ports, 1), sizeof(*sockets));
	if (sockets == NULL || flows < 1)
		errx(2, "bad number of flows");

	listen_if_local(&to);
	for (int i = 0; i < ports; i++) {
		sockets[i] = open_port(i);
		if (connected && connect(sockets[i], (struct sockaddr *)&to, sizeof(to)) == -1)
			err(1, "connect");
	}
	start = milliseconds();
	for (int i = 0; i < packets; i++)
		if (send_packet(sockets[i % flows % FLOW_PORTS], to, i % flows, connected))
			sent++;
	printf("%d packets %.3f seconds\n", sent, (milliseconds() - start) / 1e3);
	return (0);
}
