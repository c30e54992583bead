//! `cargo xtask launch` under way.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

/// A guest that serves, until this is dropped.
pub(crate) struct Launched {
    child: Child,
    url: String,
}

impl Launched {
    /// Starts it and waits until it says where it serves, or ends; it has a time limit of its own.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut said = Vec::new();
        let url = lines.by_ref().find_map(|line| {
            let url = line.contains("serving").then(|| line.split(' ').find(|word| word.starts_with("http://")));
            let url = url.flatten().map(str::to_owned);
            said.push(line);
            url
        });
        let Some(url) = url else {
            panic!("{:?}: {}", child.wait().unwrap(), said.join("\n"));
        };
        // Whatever it says later must not be in its way.
        thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn end(mut self) {
        let status = self.interrupt();
        assert!(status.success(), "{status}");
    }

    fn interrupt(&mut self) -> ExitStatus {
        if let Some(status) = self.child.try_wait().unwrap() {
            return status;
        }
        let _ended = kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGINT);
        self.child.wait().unwrap()
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        let _ended = self.interrupt();
    }
}
