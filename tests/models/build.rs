// SPDX-License-Identifier: BSD-2-Clause
//! Tells the module's files that the models compile them.

fn main() {
    println!("cargo::rustc-cfg=modelled");
}
