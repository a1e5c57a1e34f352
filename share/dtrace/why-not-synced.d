#!/usr/sbin/dtrace -qs
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Why was this state not synced? Follows one state, by its id as
 * `pfctl -vv -s states`, tcpdump or pfsyncdump shows it:
 *
 *	why-not-synced.d 0x470b026b00000000
 *
 * Run it on the firewall that has the state, or is to get it, and send a
 * packet of the connection through. Ends with ^C.
 *
 * pfctl of FreeBSD 14 shows the bytes of an id in the order of the machine,
 * which is the other way round on amd64: either is understood.
 */

inline uint64_t GIVEN = (uint64_t)$1;
inline uint64_t SWAPPED =
    (((uint64_t)$1 >> 56) & 0xff) | (((uint64_t)$1 >> 40) & 0xff00) |
    (((uint64_t)$1 >> 24) & 0xff0000) | (((uint64_t)$1 >> 8) & 0xff000000) |
    (((uint64_t)$1 & 0xff000000) << 8) | (((uint64_t)$1 & 0xff0000) << 24) |
    (((uint64_t)$1 & 0xff00) << 40) | (((uint64_t)$1 & 0xff) << 56);

inline string QUEUED[int queue] =
    queue == 0 ? "made here: an insert is queued" :
    queue == 2 ? "a peer asked for all of it: an update is queued" :
    queue == 4 ? "changed here: an update is queued, or joins the one that waits" :
    queue == 5 ? "ended here: a delete is queued" :
    "queued";

inline string IMPORTED[int result] =
    result == 0 ? "taken in" :
    result == 1 ? "refused: no such interface here" :
    result == 2 ? "refused: no such interface to route to here" :
    result == 3 ? "refused: no such routing table here" :
    result == 4 ? "refused: no memory, or the rule has as many states as it may" :
    result == 5 ? "refused: a state like it is here already" :
    result == 6 ? "refused: its row of pf's hash is full" :
    "refused";

inline string MERGED[int taken] =
    taken == 0 ? "nothing is taken over: the peer is behind, and gets an update" :
    taken == 1 ? "its source end is taken over, the other is behind" :
    taken == 2 ? "its destination end is taken over, the other is behind" :
    "both ends are taken over";

inline string DEFERRED[int event] =
    event == 0 ? "held back" :
    event == 1 ? "let go: a peer has the state, or it changed or ended here" :
    event == 2 ? "let go: it has waited long enough" :
    "let go: too many others wait";

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
	printf("%Y creator %08x: came whole, %s\n", walltimestamp,
	    (uint32_t)arg1, IMPORTED[(int)arg2]);
}

pfsync::state:merged
/arg0 == GIVEN || arg0 == SWAPPED/
{
	seen++;
	printf("%Y creator %08x: an update came, %s\n", walltimestamp,
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
	printf("Nothing was seen of it. Where the state is: no packet of it ");
	printf("came, its rule says\nno-sync, pfsync0 is down, or it has ");
	printf("neither a sync interface nor a program that\nwatches. Where ");
	printf("it should come to: it was not sent, was lost, or was refused ");
	printf("before\nit was looked at (bad-packets.d).\n");
}
