#!/usr/sbin/dtrace -qs
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * How far is the full update? Prints a line a second while one is sent or
 * awaited. A firewall that sends shows the row of pf's table that it has come
 * to; one that waits shows the whole states that came. Ends with ^C.
 *
 * With several network stacks at it at once the numbers mix.
 */

inline string EVENT[int event] =
    event == 0 ? "asked for" :
    event == 1 ? "complete" :
    event == 2 ? "awaited no more" :
    "given up";

BEGIN
{
	waiting = 0;
	came = 0;
	packets = 0;
	row = 0;
	rows = 0;
}

pfsync::bulk:awaited
{
	printf("%Y full update %s, %d states came\n", walltimestamp,
	    EVENT[(int)arg0], came);
	waiting = (int)arg0 == 0;
	came = waiting ? came : 0;
}

/* PFSYNC_ACT_UPD_1301, PFSYNC_ACT_UPD_1400 and PFSYNC_ACT_UPD_1500 */
pfsync::message:received
/waiting && (arg0 == 3 || arg0 == 14 || arg0 == 16)/
{
	came += arg1;
}

pfsync::bulk:sending
{
	packets++;
	row = arg0;
	rows = arg1;
}

pfsync::bulk:sending
/arg0 == arg1/
{
	printf("%Y sent: %d packets, all of %d rows\n", walltimestamp,
	    packets, rows);
	packets = 0;
}

tick-1s
/packets != 0/
{
	printf("%Y sending: %d packets, row %d of %d, %d%%\n", walltimestamp,
	    packets, row, rows, row * 100 / rows);
}

tick-1s
/waiting/
{
	printf("%Y waiting: %d states came\n", walltimestamp, came);
}
