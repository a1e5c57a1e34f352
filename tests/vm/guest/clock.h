/* SPDX-License-Identifier: BSD-2-Clause */

/* The clock of the guest programs. */

#include <time.h>

/* How long the machine has been up. */
static inline long
milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec * 1000 + now.tv_nsec / 1000000);
}
