//! Differences planted in the output of one stage of the finished build are named: stage, artifact, path, kind and cause.
//!
//! Works on `dist/` (or `$VITRINE_DIST`) and on the stages' cache. Run by `cargo xtask ci`, or by
//! `cargo test -p xtask --test planted -- --ignored` after `cargo xtask build`. With `--full` also what compiles the guest.

#![expect(clippy::disallowed_methods, reason = "which build and cache to test is in the environment")]
#![expect(clippy::print_stdout, reason = "it is its own test harness")]

#[path = "planted/scene.rs"]
mod scene;

use anyhow::{Context as _, ensure};
use image::compare::{Build, Cause, Comparison, Difference, Kind, compare};
use image::formats::filetree::{Content, Node, Tree};
use image::formats::listing::TreePath;
use image::formats::verity;
use image::pipeline::build::Checkout;
use image::pipeline::dist;
use image::pipeline::stage::{Record, Stage};
use image::pipeline::volume::{self, Volume};
use image::progress::Silent;
use measure::verity::Salt;
use scene::{Plant, Scene, edit};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const EROFS: &str = "rootfs.erofs";
/// A file of a package, one of ours, and one that is compiled.
const LIBRARY: &str = "usr/lib/x86_64-linux-gnu/libz.so.1.3.1";
const UNIT: &str = "usr/lib/systemd/system/vitrine.target";
const AGENT: &str = "usr/bin/enclave-agent";
const MODULE: &str = "modules/tsm.ko.xz";

/// A seed that is not the request's.
const OTHER_SEED: &str = "00000000-0000-4000-8000-000000000001";

/// Those of which the command is asked as well: a measurement differs, none does, and one that is not what is said of it.
const ASKED: [&str; 3] = ["unit", "another GPT GUID", "another command-line token"];

/// What the first difference must be.
struct Named {
    stage: Stage,
    artifact: &'static str,
    path: Option<&'static str>,
    kind: Kind,
    /// What its cause begins with.
    cause: &'static str,
    /// Whether a measurement moves.
    measured: bool,
}

fn named(
    stage: Stage,
    artifact: &'static str,
    path: impl Into<Option<&'static str>>,
    kind: Kind,
    cause: &'static str,
) -> Named {
    Named { stage, artifact, path: path.into(), kind, cause, measured: true }
}

fn main() -> anyhow::Result<()> {
    image::tools::sandbox::entry();
    let asked = |wanted: &[&str]| std::env::args().any(|argument| wanted.contains(&argument.as_str()));
    if !asked(&["--ignored", "--include-ignored"]) {
        println!("ignored: needs a finished build; run by cargo xtask ci");
        return Ok(());
    }
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a checkout around xtask")?;
    let dist = set("VITRINE_DIST").unwrap_or_else(|| checkout.join("dist"));
    let home = || Some(set("HOME")?.join(".cache/vitrine"));
    let cache = set("VITRINE_CACHE").or_else(home).context("VITRINE_CACHE is not set")?;
    let scene = Scene::new(checkout, &dist, &cache)?;

    let mut passed = 0;
    let mut test = |name: &str, run: &dyn Fn(&Scene) -> anyhow::Result<()>| {
        let started = Instant::now();
        run(&scene).with_context(|| format!("planted: {name}"))?;
        println!("test {name} ... ok  {:.1}s", started.elapsed().as_secs_f64());
        passed += 1;
        anyhow::Ok(())
    };
    test("two commits", &|_| commits())?;
    test("nothing", &nothing)?;
    for (name, edit, expected) in in_the_root() {
        let planted = |scene: &Scene| {
            let plant: Plant<'_> = &|output, work| scene.edit_root(output, work, edit);
            check(scene, name, &scene.checkout, &[], Some((Stage::Rootfs, plant)), &expected).map(drop)
        };
        test(name, &planted)?;
    }
    for (name, stage, plant, expected) in in_other_outputs() {
        let planted = |scene: &Scene| {
            let plant: Plant<'_> = &|output, work| plant(scene, output, work);
            check(scene, name, &scene.checkout, &[], Some((stage, plant)), &expected).map(drop)
        };
        test(name, &planted)?;
    }
    test("another date and another path", &date_and_path)?;
    test("a changed unit file", &unit)?;
    test("another crate version", &crate_version)?;
    test("a changed compiler flag", &compiler_flag)?;
    test("another epoch", &epoch)?;
    if asked(&["--full"]) {
        test("a changed source, compiled", &source)?;
    }
    println!("{passed} passed, 0 failed");
    scene.remove()
}

type Edit = &'static (dyn Fn(&mut Tree) + Sync);

/// Planted in the root file system, which is then made again by `mkfs.erofs`.
fn in_the_root() -> Vec<(&'static str, Edit, Named)> {
    let in_root = |path, kind, cause| named(Stage::Rootfs, EROFS, path, kind, cause);
    vec![
        (
            "one byte in a rootfs file",
            &|tree| bytes(tree, LIBRARY)[4321] ^= 1,
            in_root(LIBRARY, Kind::Bytes, "unexplained"),
        ),
        ("a shorter file", &|tree| bytes(tree, LIBRARY).truncate(99), in_root(LIBRARY, Kind::Size, "unexplained")),
        ("another owner", &|tree| node(tree, UNIT).gid = 7, in_root(UNIT, Kind::Owner, "unexplained")),
        ("another mode", &|tree| node(tree, AGENT).mode = 0o4755, in_root(AGENT, Kind::Mode, "unexplained")),
        (
            "another link",
            &|tree| node(tree, "lib64").content = Content::Symlink(b"usr/lib".to_vec()),
            in_root("lib64", Kind::Target, "unexplained"),
        ),
        (
            "a directory for a link",
            &|tree| node(tree, "lib64").content = Content::Directory,
            in_root("lib64", Kind::Type, "unexplained"),
        ),
        (
            "an extra file",
            &|tree| {
                let extra = Node { content: Content::Bytes(b"x".to_vec()), mode: 0o644, uid: 0, gid: 0 };
                tree.insert(path("etc/extra"), extra);
            },
            in_root("etc/extra", Kind::Added, "unexplained"),
        ),
        (
            "a missing package",
            &|tree| tree.retain(|path, _| !path.to_string().contains("/libzstd.so.1")),
            in_root("usr/lib/x86_64-linux-gnu/libzstd.so.1", Kind::Removed, "unexplained"),
        ),
        (
            "another order of lines",
            &|tree| {
                let unit = bytes(tree, UNIT);
                let mut lines: Vec<_> = unit.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
                lines.swap(0, 1);
                *unit = lines.concat();
            },
            in_root(UNIT, Kind::Bytes, "another order"),
        ),
    ]
}

type InOutput = fn(&Scene, &Path, &Path) -> anyhow::Result<()>;

/// Planted in a file that a stage left.
fn in_other_outputs() -> Vec<(&'static str, Stage, InOutput, Named)> {
    let initrd = |path, kind, cause| named(Stage::Initrd, dist::INITRD, path, kind, cause);
    let measured =
        |artifact, path: Option<&'static str>, kind, cause| named(Stage::Measure, artifact, path, kind, cause);
    let table = "table, disk GUID";
    let unmeasured = |named: Named| Named { measured: false, ..named };
    vec![
        (
            "another mtime in the rootfs",
            Stage::Rootfs,
            |scene, output, _| {
                edit(&output.join(EROFS), |mut image| {
                    // The build time, which is the time of every inode that has none of its own.
                    image[1024 + 24] ^= 1;
                    checksum(&mut image);
                    Ok(image)
                })?;
                scene.protect(output)
            },
            named(Stage::Rootfs, EROFS, None, Kind::Time, "probably a timestamp"),
        ),
        (
            "a byte of /init",
            Stage::Initrd,
            |_, output, _| in_member(output, "init", 1000, 0),
            initrd("init", Kind::Bytes, "unexplained"),
        ),
        (
            "a changed module",
            Stage::Initrd,
            |_, output, _| in_member(output, MODULE, 2000, 0),
            initrd(MODULE, Kind::Bytes, "unexplained"),
        ),
        (
            "another mtime in the initrd",
            Stage::Initrd,
            |_, output, _| in_member(output, MODULE, 0, 6 + 5 * 8 + 7),
            initrd(MODULE, Kind::Time, "probably a timestamp"),
        ),
        (
            "a changed initrd entry",
            Stage::Initrd,
            |_, output, _| in_member(output, MODULE, 0, 6 + 8 + 7),
            initrd(MODULE, Kind::Mode, "unexplained"),
        ),
        (
            "a swapped order",
            Stage::Initrd,
            |_, output, _| swapped(output),
            initrd("modules/configfs.ko.xz", Kind::Order, "another order"),
        ),
        (
            "another kernel",
            Stage::Kernel,
            |_, output, _| edit(&output.join(dist::KERNEL), |bytes| flipped(bytes, 1 << 20)),
            named(Stage::Kernel, dist::KERNEL, None, Kind::Bytes, "unexplained"),
        ),
        (
            "another salt",
            Stage::Rootfs,
            |scene, output, _| {
                let (data, hash) = (output.join(EROFS), output.join("rootfs.verity"));
                let (salt, uuid) = ([7; 32], scene.old.manifest().root.hash_partuuid);
                let formatted = verity::format(&data, Some(&hash), Salt::new(&salt)?, uuid, &Silent)?;
                edit(&output.join("volume.json"), |bytes| {
                    let volume: Volume = serde_json::from_slice(&bytes)?;
                    let volume = Volume { salt: measure::Sha256::new(salt), root_sha256: formatted.root, ..volume };
                    Ok(serde_json::to_vec_pretty(&volume)?)
                })
            },
            named(Stage::Rootfs, "rootfs.verity", "superblock salt", Kind::Identity, "unexplained"),
        ),
        (
            "another GPT GUID",
            Stage::Disk,
            |scene, output, _| {
                let parts = ["rootfs.erofs", "rootfs.verity"].map(|name| scene.dist.join(name));
                let other = volume::Name { seed: OTHER_SEED.parse()?, ..scene.name("root") };
                let disk = output.join(dist::DISK);
                fs::remove_file(&disk)?;
                volume::disk(other, &parts[0], &parts[1], &disk)
            },
            unmeasured(named(Stage::Disk, dist::DISK, table, Kind::Identity, "unexplained")),
        ),
        (
            "a changed model byte",
            Stage::Model,
            |scene, output, work| model(scene, output, work),
            named(Stage::Model, dist::MODEL, "model.gguf", Kind::Bytes, "unexplained"),
        ),
        (
            "another OVMF",
            Stage::Measure,
            |scene, output, work| {
                edit(&output.join(dist::OVMF), |bytes| flipped(bytes, 5))?;
                scene.measure_again(output, work)
            },
            measured(dist::OVMF, None, Kind::Bytes, "unexplained"),
        ),
        (
            "another command-line token",
            Stage::Measure,
            |_, output, _| in_command_line(output, "quiet", "debug"),
            unmeasured(measured(dist::COMMAND_LINE, Some("debug"), Kind::Token, "unexplained")),
        ),
        (
            "another value on the command line",
            Stage::Measure,
            |scene, output, work| {
                in_command_line(output, "vitrine.tee=snp console=null", "vitrine.tee=simulated console=ttyS0")?;
                scene.measure_again(output, work)
            },
            measured(dist::COMMAND_LINE, Some("console"), Kind::Token, "unexplained"),
        ),
        (
            "another order on the command line",
            Stage::Measure,
            |_, output, _| in_command_line(output, "panic=-1 oops=panic", "oops=panic panic=-1"),
            unmeasured(measured(dist::COMMAND_LINE, Some("panic"), Kind::Order, "another order")),
        ),
    ]
}

/// Without a build, of this checkout.
fn commits() -> anyhow::Result<()> {
    for (new, code, expected) in [("HEAD", 0, "no difference"), ("no such commit", 2, "neither a file nor a commit")] {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(["diff", "HEAD", new]).output()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        ensure!(output.status.code() == Some(code) && said.contains(expected), "{new}: {said}");
    }
    Ok(())
}

fn nothing(scene: &Scene) -> anyhow::Result<()> {
    let plant: Plant<'_> = &|output, work| scene.edit_root(output, work, &|_| {});
    let (dist, cache) = scene.build("nothing", &scene.checkout, &[], Some((Stage::Rootfs, plant)))?;
    let found = compare(&scene.old, &Build::open(&dist, Some(&cache))?)?;
    scene.forget("nothing")?;
    let nothing = Comparison { inputs: vec![], differences: vec![], measurements: vec![], doubts: vec![] };
    ensure!(found == nothing, "expected no difference, found {found:#?}");
    Ok(())
}

/// Builds, compares with the finished build, and checks the first difference and that the others follow from it.
fn check(
    scene: &Scene,
    name: &str,
    checkout: &Checkout,
    same: &[Stage],
    planted: Option<(Stage, Plant<'_>)>,
    expected: &Named,
) -> anyhow::Result<Comparison> {
    let (dist, cache) = scene.build(name, checkout, same, planted)?;
    let found = compare(&scene.old, &Build::open(&dist, Some(&cache))?)?;
    is_named(&found, expected)?;
    if ASKED.contains(&name) {
        is_answered(scene, &dist, expected)?;
    }
    scene.forget(name)?;
    Ok(found)
}

/// What `cargo xtask diff` says of the same builds, and its exit codes.
fn is_answered(scene: &Scene, dist: &Path, expected: &Named) -> anyhow::Result<()> {
    let diff = |old: &Path, new: &Path, flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        // Without the stages' outputs, as for somebody else's build.
        command.arg("diff").args([old, new]).args(flags).env("VITRINE_CACHE", "/nonexistent");
        let output = command.output()?;
        anyhow::Ok((output.status.code(), String::from_utf8(output.stdout)?))
    };
    let (code, json) = diff(&scene.dist, dist, &["--json"])?;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    let differences = json["differences"].as_array().context("differences")?;
    let first = differences.iter().find(|it| it["cause"]["class"] != "follows").context("a difference")?;
    let found = (&first["stage"], &first["path"], &first["kind"]);
    let named = (expected.stage.name().into(), expected.path.into(), expected.kind.name().into());
    ensure!((code, found) == (Some(1), (&named.0, &named.1, &named.2)), "expected {named:?}, found {json:#}");
    let (code, markdown) = diff(&scene.dist, dist, &["--markdown"])?;
    ensure!(code == Some(1) && markdown.contains(&format!("{}: `{}`", expected.stage.name(), expected.artifact)));
    let (code, text) = diff(dist, dist, &[])?;
    ensure!(code == Some(if json["doubts"] == serde_json::json!([]) { 0 } else { 1 }), "{text}");
    let (code, text) = diff(dist, &dist.join(dist::KERNEL), &[])?;
    ensure!(code == Some(2) && text.is_empty(), "{text}");
    Ok(())
}

fn is_named(found: &Comparison, expected: &Named) -> anyhow::Result<()> {
    let Named { stage, artifact, path, kind, cause, measured } = expected;
    let first = found.first().context("found no difference")?;
    let is = |it: &Difference| {
        (it.stage, it.artifact.as_str(), it.path.as_deref(), it.kind) == (*stage, *artifact, *path, *kind)
            && it.cause.to_string().starts_with(cause)
    };
    ensure!(is(first), "expected {stage:?} {artifact} {path:?} {kind:?} {cause}, found {first:#?}");
    ensure!(found.measurements.is_empty() != *measured, "measurements: {:#?}", found.measurements);
    let of_the_first = |it: &&Difference| {
        let same_stage = it.stage == first.stage && it.artifact == first.artifact;
        !same_stage && !matches!(it.cause, Cause::Follows { .. })
    };
    let other = found.differences.iter().find(of_the_first);
    ensure!(other.is_none(), "expected that the rest follows, found {other:#?}");
    Ok(())
}

fn date_and_path(scene: &Scene) -> anyhow::Result<()> {
    let build = |name: &'static str, texts: [(&str, &'static str); 2]| {
        let edit = |tree: &mut Tree| {
            for (path, text) in texts {
                bytes(tree, path).extend_from_slice(text.as_bytes());
            }
        };
        let plant: Plant<'_> = &|output, work| scene.edit_root(output, work, &edit);
        scene.build(name, &scene.checkout, &[], Some((Stage::Rootfs, plant)))
    };
    let hosts = "etc/hosts";
    let (old, _) = build("old", [(UNIT, "# built on 2026-11-23\n"), (hosts, "# in /home/me/src\n")])?;
    let (new, _) = build("new", [(UNIT, "# built on 2026-11-24\n"), (hosts, "# in /home/you/src\n")])?;
    let found = compare(&Build::open(&old, None)?, &Build::open(&new, None)?)?;
    is_named(&found, &named(Stage::Rootfs, EROFS, hosts, Kind::Bytes, "probably an embedded path"))?;
    let dated = found.differences.get(1).context("a second difference")?;
    ensure!((dated.path.as_deref(), &dated.cause) == (Some(UNIT), &Cause::Timestamp), "{dated:#?}");
    scene.forget("old")?;
    scene.forget("new")
}

fn unit(scene: &Scene) -> anyhow::Result<()> {
    let file = "content/rootfs/usr/lib/systemd/system/vitrine.target";
    let checkout = scene.checkout("unit", &[(file, &|text| text + "# changed\n")])?;
    let expected = named(Stage::Rootfs, EROFS, UNIT, Kind::Size, "different input: file:content/rootfs/usr/lib");
    let found = check(scene, "unit", &checkout, &[], None, &expected)?;
    let inputs: Vec<_> = found.inputs.iter().map(|change| change.name.as_str()).collect();
    ensure!(inputs == [file] && found.unexplained().count() == 0, "{found:#?}");
    Ok(())
}

fn crate_version(scene: &Scene) -> anyhow::Result<()> {
    let lock = fs::read_to_string(scene.checkout.root.join("Cargo.lock"))?;
    let once = |name: &str| lock.matches(&format!("\nname = \"{name}\"\n")).count() == 1;
    let old = scene.checkout.guest.crates().iter().find(|it| once(&it.name)).context("a crate")?;
    let line = |version: &str| format!("\nname = \"{}\"\nversion = \"{version}\"\n", old.name);
    let checkout =
        scene.checkout("crate", &[("Cargo.lock", &|text| text.replace(&line(&old.version), &line("99.0.0")))])?;
    // The initrd has the other program.
    let plant: Plant<'_> = &|output, _| edit(&output.join("enclave-agent"), |bytes| flipped(bytes, 70_000));
    let cause = "different input: crate ";
    let expected = named(Stage::Guest, "guest", "enclave-agent", Kind::Bytes, cause);
    let found = check(scene, "crate", &checkout, &[Stage::Initrd], Some((Stage::Guest, plant)), &expected)?;
    let change = found.inputs.iter().find(|change| change.name == old.name).context("the crate")?;
    ensure!(change.new.as_ref().map(ToString::to_string).as_deref() == Some("99.0.0"), "{change:?}");
    ensure!(found.unexplained().count() == 0, "{found:#?}");
    Ok(())
}

/// Flags are text of ours, so that a build with others has another record of the stage that compiles. Where only the
/// published files are at hand, the path is that in the image, and the stage still that which compiles.
fn compiler_flag(scene: &Scene) -> anyhow::Result<()> {
    let plant: Plant<'_> = &|output, _| edit(&output.join("enclave-agent"), |bytes| flipped(bytes, 70_000));
    let (dist, _) = scene.build("flag", &scene.checkout, &[Stage::Initrd], Some((Stage::Guest, plant)))?;
    let without = compare(&Build::open(&scene.dist, None)?, &Build::open(&dist, None)?)?;
    is_named(&without, &named(Stage::Guest, EROFS, AGENT, Kind::Bytes, "unexplained"))?;
    edit(&dist.join(dist::STAGES), |bytes| {
        let mut records: Vec<Record> = serde_json::from_slice(&bytes)?;
        let record = records.iter_mut().find(|record| record.stage == Stage::Guest).context("a record")?;
        record.inputs = record.inputs.clone().with("guest:.cargo/config.toml", measure::Sha256::of(b"-O"));
        record.input = record.inputs.digest(Stage::Guest);
        Ok(serde_json::to_vec_pretty(&records)?)
    })?;
    let found = compare(&Build::open(&scene.dist, None)?, &Build::open(&dist, None)?)?;
    let cause = "different input: guest:.cargo/config.toml";
    is_named(&found, &named(Stage::Guest, EROFS, AGENT, Kind::Bytes, cause))?;
    scene.forget("flag")
}

fn epoch(scene: &Scene) -> anyhow::Result<()> {
    let lock = "image.lock";
    let line = |epoch: u64| format!("source-date-epoch = {epoch}\n");
    let old = scene.checkout.lock.source_date_epoch;
    let checkout = scene.checkout("epoch", &[(lock, &|text| text.replace(&line(old), &line(old + 60)))])?;
    // mkosi's trees have no times.
    let same = [Stage::Kernel, Stage::Packages];
    let expected = named(Stage::Initrd, dist::INITRD, None, Kind::Time, "different input: source-date-epoch");
    let (dist, _) = scene.build("epoch", &checkout, &same, None)?;
    let found = compare(&scene.old, &Build::open(&dist, None)?)?;
    let first = found.first().context("found no difference")?;
    ensure!((first.stage, first.kind, &first.path) == (expected.stage, expected.kind, &None), "{first:#?}");
    ensure!(found.unexplained().count() == 0, "{found:#?}");
    let artifacts: Vec<_> = found.differences.iter().map(|it| it.artifact.as_str()).collect();
    for artifact in [dist::INITRD, EROFS, dist::MODEL] {
        ensure!(artifacts.contains(&artifact), "{artifacts:?}");
    }
    scene.forget("epoch")
}

fn source(scene: &Scene) -> anyhow::Result<()> {
    let file = "enclave-agent/src/main.rs";
    let more = "\n/// Planted.\n#[used]\nstatic PLANTED: [u8; 8] = *b\"planted!\";\n";
    let checkout = scene.checkout("source", &[(file, &|text| text + more)])?;
    let expected =
        named(Stage::Guest, "guest", "enclave-agent", Kind::Bytes, "different input: guest:enclave-agent/src");
    check(scene, "source", &checkout, &[], None, &expected).map(drop)
}

fn path(path: &str) -> TreePath {
    TreePath::new(path.as_bytes()).expect("a path")
}

fn node<'a>(tree: &'a mut Tree, at: &str) -> &'a mut Node {
    tree.get_mut(&path(at)).unwrap_or_else(|| panic!("{at} is not in the image"))
}

fn bytes<'a>(tree: &'a mut Tree, at: &str) -> &'a mut Vec<u8> {
    match &mut node(tree, at).content {
        Content::Bytes(bytes) => bytes,
        other => panic!("{at} is {other:?}"),
    }
}

fn flipped(mut bytes: Vec<u8>, at: usize) -> anyhow::Result<Vec<u8>> {
    *bytes.get_mut(at).context("a byte")? ^= 1;
    Ok(bytes)
}

/// Where the header of a member of the initrd starts, and its data.
fn member(archive: &[u8], name: &str) -> anyhow::Result<(usize, usize)> {
    let named = [name.as_bytes(), b"\0"].concat();
    let at = archive.windows(named.len()).position(|window| window == named).context("no such member")?;
    Ok((at - 110, (at + named.len()).next_multiple_of(4)))
}

/// Changes the byte at `data` of a member's data, or the digit at `header` of its header.
fn in_member(output: &Path, name: &str, data: usize, header: usize) -> anyhow::Result<()> {
    edit(&output.join(dist::INITRD), |archive| {
        let (head, body) = member(&archive, name)?;
        flipped(archive, if header == 0 { body + data } else { head + header })
    })
}

/// Exchanges the first two modules.
fn swapped(output: &Path) -> anyhow::Result<()> {
    edit(&output.join(dist::INITRD), |archive| {
        let starts = ["modules/configfs.ko.xz", "modules/dm-bufio.ko.xz", "modules/dm-mod.ko.xz"];
        let starts: Vec<_> = starts.iter().map(|name| Ok(member(&archive, name)?.0)).collect::<anyhow::Result<_>>()?;
        let (first, second) = (&archive[starts[0]..starts[1]], &archive[starts[1]..starts[2]]);
        Ok([&archive[..starts[0]], second, first, &archive[starts[2]..]].concat())
    })
}

fn in_command_line(output: &Path, from: &str, to: &str) -> anyhow::Result<()> {
    edit(&output.join(dist::COMMAND_LINE), |bytes| Ok(String::from_utf8(bytes)?.replacen(from, to, 1).into_bytes()))
}

/// Computes the erofs superblock's CRC-32C anew.
fn checksum(image: &mut [u8]) {
    image[1028..1032].fill(0);
    let crc = image[1024..4096].iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    });
    image[1028..1032].copy_from_slice(&crc.to_le_bytes());
}

/// Flips a byte of the weights, and makes hash tree and disk anew.
fn model(scene: &Scene, output: &Path, work: &Path) -> anyhow::Result<()> {
    let path = output.join(dist::MODEL);
    let (data, hash) = (work.join("data"), work.join("hash"));
    let file = File::open(&path)?;
    let length = file.metadata()?.len();
    let table = image::formats::disk::read(&|at, buffer: &mut [u8]| file.read_exact_at(buffer, at), length)?;
    let partition = table.partitions.first().context("a partition")?;
    let mut bytes = vec![0; usize::try_from(partition.length)?];
    file.read_exact_at(&mut bytes, partition.offset)?;
    fs::write(&data, flipped(bytes, 50 << 20)?)?;
    let disk = volume::protect(scene.name("model"), &data, &hash, &Silent)?;
    edit(&output.join("volume.json"), |_| Ok(serde_json::to_vec_pretty(&Volume::from(&disk))?))?;
    fs::remove_file(&path)?;
    volume::disk(scene.name("model"), &data, &hash, &path)
}
