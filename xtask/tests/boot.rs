//! The image boots, and nothing but the image.
//!
//! Boots the build in `dist/` (or `$VITRINE_DIST`) under software emulation: unchanged, with one thing changed on a
//! disk or on the command line, and with other files than the measured firmware was told of. It serves once a worker has made a
//! token, so that a boot shows the model and the units as well. Run by
//! `cargo xtask ci`, or by `cargo test -p xtask --test boot -- --ignored` after `cargo xtask build`.

#![expect(clippy::disallowed_methods, reason = "which build and cache to test is in the environment")]
#![expect(clippy::print_stdout, reason = "it is its own test harness")]

use anyhow::{Context as _, bail, ensure};
use image::formats::deb::Deb;
use image::inputs::lock::Lock;
use image::inputs::store::Store;
use image::pipeline::measured::Manifest;
use image::progress::{Progress as _, Silent, Unit};
use image::result::launch::{Dist, Firmware, Guest, Machine, Platform, Port, Readiness, free_port, tools};
use image::tools::sandbox::{Bind, Network, Sandbox};
use measure::Sha256;
use measure::cmdline::{CommandLine, Tee};
use measure::guid::Guid;
use measure::verity::{Salt, Verity};
use simulate::{Processor, Product, service};
use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

/// How long a control boot may take; on two idle cores it takes a tenth of that.
const CONTROL: Duration = Duration::from_secs(240);

/// Boots at a time. Each has two virtual CPUs, so more would only slow each other down.
const AT_ONCE: usize = 2;

/// What guests are launched with, as far as a guest cares: it may not be debugged.
const LAUNCH_POLICY: u64 = 0x30000;

/// Bytes of a dm-verity block, and digests in one.
const BLOCK: u64 = 4096;
const FAN_OUT: u64 = 128;

/// What every test needs.
struct Bench {
    dist: Dist,
    tools: PathBuf,
    /// Debian's OVMF, which measures nothing.
    ovmf: String,
    /// The command line of the simulation.
    line: String,
    /// Decides which byte is flipped.
    seed: u64,
}

/// A machine to be changed, and a directory for what it is changed with.
struct Trial<'a> {
    bench: &'a Bench,
    machine: Machine,
    dir: &'a Path,
    /// What was changed, for the report.
    note: String,
}

/// What is expected.
#[derive(Clone, Copy)]
enum Kind {
    /// It serves.
    Serves,
    /// It says that it has no report, for lack of the hardware, and nothing is on the console.
    Unseen,
    /// It ends by itself before it says anything, and the console says this.
    Ends(&'static str),
    /// It ends by itself before it serves; until then it may say that it is not ready.
    EndsUnready(&'static str),
    /// The firmware does not start the kernel and says nothing. A kernel that ran would serve or end.
    Hangs,
}

/// Which firmware.
#[derive(Clone, Copy)]
enum Under {
    SeaBios,
    Ovmf,
    Measured,
}

type Change = fn(&mut Trial<'_>) -> anyhow::Result<()>;

use Kind::{Ends, EndsUnready, Hangs, Serves, Unseen};
use Under::{Measured, Ovmf, SeaBios};

/// Boots of the unchanged image; the longest is the measure for all others.
const CONTROLS: [(&str, Under, Kind, Change); 3] = [
    ("serves_under_seabios", SeaBios, Serves, |_| Ok(())),
    ("serves_under_ovmf", Ovmf, Serves, |_| Ok(())),
    ("serves_under_the_measured_firmware", Measured, Serves, |_| Ok(())),
];

const TRIALS: [(&str, Under, Kind, Change); 17] = [
    ("is_unseen_unless_simulated", SeaBios, Unseen, for_hardware),
    // The kernel and the initrd with which the measured firmware hangs, where nothing checks them.
    ("serves_with_another_kernel_where_nothing_checks_it", SeaBios, Serves, other_kernel),
    ("serves_with_another_initrd_where_nothing_checks_it", SeaBios, Serves, other_initrd),
    ("hangs_with_another_kernel", Measured, Hangs, other_kernel),
    ("hangs_with_another_initrd", Measured, Hangs, other_initrd),
    ("hangs_with_another_command_line", Measured, Hangs, |trial| trial.replace_line("quiet", "quiet quiet")),
    ("ends_at_a_flipped_data_byte", SeaBios, Ends("data block"), flipped_data),
    ("ends_at_a_flipped_hash_byte", SeaBios, Ends("metadata block"), flipped_hash),
    ("ends_at_another_root_hash", SeaBios, Ends("metadata block"), other_root_hash),
    // The weights are read to their end before anybody is served.
    ("ends_at_a_flipped_model_byte", SeaBios, EndsUnready("data block"), flipped_model),
    ("ends_at_the_last_byte_of_the_model", SeaBios, EndsUnready("data block"), flipped_end_of_model),
    ("ends_at_another_model", SeaBios, EndsUnready("metadata block"), other_model),
    ("ends_at_an_unknown_key", SeaBios, Ends("unknown token \"init=/bin/sh\""), |trial| {
        trial.replace_line("quiet", "quiet init=/bin/sh")
    }),
    ("ends_at_a_duplicate_key", SeaBios, Ends("duplicate token \"quiet\""), |trial| {
        trial.replace_line("quiet", "quiet quiet")
    }),
    ("ends_at_a_missing_key", SeaBios, Ends("expected lockdown=confidentiality"), |trial| {
        trial.replace_line("lockdown=confidentiality ", "")
    }),
    ("ends_at_an_extra_key", SeaBios, Ends("expected the end"), |trial| {
        trial.machine.command_line += " systemd.unit=rescue.target";
        Ok(())
    }),
    ("ends_at_a_truncated_disk", SeaBios, Ends("vitrine-init: "), truncated_disk),
];

fn main() -> anyhow::Result<()> {
    image::tools::sandbox::entry();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--ignored" || argument == "--include-ignored") {
        println!("ignored: boots the image in dist/; run by cargo xtask ci");
        return Ok(());
    }
    let selected = |name: &str| arguments.iter().all(|argument| argument.starts_with('-') || name.contains(argument));
    let firmware = tempfile::tempdir()?;
    let bench = Bench::new(firmware.path())?;
    println!("seed {}, to be set again as VITRINE_SEED", bench.seed);

    let accepted = bench.qemu_accepts_snp_arguments(firmware.path());
    println!("test qemu_accepts_snp_arguments ... {}", if accepted.is_ok() { "ok" } else { "FAILED" });
    accepted?;
    let measured = bench.launch_digests_are_those_of_the_table();
    println!("test launch_digests_are_those_of_the_table ... {}", if measured.is_ok() { "ok" } else { "FAILED" });
    measured?;
    // All of them, because the others need their times.
    let times = run(&bench, CONTROLS.to_vec(), CONTROL)?;
    let controls = times.len();
    let limit = 3 * times.into_iter().max().context("no control boot")?;
    println!(
        "limit {:.1} s: three times the slowest control boot, measured with as many at once; whatever would serve \
         has served by then",
        limit.as_secs_f64()
    );
    let trials = run(&bench, TRIALS.into_iter().filter(|(name, ..)| selected(name)).collect(), limit)?;
    println!("{} passed, 0 failed", 2 + controls + trials.len());
    Ok(())
}

/// Runs `tests`, [`AT_ONCE`] at a time; the time each took until it served or ended.
fn run(bench: &Bench, mut tests: Vec<(&str, Under, Kind, Change)>, limit: Duration) -> anyhow::Result<Vec<Duration>> {
    tests.reverse();
    let (queue, times, failed) = (Mutex::new(tests), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((name, under, kind, change)) = { queue.lock().unwrap().pop() } {
                    match test(bench, under, kind, change, limit) {
                        Ok((took, note)) => {
                            println!("test {name} ... ok ({note})");
                            times.lock().unwrap().push(took);
                        }
                        Err(error) => {
                            println!("test {name} ... FAILED\n{error:#}");
                            failed.lock().unwrap().push(name);
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(times.into_inner().unwrap())
}

fn test(
    bench: &Bench,
    under: Under,
    kind: Kind,
    change: Change,
    limit: Duration,
) -> anyhow::Result<(Duration, String)> {
    let dir = tempfile::tempdir()?;
    let mut trial = Trial { bench, machine: bench.machine(under, dir.path())?, dir: dir.path(), note: String::new() };
    change(&mut trial)?;
    let Trial { machine, note, .. } = trial;
    let processor = Processor::patched(
        Product::Genoa,
        simulate::Guest { policy: LAUNCH_POLICY, measurement: [0; 48], host_data: [0; 32] },
    );
    for port in &machine.ports {
        let (listener, processor) = (UnixListener::bind(&port.socket)?, processor.clone());
        std::thread::spawn(move || {
            listener.incoming().flatten().try_for_each(|mut stream| service::serve(&mut stream, &processor))
        });
    }
    let mut guest = Guest::start(&machine, &bench.tools, dir.path(), |_full| ())?;
    let readiness = guest.wait(limit, &*Silent.bar("", 0, Unit::Items), &mut || {
        Ok(match kind {
            Serves | EndsUnready(_) => false,
            Unseen => says(machine.port, "/readyz").is_some_and(|said| said.contains("\"no_report\"")),
            // A changed image must not even say that it is not ready.
            Ends(_) | Hangs => says(machine.port, "/healthz").is_some(),
        })
    })?;
    let console = guest.console()?;
    let (took, what) = match (kind, readiness) {
        (Serves, Readiness::Serving { boot, took }) => (took, stages(&boot)?),
        (Unseen, Readiness::Interrupted) if console.is_empty() => (Duration::ZERO, "no report".to_owned()),
        (Ends(reason) | EndsUnready(reason), Readiness::Stopped { took }) => {
            let line = console.iter().find(|line| line.contains(reason));
            let line = line.with_context(|| format!("{reason:?} is not on the console:\n{}", console.join("\n")))?;
            guest.end()?;
            (took, line.clone())
        }
        (Hangs, Readiness::Neither) => (limit, "neither served nor ended".to_owned()),
        (_, readiness) => bail!("{note}: {readiness:?}; console:\n{}", console.join("\n")),
    };
    let note = [note, what].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
    Ok((took, format!("{:.1} s; {note}", took.as_secs_f64())))
}

/// What the guest answers, if anybody in it does.
fn says(port: u16, path: &str) -> Option<String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_millis(300)))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut said = [0; 4096];
        let read = stream.read(&mut said)?;
        Ok(String::from_utf8_lossy(&said[..read]).into_owned())
    };
    ask().ok().filter(|said| !said.is_empty())
}

/// What `/boot` says, in one line; an error unless the root was opened through dm-verity and read.
fn stages(boot: &str) -> anyhow::Result<String> {
    #[derive(serde::Deserialize)]
    struct Boot {
        stages: Vec<Stage>,
    }
    #[derive(serde::Deserialize)]
    struct Stage {
        stage: String,
        begin_us: u64,
        end_us: u64,
    }
    let Boot { stages } = serde_json::from_str(boot).with_context(|| format!("parsing {boot}"))?;
    for needed in ["kernel", "verity", "read", "root"] {
        ensure!(stages.iter().any(|stage| stage.stage == needed), "no stage {needed} in {boot}");
    }
    let text = |Stage { stage, begin_us, end_us }: &Stage| format!("{stage} {} ms", (end_us - begin_us) / 1000);
    Ok(stages.iter().map(text).collect::<Vec<_>>().join(", "))
}

impl Bench {
    fn new(firmware: &Path) -> anyhow::Result<Self> {
        let set = |name| std::env::var_os(name).map(PathBuf::from);
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a checkout around xtask")?;
        let dist = Dist::open(&set("VITRINE_DIST").unwrap_or_else(|| checkout.join("dist")))?;
        let home = || Some(set("HOME")?.join(".cache/vitrine"));
        let cache = set("VITRINE_CACHE").or_else(home).context("VITRINE_CACHE is not set")?;

        let lock = Lock::read(&checkout.join("image.lock"))?;
        let package = lock.package("ovmf").context("image.lock: no package ovmf")?;
        Deb::open(&Store::open(&cache)?.path(&package.sha256))?.unpack(firmware)?;
        let ovmf = firmware.join("usr/share/ovmf/OVMF.fd").to_str().context("a UTF-8 TMPDIR")?.to_owned();

        let seed = match std::env::var("VITRINE_SEED") {
            Ok(seed) => seed.parse().context("VITRINE_SEED")?,
            Err(_unset) => RandomState::new().hash_one(0),
        };
        let line = dist.command_line(Tee::Simulated)?;
        Ok(Self { tools: tools(&dist, &cache)?, dist, ovmf, line, seed })
    }

    /// What a simulated processor is told of its guest is what the build says that hardware would measure.
    fn launch_digests_are_those_of_the_table(&self) -> anyhow::Result<()> {
        let manifest = Manifest::read(Path::new(&self.dist.path("manifest.json")))?;
        for (tee, vcpus) in [(Tee::Simulated, 1), (Tee::Simulated, 2), (Tee::Snp, 64)] {
            let rows = manifest.boot(tee)?.snp.rows();
            // The first of its size is the CPU that QEMU is asked for, with SNP alone.
            let row = rows.iter().find(|row| row.vcpus.count() == vcpus).context("a row")?;
            let found = self.dist.launch_digest(&self.dist.command_line(tee)?, u16::try_from(vcpus)?)?;
            ensure!(found == row.launch_digest, "{tee}, {vcpus} vCPUs: expected {}, found {found}", row.launch_digest);
        }
        Ok(())
    }

    /// QEMU gets as far with the arguments for hardware as it can without any: it refuses emulation of SEV-SNP after it
    /// has understood everything else.
    fn qemu_accepts_snp_arguments(&self, dir: &Path) -> anyhow::Result<()> {
        let platform = Platform::SevSnp {
            firmware: self.dist.path("ovmf.fd"),
            policy: 0x302_0000,
            host_data: Some(Sha256::of(b"")),
        };
        let machine = self.dist.machine(platform, self.line.clone(), "/dev/null".to_owned(), free_port()?);
        let dist = Path::new(&machine.kernel).parent().context("a directory")?;
        let inside = |argument: &String| match argument.as_str() {
            "kvm" => "tcg".to_owned(),
            other => other.replace(&dist.display().to_string(), "/run/dist"),
        };
        let mut argv = vec!["/usr/bin/qemu-system-x86_64".to_owned()];
        argv.extend(machine.argv().iter().flatten().map(inside));
        let log = dir.join("snp.log");
        let sandbox = Sandbox {
            root: self.tools.clone(),
            binds: vec![Bind { host: dist.to_path_buf(), guest: "/run/dist".into(), writable: false }],
            argv,
            env: BTreeMap::new(),
            cwd: "/".into(),
            network: Network::Host,
            uid: 0,
            log: log.clone(),
        };
        ensure!(sandbox.run(&mut |_line| ()).is_err(), "SEV-SNP was emulated");
        let said = fs::read_to_string(&log)?;
        let errors: Vec<_> = said.lines().filter(|line| !line.contains("warning: ")).collect();
        let refusal = "qemu-system-x86_64: cannot set up private guest memory for sev-snp-guest: KVM required";
        ensure!(errors == [refusal], "expected {refusal:?}, found {errors:?}");
        Ok(())
    }

    fn machine(&self, under: Under, dir: &Path) -> anyhow::Result<Machine> {
        let path = |name| dir.join(name).to_str().map(str::to_owned).context("a UTF-8 TMPDIR");
        let firmware = match under {
            SeaBios => Firmware::SeaBios,
            Ovmf => Firmware::Uefi(self.ovmf.clone()),
            // Told of this build's files, whatever the test boots then.
            Measured => self.dist.measured_firmware(&self.line, &path("hashes.page")?)?,
        };
        let machine =
            self.dist.machine(Platform::Simulated(firmware), self.line.clone(), path("console.log")?, free_port()?);
        // Whoever it is that the guest asks for reports; a guest for hardware does not ask.
        Ok(Machine { ports: vec![Port { name: simulate_port::NAME, socket: path(simulate_port::NAME)? }], ..machine })
    }
}

impl Trial<'_> {
    fn replace_line(&mut self, from: &str, to: &str) -> anyhow::Result<()> {
        ensure!(self.bench.line.contains(from), "{from:?} is not on the command line");
        self.machine.command_line = self.bench.line.replacen(from, to, 1);
        Ok(())
    }

    /// A changed copy of `file`.
    fn changed(&self, file: &str, change: impl FnOnce(&mut Vec<u8>) -> anyhow::Result<()>) -> anyhow::Result<String> {
        let mut bytes = fs::read(file)?;
        change(&mut bytes)?;
        let path = self.dir.join("changed");
        fs::write(&path, bytes)?;
        path.to_str().map(str::to_owned).context("a UTF-8 TMPDIR")
    }

    /// A copy of the disk `file` in which the bit that the seed chooses among `len` bytes from `start` of the partition
    /// `uuid` is flipped.
    fn flipped(&mut self, file: &str, uuid: Guid, start: u64, len: u64) -> anyhow::Result<String> {
        let (byte, bit) = (start + self.bench.seed % len, 1 << (self.bench.seed >> 61));
        self.note = format!("bit {bit:#04x} of byte {byte} of the partition flipped");
        self.changed(file, |disk| {
            let at = usize::try_from(partition(disk, uuid)? + byte)?;
            *disk.get_mut(at).context("the partition ends early")? ^= bit;
            Ok(())
        })
    }

    fn line(&self) -> anyhow::Result<CommandLine> {
        Ok(self.bench.line.parse()?)
    }
}

/// Where the partition begins, in bytes (UEFI 2.10, 5.3.3).
fn partition(disk: &[u8], uuid: Guid) -> anyhow::Result<u64> {
    let entries = disk.get(1024..).context("no partition table")?.chunks_exact(128).take(128);
    let mut found = entries.filter(|entry| entry[16..32] == uuid.to_mixed_endian());
    let entry = found.next().with_context(|| format!("no partition {uuid}"))?;
    Ok(u64::from_le_bytes(entry[32..40].try_into()?) * 512)
}

/// As for hardware, which nothing in the guest looks for yet.
fn for_hardware(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    trial.machine.command_line = trial.bench.dist.command_line(Tee::Snp)?;
    Ok(())
}

fn flipped_data(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    let (disk, root) = (trial.machine.root.clone(), trial.line()?.root);
    trial.machine.root = trial.flipped(&disk, root.data, 0, root.data_blocks.get() * BLOCK)?;
    Ok(())
}

/// Any block of the tree is used: the whole root is read at boot.
fn flipped_hash(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    let (disk, root) = (trial.machine.root.clone(), trial.line()?.root);
    let (mut level, mut blocks) = (root.data_blocks.get(), 0);
    while level > 1 {
        level = level.div_ceil(FAN_OUT);
        blocks += level;
    }
    // Block 0 is the superblock, which nobody reads.
    trial.machine.root = trial.flipped(&disk, root.hash, BLOCK, blocks * BLOCK)?;
    Ok(())
}

fn flipped_model(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    let (disk, model) = (trial.machine.model.clone(), trial.line()?.model);
    trial.machine.model = trial.flipped(&disk, model.data, 0, model.data_blocks.get() * BLOCK)?;
    Ok(())
}

fn flipped_end_of_model(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    let (disk, model) = (trial.machine.model.clone(), trial.line()?.model);
    trial.machine.model = trial.flipped(&disk, model.data, model.data_blocks.get() * BLOCK - 1, 1)?;
    Ok(())
}

/// One that is whole, with a hash tree of its own.
fn other_model(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    let model = trial.line()?.model;
    trial.machine.model = trial.changed(&trial.machine.model, |disk| {
        let bytes = usize::try_from(model.data_blocks.get() * BLOCK)?;
        let [data, hash] = [partition(disk, model.data)?, partition(disk, model.hash)? + BLOCK];
        let [data, hash] = [usize::try_from(data)?, usize::try_from(hash)?];
        disk[data + bytes / 2] ^= 1;
        let (verity, before) = (Verity::new(bytes as u64, Salt::new(model.salt.as_bytes())?)?, disk.clone());
        let tree = Mutex::new(disk);
        let read = |at: u64, buffer: &mut [u8]| {
            let at = data + usize::try_from(at).expect("a disk in memory");
            buffer.copy_from_slice(&before[at..at + buffer.len()]);
            Ok(())
        };
        let write = |at: u64, block: &[u8]| {
            let at = hash + usize::try_from(at).expect("a disk in memory");
            tree.lock().unwrap()[at..at + block.len()].copy_from_slice(block);
            Ok(())
        };
        let root = verity.format(NonZeroUsize::MIN, &read, &write)?;
        ensure!(root != model.root, "it is the same model");
        Ok(())
    })?;
    Ok(())
}

fn other_root_hash(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    let mut line = trial.line()?;
    std::mem::swap(&mut line.root.root, &mut line.model.root);
    trial.machine.command_line = line.to_string();
    Ok(())
}

/// One letter of the version in the header, which nothing reads (Linux, Documentation/arch/x86/boot.rst, 0x20e).
fn other_kernel(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    trial.machine.kernel = trial.changed(&trial.machine.kernel, |kernel| {
        let at = kernel.get(0x20e..0x210).context("no header")?;
        let at = usize::from(u16::from_le_bytes(at.try_into()?)) + 0x200;
        let byte = kernel.get_mut(at).context("no version")?;
        ensure!(byte.is_ascii_digit(), "no version at {at:#x}");
        *byte ^= 1;
        Ok(())
    })?;
    Ok(())
}

/// Four zero bytes more, which end the archive no less.
fn other_initrd(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    trial.machine.initrd = trial.changed(&trial.machine.initrd, |initrd| {
        initrd.extend([0; 4]);
        Ok(())
    })?;
    Ok(())
}

fn truncated_disk(trial: &mut Trial<'_>) -> anyhow::Result<()> {
    trial.machine.root = trial.changed(&trial.machine.root, |disk| {
        disk.truncate(disk.len() / 2 / 512 * 512);
        Ok(())
    })?;
    Ok(())
}
