//! `measure` against the programs that it must agree with: veritysetup and sev-snp-measure, on real firmware.
//!
//! `VITRINE_TOOLS_TREE` is an unpacked tools tree with `usr/sbin/veritysetup` and python3, `VITRINE_SEV_SNP_MEASURE`
//! the wheel of sev-snp-measure 0.0.13, `VITRINE_OVMF_AMDSEV` Debian's `OVMF.amdsev.fd`.

use anyhow::Context as _;
use measure::snp::{KernelHashes, Launch, Ovmf, ShapeTable, VmmProfile};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

#[expect(clippy::disallowed_methods, reason = "where the oracles are is the caller's to say")]
fn given(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable).filter(|path| !path.is_empty());
    path.unwrap_or_else(|| panic!("needs {variable}; run by cargo xtask ci")).into()
}

#[expect(clippy::disallowed_methods, reason = "an oracle is another program")]
fn program(path: impl AsRef<Path>) -> Command {
    let mut command = Command::new(path.as_ref());
    command.stdin(Stdio::null());
    command
}

/// A program of the tools tree, run by the tree's own loader.
fn tool(name: &str) -> Command {
    let tree = given("VITRINE_TOOLS_TREE");
    let mut command = program(tree.join("lib64/ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(tree.join("usr/lib/x86_64-linux-gnu")).arg(tree.join(name));
    command
}

fn xtask(command: &str) -> Command {
    let mut xtask = program(env!("CARGO_BIN_EXE_xtask"));
    xtask.args(["measure", command]);
    xtask
}

fn python(script: &str) -> Command {
    let mut python = tool("usr/bin/python3");
    python.env("PYTHONHOME", given("VITRINE_TOOLS_TREE").join("usr"));
    python.env("PYTHONPATH", given("VITRINE_SEV_SNP_MEASURE")).args(["-B", "-c", script]);
    python
}

/// What the command says on stdout.
fn says(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{command:?}: {}\n{error}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// A file of `length` bytes that look random, others for each seed.
fn noise(path: &Path, seed: u64, length: usize) -> anyhow::Result<()> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        bytes.extend((state ^ state >> 29).to_le_bytes());
    }
    bytes.truncate(length);
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

#[test]
#[ignore = "needs VITRINE_TOOLS_TREE; run by cargo xtask ci"]
fn verity_equals_veritysetup() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let [data, theirs, ours] = ["data", "theirs", "ours"].map(|name| scratch.path().join(name));
    let salts = ["-".to_owned(), "c3".to_owned(), "5a".repeat(32), "01".repeat(256)];
    const MIB: usize = 256;
    let sizes =
        [1, 2, 3, 15, 16, 17, 127, 128, 129, 255, 256, 257, 5000, 64 * MIB - 1, 64 * MIB, 64 * MIB + 1, 300 * MIB];
    for (seed, blocks) in (1..).zip(sizes) {
        noise(&data, seed, blocks * 4096)?;
        for salt in salts.iter().take(if blocks > 1000 { 2 } else { 4 }) {
            File::create(&theirs)?;
            let format = says(
                tool("usr/sbin/veritysetup").args(["format", "--salt", salt, "--uuid", UUID]).args([&data, &theirs]),
            )?;
            let root = says(
                xtask("verity")
                    .args(["--salt", salt, "--uuid", UUID, "--data"])
                    .arg(&data)
                    .arg("--hash-tree")
                    .arg(&ours),
            )?;
            assert!(format.lines().any(|line| line.starts_with("Root hash:") && line.ends_with(root.trim_end())));
            assert!(fs::read(&ours)? == fs::read(&theirs)?, "the trees over {blocks} blocks differ, salt {salt}");
        }
    }
    // Theirs also accepts our tree over our data, and we leave nothing beside it.
    let root = says(xtask("verity").args(["--salt", &salts[1], "--data"]).arg(&data))?;
    says(tool("usr/sbin/veritysetup").arg("verify").args([&data, &ours]).arg(root.trim_end()))?;
    assert_eq!(fs::read_dir(scratch.path())?.count(), 3);
    Ok(())
}

#[test]
#[ignore = "needs VITRINE_TOOLS_TREE, VITRINE_SEV_SNP_MEASURE and VITRINE_OVMF_AMDSEV; run by cargo xtask ci"]
fn snp_equals_sev_snp_measure() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let ovmf = given("VITRINE_OVMF_AMDSEV");
    let [kernel, initrd] = ["kernel", "initrd"].map(|name| scratch.path().join(name));
    let appends = ["", "quiet", "console=ttyS0  ", " \tconsole=ttyS0 \n", "-starts --with hyphens", "ünï ©ode "];
    let shapes =
        [(1, "EPYC-v4", "0x1"), (2, "EPYC-Milan", "0x21"), (7, "EPYC-Genoa", "0x1"), (64, "EPYC-Turin", "0x201")];
    for (seed, (append, (vcpus, cpu, features))) in (1..).zip(appends.into_iter().zip(shapes.into_iter().cycle())) {
        noise(&kernel, seed, 1_000_001 * seed as usize)?;
        noise(&initrd, seed + 100, 300_007 * seed as usize)?;
        let flags = |mut command: Command| -> anyhow::Result<String> {
            command.arg("--ovmf").arg(&ovmf).args(["--vcpus", &vcpus.to_string()]);
            command.args(["--vcpu-type", cpu, "--guest-features", features]);
            let without_kernel = says(&mut command)?;
            command.arg("--kernel").arg(&kernel).arg(format!("--append={append}"));
            let without_initrd = says(&mut command)?;
            command.arg("--initrd").arg(&initrd);
            Ok([without_kernel, without_initrd, says(&mut command)?].concat())
        };
        let mut theirs = python("import sys\nfrom sevsnpmeasure.cli import main\nsys.exit(main())");
        theirs.args(["--mode", "snp"]);
        let ours = flags(xtask("snp"))?;
        assert_eq!(ours, flags(theirs)?, "{append:?} {vcpus} {cpu} {features}");
        assert_eq!(ours.len(), 3 * 97);
    }
    Ok(())
}

/// Prints every row of the table, in its order.
const TABLE: &str = r#"
import sys
from sevsnpmeasure import guest
from sevsnpmeasure.sev_mode import SevMode
ovmf, kernel, initrd, append = sys.argv[1:]
hash = guest.calc_snp_ovmf_hash(ovmf).hex()
for sig in (0x800f12, 0xa00f11, 0xa10f10, 0xb00f00):
    for features in (0x1, 0x21):
        for vcpus in range(1, 65):
            digest = guest.calc_launch_digest(
                SevMode.SEV_SNP, vcpus, sig, ovmf, kernel, initrd, append, features, snp_ovmf_hash_str=hash)
            print(f"{sig:#x} {features:#x} {vcpus} {digest.hex()}")
"#;

#[test]
#[ignore = "needs VITRINE_TOOLS_TREE, VITRINE_SEV_SNP_MEASURE and VITRINE_OVMF_AMDSEV; run by cargo xtask ci"]
fn shape_table_equals_sev_snp_measure() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let ovmf = given("VITRINE_OVMF_AMDSEV");
    let [kernel, initrd] = ["kernel", "initrd"].map(|name| scratch.path().join(name));
    noise(&kernel, 7, 50_000)?;
    noise(&initrd, 8, 20_000)?;
    let append = "panic=-1 quiet ";
    let theirs = says(python(TABLE).args([&ovmf, &kernel, &initrd]).arg(append))?;

    let firmware = fs::read(&ovmf)?;
    let hashes = KernelHashes::of(&fs::read(&kernel)?, Some(&fs::read(&initrd)?), append.as_bytes());
    let launch = Launch::new(&Ovmf::parse(&firmware)?, Some(&hashes), &VmmProfile::QEMU)?;
    let table = ShapeTable::new(&launch.before_vmsas);
    let row = |row: &measure::snp::ShapeRow| {
        format!("{} {} {} {}\n", row.cpu, row.sev_features, row.vcpus.count(), row.launch_digest)
    };
    let ours: String = table.rows().iter().map(row).collect();
    assert_eq!(ours, theirs);
    assert_eq!(theirs.lines().count(), 512);
    Ok(())
}
