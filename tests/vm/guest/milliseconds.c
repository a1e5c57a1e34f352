/* SPDX-License-Identifier: BSD-2-Clause */

/* milliseconds: prints how long the machine has been up. */

#include "clock.h"

#include <stdio.h>

int
main(void)
{
	printf("%ld\n", milliseconds());
	return (0);
}
