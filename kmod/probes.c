/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * DTrace probes that follow the life of a message. src/driver/probe.rs says
 * what each argument means, and calls these functions only while a probe of
 * the system is enabled.
 */
#include "kernel.h"
#include "shims.h"

SDT_PROVIDER_DEFINE(pfsync);

SDT_PROBE_DEFINE3(pfsync, , state, queued, "uint64_t", "uint32_t", "int");
SDT_PROBE_DEFINE3(pfsync, , state, imported, "uint64_t", "uint32_t", "int");
SDT_PROBE_DEFINE3(pfsync, , state, merged, "uint64_t", "uint32_t", "int");
SDT_PROBE_DEFINE3(pfsync, , state, conflict, "uint64_t", "uint32_t", "int");
SDT_PROBE_DEFINE2(pfsync, , message, sent, "int", "int");
SDT_PROBE_DEFINE2(pfsync, , message, received, "int", "int");
SDT_PROBE_DEFINE2(pfsync, , message, rejected, "int", "int");
SDT_PROBE_DEFINE2(pfsync, , bulk, sending, "uint64_t", "uint64_t");
SDT_PROBE_DEFINE1(pfsync, , bulk, awaited, "int");
SDT_PROBE_DEFINE3(pfsync, , packet, deferred, "uint64_t", "uint32_t", "int");
SDT_PROBE_DEFINE3(pfsync, , agreement, gap, "uint64_t", "uint64_t", "uint64_t");
SDT_PROBE_DEFINE1(pfsync, , agreement, repaired, "int");
SDT_PROBE_DEFINE1(pfsync, , agreement, retold, "int");
SDT_PROBE_DEFINE1(pfsync, , agreement, refused, "int");
SDT_PROBE_DEFINE1(pfsync, , agreement, epoch, "uint64_t");

void
pfs_probe_state_queued(uint64_t id, uint32_t creator, int queue)
{
	SDT_PROBE3(pfsync, , state, queued, id, creator, queue);
}

void
pfs_probe_state_imported(uint64_t id, uint32_t creator, int result)
{
	SDT_PROBE3(pfsync, , state, imported, id, creator, result);
}

void
pfs_probe_state_merged(uint64_t id, uint32_t creator, int verdict)
{
	SDT_PROBE3(pfsync, , state, merged, id, creator, verdict);
}

void
pfs_probe_state_conflict(uint64_t id, uint32_t creator, int conflict)
{
	SDT_PROBE3(pfsync, , state, conflict, id, creator, conflict);
}

void
pfs_probe_message_sent(int action, int count)
{
	SDT_PROBE2(pfsync, , message, sent, action, count);
}

void
pfs_probe_message_received(int action, int count)
{
	SDT_PROBE2(pfsync, , message, received, action, count);
}

void
pfs_probe_message_rejected(int action, int reason)
{
	SDT_PROBE2(pfsync, , message, rejected, action, reason);
}

void
pfs_probe_bulk_sending(uint64_t row, uint64_t rows)
{
	SDT_PROBE2(pfsync, , bulk, sending, row, rows);
}

void
pfs_probe_bulk_awaited(int event)
{
	SDT_PROBE1(pfsync, , bulk, awaited, event);
}

void
pfs_probe_packet_deferred(uint64_t id, uint32_t creator, int event)
{
	SDT_PROBE3(pfsync, , packet, deferred, id, creator, event);
}

void
pfs_probe_agreement_gap(uint64_t epoch, uint64_t first, uint64_t last)
{
	SDT_PROBE3(pfsync, , agreement, gap, epoch, first, last);
}

void
pfs_probe_agreement_repaired(int count)
{
	SDT_PROBE1(pfsync, , agreement, repaired, count);
}

void
pfs_probe_agreement_retold(int count)
{
	SDT_PROBE1(pfsync, , agreement, retold, count);
}

void
pfs_probe_agreement_refused(int reason)
{
	SDT_PROBE1(pfsync, , agreement, refused, reason);
}

void
pfs_probe_agreement_epoch(uint64_t epoch)
{
	SDT_PROBE1(pfsync, , agreement, epoch, epoch);
}
