/* SPDX-License-Identifier: BSD-2-Clause */

/* Addresses and sockets. */

#include <sys/param.h>
#include <sys/socket.h>

#include <netinet/in.h>
#include <arpa/inet.h>

#include <err.h>
#include <stdint.h>

static inline struct sockaddr_in
inet_address(const char *text, uint16_t port)
{
	struct sockaddr_in address = {
		.sin_len = sizeof(address), .sin_family = AF_INET, .sin_port = htons(port)
	};

	if (inet_pton(AF_INET, text, &address.sin_addr) != 1)
		errx(2, "%s is no IPv4 address", text);
	return (address);
}

/* A socket that sends the payload of pfsync packets to one address. */
static inline int
pfsync_socket(const char *address)
{
	struct sockaddr_in to = inet_address(address, 0);
	/* pfsync drops packets that passed a router. */
	int s, ttl = 255;
	unsigned char multicast_ttl = 255;

	if ((s = socket(AF_INET, SOCK_RAW, IPPROTO_PFSYNC)) == -1)
		err(1, "socket");
	if (setsockopt(s, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl)) == -1 ||
	    setsockopt(s, IPPROTO_IP, IP_MULTICAST_TTL, &multicast_ttl, sizeof(multicast_ttl)) == -1)
		err(1, "ttl");
	if (connect(s, (struct sockaddr *)&to, sizeof(to)) == -1)
		err(1, "connect");
	return (s);
}
