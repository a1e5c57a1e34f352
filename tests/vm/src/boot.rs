//! From power on to a case runner in the guest: the talk on the console.

use std::time::{Duration, Instant};

use anyhow::{bail, Result};

use crate::console::{last_lines, Console};

/// What the guest can be found asking for while it boots.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Question {
    /// The loader counts down before it starts the kernel.
    Countdown,
    /// The loader's own command line.
    Loader,
    Login,
    Password,
    /// Single-user mode.
    WhichShell,
    /// The kernel has not found its root file system.
    MountRoot,
    Shell,
}

/// How a question looks. A prompt ends the text, a countdown is redrawn all the time.
const PROMPTS: [(&str, Question); 6] = [
    ("\nOK ", Question::Loader),
    ("login: ", Question::Login),
    ("Password:", Question::Password),
    ("RETURN for /bin/sh: ", Question::WhichShell),
    ("mountroot> ", Question::MountRoot),
    ("# ", Question::Shell),
];
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

/// The text without terminal control: where the cursor is moved, a new line begins.
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
/// `variables` are set at the loader if the guest has one.
pub fn reach_shell(console: &mut Console, variables: &[String], limit: Duration) -> Result<()> {
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
            // A kernel message may have hidden a prompt: have it shown again.
            None => say(console, "\n")?,
        };
    }
    take_over(console, deadline.saturating_duration_since(Instant::now()))
}

/// Types something and returns where the guest's reaction to it begins.
fn say(console: &mut Console, keys: &str) -> Result<usize> {
    let start = console.position();
    console.send(keys)?;
    Ok(start)
}

fn answer(console: &mut Console, question: Question, variables: &[String]) -> Result<usize> {
    match question {
        // Escape leaves the loader's menu, and any key its countdown.
        Question::Countdown => say(console, "\u{1b}"),
        Question::Loader => {
            // A line of its own for what may have been typed too often at the countdown.
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

/// Replaces the login shell by one that neither prompts nor echoes nor edits lines.
fn take_over(console: &mut Console, limit: Duration) -> Result<()> {
    console.send("stty -echo; exec /bin/sh -c 'while read -r line; do eval \"$line\"; done'\n")?;
    command(console, ":", limit).map(drop)
}

/// Runs one short command on the console and returns what was written meanwhile.
fn command(console: &mut Console, line: &str, limit: Duration) -> Result<String> {
    let deadline = Instant::now() + limit;
    let number = console.position();
    // Typed in two parts, so that an echo of the typing does not look like the answer.
    let say_done = format!("echo '[do''ne {number}]'\n");
    let done = format!("[done {number}]");
    let start = say(console, &format!("{line}\n{say_done}"))?;
    while Instant::now() < deadline {
        let patience = Duration::from_secs(5);
        if let Some(end) = console.wait_for(start, patience, |text| text.find(&done))? {
            return Ok(console.text_from(start)[..end].to_owned());
        }
        // A kernel message may have torn the words apart.
        console.send(&say_done)?;
    }
    bail!(
        "the guest's shell does not answer; the console's last lines:\n{}",
        last_lines(&console.text_from(0), 15)
    )
}

/// Unpacks the harness's disk in the guest and starts the case runner on the second serial port.
pub fn start_agent(console: &mut Console) -> Result<()> {
    let limit = Duration::from_secs(120);
    for line in [
        "PATH=/sbin:/bin:/usr/sbin:/usr/bin; export PATH",
        "[ -w /tmp ] || mount -t tmpfs tmpfs /tmp",
        "mkdir -p /tmp/vm && cd /tmp/vm",
        "for d in vtbd1 vtbd0 vtbd2 ada1 ada0 da1 da0; do \
         tar xf /dev/$d agent.sh 2>/dev/null && tar xf /dev/$d && break; done",
    ] {
        command(console, line, limit)?;
    }
    let found = command(console, "[ -f agent.sh ] && [ -c /dev/cuau1 ] && echo all''-there", limit)?;
    if !found.contains("all-there") {
        let clues = command(console, "ls /dev/cuau* /dev/vtbd* /dev/ada* /tmp/vm", limit)?;
        bail!("the guest lacks the harness's disk or its second serial port:\n{clues}");
    }
    console.send("sh agent.sh <>/dev/cuau1 >&0 2>&1 &\n")
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

    /// Plays the guest: loader, login and then a true shell, which has the loader's variables.
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
