//! The two copies of the executable that make the sandbox.

use super::{Bind, Ending, HOSTNAME, INIT, Network, Outcome, Sandbox, UNSHARE, again};
use anyhow::Context as _;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;
use nix::sys::statvfs::FsFlags;
use nix::sys::wait::WaitStatus;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Entries of the tree's root directory that the sandbox makes itself.
const OURS: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];

/// Becomes a part of a sandbox if the first argument says so, and then never returns. `main` must begin with this,
/// before it starts a thread.
pub fn entry() {
    let mut arguments = std::env::args_os().skip(1);
    let (stage, spec) = (arguments.next(), arguments.next());
    let run: fn(&Sandbox) -> anyhow::Result<Ending> = match stage {
        Some(stage) if stage == UNSHARE => unshare,
        Some(stage) if stage == INIT => init,
        _ => return,
    };
    let spec = spec.as_deref().and_then(|spec| spec.to_str()).unwrap_or("");
    let ended = serde_json::from_str(spec).context("reading the sandbox's description").and_then(|spec| run(&spec));
    let outcome = match ended {
        Ok(ending) => Outcome::Ended(ending),
        Err(error) => Outcome::NeverStarted(format!("{error:#}")),
    };
    // A caller that is gone has no use for an answer.
    let _gone = serde_json::to_writer(std::io::stdout(), &outcome);
    std::process::exit(0)
}

/// The first copy: enters the namespaces and starts the second, which answers in its place.
fn unshare(sandbox: &Sandbox) -> anyhow::Result<Ending> {
    close_inherited().context("closing inherited files")?;
    let mut namespaces = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    if sandbox.network == Network::None {
        namespaces |= CloneFlags::CLONE_NEWNET;
    }
    enter_user_namespace(namespaces, 0).context(Refusal::current())?;
    let spec = serde_json::to_string(sandbox).context("describing the sandbox")?;
    again(INIT, &spec).status().context("starting process 1 of the sandbox")?;
    std::process::exit(0)
}

/// The second copy, process 1: builds the file system, starts the program and waits for it.
fn init(sandbox: &Sandbox) -> anyhow::Result<Ending> {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    nix::unistd::sethostname(HOSTNAME).context("setting the host name")?;
    enter_root(sandbox)?;
    // Mounts belong to the user namespace that made them: from a second one the program cannot make them writable.
    enter_user_namespace(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS, sandbox.uid)
        .context("entering the second user namespace")?;
    std::thread::Builder::new().name("lifeline".to_owned()).spawn(outlive_caller).context("starting a thread")?;
    let pid = start(sandbox)?;
    loop {
        match nix::sys::wait::wait().context("waiting for the program")? {
            WaitStatus::Exited(ended, status) if ended == pid => return Ok(Ending::Exited(status)),
            WaitStatus::Signaled(ended, signal, _core) if ended == pid => return Ok(Ending::Signaled(signal as i32)),
            _orphan => (),
        }
    }
}

/// Ends process 1, and with it everything here, when the caller is gone.
fn outlive_caller() {
    let mut nothing = [0];
    let _closed = std::io::stdin().read(&mut nothing);
    std::process::exit(0)
}

#[expect(clippy::disallowed_methods, reason = "the one place that starts programs in sandboxes")]
fn start(sandbox: &Sandbox) -> anyhow::Result<nix::unistd::Pid> {
    let (program, arguments) = sandbox.argv.split_first().context("no program is named")?;
    let log = || std::io::stderr().as_fd().try_clone_to_owned();
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(&sandbox.env)
        .current_dir(&sandbox.cwd)
        .stdin(Stdio::null())
        .stdout(log().context("duplicating the log")?)
        .stderr(log().context("duplicating the log")?)
        .spawn()
        .with_context(|| format!("starting {program} from {} in {}", sandbox.root.display(), sandbox.cwd.display()))?;
    Ok(nix::unistd::Pid::from_raw(child.id().try_into().context("the program's process id")?))
}

/// Closes files that whoever started us left open, so that no program can reach them.
fn close_inherited() -> anyhow::Result<()> {
    let mut open = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        open.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()).filter(|&fd| fd > 2));
    }
    for fd in open {
        match nix::unistd::close(fd) {
            // The listing's own descriptor is closed already.
            Ok(()) | Err(Errno::EBADF) => (),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Enters `namespaces` with `inside` as the only user and group, mapped to the current ones.
fn enter_user_namespace(namespaces: CloneFlags, inside: u32) -> anyhow::Result<()> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    nix::sched::unshare(namespaces).context("entering a user namespace")?;
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{inside} {uid} 1")),
        ("/proc/self/gid_map", format!("{inside} {gid} 1")),
    ] {
        fs::write(file, text).with_context(|| format!("writing {file}"))?;
    }
    Ok(())
}

/// What the administrator has set against user namespaces, and how to undo it.
#[derive(Debug, thiserror::Error)]
#[error("this host does not let us make user namespaces; {}", .0.join("; "))]
struct Refusal(Vec<String>);

impl Refusal {
    /// Looks at the settings of this host.
    fn current() -> Self {
        Self::from_settings(|name| fs::read_to_string(Path::new("/proc/sys").join(name.replace('.', "/"))).ok())
    }

    fn from_settings(read: impl Fn(&str) -> Option<String>) -> Self {
        // Name, the value that refuses, the value that permits.
        const SETTINGS: [(&str, &str, &str); 3] = [
            ("kernel.unprivileged_userns_clone", "0", "1"),
            ("user.max_user_namespaces", "0", "15000"),
            ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
        ];
        let cure = |name, permits| format!("run `sudo sysctl -w {name}={permits}`");
        let mut found = Vec::new();
        for (name, refuses, permits) in SETTINGS {
            if read(name).is_some_and(|value| value.trim() == refuses) {
                found.push(format!("{name} is {refuses}: {}", cure(name, permits)));
            }
        }
        if found.is_empty() {
            let names = SETTINGS.map(|(name, ..)| name).join(", ");
            found.push(format!("none of {names} forbids it here: a container or a security module does"));
        }
        Self(found)
    }
}

/// Makes the root file system and moves into it.
fn enter_root(sandbox: &Sandbox) -> anyhow::Result<()> {
    let tree = &sandbox.root;
    let mounting = |what: &str| format!("mounting {what} of the sandbox for {}", tree.display());
    // The tree's own directory serves as mount point until its contents are needed, so that nothing of the host is
    // hidden that a bind may name.
    mount(None, Path::new("/"), None, MsFlags::MS_REC | MsFlags::MS_PRIVATE).context("making mounts private")?;
    tmpfs(tree, "0755").with_context(|| mounting("a stage"))?;
    fs::create_dir(tree.join("old")).and_then(|()| fs::create_dir(tree.join("new"))).context("making mount points")?;
    nix::unistd::pivot_root(tree, &tree.join("old")).context("moving to the stage")?;
    nix::unistd::chdir("/").context("moving to the stage")?;
    let new = Path::new("/new");
    tmpfs(new, "0755").with_context(|| mounting("the root"))?;
    show_tree(&on_host(tree)?, new).with_context(|| format!("showing {}", tree.display()))?;
    private_mounts(new)?;
    for bind in &sandbox.binds {
        let guest = within(new, &bind.guest)?;
        show(&on_host(&bind.host)?, &guest, bind.writable).with_context(|| {
            let Bind { host, guest, .. } = bind;
            format!("showing {} as {} in a sandbox for {}", host.display(), guest.display(), tree.display())
        })?;
    }
    nix::unistd::chdir(new).context("moving to the root")?;
    nix::unistd::pivot_root(".", ".").context("moving to the root")?;
    // The host's root is now mounted over ours.
    nix::mount::umount2(".", MntFlags::MNT_DETACH).context("leaving the host's root")?;
    nix::unistd::chdir("/").context("moving to the root")?;
    remount_read_only(Path::new("/")).with_context(|| mounting("the root"))
}

/// Where a host path is after the move to the stage.
fn on_host(path: &Path) -> anyhow::Result<PathBuf> {
    within(Path::new("/old"), path)
}

/// The absolute `path` with `root` in place of `/`.
fn within(root: &Path, path: &Path) -> anyhow::Result<PathBuf> {
    let relative = path.strip_prefix("/").with_context(|| format!("{} is not an absolute path", path.display()))?;
    Ok(root.join(relative))
}

/// Shows what is in the tree's root directory, so that mount points can be made beside it.
fn show_tree(tree: &Path, new: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(tree)? {
        let entry = entry?;
        if OURS.iter().any(|ours| entry.file_name() == *ours) {
            continue;
        }
        let (from, to) = (entry.path(), new.join(entry.file_name()));
        if entry.file_type()?.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        } else {
            show(&from, &to, false)?;
        }
    }
    Ok(())
}

/// Mounts the host's `from` at `to`, which is made if need be.
fn show(from: &Path, to: &Path, writable: bool) -> anyhow::Result<()> {
    if fs::metadata(from)?.is_dir() {
        fs::create_dir_all(to).context("making the mount point")?;
    } else if !to.exists() {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).context("making the mount point")?;
        }
        File::create(to).context("making the mount point")?;
    }
    mount(Some(from), to, None, MsFlags::MS_BIND | MsFlags::MS_REC)?;
    if !writable {
        remount_read_only(to)?;
    }
    Ok(())
}

/// `/dev`, `/proc` and the file systems that end with the sandbox.
fn private_mounts(new: &Path) -> anyhow::Result<()> {
    for ours in OURS {
        fs::create_dir(new.join(ours)).with_context(|| format!("making /{ours}"))?;
    }
    // The kernel permits this only while the host's own /proc is still in sight.
    mount(None, &new.join("proc"), Some("proc"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC)
        .context("mounting /proc (a container that hides parts of its own /proc cannot)")?;
    for (path, mode) in [("dev", "0755"), ("run", "0755"), ("tmp", "1777"), ("var/tmp", "1777")] {
        let path = new.join(path);
        if path.is_dir() {
            tmpfs(&path, mode).with_context(|| format!("mounting {}", path.display()))?;
        }
    }
    let dev = new.join("dev");
    for device in ["null", "zero", "full", "random", "urandom"] {
        show(&Path::new("/old/dev").join(device), &dev.join(device), true)
            .with_context(|| format!("showing /dev/{device}"))?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, dev.join(name)).with_context(|| format!("making /dev/{name}"))?;
    }
    fs::create_dir(dev.join("shm")).context("making /dev/shm")?;
    tmpfs(&dev.join("shm"), "1777").context("mounting /dev/shm")
}

fn tmpfs(at: &Path, mode: &str) -> anyhow::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let mode = format!("mode={mode}");
    Ok(nix::mount::mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(mode.as_str()))?)
}

fn mount(from: Option<&Path>, at: &Path, kind: Option<&str>, flags: MsFlags) -> anyhow::Result<()> {
    Ok(nix::mount::mount(from, at, kind, flags, None::<&str>)?)
}

fn remount_read_only(at: &Path) -> anyhow::Result<()> {
    // What the host has restricted must be said again or the kernel refuses.
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    let current = nix::sys::statvfs::statvfs(at)?.flags();
    for (seen, flag) in [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
    ] {
        if current.contains(seen) {
            flags |= flag;
        }
    }
    mount(None, at, None, flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_names_the_setting_and_its_cure() {
        for (name, value, cure) in [
            ("kernel.unprivileged_userns_clone", "0\n", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
            ("user.max_user_namespaces", "0\n", "sudo sysctl -w user.max_user_namespaces=15000"),
            ("kernel.apparmor_restrict_unprivileged_userns", "1\n", "apparmor_restrict_unprivileged_userns=0"),
            ("other", "0\n", "a container or a security module"),
        ] {
            let text = Refusal::from_settings(|asked| (asked == name).then(|| value.to_owned())).to_string();
            assert!(text.contains(cure), "{text}");
        }
    }
}
