/* SPDX-License-Identifier: BSD-2-Clause */
/* What bindgen reads: the kernel's headers and the module's own shims. */
#include "kernel.h"
#include "shims.h"
