/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * cut INTERFACE...: takes interfaces down, one right after the other. Prints
 * when it began, in microseconds since the machine was started.
 */

#include "clock.h"
#include "socket.h"

#include <sys/ioctl.h>

#include <net/if.h>

#include <stdio.h>
#include <string.h>

int
main(int argc, char **argv)
{
	struct ifreq ifr = { 0 };
	int s;

	if ((s = socket(AF_INET, SOCK_DGRAM, 0)) == -1)
		err(1, "socket");
	printf("%jd\n", (intmax_t)microseconds());
	for (int i = 1; i < argc; i++) {
		strlcpy(ifr.ifr_name, argv[i], sizeof(ifr.ifr_name));
		if (ioctl(s, SIOCGIFFLAGS, &ifr) == -1)
			err(1, "%s", argv[i]);
		ifr.ifr_flags &= ~IFF_UP;
		if (ioctl(s, SIOCSIFFLAGS, &ifr) == -1)
			err(1, "%s", argv[i]);
	}
	return (0);
}
