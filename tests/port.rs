//! Holds the port to the source: version, crates and installed files.
//!
//! `UPDATE_PORT=1` writes `Makefile.crates` and `distinfo` anew instead, from
//! `Cargo.lock` and what `cargo fetch` downloaded.

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
fn patched_manifest() -> Table {
    let makefile = read(port("Makefile"));
    let scripts = makefile.split("-e '").skip(1).filter_map(|rest| rest.split_once('\'')).map(|(sed, _)| sed);
    let arguments = scripts.flat_map(|sed| ["-e".to_owned(), sed.replace("$$", "$")]);
    let output = Command::new("sed").args(arguments).arg(path("Cargo.toml")).output().unwrap();
    String::from_utf8(output.stdout).unwrap().parse().unwrap()
}

/// A crate of the registry, by name and version, with its checksum.
type Crates = BTreeMap<String, String>;

/// What `Cargo.lock` has for the dependencies that a manifest names, and what
/// these depend on in turn.
fn crates_of(manifest: &Table) -> Crates {
    let lock: Table = read(path("Cargo.lock")).parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let wanted = names(manifest);
    let own = packages.iter().find(|package| text(package, "name") == "pfsync").unwrap();
    let mut todo = dependencies(own);
    todo.retain(|dependency| wanted.contains(&dependency.split(' ').next().unwrap().to_owned()));
    assert_eq!(todo.len(), wanted.len());
    let mut crates = Crates::new();
    while let Some(dependency) = todo.pop() {
        // "name", or "name version" if there are several of that name.
        let mut words = dependency.split(' ');
        let (name, version) = (words.next().unwrap(), words.next());
        let is_it = |package: &&Value| {
            text(package, "name") == name && version.is_none_or(|v| text(package, "version") == v)
        };
        let package = packages.iter().find(is_it).unwrap();
        let checksum = package.get("checksum").map(|sum| sum.as_str().unwrap().to_owned());
        let id = format!("{name}-{}", text(package, "version"));
        if checksum.is_none_or(|checksum| crates.insert(id, checksum).is_none()) {
            todo.extend(dependencies(package));
        }
    }
    crates
}

fn text<'a>(package: &'a Value, key: &str) -> &'a str {
    package[key].as_str().unwrap()
}

fn dependencies(package: &Value) -> Vec<String> {
    let list = package.get("dependencies").and_then(Value::as_array);
    list.into_iter().flatten().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// Names in every table of dependencies.
fn names(manifest: &Table) -> Vec<String> {
    let mut names = Vec::new();
    for (key, value) in manifest {
        let Value::Table(table) = value else { continue };
        match key.ends_with("dependencies") {
            true => names.extend(table.keys().cloned()),
            false => names.extend(self::names(table)),
        }
    }
    names
}

/// Where cargo keeps what it downloaded, if it did.
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

/// `distinfo`: sizes are those of the files that cargo downloaded, or what it
/// says already of those that are only for other systems.
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
    let crates = crates_of(&patched_manifest());
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
    let manifest = patched_manifest();
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
    let stage = Path::new(env!("CARGO_TARGET_TMPDIR")).join("port");
    let _ = std::fs::remove_dir_all(&stage);
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

/// How pkg-plist names a file; manuals are compressed on the way.
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
