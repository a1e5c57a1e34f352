/* SPDX-License-Identifier: BSD-2-Clause */

/* The ports by which programs number connections or flows. */

#define	FIRST_PORT	10000
