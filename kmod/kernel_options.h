/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The options of FreeBSD's GENERIC kernel that change the layout of structures
 * the module shares with the kernel. For a kernel that is built without one of
 * them, the module must be built without it too.
 */
#ifndef _PFSYNC_KERNEL_OPTIONS_H_
#define	_PFSYNC_KERNEL_OPTIONS_H_

#define	VIMAGE	1
#define	INET	1
#define	INET6	1
#define	SMP	1
#define	KDTRACE_HOOKS	1

#endif /* !_PFSYNC_KERNEL_OPTIONS_H_ */
