// SPDX-License-Identifier: BSD-2-Clause
//! Reads from FreeBSD's headers the structures that only the kernel's side of
//! an interface needs, and that `sys-bindings` therefore lacks.

use std::{env, path::PathBuf};

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
    "sx_args",
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
    println!("cargo:rerun-if-env-changed=KERNEL_INCLUDE");
    println!("cargo:rerun-if-env-changed=FREEBSD");
    println!("cargo:rustc-check-cfg=cfg(freebsd, values(\"14\", \"15\"))");
    println!("cargo:rerun-if-changed=kernel.h");
    let release = env::var("FREEBSD").expect("FREEBSD is set by build/env: `. build/env`");
    println!("cargo:rustc-cfg=freebsd=\"{release}\"");
    let include = env::var("KERNEL_INCLUDE").expect("KERNEL_INCLUDE is set by build/env: `. build/env`");
    let mut builder = bindgen::Builder::default()
        .header("kernel.h")
        .use_core()
        .ctypes_prefix("::core::ffi")
        .derive_debug(false)
        .prepend_enum_name(false)
        .generate_comments(false)
        .allowlist_recursively(false)
        .raw_line("use sys_bindings::*;")
        .clang_args([&format!("--target=x86_64-unknown-freebsd{release}"), "-nostdinc", "-ffreestanding"])
        .clang_args(["-D_KERNEL", "-DKLD_MODULE", "-I../../kmod"])
        .clang_args(include.split(':').map(|dir| format!("-isystem{dir}")));
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in VARIABLES {
        builder = builder.allowlist_var(name);
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    builder
        .generate()
        .expect("the kernel's headers parse")
        .write_to_file(out.join("bindings.rs"))
        .expect("writable");
}
