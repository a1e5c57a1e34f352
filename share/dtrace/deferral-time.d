#!/usr/sbin/dtrace -qs
/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How long are first packets deferred? When it is ended with ^C, the script
 * prints the times in microseconds, by the reason why the packets were sent. The
 * times until an acknowledgement are those of a round trip to the peer. If many
 * packets waited as long as net.pfsync.defer_delay, the peer does not answer.
 */

/* DTrace divides this memory among all CPUs that the kernel supports. */
#pragma D option dynvarsize=32m

inline string BY[int event] =
    event == 1 ? "acknowledged, or the state changed or ended" :
    event == 2 ? "defer_delay has passed" :
    "too many others are deferred";

pfsync::packet:deferred
/arg2 == 0/
{
	since[arg0, arg1] = timestamp;
	@deferred = count();
}

pfsync::packet:deferred
/arg2 != 0 && since[arg0, arg1] != 0/
{
	this->us = (timestamp - since[arg0, arg1]) / 1000;
	@times[BY[(int)arg2]] = quantize(this->us);
	@longest[BY[(int)arg2]] = max(this->us);
	since[arg0, arg1] = 0;
}

END
{
	printa("deferred: %@d\n", @deferred);
	printa("\n%s, microseconds:%@d\n", @times);
	printf("\nlongest, in microseconds:\n");
	printa("  %-44s %@d\n", @longest);
}
