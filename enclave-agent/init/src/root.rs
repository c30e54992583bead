//! Mounts, and the hand-over to systemd.

use std::convert::Infallible;
use std::ffi::CStr;
use std::fs::{self, File};
use std::path::Path;

use nix::mount::{MsFlags, mount as sys_mount};
use nix::unistd::{chdir, chroot, dup2_stderr, dup2_stdin, dup2_stdout, execve};

use crate::log::Stages;
use crate::{Doing as _, Failure};

/// The root's first program.
const SYSTEMD: &CStr = c"/usr/lib/systemd/systemd";
/// Where the root is mounted before it becomes `/`.
const NEW_ROOT: &str = "/root";
/// What moves into it.
const MOVED: [&str; 4] = ["/dev", "/proc", "/run", "/sys"];

/// Mounts /dev, /proc, /sys and /run.
pub(crate) fn mount_kernel_file_systems() -> Result<(), Failure> {
    let strict = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    for (kind, at, flags, options) in [
        ("devtmpfs", "/dev", MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, "mode=0755"),
        ("proc", "/proc", strict, ""),
        // Nothing in the guest configures a device, and networkd takes links as they are, without udev, when it sees this.
        ("sysfs", "/sys", strict | MsFlags::MS_RDONLY, ""),
        ("tmpfs", "/run", strict, "mode=0755,size=20%,nr_inodes=800k"),
    ] {
        fs::create_dir_all(at).doing(format!("creating {at}"))?;
        mount_at(kind, kind, at, flags, options)?;
    }
    fs::create_dir_all(NEW_ROOT).doing(format!("creating {NEW_ROOT}"))?;
    // The kernel opened a console as the standard streams, or nothing if there is none. Programs get neither. A clone is
    // never one of the three numbers itself.
    let null = File::options().read(true).write(true).open("/dev/null").and_then(|null| null.try_clone());
    let null = null.doing("opening /dev/null")?;
    dup2_stdin(&null).and_then(|()| dup2_stdout(&null)).and_then(|()| dup2_stderr(&null)).doing("standard streams")
}

/// Mounts the file system through which the guest asks for attestation reports. It is part of /sys and moves with it; its
/// mount point is made by the module.
pub(crate) fn mount_configfs() -> Result<(), Failure> {
    let strict = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_at("configfs", "configfs", "/sys/kernel/config", strict, "")
}

/// Mounts the root and, inside it, the model at /model and memory at /tmp and /var, the only other places to write to.
pub(crate) fn mount(root: &Path, model: &Path) -> Result<(), Failure> {
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    mount_at(&root.display().to_string(), "erofs", NEW_ROOT, flags, "")?;
    let model_at = format!("{NEW_ROOT}/model");
    mount_at(&model.display().to_string(), "erofs", &model_at, flags | MsFlags::MS_NOEXEC, "")?;
    let strict = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    for (at, options) in [("tmp", "mode=1777,size=16m,nr_inodes=1k"), ("var", "mode=0755,size=16m,nr_inodes=1k")] {
        mount_at("tmpfs", "tmpfs", &format!("{NEW_ROOT}/{at}"), strict, options)?;
    }
    Ok(())
}

/// Leaves the stage times and the command line in /run/vitrine, frees the initrd, makes the new root `/` and becomes
/// systemd. The agent reads the command line there because it sees no file of /proc but those of processes.
pub(crate) fn hand_over(stages: &Stages, command_line: &str) -> Result<Infallible, Failure> {
    fs::create_dir("/run/vitrine").doing("creating /run/vitrine")?;
    for (path, text) in [("/run/vitrine/boot.jsonl", stages.json_lines()), ("/run/vitrine/cmdline", command_line)] {
        fs::write(path, text).doing(format!("writing {path}"))?;
    }
    fs::remove_file("/init").and_then(|()| fs::remove_dir_all("/modules")).doing("emptying the initrd")?;
    for from in MOVED {
        let to = format!("{NEW_ROOT}{from}");
        sys_mount(Some(from), to.as_str(), None::<&str>, MsFlags::MS_MOVE, None::<&str>)
            .doing(format!("moving {from} to {to}"))?;
    }
    // chroot alone would leave the initrd's directory as the root of the mount namespace.
    chdir(NEW_ROOT)
        .and_then(|()| sys_mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>))
        .and_then(|()| chroot("."))
        .and_then(|()| chdir("/"))
        .doing("switching to the new root")?;
    execve::<&CStr, &CStr>(SYSTEMD, &[SYSTEMD], &[]).doing("starting /usr/lib/systemd/systemd")
}

fn mount_at(source: &str, kind: &str, at: &str, flags: MsFlags, options: &str) -> Result<(), Failure> {
    sys_mount(Some(source), at, Some(kind), flags, Some(options)).doing(format!("mounting {source} ({kind}) at {at}"))
}
