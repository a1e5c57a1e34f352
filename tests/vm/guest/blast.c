/*
 * Sends UDP packets over many flows and says how long it took.
 *
 *	blast ADDRESS PORT FLOWS PACKETS [REST]
 *
 * Each flow has its own source port and sends in turn. If ADDRESS is local,
 * somebody listens there who reads nothing, so that no ICMP answers come.
 * After each round over all flows it rests for REST microseconds.
 */
#include <sys/param.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <arpa/inet.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define	FIRST_SOURCE_PORT	10000

static int
udp_socket(void)
{
	int s;

	s = socket(AF_INET, SOCK_DGRAM, 0);
	if (s == -1)
		err(1, "socket");
	return (s);
}

/* Binds a socket that swallows the packets, if the address is one of ours. */
static void
listen_if_local(const struct sockaddr_in *to)
{
	int s = udp_socket();

	if (bind(s, (const struct sockaddr *)to, sizeof(*to)) == -1)
		close(s);
}

static int
open_flow(const struct sockaddr_in *to, int number)
{
	struct sockaddr_in from;
	int s = udp_socket();

	memset(&from, 0, sizeof(from));
	from.sin_len = sizeof(from);
	from.sin_family = AF_INET;
	from.sin_port = htons(FIRST_SOURCE_PORT + number);
	if (bind(s, (struct sockaddr *)&from, sizeof(from)) == -1)
		err(1, "source port %d", FIRST_SOURCE_PORT + number);
	if (connect(s, (const struct sockaddr *)to, sizeof(*to)) == -1)
		err(1, "connect");
	return (s);
}

static double
seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - start->tv_sec) + (now.tv_nsec - start->tv_nsec) / 1e9;
}

int
main(int argc, char **argv)
{
	struct sockaddr_in to;
	struct timespec start;
	int flows, packets, rest, *sockets, sent = 0;

	if (argc < 5)
		errx(2, "usage: blast ADDRESS PORT FLOWS PACKETS [REST]");
	memset(&to, 0, sizeof(to));
	to.sin_len = sizeof(to);
	to.sin_family = AF_INET;
	to.sin_port = htons(atoi(argv[2]));
	if (inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
		errx(2, "%s is no IPv4 address", argv[1]);
	flows = atoi(argv[3]);
	packets = atoi(argv[4]);
	rest = argc > 5 ? atoi(argv[5]) : 0;
	sockets = calloc(MAX(flows, 1), sizeof(*sockets));
	if (sockets == NULL || flows < 1)
		errx(2, "bad number of flows");

	listen_if_local(&to);
	for (int i = 0; i < flows; i++)
		sockets[i] = open_flow(&to, i);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (int i = 0; i < packets; i++) {
		if (send(sockets[i % flows], "payload", 7, 0) == 7)
			sent++;
		if (rest > 0 && i % flows == flows - 1)
			usleep(rest);
	}
	printf("%d packets %.3f seconds\n", sent, seconds_since(&start));
	return (0);
}
