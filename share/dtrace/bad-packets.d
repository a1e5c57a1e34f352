#!/usr/sbin/dtrace -qs
/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who sends packets that are refused, and why? Every ten seconds and at the
 * end, this script prints a table: the sender, the kind of message, the reason,
 * and how often. The sender comes from the ip provider. End the script with ^C.
 */

/* DTrace divides this memory among all CPUs that the kernel supports. */
#pragma D option dynvarsize=16m

inline string REASON[int reason] =
    reason == 1 ? "not on the sync interface" :
    reason == 2 ? "TTL or hop limit is not 255" :
    reason == 3 ? "shorter than a header" :
    reason == 4 ? "unknown protocol version" :
    reason == 5 ? "a length does not fit" :
    reason == 6 ? "unknown kind of message" :
    reason == 7 ? "impossible value" :
    reason == 9 ? "limit on peers" :
    reason == 10 ? "wrong tag, or may be a recording" :
    "state refused or unknown";

inline string KIND[int action] =
    action == 0 ? "clear" :
    action == 1 || action == 13 || action == 15 ? "insert" :
    action == 2 ? "insert ack" :
    action == 3 || action == 14 || action == 16 ? "update" :
    action == 4 ? "compressed update" :
    action == 5 ? "update request" :
    action == 6 ? "delete" :
    action == 7 ? "compressed delete" :
    action == 8 ? "insert fragment" :
    action == 9 ? "delete fragment" :
    action == 10 ? "bulk status" :
    action == 11 ? "TDB" :
    action == 12 ? "end mark" :
    "(packet)";

ip:::receive
/args[4]->ipv4_protocol == 240 || args[5]->ipv6_nexthdr == 240/
{
	self->from = args[2]->ip_saddr;
}

pfsync::message:rejected
{
	@refused[self->from, KIND[(int)arg0], REASON[(int)arg1]] = count();
}

tick-10s, END
{
	printf("%Y\n%-24s %-18s %-34s %8s\n", walltimestamp, "FROM", "MESSAGE",
	    "REASON", "COUNT");
	printa("%-24s %-18s %-34s %@8d\n", @refused);
}
