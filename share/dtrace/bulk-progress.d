#!/usr/sbin/dtrace -qs
/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How far is the bulk update? While this firewall answers or awaits one, the
 * script prints a line every second. If it answers, the line shows which row of
 * pf's table the walk has reached; if it waits, how many whole states have
 * arrived. End the script with ^C.
 *
 * If several vnets do this at the same time, the script mixes their numbers.
 */

inline string EVENT[int event] =
    event == 0 ? "requested" :
    event == 1 ? "complete" :
    event == 2 ? "no longer awaited" :
    "given up";

BEGIN
{
	waiting = 0;
	arrived = 0;
	packets = 0;
	row = 0;
	rows = 0;
}

pfsync::bulk:awaited
{
	printf("%Y bulk update %s, %d states arrived\n", walltimestamp,
	    EVENT[(int)arg0], arrived);
	waiting = (int)arg0 == 0;
	arrived = waiting ? arrived : 0;
}

/* PFSYNC_ACT_UPD_1301, PFSYNC_ACT_UPD_1400 and PFSYNC_ACT_UPD_1500 */
pfsync::message:received
/waiting && (arg0 == 3 || arg0 == 14 || arg0 == 16)/
{
	arrived += arg1;
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
	printf("%Y waiting: %d states arrived\n", walltimestamp, arrived);
}
