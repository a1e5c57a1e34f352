// SPDX-License-Identifier: BSD-2-Clause
//! Compares the port with the source: version, crates and installed files.
//!
//! With `UPDATE_PORT=1`, writes `Makefile.crates` and `distinfo` instead, from
//! `Cargo.lock` and what `cargo fetch` has downloaded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use toml::{Table, Value};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn port(name: &str) -> PathBuf {
    path("port/net/pfsync-rust-kmod").join(name)
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `Cargo.toml` as the port's `post-patch` leaves it.
fn patched_manifest() -> String {
    let makefile = read(port("Makefile"));
    let scripts = makefile.split("-e '").skip(1).filter_map(|rest| rest.split_once('\'')).map(|(sed, _)| sed);
    let arguments = scripts.flat_map(|sed| ["-e".to_owned(), sed.replace("$$", "$")]);
    let output = Command::new("sed").args(arguments).arg(path("Cargo.toml")).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Crates of the registry: name and version, and checksum.
type Crates = BTreeMap<String, String>;

/// The crates that cargo leaves in `Cargo.lock` for the port's workspace.
fn crates() -> Crates {
    let directory = empty_directory("workspace");
    for entry in std::fs::read_dir(path("")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if !["Cargo.toml", "Cargo.lock", "target"].iter().any(|other| name == *other) {
            std::os::unix::fs::symlink(entry.path(), directory.join(name)).unwrap();
        }
    }
    std::fs::write(directory.join("Cargo.toml"), patched_manifest()).unwrap();
    std::fs::copy(path("Cargo.lock"), directory.join("Cargo.lock")).unwrap();
    let mut update = Command::new(env!("CARGO"));
    update.args(["update", "--workspace", "--offline"]).current_dir(&directory);
    let output = update.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let lock: Table = read(directory.join("Cargo.lock")).parse().unwrap();
    let packages = lock["package"].as_array().unwrap().iter();
    let text = |package: &Value, key: &str| package.get(key).map(|value| value.as_str().unwrap().to_owned());
    let named = |package| Some(format!("{}-{}", text(package, "name")?, text(package, "version")?));
    packages.filter_map(|package| Some((named(package)?, text(package, "checksum")?))).collect()
}

fn empty_directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("port").join(name);
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// The file of a crate that cargo has downloaded.
fn downloaded(id: &str) -> Option<PathBuf> {
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    let registries = std::fs::read_dir(cargo.join("registry/cache")).ok()?;
    let mut files = registries.map(|registry| registry.unwrap().path().join(format!("{id}.crate")));
    files.find(|file| file.exists())
}

/// `Makefile.crates` as the ports tree formats it.
fn makefile_crates(crates: &Crates) -> String {
    let list: Vec<_> = crates.keys().cloned().collect();
    format!("CARGO_CRATES=\t{}\n", list.join(" \\\n\t\t"))
}

/// `distinfo`. The sizes are those of the files that cargo has downloaded. For crates
/// that only other systems need, they are those in the present `distinfo`.
fn distinfo(crates: &Crates) -> String {
    let old = read(port("distinfo"));
    let mut new = format!("{}\n", old.lines().next().unwrap());
    for (id, checksum) in crates {
        let file = format!("(rust/crates/{id}.crate)");
        let found = downloaded(id).map(|file| file.metadata().unwrap().len().to_string());
        let known =
            || old.lines().find_map(|line| line.strip_prefix(&format!("SIZE {file} = ")).map(str::to_owned));
        let size = found.or_else(known).unwrap_or_else(|| panic!("{id}: run `cargo fetch`"));
        new.push_str(&format!("SHA256 {file} = {checksum}\nSIZE {file} = {size}\n"));
    }
    new
}

#[test]
fn crates_are_those_of_the_lock_file() {
    let crates = crates();
    let expected = [("Makefile.crates", makefile_crates(&crates)), ("distinfo", distinfo(&crates))];
    for (name, text) in expected {
        if std::env::var_os("UPDATE_PORT").is_some() {
            std::fs::write(port(name), &text).unwrap();
        }
        assert_eq!(read(port(name)), text, "{name}");
    }
}

#[test]
fn the_workspace_is_what_the_module_is_made_of() {
    let manifest: Table = patched_manifest().parse().unwrap();
    assert_eq!(manifest["workspace"]["members"], Value::from(vec!["sys-bindings"]));
    assert!(!manifest.contains_key("dev-dependencies"));
    assert!(manifest.contains_key("build-dependencies") && manifest.contains_key("profile"));
}

#[test]
fn the_version_is_the_module_s() {
    assert!(read(port("Makefile")).contains(&format!("\nDISTVERSION=\t{}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn the_list_of_files_is_what_is_installed() {
    let stage = empty_directory("stage");
    let stage = stage.to_str().unwrap();
    let install = format!(
        "make -s --assume-old=pfsync.ko install DESTDIR='{stage}' PREFIX=/usr/local && \
         cd '{stage}' && find . -type f | LC_ALL=C sort"
    );
    let mut shell = Command::new("sh");
    shell.args(["-ec", &install]).current_dir(path("")).env_remove("MAKEFLAGS");
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let installed: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(as_listed).collect();
    assert_eq!(read(port("pkg-plist")).lines().collect::<Vec<_>>(), installed);
}

/// The name of a file in pkg-plist. The ports tree compresses manuals.
fn as_listed(file: &str) -> String {
    let file = file.replace("./boot/modules/", "/%%KMODDIR%%/");
    let file = file.replace("./usr/local/share/doc/pfsync/", "%%PORTDOCS%%%%DOCSDIR%%/");
    let file = file.replace("./usr/local/", "");
    if file.contains("/man/") {
        format!("{file}.gz")
    } else {
        file
    }
}
