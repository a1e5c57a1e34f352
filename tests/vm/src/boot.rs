// SPDX-License-Identifier: BSD-2-Clause
//! Boots a guest through its console, and starts the case runner in it.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{bail, Result};

use crate::console::{last_lines, Console};

/// What a guest may ask for while it boots.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Question {
    /// The loader counts down before it starts the kernel.
    Countdown,
    /// The loader's command line.
    Loader,
    Login,
    Password,
    /// Single-user mode.
    WhichShell,
    /// The kernel has not found its root file system.
    MountRoot,
    Shell,
}

/// The questions that end in a prompt, which is the last text on the console.
const PROMPTS: [(&str, Question); 6] = [
    ("\nOK ", Question::Loader),
    ("login: ", Question::Login),
    ("Password:", Question::Password),
    ("RETURN for /bin/sh: ", Question::WhichShell),
    ("mountroot> ", Question::MountRoot),
    ("# ", Question::Shell),
];
/// Parts of the loader's countdown, which is redrawn all the time.
const COUNTDOWNS: [&str; 2] = ["[Space] to pause", "[Enter] to boot"];

fn question_in(text: &str) -> Option<Question> {
    let text = without_escapes(text);
    let asked = PROMPTS.iter().find(|(words, _)| text.ends_with(words));
    match asked {
        Some((_, question)) => Some(*question),
        None if COUNTDOWNS.iter().any(|words| text.contains(words)) => Some(Question::Countdown),
        None => None,
    }
}

/// The text without escape sequences. One that moves the cursor becomes a newline.
fn without_escapes(text: &str) -> String {
    let mut pieces = text.split("\u{1b}[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(piece.len());
        if piece[end..].starts_with(['H', 'f']) {
            plain.push('\n');
        }
        plain.push_str(piece.get(end + 1..).unwrap_or_default());
    }
    plain
}

/// Boots the guest to a shell that waits for commands.
///
/// Sets `variables` at the loader, if the guest has a loader.
pub(crate) fn reach_shell(console: &mut Console, variables: &[String], limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    let mut start = 0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let said = last_lines(&console.text_from(0), 15);
            bail!("no shell within {} s; the console's last lines:\n{said}", limit.as_secs());
        }
        let silence = Duration::from_secs(60).min(left);
        start = match console.wait_for(start, silence, question_in)? {
            Some(Question::Shell) => break,
            Some(question) => answer(console, question, variables)?,
            // A kernel message may have hidden a prompt, which a newline repeats.
            None => say(console, "\n")?,
        };
    }
    take_over(console, deadline.saturating_duration_since(Instant::now()))
}

/// Types `keys` and returns where the guest's reaction begins.
fn say(console: &mut Console, keys: &str) -> Result<usize> {
    let start = console.position();
    console.send(keys)?;
    Ok(start)
}

fn answer(console: &mut Console, question: Question, variables: &[String]) -> Result<usize> {
    match question {
        // Escape leaves the loader's menu; any key stops its countdown.
        Question::Countdown => say(console, "\u{1b}"),
        Question::Loader => {
            // Ends the line that the keys of a second Escape may have begun.
            loader_command(console, "")?;
            for variable in variables {
                loader_command(console, &format!("set {variable}"))?;
            }
            say(console, "boot\n")
        }
        Question::Login => say(console, "root\n"),
        Question::WhichShell | Question::Shell => say(console, "\n"),
        Question::Password => bail!("the image's root user has a password; it must have none"),
        Question::MountRoot => bail!("the kernel does not find its root file system"),
    }
}

/// Types a line at the loader's prompt and waits for the next prompt.
fn loader_command(console: &mut Console, line: &str) -> Result<()> {
    let start = say(console, &format!("{line}\n"))?;
    console.wait_for(start, Duration::from_secs(10), question_in).map(drop)
}

/// Replaces the login shell by one that does not prompt, echo or edit lines.
fn take_over(console: &mut Console, limit: Duration) -> Result<()> {
    console.send("stty -echo; exec /bin/sh -c 'while read -r line; do eval \"$line\"; done'\n")?;
    command(console, ":", limit).map(drop)
}

/// Runs one short command on the console and returns what the guest wrote meanwhile.
fn command(console: &mut Console, line: &str, limit: Duration) -> Result<String> {
    let deadline = Instant::now() + limit;
    let number = console.position();
    // Typed in two parts, so that an echo of the command does not look like its output.
    let say_done = format!("echo '[do''ne {number}]'\n");
    let done = format!("[done {number}]");
    let start = say(console, &format!("{line}\n{say_done}"))?;
    while Instant::now() < deadline {
        let patience = Duration::from_secs(5);
        if let Some(end) = console.wait_for(start, patience, |text| text.find(&done))? {
            return Ok(console.text_from(start)[..end].to_owned());
        }
        // A kernel message may have been printed in the midst of the output.
        console.send(&say_done)?;
    }
    bail!(
        "the guest's shell does not answer; the console's last lines:\n{}",
        last_lines(&console.text_from(0), 15)
    )
}

/// Sets `port` to the second serial port: the one that is not the console. Which of the two FreeBSD
/// finds first depends on the machine.
const SET_PORT: &str = "case $(sysctl -n kern.console) in ttyu1,*) port=cuau0 ;; *) port=cuau1 ;; esac";

/// Unpacks the payload disk in the guest and starts the case runner on the second serial port.
pub(crate) fn start_agent(console: &mut Console) -> Result<()> {
    let limit = Duration::from_secs(120);
    // A guest whose clock chip FreeBSD does not know has the time of its image.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    for line in [
        "PATH=/sbin:/bin:/usr/sbin:/usr/bin; export PATH",
        &format!("date -f %s {now} >/dev/null"),
        "[ -w /tmp ] || mount -t tmpfs tmpfs /tmp",
        "mkdir -p /tmp/vm && cd /tmp/vm",
        "for d in vtbd1 vtbd0 vtbd2 ada1 ada0 da1 da0; do \
         tar xf /dev/$d agent.sh 2>/dev/null && tar xf /dev/$d && break; done",
        SET_PORT,
    ] {
        command(console, line, limit)?;
    }
    let found = command(console, "[ -f agent.sh ] && [ -c /dev/$port ] && echo all''-there", limit)?;
    if !found.contains("all-there") {
        let clues = command(console, "ls /dev/cuau* /dev/vtbd* /dev/ada* /tmp/vm", limit)?;
        bail!("the guest lacks the payload disk or the second serial port:\n{clues}");
    }
    console.send("sh agent.sh <>/dev/$port >&0 2>&1 &\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_recognised_at_the_end() {
        let seen = |text| question_in(text);
        assert_eq!(seen("FreeBSD/amd64 (fw) (ttyu0)\n\nlogin: "), Some(Question::Login));
        let single_user = "Enter full pathname of shell or RETURN for /bin/sh: ";
        assert_eq!(seen(single_user), Some(Question::WhichShell));
        assert_eq!(seen("root@fw:~ # "), Some(Question::Shell));
        assert_eq!(seen("# "), Some(Question::Shell));
        assert_eq!(seen("login: root\n"), None);
        assert_eq!(seen("\nOK "), Some(Question::Loader));
        assert_eq!(seen("this is OK "), None);
        assert_eq!(seen("mountroot> "), Some(Question::MountRoot));
    }

    #[test]
    fn a_countdown_is_recognised_anywhere() {
        let text = "Autoboot in 9 seconds. [Space] to pause \u{1b}[25;0H";
        assert_eq!(question_in(text), Some(Question::Countdown));
    }

    #[test]
    fn terminal_control_does_not_hide_a_prompt() {
        assert_eq!(question_in("\u{1b}[2J\u{1b}[24;1HOK \u{1b}[m"), Some(Question::Loader));
        assert_eq!(without_escapes("a\u{1b}["), "a");
    }

    /// Plays a guest: loader, login, and then a real shell that has the loader's variables.
    const FAKE_GUEST: &str = r#"
        printf 'Autoboot in 9 seconds. [Space] to pause '
        dd bs=1 count=1 2>/dev/null >&2
        printf '\r\nOK '
        while IFS= read -r line && [ "$line" != boot ]; do
            seen="$seen/$line"
            printf '\r\nOK '
        done
        printf 'Copyright (c) 1992-2024 The FreeBSD Project.\n\nlogin: '
        read -r user
        export seen user
        printf '# '
        exec sh
    "#;

    fn console_of(guest: &str) -> (Console, std::process::Child) {
        let mut child = std::process::Command::new("sh")
            .args(["-c", guest])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let (screen, keyboard) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
        let (events, _) = std::sync::mpsc::channel();
        let log = tempfile::tempfile().unwrap();
        let listeners = crate::console::Listeners { log, machine: 0, events, echo: None };
        (Console::new(screen, keyboard, listeners), child)
    }

    #[test]
    fn the_second_port_is_not_the_console() {
        for (console, port) in [("ttyu0,/ttyu0,ttyv0,", "cuau1"), ("ttyu1,/ttyu1,", "cuau0")] {
            let script = format!("sysctl() {{ echo {console}; }}; {SET_PORT}; echo $port");
            let run = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(run.stdout).unwrap().trim(), port);
        }
    }

    #[test]
    fn a_fake_guest_is_led_from_the_loader_to_a_shell() {
        let (mut console, mut child) = console_of(FAKE_GUEST);
        let variables = ["kern.hz=1000".to_owned()];
        let limit = Duration::from_secs(20);
        reach_shell(&mut console, &variables, limit).unwrap();
        let seen = command(&mut console, "echo $seen $user", limit).unwrap();
        assert_eq!(seen.trim(), "//set kern.hz=1000 root");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
