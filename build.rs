// SPDX-License-Identifier: BSD-2-Clause
//! Compiles the C of `kmod/` with the flags of a FreeBSD kernel. Only the module has
//! C: a build of `wire` and `engine` for Linux has none.

use std::env;

/// The flags for kernel code (FreeBSD's sys/conf/kern.mk and kmod.mk). The module has no
/// stack protector, whose guard the kernel's linker would have to find through a GOT.
const FLAGS: &[&str] = &[
    "-O2",
    "-g0",
    "-nostdinc",
    "-ffreestanding",
    "-fno-asynchronous-unwind-tables",
    "-fno-omit-frame-pointer",
    "-fno-stack-protector",
    "-fno-sanitize=all",
    "-fwrapv",
    "-fno-common",
    "-D_KERNEL",
    "-DKLD_MODULE",
    "-Wall",
    "-Wno-unknown-pragmas",
    "-Wno-pointer-sign",
    "-Wno-address-of-packed-member",
];

/// The flags for a relocatable object, whose linker knows no GOT.
const AMD64: &[&str] = &[
    "-mcmodel=kernel",
    "-mno-red-zone",
    "-mno-mmx",
    "-mno-sse",
    "-mno-sse2",
    "-mno-avx",
    "-msoft-float",
    "-fno-pic",
];

/// The flags for a shared object. Register x18 points to the data of the CPU.
const AARCH64: &[&str] = &[
    "-fPIC",
    "-mgeneral-regs-only",
    "-ffixed-x18",
    "-mbranch-protection=standard",
    "-mno-outline-atomics",
    "-mno-omit-leaf-frame-pointer",
    "-fno-unwind-tables",
];

/// The version that the module reports: that of the package, and the commit.
fn version() -> String {
    let commit = env::var("PFSYNC_COMMIT").unwrap_or_else(|_| "unknown".into());
    format!("{} ({commit})", env!("CARGO_PKG_VERSION"))
}

fn main() {
    println!("cargo:rerun-if-changed=kmod");
    println!("cargo:rerun-if-env-changed=KERNEL_CC");
    println!("cargo:rerun-if-env-changed=KERNEL_CFLAGS");
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
    build.flags(match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("aarch64") => AARCH64,
        _ => AMD64,
    });
    // Flags that this compiler needs besides.
    build.flags(env::var("KERNEL_CFLAGS").unwrap_or_default().split_whitespace());
    build.define("PFS_VERSION", format!("\"{}\"", version()).as_str());
    for dir in include.split(':') {
        build.flag("-isystem").flag(dir);
    }
    build.compile("kmod");
}
