// SPDX-License-Identifier: BSD-2-Clause
//! The harness says why it cannot run, and lists its cases.

use std::process::{Command, Output};

fn harness(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pfsync-vm")).args(args).output().expect("the harness starts")
}

/// The message of a run that must end with the status for "cannot run".
fn complaint(args: &[&str]) -> String {
    let output = harness(args);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).expect("messages are text")
}

/// Some file that exists, in place of an image or a module.
const SOME_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

#[test]
fn without_a_system_it_says_where_to_get_one() {
    let said = complaint(&[]);
    assert!(said.contains("--image") && said.contains("--kernel"), "{said}");
    assert!(said.contains("download.freebsd.org"), "{said}");
}

#[test]
fn a_missing_image_is_named() {
    let said = complaint(&["--image", "/no/such/disk.raw"]);
    assert!(said.contains("/no/such/disk.raw"), "{said}");
}

#[test]
fn a_missing_module_is_to_be_built() {
    let said = complaint(&["--image", SOME_FILE, "--module", "/no/such.ko"]);
    assert!(said.contains("/no/such.ko") && said.contains("make"), "{said}");
}

#[test]
fn a_second_system_needs_its_own_module() {
    let said = complaint(&["--image", SOME_FILE, "--module", SOME_FILE, "--peer-image", SOME_FILE]);
    assert!(said.contains("--peer-module"), "{said}");
}

#[test]
fn a_missing_qemu_is_to_be_installed() {
    let said = complaint(&["--image", SOME_FILE, "--module", SOME_FILE, "--qemu", "no-such-qemu"]);
    assert!(said.contains("no-such-qemu") && said.contains("apt install"), "{said}");
}

#[test]
fn a_missing_qemu_for_aarch64_has_its_own_package() {
    let options = ["--arch", "aarch64", "--image", SOME_FILE, "--module", SOME_FILE];
    let said = complaint(&[&options[..], &["--qemu", "no-such-qemu"]].concat());
    assert!(said.contains("apt install qemu-system-arm"), "{said}");
}

#[test]
fn an_architecture_for_machine_two_needs_a_system() {
    let said = complaint(&["--image", SOME_FILE, "--module", SOME_FILE, "--peer-arch", "aarch64"]);
    assert!(said.contains("--peer-kernel"), "{said}");
}

#[test]
fn a_module_for_another_architecture_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let module = directory.path().join("amd64.ko");
    let mut header = b"\x7fELF".to_vec();
    header.resize(64, 0);
    header[18] = 62;
    std::fs::write(&module, header).expect("a module");
    let module = module.to_str().expect("its name is text");
    let said = complaint(&["--arch", "aarch64", "--image", SOME_FILE, "--module", module]);
    assert!(said.contains("is for amd64, and not for aarch64"), "{said}");
}

#[test]
fn a_qemu_that_ends_at_once_is_noticed() {
    let logs = tempfile::tempdir().expect("a directory for logs");
    let logs = logs.path().to_str().expect("its name is text");
    let said = complaint(&[
        "--image",
        SOME_FILE,
        "--module",
        SOME_FILE,
        "--qemu",
        "false",
        "--case",
        "clone",
        "--keep-logs",
        logs,
    ]);
    assert!(said.contains("QEMU ended at once"), "{said}");
}

#[test]
fn an_unknown_case_is_named() {
    let said = complaint(&["--case", "no-such-case"]);
    assert!(said.contains("no-such-case") && said.contains("--list"), "{said}");
}

#[test]
fn a_setting_that_a_shell_could_misread_is_refused() {
    for setting in ["seconds", "=1", "a=b c", "a=$(b)"] {
        let said = complaint(&["--set", setting]);
        assert!(said.contains("NAME=VALUE"), "{said}");
    }
}

#[test]
fn cases_are_listed() {
    let output = harness(&["--list"]);
    assert!(output.status.success());
    let listed = String::from_utf8(output.stdout).expect("names are text");
    assert!(listed.contains("sync-multicast") && listed.contains("load-unload"), "{listed}");
}
