#!/usr/sbin/dtrace -qs
/*
 * Who sends packets that are refused, and why? Prints a table every ten
 * seconds and at the end: sender, kind of message, reason, how many. Ends with
 * ^C. The sender comes from the ip provider.
 */

/* Shared out among all the CPUs that the kernel could have. */
#pragma D option dynvarsize=16m

inline string REASON[int reason] =
    reason == 1 ? "not by the sync interface" :
    reason == 2 ? "TTL or hop limit is not 255" :
    reason == 3 ? "shorter than a header" :
    reason == 4 ? "version of the protocol" :
    reason == 5 ? "a length does not fit" :
    reason == 6 ? "unknown kind of message" :
    reason == 7 ? "impossible value" :
    reason == 9 ? "more than the limits allow" :
    "state not taken in, or not here";

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
