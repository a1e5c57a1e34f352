// SPDX-License-Identifier: BSD-2-Clause
//! The package: its contents, and that the same source gives the same bytes in any
//! place and with any umask.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The files that are packed, and what packs them.
const SOURCES: [&str; 9] =
    ["Makefile", "Cargo.toml", "README.md", "CHANGELOG.md", "LICENSE", "docs", "share", "tools", "pfsync.ko"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// An empty directory for one test.
fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// Runs a shell command in a directory, with `arguments` as `$1` and so on.
fn shell(directory: &Path, command: &str, arguments: &[&OsStr]) -> Output {
    let mut shell = Command::new("sh");
    shell.current_dir(directory).args(["-ec", command, "sh"]).args(arguments);
    let output = shell.env("SOURCE_DATE_EPOCH", "1000000000").env_remove("MAKEFLAGS").output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// A copy of the sources and of `pfsync.ko`, which `make` has built.
fn copy(name: &str) -> PathBuf {
    let to = directory(name);
    fs::create_dir(to.join("build")).unwrap();
    fs::copy(root().join("build/env"), to.join("build/env")).unwrap();
    let mut arguments: Vec<_> = SOURCES.iter().map(OsStr::new).collect();
    arguments.push(to.as_os_str());
    shell(root(), "cp -R \"$@\"", &arguments);
    to
}

/// Names of the files in a directory of the source, sorted.
fn files_in(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(directory)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn pack(directory: &Path, umask: &str) -> PathBuf {
    let output = shell(directory, "umask $1; sh tools/package.sh", &[OsStr::new(umask)]);
    lines(&output).pop().expect("the package's name").into()
}

#[test]
fn the_same_source_gives_the_same_package() {
    let packages = [pack(&copy("one"), "022"), pack(&copy("another/place"), "077")];
    let version = env!("CARGO_PKG_VERSION");
    for package in &packages {
        let name = package.file_name().unwrap().to_string_lossy();
        assert!(name.starts_with(&format!("pfsync-kmod-{version}-freebsd")), "{name}");
    }
    let [one, other] = packages.map(|package| fs::read(package).unwrap());
    assert!(one == other, "the packages differ");
}

#[test]
fn the_package_has_module_manual_scripts_and_documents() {
    let package = pack(&copy("contents"), "022");
    let mut expected = vec!["boot/modules/pfsync.ko".to_owned()];
    expected.extend(["usr/local/etc/rc.d/pfsync_key", "usr/local/sbin/pfsync-status"].map(str::to_owned));
    let documents = ["CHANGELOG.md", "LICENSE", "README.md"];
    expected.extend(documents.map(|name| format!("usr/local/share/doc/pfsync/{name}")));
    expected.extend(files_in("docs").iter().map(|name| format!("usr/local/share/doc/pfsync/docs/{name}")));
    let scripts = files_in("share/dtrace");
    expected.extend(scripts.iter().map(|name| format!("usr/local/share/dtrace/pfsync/{name}")));
    let manuals = ["man4/pfsync.4", "man8/pfsync-status.8"];
    expected.extend(manuals.map(|name| format!("usr/local/share/man/{name}")));
    let listed = shell(root(), "tar -tf \"$1\"", &[package.as_os_str()]);
    assert_eq!(lines(&listed), expected);

    let module = shell(root(), "tar -xOf \"$1\" boot/modules/pfsync.ko", &[package.as_os_str()]);
    assert!(module.stdout == fs::read(root().join("pfsync.ko")).unwrap());
}

#[test]
fn uninstall_removes_what_install_put_there() {
    let to = directory("installed");
    let make = "make -s --assume-old=pfsync.ko $1 DESTDIR=\"$2\" PREFIX=/opt";
    let files = || lines(&shell(&to, "find . -type f", &[]));
    shell(root(), make, &[OsStr::new("install"), to.as_os_str()]);
    assert!(files().contains(&"./opt/share/man/man4/pfsync.4".to_owned()));
    shell(root(), make, &[OsStr::new("uninstall"), to.as_os_str()]);
    assert_eq!(files(), [""; 0]);
}

#[test]
fn an_archive_knows_its_commit() {
    if !root().join(".git").exists() {
        eprintln!("skipped: this is no repository");
        return;
    }
    let to = directory("archive");
    shell(root(), "git archive HEAD tools/origin.sh | tar -xf - -C \"$1\"", &[to.as_os_str()]);
    let archived = shell(&to, "sh tools/origin.sh commit; sh tools/origin.sh time", &[]);
    let known = shell(root(), "git rev-parse --short=12 HEAD; git log -1 --format=%ct", &[]);
    assert_eq!(lines(&archived), lines(&known));
}
