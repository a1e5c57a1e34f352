// SPDX-License-Identifier: BSD-2-Clause
//! Compiles `kmod/`, the module's C, with the kernel's own flags. Builds for
//! the host (tests of `wire` and `engine`) have no C in them.

use std::env;

/// How FreeBSD compiles kernel code on amd64 (sys/conf/kern.mk), and what its
/// in-kernel linker needs: no GOT, hence no stack protector.
const FLAGS: &[&str] = &[
    "-O2",
    "-g0",
    "-nostdinc",
    "-ffreestanding",
    "-mcmodel=kernel",
    "-mno-red-zone",
    "-mno-mmx",
    "-mno-sse",
    "-mno-sse2",
    "-mno-avx",
    "-msoft-float",
    "-fno-asynchronous-unwind-tables",
    "-fno-omit-frame-pointer",
    "-fno-stack-protector",
    "-fno-sanitize=all",
    "-fno-pic",
    "-fwrapv",
    "-fno-common",
    "-D_KERNEL",
    "-DKLD_MODULE",
    "-Wall",
    "-Wno-unknown-pragmas",
    "-Wno-pointer-sign",
    "-Wno-address-of-packed-member",
];

/// What the module says of itself: version and commit.
fn version() -> String {
    let commit = env::var("PFSYNC_COMMIT").unwrap_or_else(|_| "unknown".into());
    format!("{} ({commit})", env!("CARGO_PKG_VERSION"))
}

fn main() {
    println!("cargo:rerun-if-changed=kmod");
    println!("cargo:rerun-if-env-changed=KERNEL_CC");
    println!("cargo:rerun-if-env-changed=KERNEL_INCLUDE");
    println!("cargo:rerun-if-env-changed=PFSYNC_COMMIT");
    println!("cargo:rerun-if-env-changed=FREEBSD");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let include = env::var("KERNEL_INCLUDE").expect("KERNEL_INCLUDE is set by the Makefile: use `make`");
    let compiler = env::var("KERNEL_CC").expect("KERNEL_CC is set by the Makefile: use `make`");
    let release = env::var("FREEBSD").expect("FREEBSD is set by the Makefile: use `make`");
    let mut build = cc::Build::new();
    build.no_default_flags(true).compiler(compiler).warnings(false).include("kmod").files([
        "kmod/module.c",
        "kmod/probes.c",
        "kmod/shims.c",
    ]);
    if release == "15" {
        build.file("kmod/freebsd15.c");
    }
    build.flags(FLAGS);
    build.define("PFS_VERSION", format!("\"{}\"", version()).as_str());
    for dir in include.split(':') {
        build.flag("-isystem").flag(dir);
    }
    build.compile("kmod");
}
