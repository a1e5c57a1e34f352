/* SPDX-License-Identifier: BSD-2-Clause */
/* The shims of shims.h that only FreeBSD 15 and later need. */
#include "kernel.h"
#include "shims.h"

uint16_t
pfs_pf_tag(const char *name)
{
	return (pf_tagname2tag(name));
}

/* pf tells the name of a tag only in a state that it exports. */
void
pfs_pf_state_tagname(struct pf_kstate *st, char *name)
{
	union pfsync_state_union message;

	pfsync_state_export(&message, st, PFSYNC_MSG_VERSION_1500);
	memcpy(name, message.pfs_1500.tagname, PF_TAG_NAME_SIZE);
}
