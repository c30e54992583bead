//! Builds that are killed, that meet each other, that run out of room or that fail: what they leave, and that the next
//! one gives the same image as `dist/` (or `$VITRINE_DIST`).
//!
//! Downloads and the slow stages (`tools`, `toolchain`, `guest`, `client`) are those of `$VITRINE_CACHE`, through links; everything
//! else is made anew. Run by `cargo xtask ci`.

#![expect(clippy::disallowed_methods, reason = "the program under test, and where the build under test is")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Moments at which a build is killed, in milliseconds: in mkosi for the kernel, for the initrd, for the packages.
const MOMENTS: [u64; 5] = [150, 900, 2500, 5000, 11_000];

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn variable(name: &str) -> PathBuf {
    std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set; run by cargo xtask ci")).into()
}

/// A cache that shares with the real one what is slow to make: the downloads and these stages.
fn cache(dir: &Path, stages: &[&str]) -> PathBuf {
    let (real, cache) = (variable("VITRINE_CACHE"), dir.join("cache"));
    fs::create_dir_all(cache.join("stages")).unwrap();
    symlink(real.join("store"), cache.join("store")).unwrap();
    for stage in stages {
        symlink(real.join("stages").join(stage), cache.join("stages").join(stage)).unwrap();
    }
    cache
}

fn build(checkout: &Path, cache: &Path, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["build", "--out"]).arg(out).current_dir(checkout).env("VITRINE_CACHE", cache).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Asserts that the build succeeded and made what the control made.
fn same(output: &Output, out: &Path) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["stages.json", "manifest.json", "disk.raw", "model.raw", "initrd"] {
        let found = fs::read(out.join(name)).unwrap();
        assert!(found == fs::read(variable("VITRINE_DIST").join(name)).unwrap(), "{name} differs from the control's");
    }
}

/// The names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A copy of the committed files.
fn copied(dir: &Path) -> PathBuf {
    let copy = dir.join("checkout");
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(checkout()).output().unwrap();
    for path in String::from_utf8(listed.stdout).unwrap().split_terminator('\0') {
        let to = copy.join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(checkout().join(path), to).unwrap();
    }
    copy
}

fn killed_after(mut child: Child, moment: Duration) {
    std::thread::sleep(moment);
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
}

#[test]
#[ignore = "needs a finished build; run by cargo xtask ci"]
fn killed_at_any_moment_and_run_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path(), &["tools", "toolchain", "guest", "llama", "infer", "client"]);
    let out = dir.path().join("dist");
    for moment in MOMENTS {
        killed_after(build(checkout(), &cache, &out).spawn().unwrap(), Duration::from_millis(moment));
        assert!(!out.exists(), "a build that was killed after {moment} ms left {}", out.display());
    }
    same(&build(checkout(), &cache, &out).output().unwrap(), &out);
    assert_eq!(names(&cache.join("work")), [""; 0], "what dead runs left is removed");
    let stages = cache.join("stages");
    // In the linked ones another build may be at work.
    for stage in names(&stages).into_iter().filter(|stage| !stages.join(stage).is_symlink()) {
        let left = names(&stages.join(&stage));
        assert!(left.iter().all(|name| !name.ends_with(".tmp")), "stage {stage} left {left:?}");
    }
}

#[test]
#[ignore = "needs a finished build; run by cargo xtask ci"]
fn two_at_once_make_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path(), &["tools", "toolchain", "guest", "llama", "infer", "client", "packages"]);
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    let running = build(checkout(), &cache, &one).spawn().unwrap();
    same(&build(checkout(), &cache, &other).output().unwrap(), &other);
    same(&running.wait_with_output().unwrap(), &one);
}

#[test]
#[ignore = "needs a finished build; run by cargo xtask ci"]
fn a_full_disk_is_named_and_dist_stays() {
    let dir = tempfile::tempdir().unwrap();
    let real = variable("VITRINE_CACHE");
    // A user namespace, so that this needs no root; the file system with 20 MiB is gone with it.
    let script = r#"mount -t tmpfs -o size=20m none "$0" && mkdir "$0/dist" && echo {} > "$0/dist/manifest.json" &&
        { "$1" build --out "$0/dist"; echo "status $?"; ls -R "$0"; }"#;
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(dir.path())
        .arg(env!("CARGO_BIN_EXE_xtask"))
        .current_dir(checkout())
        .env("VITRINE_CACHE", &real)
        .output()
        .unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("status 2"), "{said}{errors}");
    assert!(errors.contains("No space left on device") && errors.contains("dist.new/"), "{errors}");
    assert!(said.contains("manifest.json") && !said.contains("dist.new"), "half-written files stay:\n{said}");
}

#[test]
#[ignore = "needs a finished build; run by cargo xtask ci"]
fn mkosi_failing_shows_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path(), &["tools", "toolchain", "guest", "llama", "infer", "client"]);
    let copy = copied(dir.path());
    let conf = copy.join("mkosi.images/kernel/mkosi.conf");
    let text = fs::read_to_string(&conf).unwrap().replace("[Content]", "[Content]\nNoSuchSetting=yes");
    fs::write(&conf, text).unwrap();
    let out = dir.path().join("dist");
    let output = build(&copy, &cache, &out).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("stage kernel") && errors.contains("NoSuchSetting"), "{errors}");
    let log = errors.split_whitespace().find(|word| word.trim_end_matches(':').ends_with("mkosi.log"));
    let log = fs::read_to_string(log.expect("a log is named").trim_end_matches(':')).unwrap();
    assert!(log.contains("NoSuchSetting") && !out.exists(), "{log}");
}

#[test]
#[ignore = "needs a finished build; run by cargo xtask ci"]
fn stray_files_are_refused_or_ignored_and_a_checkout_may_be_read_only() {
    let dir = tempfile::tempdir().unwrap();
    let all = ["tools", "toolchain", "guest", "llama", "infer", "client", "kernel", "initrd", "packages"];
    let cache = cache(dir.path(), &all);
    let (copy, out) = (copied(dir.path()), dir.path().join("dist"));
    for stray in ["mkosi.local.conf", "mkosi.rootpw", "mkosi.images/rootfs/mkosi.postinst"] {
        fs::write(copy.join(stray), "[Content]\nPackages=zsh\n").unwrap();
    }
    let script = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd "$0" && exec "$1" build --out "$2""#;
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .args([copy.as_os_str(), env!("CARGO_BIN_EXE_xtask").as_ref(), out.as_os_str()])
        .env("VITRINE_CACHE", &cache)
        .output()
        .unwrap();
    same(&output, &out);

    fs::write(copy.join("content/rootfs/etc/stray"), "").unwrap();
    let output = build(&copy, &cache, &out).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("content/rootfs/etc/stray"), "{errors}");
}
