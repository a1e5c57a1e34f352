// SPDX-License-Identifier: BSD-2-Clause
//! Reads the kernel's headers with bindgen.
//!
//! The Makefile sets `KERNEL_INCLUDE`, a colon-separated list of the directories that
//! have the headers.

use std::{env, path::PathBuf};

/// The types that are taken from the headers, with the types they contain. Each entry is a
/// regular expression for names.
const TYPES: &[&str] = &[
    "pf_kstate",
    "pf_state_key",
    "pf_state_scrub",
    "pf_idhash",
    "pf_krule",
    "pfi_kkif",
    "pfsync_.*",
    "pfsyncreq",
    "pfsyncstats",
    "ifnet",
    "ifreq",
    "if_clone_addreq",
    "ifc_data",
    "mbuf",
    "mtx",
    "sx",
    "sysctl_oid",
    "sysctl_req",
    "modeventtype",
    "pf_limit",
    "rm_priotracker",
    "callout",
    "epoch_tracker",
    "intr_event",
    "ip",
    "ip_moptions",
    "ip6_moptions",
    "in_mfilter",
    "in6_mfilter",
    "sockaddr_in",
    "sockaddr_in6",
    "nvlist",
    "nvlist_t",
    "vnet",
    "ifType",
];

/// The functions that the module may call.
const FUNCTIONS: &[&str] = &[
    "pfs_.*",
    "sysctl_handle_int",
    "__mtx_lock_flags",
    "__mtx_unlock_flags",
    "_mtx_init",
    "_mtx_destroy",
    "_sx_xlock",
    "_sx_xunlock",
    "callout_init",
    "callout_reset_sbt_on",
    "malloc",
    "free",
    "panic",
    "printf",
    "swi_add",
    "swi_sched",
    "swi_remove",
    "intr_event_destroy",
    "m_getm2",
    "m_freem",
    "m_copydata",
    "m_tag_locate",
    "ip_output",
    "ip6_output",
    "in_joingroup",
    "in_leavegroup",
    "in6_joingroup",
    "in6_leavegroup",
    "in6_setscope",
    "in6_selectsrc_addr",
    "ip_mfilter_alloc",
    "ip_mfilter_free",
    "ip6_mfilter_alloc",
    "ip6_mfilter_free",
    "if_alloc",
    "if_attach",
    "if_detach",
    "if_free",
    "if_initname",
    "if_inc_counter",
    "if_rele",
    "if_getfib",
    "ifunit_ref",
    "ifc_attach_cloner",
    "ifc_detach_cloner",
    "ifc_create_ifp",
    "bpfattach",
    "bpfdetach",
    "bpf_tap",
    "copyin",
    "copyout",
    "priv_check",
    "nvlist_.*",
    "uma_zalloc_arg",
    "uma_zfree_arg",
    "uma_zone_get_cur",
    "ipproto_register",
    "ipproto_unregister",
    "ip6proto_register",
    "ip6proto_unregister",
    "pf_state_insert",
    "pf_find_state_byid",
    "pf_unlink_state",
    "pf_remove_state",
    "pf_state_expires",
    "pf_alloc_state",
    "pf_free_state",
    "pfi_kkif_find",
];

/// The constants and variables that the module may use.
const VARIABLES: &[&str] = &[
    "DLT_PFSYNC",
    "PFSS_.*",
    "ETHERMTU",
    "IFF_.*",
    "IFCOUNTER_.*",
    "IFC_F_.*",
    "IFNAMSIZ",
    "IFR_CAP_NV_MAXBUFSIZE",
    "AF_.*",
    "IPPROTO_.*",
    "E[A-Z0-9]*",
    "M_[A-Z_]*",
    "MT_DATA",
    "MTAG_ABI_COMPAT",
    "PACKET_TAG_IPSEC_IN_DONE",
    "MTX_.*",
    "SWI_.*",
    "INTR_.*",
    "PFTM_.*",
    "PFSTATE_.*",
    "PFRULE_.*",
    "PFSYNC.*",
    "PF_.*",
    "PFI_IFLAG_SKIP",
    "PFUDPS_.*",
    "PFOTHERS_.*",
    "TCPS_.*",
    "IP_.*",
    "IPTOS_.*",
    "PRIV_NETINET_PF",
    "osreldate",
    "hz",
    "tick_sbt",
    "max_linkhdr",
    "ifnet_detach_sxlock",
    "time_uptime",
    "mp_ncpus",
    "carp_demote_adj_p",
    "sdt_probes_enabled",
    "pfsync_detach_ifnet_ptr",
    "M_NVLIST",
    "pfs_.*",
    "C_.*",
];

fn main() {
    let release = env::var("FREEBSD").expect("FREEBSD is set by the Makefile: use `make`");
    println!("cargo:rerun-if-env-changed=FREEBSD");
    println!("cargo:rustc-check-cfg=cfg(freebsd, values(\"14\", \"15\"))");
    println!("cargo:rustc-cfg=freebsd=\"{release}\"");
    let include = env::var("KERNEL_INCLUDE").expect("KERNEL_INCLUDE is set by the Makefile: use `make`");
    println!("cargo:rerun-if-env-changed=KERNEL_INCLUDE");
    println!("cargo:rerun-if-changed=wrapper.h");
    for file in ["kernel.h", "kernel_options.h", "release.h", "shims.h"] {
        println!("cargo:rerun-if-changed=../kmod/{file}");
    }

    let mut builder = bindgen::Builder::default()
        .header("wrapper.h")
        .use_core()
        .ctypes_prefix("::core::ffi")
        .layout_tests(true)
        .derive_debug(false)
        .prepend_enum_name(false)
        .generate_comments(false)
        .clang_args([
            &format!("--target=x86_64-unknown-freebsd{release}"),
            "-nostdinc",
            "-ffreestanding",
            "-D_KERNEL",
            "-DKLD_MODULE",
            "-I../kmod",
        ])
        .clang_args(include.split(':').map(|dir| format!("-isystem{dir}")));
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in VARIABLES {
        builder = builder.allowlist_var(name);
    }

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    builder
        .generate()
        .expect("the kernel's headers parse")
        .write_to_file(out.join("bindings.rs"))
        .expect("OUT_DIR is writable");
}
