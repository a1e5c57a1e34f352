/*
 * Sends files as the payload of IPv4 packets of protocol 240 (pfsync).
 *
 *	rawsend ADDRESS FILE...
 *
 * TTL is 255, as pfsync demands of its peers.
 */
#include <sys/param.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <arpa/inet.h>

#include <err.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define	PROTOCOL_PFSYNC	240
#define	TTL		255
#define	LARGEST_PAYLOAD	65000

static int
open_socket(const char *address)
{
	struct sockaddr_in to;
	int s, ttl = TTL;

	memset(&to, 0, sizeof(to));
	to.sin_len = sizeof(to);
	to.sin_family = AF_INET;
	if (inet_pton(AF_INET, address, &to.sin_addr) != 1)
		errx(2, "%s is no IPv4 address", address);
	s = socket(AF_INET, SOCK_RAW, PROTOCOL_PFSYNC);
	if (s == -1)
		err(1, "socket");
	if (setsockopt(s, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl)) == -1)
		err(1, "ttl");
	if (connect(s, (struct sockaddr *)&to, sizeof(to)) == -1)
		err(1, "connect");
	return (s);
}

static void
send_file(int s, const char *name)
{
	static char payload[LARGEST_PAYLOAD];
	FILE *file = fopen(name, "rb");
	size_t length;

	if (file == NULL)
		err(1, "%s", name);
	length = fread(payload, 1, sizeof(payload), file);
	fclose(file);
	if (send(s, payload, length, 0) == -1)
		warn("%s", name);
}

int
main(int argc, char **argv)
{
	int s;

	if (argc < 3)
		errx(2, "usage: rawsend ADDRESS FILE...");
	s = open_socket(argv[1]);
	for (int i = 2; i < argc; i++)
		send_file(s, argv[i]);
	close(s);
	return (0);
}
