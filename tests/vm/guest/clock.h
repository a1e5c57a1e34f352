/* SPDX-License-Identifier: BSD-2-Clause */

/* The clock of the guest programs. */

#include <stdint.h>
#include <time.h>

/* How long the machine has been up. */
static inline int64_t
microseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return ((int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}

static inline long
milliseconds(void)
{
	return (microseconds() / 1000);
}
