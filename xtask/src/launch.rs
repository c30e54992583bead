//! `cargo xtask launch`: the image in QEMU, on SEV-SNP hardware or in software emulation.

mod feed;
mod ports;
mod processor;
pub(crate) mod product;

use crate::release::{RELEASE, unverified};
use crate::report::{Answer, Terminal};
use crate::workspace;
use anyhow::{Context as _, bail, ensure};
use attest::frame;
use channel::operator::Operator;
use feed::{FeedFlags, Source};
use image::files::{copy_own, read_bounded};
use image::pipeline::dist::OVMF;
use image::progress::{Progress as _, Unit};
use image::result::launch::{Dist, Firmware, Guest, Interrupts, Machine, Platform, Readiness, free_port, tools};
use measure::Sha256;
use measure::cmdline::Tee;
use measure::snp::LaunchDigest;
use measure::snp::product::Product;
use product::{ProductFlag, launch_policy};
use simulate::{Processor, service};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the guest may take until it is ready; emulation on a busy machine needs a tenth of it.
const READY: Duration = Duration::from_secs(240);

/// How many lines of the console are quoted when the guest does not get ready.
const QUOTED: usize = 20;

/// What `launch` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The output directory of `build` or of `release`; the checkout's `dist/` by default.
    dist: Option<PathBuf>,

    /// Emulate the machine in software: nothing protects the guest, and its measured command line says so.
    #[arg(long)]
    simulate: bool,

    /// Print QEMU's command line and do nothing else.
    #[arg(long)]
    print: bool,

    /// End the guest once it is ready, instead of serving until interrupted.
    #[arg(long)]
    once: bool,

    /// What runs before the kernel in a simulation.
    #[arg(long, value_enum, default_value_t = FirmwareFlag::Measured, requires = "simulate")]
    firmware: FirmwareFlag,

    /// The processor, which decides what the guest demands of its platform: this host's own by default. A simulation
    /// pretends to have it, by default Genoa; so does --print.
    #[arg(long, value_enum)]
    product: Option<ProductFlag>,

    /// The operator document, which the guest and its clients get and whose SHA-256 becomes HOST_DATA; zeros without one.
    #[arg(long, value_name = "FILE")]
    operator: Option<PathBuf>,

    #[command(flatten)]
    feed: FeedFlags,

    /// Virtual CPUs; on hardware their number is part of the launch digest.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    vcpus: u16,

    /// Memory in MiB.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(256..))]
    memory: u32,

    /// The loopback port that leads to the agent; a free one by default.
    #[arg(long)]
    port: Option<u16>,

    /// Write every packet of the guest's network into this file, as pcap, in place of what is there.
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,

    /// The one that leads to its metrics; none by default.
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,

    /// Record in this directory all that leaves the guest: its console, packets, what it writes to its ports.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum FirmwareFlag {
    /// The measured one, which checks kernel, initrd and command line.
    Measured,
    /// QEMU's BIOS, which checks nothing.
    Seabios,
}

/// Boots the image, or prints how.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<Answer> {
    let plan = Plan::new(flags)?;
    if flags.print {
        return Ok(printed(&plan.machine));
    }
    if !flags.simulate {
        hardware()?;
    }
    // Before there are other threads.
    let mut interrupts = Interrupts::take()?;
    let mut interrupted = || interrupts.pending();
    let terminal = Terminal::new();
    let tools = tools(&plan.dist, &plan.cache)?;
    let launch_digest = plan.listen(flags, &terminal)?;
    let warning = terminal.clone();
    let guest = Guest::start(&plan.machine, &tools, &plan.work, move |text| warning.warn(text))?;
    let served = match boot(guest, &terminal, &mut interrupted)? {
        Ok(serving) => serve(serving, flags.once, &mut interrupted)?,
        Err(failure) => Err(failure),
    };
    match served {
        Ok(served) => {
            plan.finish(flags)?;
            Ok(served.answer(launch_digest))
        }
        Err(failure) => Ok(failure.answer(&plan.machine)),
    }
}

/// What the flags come to, before anything runs.
struct Plan {
    dist: Dist,
    cache: PathBuf,
    /// The guest's directory. Kept when the guest has failed, for a look at the console.
    work: PathBuf,
    product: Product,
    /// The operator document.
    operator: Option<Vec<u8>>,
    machine: Machine,
}

impl Plan {
    fn new(flags: &Flags) -> anyhow::Result<Self> {
        let dist = Dist::open(&workspace::dist(flags.dist.as_deref())?)?;
        let port = flags.port.map_or_else(free_port, Ok)?;
        let cache = workspace::cache()?;
        // One per port, because ports tell guests apart.
        let work = flags.record.clone().unwrap_or_else(|| cache.join("launch").join(port.to_string()));
        fs::create_dir_all(&work).with_context(|| format!("creating {}", work.display()))?;
        let work = work.canonicalize().with_context(|| format!("opening {}", work.display()))?;
        let operator = flags.operator.as_deref().map(operator).transpose()?;
        let product = match flags.product {
            Some(product) => product.into(),
            None if flags.simulate || flags.print => Product::Genoa,
            None => product::host()?,
        };
        let machine = machine(flags, &dist, product, operator.as_deref().map(Sha256::of), port, &work)?;
        Ok(Self { dist, cache, work, product, operator, machine })
    }

    /// Has the guest's ports served for as long as this program runs, and says what clients will not accept. The launch
    /// digest is what the guest's processor will measure.
    fn listen(&self, flags: &Flags, terminal: &Terminal) -> anyhow::Result<LaunchDigest> {
        let launch_digest = self.dist.launch_digest(&self.machine.command_line, flags.vcpus)?;
        if let Some(mismatch) = mismatch(&self.dist, launch_digest)? {
            terminal.warn(&mismatch);
        }
        let simulated = flags.simulate.then(|| {
            let host_data = self.operator.as_deref().map_or([0; 32], |document| *Sha256::of(document).as_bytes());
            processor::of(self.product, launch_digest, host_data)
        });
        let mut source = Source::open(&flags.feed, &self.dist, simulated.as_ref().map(Processor::certificates))?;
        if let Some(lacks) = source.lacks() {
            terminal.warn(lacks);
        }
        let feed = ports::send(&frame::FEED, ports::AGAIN, move || source.newest());
        ports::listen(&self.work, frame::FEED.name, feed)?;
        if let Some(document) = self.operator.clone() {
            let document = ports::send(&frame::OPERATOR, ports::AGAIN, move || document.clone());
            ports::listen(&self.work, frame::OPERATOR.name, document)?;
        }
        if let Some(processor) = simulated {
            terminal.warn("SIMULATED HARDWARE: the host can read and change this guest; no client should trust it");
            terminal.warn(&format!(
                "its reports are of a simulated {}, signed with keys that everybody has",
                processor.product
            ));
            ports::listen(&self.work, simulate_port::NAME, move |mut stream| service::serve(&mut stream, &processor))?;
        }
        Ok(launch_digest)
    }

    /// Hands out what was asked for of a guest that has ended well, and removes the rest.
    fn finish(&self, flags: &Flags) -> anyhow::Result<()> {
        if let (Some(inside), Some(file)) = (&self.machine.capture, &flags.capture) {
            copy_own(Path::new(inside), file).with_context(|| format!("copying {inside} to {}", file.display()))?;
        }
        if flags.record.is_none() {
            fs::remove_dir_all(&self.work).with_context(|| format!("removing {}", self.work.display()))?;
        }
        Ok(())
    }
}

/// A guest that answers.
struct Serving {
    guest: Guest,
    served: Served,
}

/// What is said of it.
struct Served {
    url: String,
    took: Duration,
    /// What `/boot` answered.
    stages: serde_json::Value,
}

/// Why there is none, or no longer.
struct Failure {
    reason: String,
    console: Vec<String>,
}

/// Waits until the guest serves.
fn boot(
    mut guest: Guest,
    terminal: &Terminal,
    interrupted: &mut dyn FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<Result<Serving, Failure>> {
    let readiness = {
        let bar = terminal.bar("boot", 0, Unit::Items);
        guest.wait(READY, &*bar, interrupted)?
    };
    match readiness {
        Readiness::Serving { boot, took } => {
            let url = guest.url().to_owned();
            terminal.done("serving", &url, took);
            let stages = serde_json::from_str(&boot).with_context(|| format!("parsing what {url}/boot answered"))?;
            Ok(Ok(Serving { guest, served: Served { url, took, stages } }))
        }
        Readiness::Interrupted => bail!("interrupted before the guest was ready"),
        Readiness::Stopped { took } => {
            stopped(guest, format!("the guest stopped after {:.1} s without ever serving", took.as_secs_f64())).map(Err)
        }
        Readiness::Neither => {
            let reason = format!("the guest was not ready after {} s", READY.as_secs());
            Ok(Err(Failure { reason, console: guest.console()? }))
        }
    }
}

/// Lets it serve until interrupted, or only `once`, and ends it.
fn serve(
    serving: Serving,
    once: bool,
    interrupted: &mut dyn FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<Result<Served, Failure>> {
    let Serving { mut guest, served } = serving;
    match once || guest.serve(interrupted)? {
        true => Ok(Ok(served)),
        false => stopped(guest, "the guest stopped by itself".to_owned()).map(Err),
    }
}

/// What there is to say of a guest that has ended in order, if not when it should.
fn stopped(guest: Guest, reason: String) -> anyhow::Result<Failure> {
    let console = guest.console()?;
    guest.end()?;
    Ok(Failure { reason, console })
}

impl Served {
    fn answer(self, launch_digest: LaunchDigest) -> Answer {
        let Self { url, took, stages } = self;
        let payload = serde_json::json!({
            "url": url, "seconds": took.as_secs_f64(), "boot": stages, "launch_digest_sha384": launch_digest,
        });
        Answer { yes: true, reason: format!("the guest was ready on {url}"), text: format!("{url}\n"), payload }
    }
}

impl Failure {
    fn answer(self, machine: &Machine) -> Answer {
        let Self { reason, console } = self;
        let quoted = &console[console.len().saturating_sub(QUOTED)..];
        let reason = match quoted {
            [] => format!("{reason}; its console {} is empty", machine.console),
            lines => format!("{reason}; the last lines of its console {}:\n{}", machine.console, lines.join("\n")),
        };
        let payload = serde_json::json!({ "console": machine.console, "last_lines": quoted });
        Answer { yes: false, reason, text: String::new(), payload }
    }
}

fn machine(
    flags: &Flags,
    dist: &Dist,
    product: Product,
    host_data: Option<Sha256>,
    port: u16,
    work: &Path,
) -> anyhow::Result<Machine> {
    let tee = if flags.simulate { Tee::Simulated } else { Tee::Snp };
    let command_line = dist.command_line(tee)?;
    let in_work = |name| {
        let path = work.join(name);
        path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", path.display()))
    };
    let platform = match (flags.simulate, flags.firmware) {
        (false, _) => Platform::SevSnp { firmware: dist.path(OVMF), policy: launch_policy(product).0, host_data },
        (true, FirmwareFlag::Seabios) => Platform::Simulated(Firmware::SeaBios),
        (true, FirmwareFlag::Measured) => {
            Platform::Simulated(dist.measured_firmware(&command_line, &in_work("hashes.page")?)?)
        }
    };
    let machine = dist.machine(platform, command_line, in_work("console.log")?, port);
    let operator = host_data.map(|_| frame::OPERATOR.name);
    let names = [Some(frame::FEED.name), operator, flags.simulate.then_some(simulate_port::NAME)];
    let ports = names.into_iter().flatten().map(|name| ports::port(work, name)).collect::<anyhow::Result<_>>()?;
    let capture = (flags.capture.is_some() || flags.record.is_some()).then(|| in_work("network.pcap")).transpose()?;
    let record = flags.record.as_ref().map(|_| in_work("")).transpose()?;
    let (vcpus, memory_mib, metrics) = (flags.vcpus, flags.memory, flags.metrics_port);
    Ok(Machine { vcpus, memory_mib, metrics, ports, capture, record, ..machine })
}

/// An operator document that the guest will take.
fn operator(path: &Path) -> anyhow::Result<Vec<u8>> {
    let reading = || format!("reading {}", path.display());
    let document = read_bounded(path, frame::OPERATOR.limit as u64).with_context(reading)?;
    let _taken = Operator::parse(&document).with_context(reading)?;
    Ok(document)
}

/// Why clients will not find this guest in the release that lies beside its files, if there is one.
fn mismatch(dist: &Dist, launch_digest: LaunchDigest) -> anyhow::Result<Option<String>> {
    let path = dist.path(RELEASE);
    let Some((_, release)) = unverified(Path::new(&path))? else { return Ok(None) };
    let shapes = release.shapes().with_context(|| format!("reading {path}"))?;
    let allowed = shapes.rows().iter().any(|row| row.launch_digest == launch_digest);
    Ok((!allowed).then(|| format!("{path} does not list launch digest {launch_digest}")))
}

/// Refuses a host without SEV-SNP, naming everything that is missing.
fn hardware() -> anyhow::Result<()> {
    let mut missing = Vec::new();
    for (device, what) in [("/dev/kvm", "hardware virtualisation"), ("/dev/sev", "the AMD secure processor's driver")] {
        if !Path::new(device).try_exists().with_context(|| format!("looking for {device}"))? {
            missing.push(format!("{device} ({what})"));
        }
    }
    ensure!(
        missing.is_empty(),
        "this host cannot start SEV-SNP guests, missing: {}; --simulate boots the same image in software, --print \
         shows the command for a host that can",
        missing.join(", "),
    );
    Ok(())
}

fn printed(machine: &Machine) -> Answer {
    let argv = machine.argv();
    let lines = argv.iter().map(|group| group.iter().map(|part| quoted(part)).collect::<Vec<_>>().join(" "));
    let text = std::iter::once("qemu-system-x86_64".to_owned()).chain(lines).collect::<Vec<_>>().join(" \\\n  ");
    let flat: Vec<&String> = argv.iter().flatten().collect();
    Answer {
        yes: true,
        reason: "printed".to_owned(),
        text: text + "\n",
        payload: serde_json::json!({ "program": "qemu-system-x86_64", "argv": flat }),
    }
}

/// `word` as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_survive_a_shell() {
        for (word, expected) in [
            ("-machine", "-machine"),
            ("a=b,c", "a=b,c"),
            ("two words", "'two words'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
            ("$HOME", "'$HOME'"),
            ("päth", "'päth'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
