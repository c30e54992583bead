//! A second build under other circumstances, which must not matter: another user, path, file system, clock zone,
//! locale, number of processors and so on. Only the downloads are shared.

use crate::inputs::store::STORE;
use crate::pipeline::stage::{STAGES, Stage};
use crate::tools::sandbox;
use anyhow::{Context as _, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, geteuid, sethostname};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, chown, lchown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

/// A user and group that owns nothing and that no user database knows.
const UID: u32 = 47_831;

/// The machine's name during the varied build, and a directory of its path: long, unlikely, and recognisable if
/// they end up in the image.
pub const HOSTNAME: &str = "vitrine-varied-by-7b1c93";
const LONG: &str = "a rather long päth with späces, commas and Ωμέγα, vitrine-varied-by-7b1c93";

/// Environment variables that tools are known to look at. Those of the locale ask for rules of case and sorting that
/// differ most from C's.
const NOISE: [(&str, &str); 22] = [
    ("CARGO_BUILD_JOBS", "1"),
    ("CARGO_ENCODED_RUSTFLAGS", "--cfg=noise"),
    ("CARGO_INCREMENTAL", "1"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
    ("CFLAGS", "-O0 -g3 -DNOISE"),
    ("CXXFLAGS", "-O0 -g3 -DNOISE"),
    ("DEB_BUILD_OPTIONS", "noopt"),
    ("GZIP", "-1"),
    ("LANG", "et_EE.UTF-8"),
    ("LANGUAGE", "tr"),
    ("LC_ALL", "tr_TR.UTF-8"),
    ("LDFLAGS", "-Wl,--build-id=uuid"),
    ("MAKEFLAGS", "-j1 --no-print-directory"),
    ("PYTHONHASHSEED", "7"),
    ("RUSTFLAGS", "-C debuginfo=2 -C target-cpu=native"),
    ("SOURCE_DATE_EPOCH", "7"),
    ("TAR_OPTIONS", "--sort=none"),
    ("TZ", "VARIED-13:45"),
    ("USER", "vitrine-varied-by-7b1c93"),
    ("XZ_DEFAULTS", "-0"),
    ("XZ_OPT", "-0"),
    ("ZSTD_CLEVEL", "1"),
];

/// The umask of the checkout and the one of the build.
const CHECKOUT_UMASK: u32 = 0o077;
const BUILD_UMASK: u32 = 0o027;

/// The date of every file of the checkout: 2001-09-09.
const CHECKOUT_TIME: Duration = Duration::from_secs(1_000_000_000);

/// Memory that must be available for a build in memory, and the most that it may take.
const MEMORY_NEEDED: u64 = 12 << 30;
const MEMORY_LIMIT: u64 = 8 << 30;

/// Something that was made different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// What.
    pub name: &'static str,
    /// Its value in the varied build.
    pub value: String,
}

/// What a varied build left.
#[derive(Debug)]
pub struct Varied {
    /// Its output directory.
    pub dist: PathBuf,
    /// What was different from the usual.
    pub varied: Vec<Axis>,
    /// What was not, and why.
    pub same: Vec<Axis>,
    /// Texts that must not be in the image: the build's paths and the machine's name.
    pub traces: Vec<String>,
}

/// Where things are.
struct Place {
    /// A directory nobody else uses, which any user can reach.
    scratch: PathBuf,
    /// Below it, and in memory if there is enough: everything the build makes but its output.
    base: PathBuf,
}

impl Place {
    fn long(&self) -> PathBuf {
        self.base.join(LONG)
    }

    fn checkout(&self) -> PathBuf {
        self.long().join("checkout")
    }

    fn cache(&self) -> PathBuf {
        self.long().join("cache")
    }

    fn output(&self) -> PathBuf {
        self.scratch.join("output")
    }
}

/// Builds `checkout`, which has nothing in it but a commit's files, in `scratch`, which must be empty. `xtask` is the built
/// command; `cache` is the one whose downloads are shown read-only, and from which what the stage `taken` ever left is copied.
///
/// # Errors
/// When the build cannot be set up or does not succeed.
pub fn build(
    checkout: &Path,
    xtask: &Path,
    cache: &Path,
    taken: Option<Stage>,
    scratch: &Path,
) -> anyhow::Result<Varied> {
    let scratch = fs::canonicalize(scratch).with_context(|| format!("resolving {}", scratch.display()))?;
    open_to_all(&scratch)?;
    let place = Place { base: scratch.join("base"), scratch };
    for dir in [&place.base, &place.output()] {
        fs::create_dir(dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    let files = files_below(checkout)?;
    // Namespaces, umask and processor set belong to a thread, and are inherited by what it starts.
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| in_thread(checkout, &files, xtask, cache, taken, &place));
        thread.join().unwrap_or_else(|_panic| bail!("the varied build's thread panicked"))
    })
}

fn in_thread(
    checkout: &Path,
    files: &[PathBuf],
    xtask: &Path,
    cache: &Path,
    taken: Option<Stage>,
    place: &Place,
) -> anyhow::Result<Varied> {
    let store = &cache.join(STORE);
    let mut varied = Vec::new();
    let mut same = Vec::new();
    let is_root = geteuid().is_root();
    if is_root {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS).context("making namespaces")?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .context("making mounts private")?;
        sethostname(HOSTNAME).context("setting the host's name")?;
        varied.push(Axis { name: "host name", value: HOSTNAME.into() });
        varied.push(Axis { name: "user", value: format!("{UID}, unprivileged") });
    } else {
        unshare(CloneFlags::CLONE_FS).context("separating the umask")?;
        for name in ["host name", "user"] {
            same.push(Axis { name, value: "only root can set it".into() });
        }
    }
    match (is_root, available_memory()?) {
        (true, memory) if memory >= MEMORY_NEEDED => {
            let options = format!("mode=755,size={MEMORY_LIMIT}");
            mount(Some("tmpfs"), &place.base, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
                .with_context(|| format!("mounting a tmpfs on {}", place.base.display()))?;
            varied.push(Axis { name: "file system", value: "tmpfs".into() });
        }
        (true, memory) => {
            let value = format!("{} MiB of memory are available, expected {}", memory >> 20, MEMORY_NEEDED >> 20);
            same.push(Axis { name: "file system", value });
        }
        (false, _) => same.push(Axis { name: "file system", value: "only root can mount another".into() }),
    }

    copy_checkout(checkout, files, &place.checkout())?;
    for name in ["home", "tmp", "cache"] {
        let dir = place.long().join(name);
        fs::create_dir(&dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    let program = place.base.join("xtask");
    fs::copy(xtask, &program).with_context(|| format!("copying {}", xtask.display()))?;
    open_to_all(&program)?;
    let shared = place.cache().join(STORE);
    if is_root {
        give_away(&place.long())?;
        give_away(&place.output())?;
        fs::create_dir(&shared).with_context(|| format!("creating {}", shared.display()))?;
        let show = |flags| mount(Some(store), &shared, None::<&str>, MsFlags::MS_BIND | flags, None::<&str>);
        show(MsFlags::empty())
            .and_then(|()| show(MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY))
            .with_context(|| format!("showing {}", store.display()))?;
    } else {
        symlink(store, &shared).with_context(|| format!("linking {}", store.display()))?;
    }
    if let Some(stage) = taken {
        take(stage, cache, &place.cache(), is_root).with_context(|| format!("taking stage {}", stage.name()))?;
    }
    umask(Mode::from_bits_truncate(BUILD_UMASK));
    one_processor()?;
    for (name, value) in [
        ("checkout", format!("{}, not a repository", place.checkout().display())),
        ("umask", format!("{CHECKOUT_UMASK:03o} at the checkout, {BUILD_UMASK:03o} at the build")),
        ("date of the checkout", format!("{} s since 1970", CHECKOUT_TIME.as_secs())),
        ("cache", "empty but for the downloads".to_owned()),
        ("processors", "1".to_owned()),
        ("home, directory for temporary files", place.long().display().to_string()),
        ("environment", NOISE.map(|(name, value)| format!("{name}={value}")).join("; ")),
    ] {
        varied.push(Axis { name, value });
    }

    run(&program, place, is_root)?;
    if is_root {
        // What is in memory goes with it; the thread's namespace ends with the thread.
        umount2(&shared, MntFlags::MNT_DETACH).context("unmounting the downloads")?;
    }
    let traces = vec![HOSTNAME.to_owned(), "späces, commas".to_owned(), place.scratch.display().to_string()];
    Ok(Varied { dist: place.output().join("dist"), varied, same, traces })
}

#[expect(clippy::disallowed_methods, reason = "the varied build is another process by its nature")]
fn run(program: &Path, place: &Place, is_root: bool) -> anyhow::Result<()> {
    let log = place.scratch.join("log");
    let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let errors = output.try_clone().context("sharing the log")?;
    let mut command = Command::new(program);
    command
        .args(["build", "--out"])
        .arg(place.output().join("dist"))
        .current_dir(place.checkout())
        .env_clear()
        .envs(NOISE)
        .env("PATH", "/nonexistent/vitrine-varied-by-7b1c93:/usr/bin:/bin")
        .env("HOME", place.long().join("home"))
        .env("TMPDIR", place.long().join("tmp"))
        .env("VITRINE_CACHE", place.cache())
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    if is_root {
        command.uid(UID).gid(UID);
    }
    let status = command.status().with_context(|| format!("starting {}", program.display()))?;
    ensure!(status.success(), "the varied build: {status}; the end of its log:\n{}", sandbox::tail(&log)?.join("\n"));
    Ok(())
}

/// The paths of all files below `root`, sorted.
fn files_below(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut files, mut dirs) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(dir) = dirs.pop() {
        let path = root.join(&dir);
        for entry in fs::read_dir(&path).with_context(|| format!("reading {}", path.display()))? {
            let entry = entry.with_context(|| format!("reading {}", path.display()))?;
            let name = dir.join(entry.file_name());
            let kind = entry.file_type().with_context(|| format!("looking at {}", name.display()))?;
            if kind.is_dir() { dirs.push(name) } else { files.push(name) }
        }
    }
    files.sort();
    Ok(files)
}

/// Copies `files` from one checkout to another as [`CHECKOUT_UMASK`] would have them.
fn copy_checkout(from: &Path, files: &[PathBuf], to: &Path) -> anyhow::Result<()> {
    for path in files {
        let (source, copy) = (from.join(path), to.join(path));
        let copied = || -> std::io::Result<()> {
            copy.parent().map_or(Ok(()), fs::create_dir_all)?;
            let metadata = fs::symlink_metadata(&source)?;
            if metadata.is_symlink() {
                return symlink(fs::read_link(&source)?, &copy);
            }
            fs::copy(&source, &copy)?;
            let mode = if metadata.permissions().mode() & 0o100 == 0 { 0o666 } else { 0o777 };
            fs::set_permissions(&copy, fs::Permissions::from_mode(mode & !CHECKOUT_UMASK))?;
            File::open(&copy)?.set_modified(SystemTime::UNIX_EPOCH + CHECKOUT_TIME)
        };
        copied().with_context(|| format!("copying {} to {}", source.display(), copy.display()))?;
    }
    Ok(())
}

/// Copies everything finished that a stage ever left.
fn take(stage: Stage, from: &Path, to: &Path, is_root: bool) -> std::io::Result<()> {
    let to = to.join(STAGES).join(stage.name());
    fs::create_dir_all(&to)?;
    if is_root {
        to.ancestors().take(2).try_for_each(|dir| chown(dir, Some(UID), Some(UID)))?;
    }
    for entry in fs::read_dir(from.join(STAGES).join(stage.name()))? {
        let from = entry?.path();
        // What is under way or was left half done has an extension.
        if from.is_dir() && from.extension().is_none() {
            copy_as_is(&from, &to.join(from.file_name().unwrap_or_default()), is_root)?;
        }
    }
    Ok(())
}

/// Copies a directory tree with its modes, which are part of the digest of what a stage left.
fn copy_as_is(from: &Path, to: &Path, is_root: bool) -> std::io::Result<()> {
    let metadata = fs::symlink_metadata(from)?;
    if metadata.is_dir() {
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy_as_is(&entry.path(), &to.join(entry.file_name()), is_root)?;
        }
        fs::set_permissions(to, metadata.permissions())?;
    } else if metadata.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else {
        fs::copy(from, to)?;
    }
    if is_root { lchown(to, Some(UID), Some(UID)) } else { Ok(()) }
}

/// Gives a directory tree to [`UID`], who alone may use it.
fn give_away(path: &Path) -> anyhow::Result<()> {
    let given = || -> std::io::Result<Vec<PathBuf>> {
        if fs::symlink_metadata(path)?.is_symlink() {
            lchown(path, Some(UID), Some(UID))?;
            return Ok(Vec::new());
        }
        chown(path, Some(UID), Some(UID))?;
        if !path.is_dir() {
            return Ok(Vec::new());
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o777 & !CHECKOUT_UMASK))?;
        fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect()
    };
    given().with_context(|| format!("giving away {}", path.display()))?.iter().try_for_each(|path| give_away(path))
}

fn open_to_all(path: &Path) -> anyhow::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("opening {} to all", path.display()))
}

/// Keeps this thread on the last of its processors.
fn one_processor() -> anyhow::Result<()> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).context("asking for the processors")?;
    let last = (0..CpuSet::count()).rev().find(|&cpu| allowed.is_set(cpu).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(last.context("this thread has no processor")?).context("choosing a processor")?;
    sched_setaffinity(Pid::from_raw(0), &one).context("keeping to one processor")
}

/// Memory that can be used without swapping, in bytes (proc_meminfo(5)).
fn available_memory() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB"));
    let kib: u64 = line.and_then(|number| number.parse().ok()).context("/proc/meminfo: no MemAvailable")?;
    Ok(kib << 10)
}
