#!/usr/sbin/dtrace -qs
/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What was lost, and when was it repaired? The script prints a line whenever
 * frames of a peer turn out to be missing here, when a peer has told again what
 * they told, and when nothing is missing any more. Each second in which this
 * firewall tells something again for its peers has a line too. When it is ended
 * with ^C, it prints how long something was missing each time, and how many
 * packets were refused, and why.
 *
 * Frames that were missing before the script began are not counted. If several
 * vnets lose frames at the same time, the script mixes their numbers.
 */

inline string REFUSED[int reason] =
    reason == 1 ? "its tag is wrong or missing" :
    reason == 2 ? "it may be a recording: its epoch is not proved yet" :
    "there is no place for another peer";

/* Frames, and messages that were told again since the last line about them. */
uint64_t lost;
uint64_t missing;
uint64_t repaired;
uint64_t brought;
uint64_t retold;
/* When something began to be missing. 0 if nothing is. */
uint64_t since;

pfsync::agreement:epoch
{
	printf("%Y the link was opened: epoch %016x begins\n", walltimestamp,
	    arg0);
	missing = 0;
	since = 0;
}

pfsync::agreement:gap
{
	since = since == 0 ? timestamp : since;
	lost += arg2 - arg1 + 1;
	missing += arg2 - arg1 + 1;
	printf("%Y lost: frames %d to %d of epoch %016x, %d missing\n",
	    walltimestamp, arg1, arg2, arg0, missing);
}

pfsync::agreement:repaired
{
	this->count = (uint64_t)arg0;
	repaired += this->count;
	missing = missing > this->count ? missing - this->count : 0;
	printf("%Y repaired: %d frames, %d missing\n", walltimestamp,
	    this->count, missing);
}

/* A bulk update brings what cannot be repaired. */
pfsync::bulk:awaited
/missing != 0 && arg0 == 1/
{
	printf("%Y a bulk update is complete: it brought what %d frames told\n",
	    walltimestamp, missing);
	brought += missing;
	missing = 0;
}

pfsync::agreement:repaired,
pfsync::bulk:awaited
/missing == 0 && since != 0/
{
	this->ms = (timestamp - since) / 1000000;
	printf("%Y nothing is missing after %d ms\n", walltimestamp, this->ms);
	@times = quantize(this->ms);
	since = 0;
}

pfsync::agreement:retold
{
	retold += arg0;
}

tick-1s
/retold != 0/
{
	printf("%Y told again for peers: %d messages\n", walltimestamp, retold);
	retold = 0;
}

pfsync::agreement:refused
{
	@refused[REFUSED[(int)arg0]] = count();
}

END
{
	printf("\nlost %d frames, %d repaired, %d by a bulk update, %d missing\n",
	    lost, repaired, brought, missing);
	printa("\nmilliseconds until nothing was missing:%@d\n", @times);
	printa("refused, %s: %@d packets\n", @refused);
}
