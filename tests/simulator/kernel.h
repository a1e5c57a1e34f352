/* SPDX-License-Identifier: BSD-2-Clause */

/* Structures that only the kernel's own side of its interfaces has. build.rs reads
 * them. */
#include "../../kmod/kernel.h"
#include <sys/rwlock.h>
#include <netinet/sctp.h>
#include <netinet/tcp.h>
#include <netinet/tcp_fsm.h>
