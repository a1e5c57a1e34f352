// SPDX-License-Identifier: BSD-2-Clause
//! How bindgen reads the kernel's headers: for the build scripts of this crate and of
//! the simulator, whose structures must have the same layouts.

use std::{env, path::PathBuf};

/// A builder that reads `header` with the options that the kernel is built with. `kmod`
/// is the path of kmod/. Sets `cfg(freebsd = "14")` or `cfg(freebsd = "15")`.
pub(crate) fn builder(header: &str, kmod: &str) -> bindgen::Builder {
    let release = env::var("FREEBSD").expect("`make` and build/env set FREEBSD");
    let machine = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    let arch = env::var("ARCH").expect("`make` and build/env set ARCH");
    let built_for = if arch == "amd64" { "x86_64" } else { &arch };
    assert_eq!(machine, built_for, "build/env has the headers of {arch}: `make ARCH=...` changes that");
    let include = env::var("KERNEL_INCLUDE").expect("`make` and build/env set KERNEL_INCLUDE");
    println!("cargo:rerun-if-env-changed=ARCH");
    println!("cargo:rerun-if-env-changed=FREEBSD");
    println!("cargo:rerun-if-env-changed=KERNEL_INCLUDE");
    println!("cargo:rerun-if-changed={header}");
    for file in ["kernel.h", "kernel_options.h", "release.h", "shims.h"] {
        println!("cargo:rerun-if-changed={kmod}/{file}");
    }
    println!("cargo:rustc-check-cfg=cfg(freebsd, values(\"14\", \"15\"))");
    println!("cargo:rustc-cfg=freebsd=\"{release}\"");
    bindgen::Builder::default()
        .header(header)
        .use_core()
        .ctypes_prefix("::core::ffi")
        .derive_debug(false)
        .prepend_enum_name(false)
        .generate_comments(false)
        .clang_args([&format!("--target={machine}-unknown-freebsd{release}"), "-nostdinc", "-ffreestanding"])
        .clang_args(["-D_KERNEL", "-DKLD_MODULE", &format!("-I{kmod}")])
        .clang_args(include.split(':').map(|directory| format!("-isystem{directory}")))
}

/// Writes the bindings where the crate includes them from.
pub(crate) fn write(builder: bindgen::Builder) {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let bindings = builder.generate().expect("the kernel's headers can be parsed");
    bindings.write_to_file(out.join("bindings.rs")).expect("OUT_DIR is writable");
}
