/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One name for what FreeBSD's releases spell differently, for the C of kmod/.
 * sys-bindings/src/freebsd14.rs and freebsd15.rs do the same for Rust.
 */
#ifndef _PFSYNC_RELEASE_H_
#define	_PFSYNC_RELEASE_H_

#if __FreeBSD__ >= 15
#define	PFS_IP_FILLID(ip)	ip_fillid((ip), V_ip_random_id)
#else
#define	PFS_IP_FILLID(ip)	ip_fillid(ip)
#endif

#endif /* !_PFSYNC_RELEASE_H_ */
