//! The program that gets alarms. No shell reads them: an alarm has words in it that strangers chose.

use anyhow::{Context as _, bail, ensure};
use log_client::monitor::Alarm;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the program may take for one alarm.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked whether it has ended.
const PAUSE: Duration = Duration::from_millis(10);

/// Gives an alarm to `program`: one line on its standard input. Its output goes to stderr.
///
/// # Errors
/// When it cannot be started, takes too long or does not end with exit code 0.
pub(super) fn run(program: &Path, alarm: &Alarm) -> anyhow::Result<()> {
    let named = || format!("running {}", program.display());
    #[expect(clippy::disallowed_methods, reason = "starts the user's own program, which the user names")]
    let mut command = Command::new(program);
    let command = command.stdin(Stdio::piped()).stdout(std::io::stderr());
    let mut child = command.spawn().with_context(named)?;
    if let Some(mut stdin) = child.stdin.take() {
        // An alarm fits into a pipe, so that a program that does not read it stops nobody; nor need it read it.
        match writeln!(stdin, "{}", crate::report::line(alarm)?) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error).with_context(named),
            _ => {}
        }
    }
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().with_context(named)? {
            ensure!(status.success(), "{} ended with {status}", program.display());
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            child.kill().and_then(|()| child.wait()).with_context(named)?;
            bail!("{} took more than {} s", program.display(), PATIENCE.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
}
