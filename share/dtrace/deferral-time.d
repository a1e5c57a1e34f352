#!/usr/sbin/dtrace -qs
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * How long are first packets deferred? Prints, when ended with ^C, the times
 * in microseconds by what let the packets go. Those that the peer's
 * acknowledgement let go show its way there and back; where many wait the
 * whole of net.pfsync.defer_delay, the peer does not answer.
 */

/* Shared out among all the CPUs that the kernel could have. */
#pragma D option dynvarsize=32m

inline string BY[int event] =
    event == 1 ? "acknowledged, or the state changed or ended" :
    event == 2 ? "waited long enough" :
    "too many others waited";

pfsync::packet:deferred
/arg2 == 0/
{
	since[arg0, arg1] = timestamp;
	@held = count();
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
	printa("held back: %@d\n", @held);
	printa("\n%s, microseconds:%@d\n", @times);
	printf("\nlongest, in microseconds:\n");
	printa("  %-44s %@d\n", @longest);
}
