//! `measure`: what hardware and kernel will measure, computed from files.

use crate::report::{self, Answer, Terminal};
use crate::{build, workspace};
use anyhow::{Context as _, bail, ensure};
use image::files::read_bounded;
use image::formats::hash;
use image::pipeline::build::Checkout;
use image::pipeline::measured::{MAX_BOOT_FILE, MEASUREMENTS_LOCK, Manifest, Measurements};
use measure::Sha256;
use measure::guid::Guid;
use measure::snp::{
    CpuSignature, FirmwareLaunch, KernelHashes, MAX_OVMF, Ovmf, SevFeatures, Shape, Step, Vcpus, VmmProfile,
};
use measure::verity::Salt;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

/// Measures a build's output anew, or any files.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    #[command(subcommand)]
    what: Option<What>,

    /// The output directory of `build`; the checkout's `dist/` by default.
    #[arg(long, value_name = "DIR")]
    dist: Option<PathBuf>,

    /// Compare with measurements.lock: the answer is no if the build differs, or if any input of a stage has changed.
    #[arg(long)]
    check: bool,

    /// Write measurements.lock.
    #[arg(long, conflicts_with = "check")]
    update: bool,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Snp(SnpFlags),
    Verity(VerityFlags),
}

/// The launch digest of an SEV-SNP guest that QEMU starts from these files.
#[derive(Debug, clap::Args)]
struct SnpFlags {
    /// The firmware, built for SEV-SNP.
    #[arg(long, value_name = "FILE")]
    ovmf: PathBuf,

    /// The kernel, if it is booted directly with kernel-hashes=on.
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,

    /// The initrd.
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,

    /// The kernel's command line, every byte of it.
    #[arg(long, value_name = "TEXT", requires = "kernel", allow_hyphen_values = true)]
    append: Option<OsString>,

    /// Number of vCPUs.
    #[arg(long, value_name = "N", value_parser = vcpus)]
    vcpus: Vcpus,

    /// The vCPUs' type: EPYC-v4, Milan, Genoa, Turin or another CPU model of QEMU.
    #[arg(long, value_name = "TYPE", required_unless_present = "vcpu_sig")]
    vcpu_type: Option<CpuSignature>,

    /// The vCPUs' signature instead of a type: CPUID function 1, register EAX, such as 0xa00f11.
    #[arg(long, value_name = "HEX", conflicts_with = "vcpu_type")]
    vcpu_sig: Option<CpuSignature>,

    /// The virtual machine monitor.
    #[arg(long, value_name = "NAME", default_value = "qemu", value_parser = vmm)]
    vmm: &'static VmmProfile,

    /// SEV_FEATURES in the vCPUs' initial state.
    #[arg(long, value_name = "HEX", default_value = "0x1")]
    guest_features: SevFeatures,

    /// List every measured page on stderr, or in the JSON object.
    #[arg(long)]
    trace: bool,
}

/// The dm-verity root of a file.
#[derive(Debug, clap::Args)]
struct VerityFlags {
    /// The data, in whole blocks of 4096 bytes.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,

    /// Also write superblock and hash tree, as `veritysetup format` does.
    #[arg(long, value_name = "FILE")]
    hash_tree: Option<PathBuf>,

    /// The salt in hexadecimal; `-` for none.
    #[arg(long, value_name = "HEX", default_value = "-", allow_hyphen_values = true)]
    salt: Salt,

    /// The superblock's UUID.
    #[arg(long, value_name = "UUID", default_value_t = Guid::NIL, requires = "hash_tree")]
    uuid: Guid,
}

fn vcpus(text: &str) -> anyhow::Result<Vcpus> {
    Ok(text.parse::<u32>()?.try_into()?)
}

fn vmm(text: &str) -> anyhow::Result<&'static VmmProfile> {
    let names: Vec<_> = VmmProfile::ALL.iter().map(|profile| profile.name).collect();
    VmmProfile::named(text).with_context(|| format!("expected one of {}", names.join(", ")))
}

/// Runs `measure`.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<Answer> {
    ensure!(flags.what.is_none() || !(flags.check || flags.update), "--check and --update measure dist/ alone");
    match &flags.what {
        Some(What::Snp(flags)) => snp(flags),
        Some(What::Verity(flags)) => verity(flags),
        None => image(flags),
    }
}

/// Measures `dist/`, and compares with or writes `measurements.lock`.
fn image(flags: &Flags) -> anyhow::Result<Answer> {
    let root = workspace::root()?;
    let dist = workspace::built(flags.dist.as_deref())?;
    let (found, mut differences) = anew(&dist)?;
    let (yes, no) = if flags.check {
        differences.extend(image::pipeline::build::check(&Checkout::read(&root)?, &dist)?);
        (
            "dist/ and every input are what measurements.lock says",
            "dist/ or its inputs are not what measurements.lock says; run `cargo xtask build`, or, if the change is meant, \
             `cargo xtask measure --update`",
        )
    } else {
        ("dist/ measures to what its manifest says", "dist/ does not measure to what its manifest says")
    };
    let agreed = differences.is_empty();
    if flags.update && agreed {
        let records = image::pipeline::dist::records(&dist)?;
        Measurements::new(&found, &records)?.write(&root.join(MEASUREMENTS_LOCK))?;
    }
    Ok(Answer {
        yes: agreed,
        reason: if agreed { yes } else { no }.to_owned(),
        text: if agreed { build::summary(&dist, &found)? } else { differences.join("\n") + "\n" },
        payload: serde_json::json!({ "manifest": found, "differences": differences }),
    })
}

/// What the files of `dist` measure to, and how that differs from what its manifest says.
pub(crate) fn anew(dist: &Path) -> anyhow::Result<(Manifest, Vec<String>)> {
    let (manifest, records) = image::pipeline::dist::read(dist)?;
    let found = manifest.recomputed(dist, &Terminal::new())?;
    let mut differences = Measurements::new(&manifest, &records)?.differences(&Measurements::new(&found, &records)?);
    if found != manifest && differences.is_empty() {
        differences.push("manifest.json: it does not follow from the files beside it".to_owned());
    }
    Ok((found, differences))
}

fn snp(flags: &SnpFlags) -> anyhow::Result<Answer> {
    let Some(cpu) = flags.vcpu_type.or(flags.vcpu_sig) else { bail!("expected --vcpu-type or --vcpu-sig") };
    let shape = Shape { vcpus: flags.vcpus, cpu, sev_features: flags.guest_features };
    let reading = || format!("reading the firmware {}", flags.ovmf.display());
    // The kernel takes longer than all else, and as much of it is done meanwhile as can be.
    let (launch, kernel) = thread::scope(|scope| {
        let kernel = flags.kernel.as_deref().map(|kernel| scope.spawn(|| digest_of(kernel)));
        let firmware = read_bounded(&flags.ovmf, MAX_OVMF as u64).with_context(reading)?;
        let measuring = || format!("measuring a launch with {}", flags.ovmf.display());
        let ovmf = Ovmf::parse(&firmware).with_context(reading)?;
        let launch = FirmwareLaunch::new(&ovmf).with_context(measuring)?;
        let initrd = flags.initrd.as_deref().map_or_else(|| Ok(Sha256::of(&[])), digest_of)?;
        let cmdline = KernelHashes::cmdline_digest(flags.append.as_deref().unwrap_or_default().as_encoded_bytes());
        let kernel = kernel.map(|kernel| kernel.join().unwrap_or_else(|panic| resume_unwind(panic))).transpose()?;
        let kernel = kernel.map(|kernel| KernelHashes { kernel, initrd, cmdline });
        anyhow::Ok((launch.with(kernel.as_ref(), flags.vmm).with_context(measuring)?, kernel))
    })?;
    let digest = launch.before_vmsas.digest(&shape);
    let mut payload = serde_json::json!({
        "launch_digest_sha384": digest,
        "before_vmsas_sha384": launch.before_vmsas.launch_digest,
        "kernel_hashes": kernel,
        "vcpus": shape.vcpus,
        "cpu": shape.cpu,
        "sev_features": shape.sev_features,
        "vmm": flags.vmm.name,
        "vmm_applies_to": flags.vmm.applies_to,
    });
    if flags.trace {
        let trace = launch.trace(&shape);
        report::explain(&lines(&trace));
        payload["trace"] = serde_json::to_value(trace).context("writing the trace as JSON")?;
    }
    let reason = format!("launch digest of {} vCPUs {}", shape.vcpus.count(), shape.cpu);
    Ok(Answer { yes: true, reason, text: format!("{digest}\n"), payload })
}

/// The digest of a kernel or initrd, which is hashed as it is read: it need not be in memory.
fn digest_of(path: &Path) -> anyhow::Result<Sha256> {
    let reading = || format!("reading {}", path.display());
    let mut file = File::open(path).with_context(reading)?.take(MAX_BOOT_FILE + 1);
    let (size, sha256) = hash::copy(&mut file, &mut io::sink()).with_context(reading)?;
    ensure!(size <= MAX_BOOT_FILE, "{}: expected at most {MAX_BOOT_FILE} bytes, found more", path.display());
    Ok(sha256)
}

/// One line per page.
fn lines(trace: &[Step]) -> String {
    let mut text = String::new();
    for Step { gpa, page_type, contents, launch_digest } in trace {
        let page_type = format!("{page_type:?}");
        let _infallible = writeln!(text, "{gpa:#014x} {page_type:10} {contents} {launch_digest}");
    }
    text
}

fn verity(flags: &VerityFlags) -> anyhow::Result<Answer> {
    let VerityFlags { data, hash_tree, salt, uuid } = flags;
    let terminal = report::Terminal::new();
    let formatted = image::formats::verity::format(data, hash_tree.as_deref(), salt.clone(), *uuid, &terminal)?;
    let payload = serde_json::json!({
        "root_sha256": formatted.root,
        "data_blocks": formatted.data_blocks,
        "hash_blocks": formatted.hash_blocks,
        "block_bytes": measure::verity::BLOCK,
        "salt": salt.to_string(),
    });
    let reason = format!("dm-verity root of {} blocks", formatted.data_blocks);
    Ok(Answer { yes: true, reason, text: format!("{}\n", formatted.root), payload })
}
