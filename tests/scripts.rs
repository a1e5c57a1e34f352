// SPDX-License-Identifier: BSD-2-Clause
//! The scripts that are installed with the module, with stand-ins for FreeBSD's commands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Stands in for sysctl(8): its variables are files. It notes its arguments.
const SYSCTL: &str = r#"
echo "sysctl $*" >> "$FAKE/arguments"
case $1 in
-n) shift; for name in "$@"; do cat "$FAKE/sysctl/$name" 2>/dev/null || exit 1; done ;;
-N) for file in "$FAKE/sysctl/$2"*; do [ ! -e "$file" ] || echo "${file##*/}"; done ;;
-f) IFS= read -r line < "$2"
    name=${line%%=*}
    [ -e "$FAKE/sysctl/$name" ] || { echo "sysctl: $line: no such thing" >&2; exit 1; }
    echo "${line#*=}" > "$FAKE/sysctl/$name" ;;
esac
"#;

/// Stands in for ifconfig(8).
const IFCONFIG: &str = r#"cat "$FAKE/ifconfig" 2>/dev/null"#;

/// Stands in for FreeBSD's stat(1), which looks at standard input if no file is named.
const STAT: &str = r#"
[ "$*" = "-f %u %Lp" ] || exit 1
exec /usr/bin/stat -L -c "${FAKE_OWNER:-%u} %a" /dev/stdin
"#;

/// Stands in for rc.subr(8).
const RC_SUBR: &str = r#"
warn() { echo "WARNING: $*" >&2; }
load_rc_config() { . "$FAKE/rc.conf"; }
checkyesno() { eval "[ \"\$$1\" = YES ]"; }
run_rc_command() { eval "\$${1}_cmd"; }
"#;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

const HEADER: &str =
    "ADDRESS          HOSTID   MODULE    FORMAT HEARD     FRAMES    LOST  REPAIRED MISSING STATE\n";
const UP: &str = "pfsync0: flags=1000041<UP,RUNNING,LOWER_UP> metric 0 mtu 1500\n\
                  \tsyncdev: em1 syncpeer: 224.0.0.240 maxupd: 128 defer: off version: 1400\n\tsyncok: 1\n";

/// A directory with the commands that stand in for FreeBSD's.
struct Fake {
    directory: PathBuf,
}

impl Fake {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed).to_string();
        let fake = Fake { directory: Path::new(env!("CARGO_TARGET_TMPDIR")).join("scripts").join(number) };
        let _ = fs::remove_dir_all(&fake.directory);
        fs::create_dir_all(&fake.directory).unwrap();
        for directory in ["bin", "sysctl"] {
            fs::create_dir(fake.path(directory)).unwrap();
        }
        for (name, script) in [("sysctl", SYSCTL), ("ifconfig", IFCONFIG), ("stat", STAT)] {
            let file = format!("bin/{name}");
            fake.write(&file, &format!("#!/bin/sh\n{script}"));
            fake.set_mode(&file, 0o755);
        }
        fake
    }

    /// A firewall whose module is loaded and numbers its packets, with these lines in its table of peers.
    fn firewall(peers: &str) -> Self {
        let fake = Fake::new();
        fake.write("ifconfig", UP);
        fake.sysctl("version", "0.3.0 (9b230619cfe1)");
        fake.sysctl("numbered", "1");
        fake.sysctl("in_sync", "1");
        fake.sysctl("agreement.missing", "0");
        fake.sysctl("peers", &format!("{HEADER}{peers}"));
        fake
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn set_mode(&self, name: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn sysctl(&self, name: &str, value: &str) {
        self.write(&format!("sysctl/net.pfsync.{name}"), &format!("{value}\n"));
    }

    fn value(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("sysctl/net.pfsync.{name}"))).unwrap().trim_end().to_owned()
    }

    fn run(&self, script: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        command.arg(script).args(arguments).env("PATH", path).env("FAKE", &self.directory);
        command.envs(environment.iter().copied()).output().unwrap()
    }
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("share").join(name)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_owned()).unwrap()
}

/// Runs pfsync-status; returns its exit status and what it says.
fn status(fake: &Fake) -> (i32, String) {
    let output = fake.run(&source("sbin/pfsync-status"), &[], &[]);
    assert_eq!(text(&output.stderr), "");
    (output.status.code().unwrap(), text(&output.stdout))
}

fn peer(address: &str, state: &str) -> String {
    format!("{address:<16} 0a0b0c0d 0.3.0/14  1500   0.2          812       3         2       1 {state}\n")
}

fn stock(address: &str) -> String {
    format!("{address:<16} -        stock     1400   1.0          110       -         -       - stock\n")
}

#[test]
fn firewalls_that_agree_are_in_sync() {
    let fake = Fake::firewall(&peer("192.0.2.2", "in sync"));
    assert_eq!(
        status(&fake),
        (
            0,
            "in sync\n192.0.2.2: in sync, module 0.3.0/14, host id 0a0b0c0d, format 1500, \
             heard 0.2 s ago, 812 packets, 3 lost, 2 repaired, 1 missing\n"
                .to_owned()
        )
    );
}

#[test]
fn a_stock_peer_beside_another_does_no_harm() {
    let fake = Fake::firewall(&(peer("192.0.2.2", "in sync") + &stock("192.0.2.3")));
    let (code, said) = status(&fake);
    assert_eq!(code, 0);
    let line = "192.0.2.3: stock, which keeps no numbers, format 1400, heard 1.0 s ago, 110 packets";
    assert_eq!(said.lines().last(), Some(line));
}

#[test]
fn what_is_being_mended_is_1() {
    for (state, words) in [
        ("repairing", "repairing, 5 packets are missing"),
        ("full update", "awaiting a bulk update"),
        ("full update 42 %", "awaiting a bulk update"),
        ("unproven", "a peer has not proven that it has the key"),
    ] {
        let fake = Fake::firewall(&(peer("192.0.2.2", "in sync") + &peer("192.0.2.3", state)));
        fake.sysctl("agreement.missing", "5");
        let (code, said) = status(&fake);
        assert_eq!((code, said.lines().next()), (1, Some(words)), "{state}");
        assert!(said.lines().any(|line| line.starts_with(&format!("192.0.2.3: {state}, module "))), "{said}");
    }
}

#[test]
fn a_silent_peer_is_1_beside_another_and_2_alone() {
    let two = Fake::firewall(&(peer("192.0.2.2", "in sync") + &peer("192.0.2.3", "silent")));
    let (code, said) = status(&two);
    assert_eq!((code, said.lines().next()), (1, Some("a peer is silent")));
    let alone = Fake::firewall(&peer("192.0.2.3", "silent"));
    let (code, said) = status(&alone);
    assert_eq!((code, said.lines().next()), (2, Some("no peer that numbers its packets is heard")));
}

#[test]
fn a_firewall_that_is_not_in_sync_is_1() {
    let fake = Fake::firewall(&peer("192.0.2.2", "in sync"));
    fake.sysctl("in_sync", "0");
    let (code, said) = status(&fake);
    assert_eq!((code, said.lines().next()), (1, Some("not in sync")));
}

#[test]
fn what_peers_lack_is_1() {
    let fake = Fake::firewall(&peer("192.0.2.2", "in sync"));
    for (name, value) in [("peer.0.lacks", "3"), ("peer.0.lost", "9"), ("peer.1.lacks", "4")] {
        fake.sysctl(name, value);
    }
    let (code, said) = status(&fake);
    assert_eq!((code, said.lines().next()), (1, Some("peers lack 7 of our packets")));
}

#[test]
fn without_numbered_peers_it_is_2() {
    for peers in [String::new(), stock("192.0.2.3")] {
        let (code, said) = status(&Fake::firewall(&peers));
        assert_eq!((code, said.lines().next()), (2, Some("no peer that numbers its packets is heard")));
    }
}

#[test]
fn an_interface_that_does_not_work_is_2() {
    let fake = Fake::firewall(&peer("192.0.2.2", "in sync"));
    let cases = [
        (UP.replace("<UP,", "<"), "pfsync0 is down"),
        (UP.replace("syncdev: em1 ", ""), "pfsync0 has no sync interface"),
    ];
    for (shown, words) in cases {
        fake.write("ifconfig", &shown);
        let (code, said) = status(&fake);
        assert_eq!((code, said.lines().next()), (2, Some(words)));
    }
    fs::remove_file(fake.path("ifconfig")).unwrap();
    assert_eq!(status(&fake).1.lines().next(), Some("there is no pfsync0"));
}

#[test]
fn a_module_without_numbers_is_2() {
    let fake = Fake::firewall(&peer("192.0.2.2", "in sync"));
    fake.sysctl("numbered", "0");
    assert_eq!(status(&fake).1.lines().next(), Some("net.pfsync.numbered is 0"));
    fs::remove_file(fake.path("sysctl/net.pfsync.numbered")).unwrap();
    assert_eq!(status(&fake).0, 2);
    fs::remove_file(fake.path("sysctl/net.pfsync.version")).unwrap();
    let (code, said) = status(&fake);
    assert!(code == 2 && said.starts_with("the stock module is loaded"), "{said}");
}

#[test]
fn quiet_means_no_words() {
    let fake = Fake::firewall(&peer("192.0.2.2", "repairing"));
    let output = fake.run(&source("sbin/pfsync-status"), &["-q"], &[]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
    for wrong in [["-x"], ["extra"]] {
        let output = fake.run(&source("sbin/pfsync-status"), &wrong, &[]);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()));
        assert!(text(&output.stderr).contains("usage: pfsync-status [-q]"));
    }
}

/// A firewall with sysctls for keys, and a key file of this text and mode.
fn firewall_with_key_file(key: &str, mode: u32) -> Fake {
    let fake = Fake::firewall("");
    for name in ["key", "key_also", "require_key"] {
        fake.sysctl(name, "unset");
    }
    fake.write("key", key);
    fake.set_mode("key", mode);
    fake.write("rc.conf", "pfsync_key_file=$FAKE/key\n");
    fake
}

/// Runs the rc script with `order`, as if `owner` owned the key file.
fn service(fake: &Fake, order: &str, owner: &str) -> (bool, String) {
    let script = fs::read_to_string(source("rc.d/pfsync_key")).unwrap();
    fake.write("rc.subr", RC_SUBR);
    let subr = fake.path("rc.subr");
    fake.write("script", &script.replace("/etc/rc.subr", subr.to_str().unwrap()));
    let output = fake.run(&fake.path("script"), &[order], &[("FAKE_OWNER", owner)]);
    // The key must appear nowhere, whatever happens.
    let arguments = fs::read_to_string(fake.path("arguments")).unwrap_or_default();
    let shown = text(&output.stdout) + &text(&output.stderr);
    assert!(!(arguments + &shown).contains(&KEY[..8]), "the key is shown");
    (output.status.success(), shown)
}

#[test]
fn the_key_is_read_from_a_private_file() {
    for mode in [0o600, 0o400] {
        let fake = firewall_with_key_file(&format!("{KEY}\n"), mode);
        let (good, shown) = service(&fake, "start", "0");
        assert!(good, "{shown}");
        assert_eq!(["key", "key_also", "require_key"].map(|name| fake.value(name)), [KEY, "", "0"]);
    }
    let without_newline = firewall_with_key_file(KEY, 0o600);
    assert!(service(&without_newline, "start", "0").0);
    assert_eq!(without_newline.value("key"), KEY);
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    for mode in [0o640, 0o604, 0o644, 0o620, 0o601, 0o610] {
        let fake = firewall_with_key_file(KEY, mode);
        let (good, shown) = service(&fake, "start", "0");
        assert!(!good && shown.contains("nobody else may read it"), "{mode:o}: {shown}");
        assert_eq!(fake.value("key"), "unset", "{mode:o}");
    }
}

#[test]
fn a_file_that_is_not_root_s_is_refused() {
    let fake = firewall_with_key_file(KEY, 0o600);
    let (good, shown) = service(&fake, "start", "1001");
    assert!(!good && shown.contains("must belong to root"), "{shown}");
    assert_eq!(fake.value("key"), "unset");
}

#[test]
fn a_file_without_a_key_is_refused() {
    let longer = format!("{KEY}00");
    let no_hex = KEY.replace('f', "g");
    for key in ["", "\n", "secret\n", &KEY[1..], longer.as_str(), no_hex.as_str()] {
        let fake = firewall_with_key_file(key, 0o600);
        let (good, shown) = service(&fake, "start", "0");
        assert!(!good && shown.contains("64 hex digits"), "{key}: {shown}");
        assert_eq!(fake.value("key"), "unset");
    }
    let fake = firewall_with_key_file(KEY, 0o600);
    fs::remove_file(fake.path("key")).unwrap();
    let (good, shown) = service(&fake, "start", "0");
    assert!(!good && shown.contains("cannot be read"), "{shown}");
}

#[test]
fn a_required_key_is_required_even_if_its_file_is_refused() {
    for (mode, good) in [(0o600, true), (0o644, false)] {
        let fake = firewall_with_key_file(KEY, mode);
        fake.write("rc.conf", "pfsync_key_file=$FAKE/key\npfsync_key_require=YES\n");
        assert_eq!(service(&fake, "start", "0").0, good);
        assert_eq!(fake.value("require_key"), "1");
    }
}

#[test]
fn a_second_key_can_be_set() {
    let fake = firewall_with_key_file(KEY, 0o600);
    let other = KEY.replace("00", "ff");
    fake.write("also", &other);
    fake.set_mode("also", 0o600);
    fake.write("rc.conf", "pfsync_key_file=$FAKE/key\npfsync_key_also_file=$FAKE/also\n");
    assert!(service(&fake, "start", "0").0);
    assert_eq!([fake.value("key"), fake.value("key_also")], [KEY, other.as_str()]);

    assert!(service(&fake, "stop", "0").0);
    assert_eq!(["key", "key_also", "require_key"].map(|name| fake.value(name)), ["", "", "0"]);
}

#[test]
fn a_module_that_takes_no_key_is_named() {
    let fake = firewall_with_key_file(KEY, 0o600);
    fs::remove_file(fake.path("sysctl/net.pfsync.key")).unwrap();
    let (good, shown) = service(&fake, "start", "0");
    assert!(!good && shown.contains("does not take the key"), "{shown}");
}
