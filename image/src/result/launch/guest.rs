//! A machine under way: started in the sandbox, watched through its console and its port, killed when dropped.

use super::outputs::Outputs;
use super::{Firmware, Machine, Platform, Port};
use crate::files::read_end_of_own;
use crate::progress::Bar;
use crate::tools::sandbox::{Bind, Ending, Network, Running, Sandbox};
use anyhow::{Context as _, bail};
use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// QEMU's path in the tools tree.
const QEMU: &str = "/usr/bin/qemu-system-x86_64";

/// Where the machine's files and its directory appear inside the sandbox.
const FILES: &str = "/run/machine";
const WORK: &str = "/run/work";

/// The console's pipe. QEMU writes to pipes instead of files.
const CONSOLE: &str = "console";

/// How long one HTTP request may take. Short, because QEMU accepts connections long before the guest does, and such
/// an early one hangs.
const REQUEST: Duration = Duration::from_secs(1);

/// Pause between two looks at the guest.
const PAUSE: Duration = Duration::from_millis(200);

/// Most bytes of an answer of the guest that are read.
const MAX_ANSWER: u64 = 64 * 1024;

/// Most bytes of the console that are looked at, from its end.
const MAX_CONSOLE: u64 = 256 * 1024;

/// A running virtual machine. Dropping it ends the machine.
#[derive(Debug)]
pub struct Guest {
    running: Running,
    /// Dropped when QEMU, which is dropped before, writes no more.
    outputs: Outputs,
    started: Instant,
    console: PathBuf,
    log: PathBuf,
    agent: ureq::Agent,
    url: String,
}

/// How waiting for the guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// `/readyz` answered 200.
    Serving {
        /// What `/boot` answered: JSON about the stages of the boot.
        boot: String,
        /// Since QEMU was started.
        took: Duration,
    },
    /// QEMU ended without that.
    Stopped {
        /// Since QEMU was started.
        took: Duration,
    },
    /// Neither happened within the limit.
    Neither,
    /// The caller did not want to wait any longer.
    Interrupted,
}

impl Guest {
    /// Starts QEMU from the tools tree `tools`. `machine`'s paths are those of the host; its console file, its
    /// hashes page, its sockets, its capture and its record must be in `work`, the one directory QEMU may write to. Of
    /// console and record 64 MiB each are kept; `warn` is told when there is more, and when they cannot be written.
    ///
    /// # Errors
    /// When a file of the machine is missing or the sandbox cannot be started.
    pub fn start(
        machine: &Machine,
        tools: &Path,
        work: &Path,
        warn: impl Fn(&str) + Clone + Send + 'static,
    ) -> anyhow::Result<Self> {
        let recorded = machine.record.iter().flat_map(|record| {
            machine.ports.iter().map(move |port| (port.output(), Path::new(record).join(port.output())))
        });
        let console = (CONSOLE.to_owned(), PathBuf::from(&machine.console));
        let outputs: Vec<_> = std::iter::once(console).chain(recorded).collect();
        let outputs = Outputs::keep(work, &outputs, warn)?;
        let (inside, mut binds) = inside(machine, work, outputs.pipes())?;
        for Bind { host, .. } in &binds {
            fs::metadata(host).with_context(|| format!("opening {}", host.display()))?;
        }
        if matches!(machine.platform, Platform::SevSnp { .. }) {
            let device = |path: &str| Bind { host: path.into(), guest: path.into(), writable: true };
            binds.extend(["/dev/kvm", "/dev/sev"].map(device));
        }
        let mut argv = vec![QEMU.to_owned()];
        argv.extend(inside.argv().into_iter().flatten());
        let log = work.join("qemu.log");
        let sandbox = Sandbox {
            root: tools.to_path_buf(),
            binds,
            argv,
            env: BTreeMap::new(),
            cwd: "/".into(),
            network: Network::Host,
            uid: 0,
            log: log.clone(),
        };
        // A proxy of the environment must not come between us and the loopback interface.
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(REQUEST))
            .http_status_as_error(false)
            .max_idle_connections(0)
            .proxy(None)
            .build()
            .new_agent();
        Ok(Self {
            running: sandbox.spawn()?,
            outputs,
            started: Instant::now(),
            console: PathBuf::from(&machine.console),
            log,
            agent,
            url: format!("http://127.0.0.1:{}", machine.port),
        })
    }

    /// The agent's address on this host.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits until the agent is ready, QEMU has ended, `limit` (since the start) has passed or `interrupted` says yes.
    ///
    /// # Errors
    /// When QEMU could not be started, or the operating system does not know its process.
    pub fn wait(
        &mut self,
        limit: Duration,
        bar: &dyn Bar,
        interrupted: &mut dyn FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<Readiness> {
        loop {
            // Asked before the port, because then an answer came from this QEMU and not from one after it.
            if !self.is_running()? {
                return Ok(Readiness::Stopped { took: self.started.elapsed() });
            }
            if let Ok((200, _text)) = self.get("/readyz") {
                let took = self.started.elapsed();
                let (status, boot) = self.get("/boot").context("asking for /boot after /readyz answered 200")?;
                if status != 200 {
                    bail!("/readyz answers 200, but /boot {status}");
                }
                return Ok(Readiness::Serving { boot, took });
            }
            if self.started.elapsed() >= limit {
                return Ok(Readiness::Neither);
            }
            if interrupted()? {
                return Ok(Readiness::Interrupted);
            }
            if let Some(line) = self.console()?.last() {
                bar.note(line);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until QEMU has ended or `interrupted` says yes, which is the answer.
    ///
    /// # Errors
    /// When the operating system does not know the process.
    pub fn serve(&mut self, interrupted: &mut dyn FnMut() -> anyhow::Result<bool>) -> anyhow::Result<bool> {
        while self.is_running()? {
            if interrupted()? {
                return Ok(true);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(false)
    }

    fn is_running(&mut self) -> anyhow::Result<bool> {
        let running = self.running.is_running()?;
        if !running {
            self.outputs.finish();
        }
        Ok(running)
    }

    /// How QEMU ended; waits for it.
    ///
    /// # Errors
    /// Unless QEMU ran and exited with status 0, as it does when the guest reboots or powers off. Quotes the end of
    /// its log.
    pub fn end(self) -> anyhow::Result<()> {
        match self.running.wait().context("running QEMU")? {
            Ending::Exited(0) => Ok(()),
            ending => bail!("QEMU {ending}; its last lines:\n{}", crate::tools::sandbox::tail(&self.log)?.join("\n")),
        }
    }

    /// The status and body of `GET path`.
    ///
    /// # Errors
    /// When there is no answer in time or it is longer than 64 KiB.
    pub fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let mut answer = self.agent.get(format!("{}{path}", self.url)).call()?;
        let text = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_string()?;
        Ok((answer.status().as_u16(), text))
    }

    /// The last lines the guest wrote to its console, without control characters.
    ///
    /// # Errors
    /// When the console's file cannot be read.
    pub fn console(&self) -> anyhow::Result<Vec<String>> {
        // QEMU can put something else in its place.
        let bytes = read_end_of_own(&self.console, MAX_CONSOLE);
        let bytes = bytes.with_context(|| format!("reading the console {}", self.console.display()))?;
        Ok(plain(&bytes))
    }
}

/// A port of the loopback interface that was free a moment ago.
///
/// # Errors
/// When the interface has none.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free loopback port")?;
    Ok(listener.local_addr().context("asking for the port's number")?.port())
}

/// `machine` as QEMU sees it in the sandbox, and the mounts that make it so. Fixed names inside keep the host's paths
/// out of QEMU's option syntax.
fn inside(machine: &Machine, work: &Path, pipes: &Path) -> anyhow::Result<(Machine, Vec<Bind>)> {
    let mut binds = vec![Bind { host: work.to_path_buf(), guest: WORK.into(), writable: true }];
    let mut file = |host: &str, name: &str| {
        let guest = format!("{FILES}/{name}");
        binds.push(Bind { host: host.into(), guest: PathBuf::from(&guest), writable: false });
        guest
    };
    let in_work = |host: &str| -> anyhow::Result<String> {
        let name =
            Path::new(host).strip_prefix(work).with_context(|| format!("{host} is not in {}", work.display()))?;
        Ok(format!("{WORK}/{}", name.display()))
    };
    let pipes = in_work(pipes.to_str().with_context(|| format!("{} is not UTF-8", pipes.display()))?)?;
    let port = |Port { name, socket }: &Port| anyhow::Ok(Port { name, socket: in_work(socket)? });
    let platform = match &machine.platform {
        Platform::SevSnp { firmware, policy, host_data } => {
            Platform::SevSnp { firmware: file(firmware, "ovmf.fd"), policy: *policy, host_data: *host_data }
        }
        Platform::Simulated(firmware) => Platform::Simulated(match firmware {
            Firmware::SeaBios => Firmware::SeaBios,
            Firmware::Uefi(firmware) => Firmware::Uefi(file(firmware, "ovmf.fd")),
            Firmware::Measured { firmware, page, gpa } => {
                Firmware::Measured { firmware: file(firmware, "ovmf.fd"), page: in_work(page)?, gpa: *gpa }
            }
        }),
    };
    let machine = Machine {
        platform,
        kernel: file(&machine.kernel, "vmlinuz"),
        initrd: file(&machine.initrd, "initrd"),
        root: file(&machine.root, "disk.raw"),
        model: file(&machine.model, "model.raw"),
        console: format!("{pipes}/{CONSOLE}"),
        record: machine.record.as_ref().map(|_| pipes),
        ports: machine.ports.iter().map(port).collect::<anyhow::Result<_>>()?,
        capture: machine.capture.as_deref().map(in_work).transpose()?,
        ..machine.clone()
    };
    Ok((machine, binds))
}

/// The lines of a console, without the escape sequences and control characters of firmware and systemd.
fn plain(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut characters = text.chars().peekable();
    let mut plain = String::new();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' && characters.next_if_eq(&'[').is_some() {
            // A control sequence ends with its first byte from '@' to '~' (ECMA-48, 5.4).
            let _end = characters.find(|c| ('@'..='~').contains(c));
        } else if character == '\n' || !character.is_control() {
            plain.push(character);
        }
    }
    plain.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn a_console_is_plain_text() {
        let console = b"\x1b[2J\x1b[001;001H\x1b[=3hBdsDxe\r\n\r\n[    1.5] \x1b[0;32mOK\x1b[0m\x07\xff\x1b[";
        assert_eq!(plain(console), ["BdsDxe", "[    1.5] OK\u{fffd}"]);
    }
}
