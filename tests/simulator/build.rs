// SPDX-License-Identifier: BSD-2-Clause
//! Reads the structures from FreeBSD's headers that only the kernel's own side of its
//! interfaces needs, and that `sys-bindings` therefore lacks.

#[path = "../../sys-bindings/headers.rs"]
mod headers;

/// Structures, as regular expressions over their names.
const TYPES: &[&str] = &[
    "sysinit",
    "vnet_sysinit",
    "moduledata",
    "moduledata_t",
    "mod_metadata",
    "rwlock",
    "pf_keyhash",
    "bpf_if_ext",
    "bintime",
    "sysinit_sub_id",
    "sysinit_elem_order",
    "sysinit_cfunc_t",
    "modeventhand_t",
    "bpfd_list",
    "bpf_d",
    "sdt_probe.*",
    "sdt_tracepoint",
    "sdt_provider",
    "sdt_argtype",
    "linker_file",
    "id_t",
    "__id_t",
];

/// Constants.
const VARIABLES: &[&str] = &[
    "EXT_FLAG_EMBREF",
    "EXT_CLUSTER",
    "EXT_JUMBOP",
    "MSIZE",
    "MCLBYTES",
    "MJUMPAGESIZE",
    "MINCLSIZE",
    "MDT_.*",
    "RM_RECURSE",
    "NV_TYPE_.*",
    "CTLFLAG_VNET",
    "TCP_NSTATES",
    "SCTP_SHUTDOWN_PENDING",
    "TCP_MAX_WINSHIFT",
    "CS_DRAIN",
];

fn main() {
    println!("cargo:rerun-if-changed=../../sys-bindings/headers.rs");
    let mut builder = headers::builder("kernel.h", "../../kmod")
        .allowlist_recursively(false)
        .raw_line("use sys_bindings::*;");
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in VARIABLES {
        builder = builder.allowlist_var(name);
    }
    headers::write(builder);
}
