//! From power on to a case runner in the guest: the talk on the console.

use std::time::{Duration, Instant};

use anyhow::{bail, Result};

use crate::console::{last_lines, Console};

/// What the guest writes when it has run a command; typed in two parts so that
/// an echo of the typing does not look like it.
const DONE: &str = "[done]";
const SAY_DONE: &str = "echo '[do''ne]'\n";

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
    ("OK ", Question::Loader),
    ("login: ", Question::Login),
    ("Password:", Question::Password),
    ("RETURN for /bin/sh: ", Question::WhichShell),
    ("mountroot> ", Question::MountRoot),
    ("# ", Question::Shell),
];
const COUNTDOWNS: [&str; 2] = ["[Space] to pause", "[Enter] to boot"];

fn question_in(text: &str) -> Option<Question> {
    let line = text.rsplit('\n').next().unwrap_or(text);
    let asked = PROMPTS.iter().find(|(words, _)| line.ends_with(words));
    match asked {
        Some((words, Question::Loader)) if line != *words => None,
        Some((_, question)) => Some(*question),
        None if COUNTDOWNS.iter().any(|words| text.contains(words)) => Some(Question::Countdown),
        None => None,
    }
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
        let question = console.wait_for(start, silence, question_in)?;
        start = console.position();
        match question {
            Some(Question::Shell) => break,
            Some(question) => answer(console, question, variables)?,
            // A kernel message may have hidden a prompt: have it shown again.
            None => console.send("\n")?,
        }
    }
    take_over(console, deadline.saturating_duration_since(Instant::now()))
}

fn answer(console: &mut Console, question: Question, variables: &[String]) -> Result<()> {
    match question {
        // Escape leaves the loader's menu, and any key its countdown.
        Question::Countdown => console.send("\u{1b}"),
        Question::Loader => {
            for variable in variables {
                console.send(&format!("set {variable}\r"))?;
                let echo_end = console.position();
                console.wait_for(echo_end, Duration::from_secs(10), question_in)?;
            }
            console.send("boot\r")
        }
        Question::Login => console.send("root\n"),
        Question::WhichShell => console.send("\n"),
        Question::Password => bail!("the image's root user has a password; it must have none"),
        Question::MountRoot => bail!("the kernel does not find its root file system"),
        Question::Shell => Ok(()),
    }
}

/// Replaces the login shell by one that neither prompts nor echoes nor edits lines.
fn take_over(console: &mut Console, limit: Duration) -> Result<()> {
    console.send("stty -echo; exec /bin/sh -c 'while read -r line; do eval \"$line\"; done'\n")?;
    command(console, ":", limit).map(drop)
}

/// Runs one short command on the console and returns what was written meanwhile.
fn command(console: &mut Console, line: &str, limit: Duration) -> Result<String> {
    let deadline = Instant::now() + limit;
    let start = console.position();
    console.send(&format!("{line}\n{SAY_DONE}"))?;
    while Instant::now() < deadline {
        let patience = Duration::from_secs(15);
        if let Some(end) = console.wait_for(start, patience, |text| text.find(DONE))? {
            return Ok(console.text_from(start)[..end].to_owned());
        }
        // A kernel message may have torn the words apart.
        console.send(SAY_DONE)?;
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
}
