// SPDX-License-Identifier: BSD-2-Clause
//! The demonstration loses no connection, writes captures, and prints what it shows.

use std::process::Command;

#[test]
fn every_connection_lives_on_even_over_a_bad_link() {
    let directory = std::env::temp_dir().join(format!("pfsync-demo-{}", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_demo"))
        .args(["--states", "300", "--loss", "0.1", "--seed", "3", "--pcap"])
        .arg(&directory)
        .output()
        .expect("the demo runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("300 of 300 connections live on"), "{text}");
    assert!(text.contains("with numbers, it lacks 0"), "{text}");
    assert!(!text.contains('\u{1b}'), "terminal codes where there is no terminal");
    for name in ["wire.pcap", "pfsync0-one.pcap", "pfsync0-two.pcap"] {
        let capture = std::fs::metadata(directory.join(name)).expect("a capture");
        assert!(capture.len() > 1000, "{name} has {} bytes", capture.len());
    }
    std::fs::remove_dir_all(directory).expect("removable");
}

#[test]
fn impossible_arguments_are_refused() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_demo")).args(["--loss", "2"]).output().expect("the demo runs");
    assert!(!output.status.success());
}
