/* SPDX-License-Identifier: BSD-2-Clause */

/* What sys-bindings reads: the kernel's headers and the module's own shims. */
#include "kernel.h"
#include "shims.h"
