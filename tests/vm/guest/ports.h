/* SPDX-License-Identifier: BSD-2-Clause */

/* The ports by which `connect` and `inserted` number connections. */

#define	FIRST_PORT	10000
