#!/usr/sbin/dtrace -qs
/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Why was this state not synchronized? The script follows one state by its id,
 * as `pfctl -vv -s states`, tcpdump or pfsyncdump shows it:
 *
 *	why-not-synced.d 0x470b026b00000000
 *
 * Run it on the firewall that has the state, or on the one that should get it,
 * and send a packet of the connection through the firewall. End it with ^C.
 *
 * pfctl of FreeBSD 14 shows the bytes of an id in the order of the machine,
 * which on amd64 is the reverse. The script accepts both orders.
 */

inline uint64_t GIVEN = (uint64_t)$1;
inline uint64_t SWAPPED =
    (((uint64_t)$1 >> 56) & 0xff) | (((uint64_t)$1 >> 40) & 0xff00) |
    (((uint64_t)$1 >> 24) & 0xff0000) | (((uint64_t)$1 >> 8) & 0xff000000) |
    (((uint64_t)$1 & 0xff000000) << 8) | (((uint64_t)$1 & 0xff0000) << 24) |
    (((uint64_t)$1 & 0xff00) << 40) | (((uint64_t)$1 & 0xff) << 56);

inline string QUEUED[int queue] =
    queue == 0 ? "made here: an insert is queued" :
    queue == 2 ? "a peer requested it: a whole update is queued" :
    queue == 4 ? "changed here: an update is queued, or collapses into the queued one" :
    queue == 5 ? "ended here: a delete is queued" :
    "queued";

inline string IMPORTED[int result] =
    result == 0 ? "taken in" :
    result == 1 ? "refused: its interface does not exist here" :
    result == 2 ? "refused: the interface of its route does not exist here, is a loopback, or is not known" :
    result == 3 ? "refused: its routing table does not exist here" :
    result == 4 ? "refused: no memory, or the limit of its rule is reached" :
    result == 5 ? "refused: a state like it already exists here" :
    result == 6 ? "refused: its row of pf's hash is full" :
    result == 7 ? "refused: pf of this release cannot have such a state" :
    "refused";

inline string MERGED[int taken] =
    taken == 0 ? "neither endpoint is copied as a whole: the peer gets an update back" :
    taken == 1 ? "its source endpoint is copied, the other is behind" :
    taken == 2 ? "its destination endpoint is copied, the other is behind" :
    "both endpoints are copied";

inline string DEFERRED[int event] =
    event == 0 ? "deferred" :
    event == 1 ? "sent: a peer has the state, or it changed or ended here" :
    event == 2 ? "sent: defer_delay has passed" :
    "not deferred: too many others are";

BEGIN
{
	seen = 0;
	printf("following %016x, or %016x\n", GIVEN, SWAPPED);
}

pfsync::state:queued
/arg0 == GIVEN || arg0 == SWAPPED/
{
	seen++;
	printf("%Y creator %08x: %s\n", walltimestamp, (uint32_t)arg1,
	    QUEUED[(int)arg2]);
}

pfsync::state:imported
/arg0 == GIVEN || arg0 == SWAPPED/
{
	seen++;
	printf("%Y creator %08x: a whole state arrived, %s\n", walltimestamp,
	    (uint32_t)arg1, IMPORTED[(int)arg2]);
}

pfsync::state:merged
/arg0 == GIVEN || arg0 == SWAPPED/
{
	seen++;
	printf("%Y creator %08x: an update arrived, %s\n", walltimestamp,
	    (uint32_t)arg1, MERGED[(int)arg2]);
}

pfsync::packet:deferred
/arg0 == GIVEN || arg0 == SWAPPED/
{
	seen++;
	printf("%Y creator %08x: its first packet was %s\n", walltimestamp,
	    (uint32_t)arg1, DEFERRED[(int)arg2]);
}

END
/seen == 0/
{
	printf("Nothing happened to this state. On the firewall that has it: ");
	printf("no packet of the\nconnection arrived, its rule says no-sync, ");
	printf("pfsync0 is down, or pfsync0 has neither\na sync interface nor ");
	printf("a program that watches it. On the firewall that should get\n");
	printf("it: the message was not sent, was lost, or was refused with ");
	printf("its packet\n(bad-packets.d).\n");
}
