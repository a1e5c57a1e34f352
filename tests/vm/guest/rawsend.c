/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * rawsend ADDRESS FILE...: sends each file as the payload of a pfsync packet.
 */

#include "socket.h"

#include <stdio.h>

#define	LARGEST_PAYLOAD	65000

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
	s = pfsync_socket(argv[1]);
	for (int i = 2; i < argc; i++)
		send_file(s, argv[i]);
	return (0);
}
