/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The connections over loopback that `hostile` sends states of. `blast
 * 127.0.0.1 9` and `meet` send packets that match these states.
 */

#include "ports.h"

#define	PORTS		500
#define	SERVER_PORT	9
#define	PROTO_GRE	47	/* one that pf does not know */
#define	ICMP4_ECHO	8
#define	ICMP6_ECHO	128
