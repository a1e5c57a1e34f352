/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * meet: sends packets over loopback that match the states which a victim of
 * `hostile` inserted: of each protocol, over IPv4 and IPv6, in both directions,
 * with several kinds of header.
 */

#include "hostile.h"

#include <sys/param.h>
#include <sys/socket.h>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define	PACKETS		4	/* a port */
#define	LEN		64

static const uint8_t tcp_flags[] = { TH_SYN, TH_SYN | TH_ACK, TH_ACK, TH_FIN | TH_ACK, TH_RST };
static const uint8_t sctp_chunks[] = { 1 /* INIT */, 0 /* DATA */, 7 /* SHUTDOWN */, 6 /* ABORT */ };

/* A packet of a protocol between two ports, without an IP header. */
static void
fill(uint8_t *packet, int family, int proto, uint16_t from, uint16_t to)
{
	struct tcphdr *tcp = (struct tcphdr *)packet;

	memset(packet, 0, LEN);
	if (proto == PROTO_GRE)
		return;
	if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6) {
		packet[0] = family == AF_INET ? ICMP4_ECHO : ICMP6_ECHO;
		memcpy(packet + 4, from == htons(SERVER_PORT) ? &to : &from, sizeof(from));
		return;
	}
	memcpy(packet, &from, sizeof(from));
	memcpy(packet + 2, &to, sizeof(to));
	if (proto == IPPROTO_TCP) {
		tcp->th_seq = htonl(random() % 100);
		tcp->th_ack = htonl(random() % 100);
		tcp->th_off = 5;
		tcp->th_flags = tcp_flags[random() % nitems(tcp_flags)];
		tcp->th_win = htons(1024);
	} else if (proto == IPPROTO_UDP) {
		packet[5] = LEN;
	} else {
		packet[12] = sctp_chunks[random() % nitems(sctp_chunks)];
		packet[15] = 20;
	}
}

static int
raw_socket(const struct sockaddr *loopback, int proto)
{
	int s = socket(loopback->sa_family, SOCK_RAW, proto);

	if (s == -1 || bind(s, loopback, loopback->sa_len) == -1)
		err(1, "socket");
	return (s);
}

static long
send_all(const struct sockaddr *loopback, int proto)
{
	uint8_t packet[LEN];
	uint16_t a, b = htons(SERVER_PORT);
	long sent = 0;
	int s = raw_socket(loopback, proto);

	for (int port = 0; port < PORTS; port++) {
		a = htons(FIRST_PORT + port);
		for (int n = 0; n < PACKETS; n++) {
			fill(packet, loopback->sa_family, proto, n % 2 ? a : b, n % 2 ? b : a);
			sent += sendto(s, packet, LEN, 0, loopback, loopback->sa_len) == LEN;
		}
	}
	close(s);
	return (sent);
}

int
main(void)
{
	struct sockaddr_in inet = { .sin_len = sizeof(inet), .sin_family = AF_INET };
	struct sockaddr_in6 inet6 = { .sin6_len = sizeof(inet6), .sin6_family = AF_INET6 };
	static const int protocols[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, PROTO_GRE };
	long sent = 0;

	inet.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	inet6.sin6_addr = in6addr_loopback;
	for (size_t i = 0; i < nitems(protocols); i++) {
		sent += send_all((struct sockaddr *)&inet, protocols[i]);
		sent += send_all((struct sockaddr *)&inet6, protocols[i]);
	}
	sent += send_all((struct sockaddr *)&inet, IPPROTO_ICMP);
	sent += send_all((struct sockaddr *)&inet6, IPPROTO_ICMPV6);
	printf("%ld packets sent\n", sent);
	return (0);
}
