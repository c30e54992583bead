//! Whether the guest is what it should be, as far as the guest can tell.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;

use crate::boot::read_small;

/// The answer of `/readyz`: ready, or the first thing that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Nothing is wrong.
    Ready,
    /// `/init` did not leave the times of all its stages.
    BootIncomplete,
    /// `/` is not the erofs on the device that `/init` opened through dm-verity.
    RootNotVerity,
    /// `/model` is not that for the model.
    ModelNotVerity,
    /// The agent could send something to the network without being asked.
    EgressOpen,
    /// The measured command line or the model's name cannot be read.
    ModelUnknown,
    /// What the host gave as the operator document is none, or it is not known what it gave.
    OperatorDocument,
    /// No report can be had.
    NoReport,
    /// The report is over other data.
    ReportOfOther,
    /// The report is not about VMPL 0, where the guest runs.
    ReportNotVmpl0,
    /// The guest may be debugged by the host.
    ReportDebug,
    /// HOST_DATA is not the hash of the operator document, or not zero without one.
    ReportOtherOperator,
    /// No worker has made a token yet, or the last two that were started did not.
    NoWorker,
}

impl Readiness {
    /// The reason code.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::BootIncomplete => "boot_incomplete",
            Self::RootNotVerity => "root_not_verity",
            Self::ModelNotVerity => "model_not_verity",
            Self::EgressOpen => "egress_open",
            Self::ModelUnknown => "model_unknown",
            Self::OperatorDocument => "operator_document",
            Self::NoReport => "no_report",
            Self::ReportOfOther => "report_of_other",
            Self::ReportNotVmpl0 => "report_not_vmpl0",
            Self::ReportDebug => "report_debug",
            Self::ReportOtherOperator => "report_other_operator",
            Self::NoWorker => "no_worker",
        }
    }
}

/// Checks the system below the directory `root`, `/` unless it is a test's; `ip_socket` is whether the agent
/// [can make one](can_open_ip_socket).
pub(crate) fn check(root: &Path, booted: bool, ip_socket: bool) -> Readiness {
    let holds = |fact: io::Result<bool>| fact.is_ok_and(|holds| holds);
    if !booted {
        Readiness::BootIncomplete
    } else if !holds(is_verity(root, "/", "vitrine-root")) {
        Readiness::RootNotVerity
    } else if !holds(is_verity(root, "/model", "vitrine-model")) {
        Readiness::ModelNotVerity
    } else if ip_socket || !holds(is_network_empty(root)) {
        Readiness::EgressOpen
    } else {
        Readiness::Ready
    }
}

/// Whether the erofs on the device-mapper device `name` is what is mounted at `at`. Only `/init` makes such devices,
/// and it makes none without verity.
fn is_verity(root: &Path, at: &str, name: &str) -> io::Result<bool> {
    let mounts = read_small(root, "proc/self/mountinfo")?;
    // Later mounts cover earlier ones.
    let Some(device) = mounts.lines().rev().find_map(|line| mounted_device(line, at)) else { return Ok(false) };
    let Some(device) = device else { return Ok(false) };
    Ok(read_small(root, &format!("sys/dev/block/{device}/dm/name"))?.trim_end() == name)
}

/// `Some` if the line of mountinfo (proc_pid_mountinfo(5)) is about `at`, with the device's numbers if it is an erofs.
fn mounted_device<'a>(line: &'a str, at: &str) -> Option<Option<&'a str>> {
    let (mount, file_system) = line.split_once(" - ")?;
    let [_, _, device, _, mount_point, ..] = mount.split(' ').collect::<Vec<_>>()[..] else { return None };
    (mount_point == at).then(|| file_system.starts_with("erofs ").then_some(device))
}

/// Whether the process has no network interface but its own loopback: `PrivateNetwork=yes`.
fn is_network_empty(root: &Path) -> io::Result<bool> {
    let devices = read_small(root, "proc/self/net/dev")?;
    // Two lines of headings, then one line per interface.
    let names = devices.lines().skip(2).map(|line| line.split(':').next().unwrap_or_default().trim());
    Ok(names.eq(["lo"]))
}

/// Whether the process may make an IP socket at all. `RestrictAddressFamilies=AF_UNIX` refuses it; the listener was
/// made by systemd.
pub fn can_open_ip_socket() -> bool {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).is_ok() || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::boot;

    const ROOT: &str = "22 1 253:0 / / ro,nosuid,nodev,relatime - erofs /dev/dm-0 ro";
    const MODEL: &str = "30 22 253:1 / /model ro,nosuid - erofs /dev/dm-1 ro";

    fn boot_lines() -> String {
        let names = ["kernel", "mounts", "modules", "disks", "verity", "read", "root"];
        let line = |(at, name)| {
            let (begin, end) = (at * 1000, at * 1000 + 1000);
            format!("{{\"stage\":\"{name}\",\"begin_us\":{begin},\"end_us\":{end}}}\n")
        };
        (0_u64..).zip(names).map(line).collect()
    }

    /// A system in which everything is right but the files in `changes`.
    fn check_changed(changes: &[(&str, &str)], ip_socket: bool) -> Readiness {
        let root: PathBuf = std::env::temp_dir().join(format!(
            "vitrine-agent-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let (mounts, boot) = (format!("{ROOT}\n{MODEL}\n"), boot_lines());
        let files = [
            ("proc/self/mountinfo", mounts.as_str()),
            ("proc/self/net/dev", "Inter-|\n face |bytes\n    lo:       0\n"),
            ("sys/dev/block/253:0/dm/name", "vitrine-root\n"),
            ("sys/dev/block/253:1/dm/name", "vitrine-model\n"),
            ("run/vitrine/boot.jsonl", boot.as_str()),
        ];
        for (path, text) in files.iter().chain(changes) {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let found = check(&root, boot::stages(&root, 0).is_ok(), ip_socket);
        fs::remove_dir_all(root).unwrap();
        found
    }

    #[test]
    fn each_reason_has_its_cause() {
        assert_eq!(check_changed(&[], false), Readiness::Ready);
        assert_eq!(check_changed(&[], true), Readiness::EgressOpen);

        let mounts = |lines: &[&str]| lines.join("\n");
        let covered = mounts(&[ROOT, MODEL, "31 22 0:9 / / rw - tmpfs none rw"]);
        let others = "32 22 0:9 / /run rw - tmpfs none rw\n".repeat(16384 / 36);
        let cut_off = format!("{ROOT}\n{MODEL}\n{others}31 22 0:9 / / rw - tmpfs none rw");
        let ext4 = mounts(&[&ROOT.replace("erofs", "ext4"), MODEL]);
        let no_root_device = mounts(&[&ROOT.replace("253:0", "254:1"), MODEL]);
        let swapped = mounts(&[&ROOT.replace("253:0", "253:1"), MODEL]);
        let two_stages: String = boot_lines().lines().take(2).collect::<Vec<_>>().join("\n");
        let twice = boot_lines().replace("mounts", "kernel");
        let more = boot_lines().replacen("end_us", "end_us\":1,\"x", 1);
        for (path, text, reason) in [
            ("run/vitrine/boot.jsonl", "", Readiness::BootIncomplete),
            ("run/vitrine/boot.jsonl", &two_stages, Readiness::BootIncomplete),
            ("run/vitrine/boot.jsonl", &twice, Readiness::BootIncomplete),
            ("run/vitrine/boot.jsonl", &more, Readiness::BootIncomplete),
            ("proc/self/mountinfo", "", Readiness::RootNotVerity),
            ("proc/self/mountinfo", &covered, Readiness::RootNotVerity),
            ("proc/self/mountinfo", &ext4, Readiness::RootNotVerity),
            ("proc/self/mountinfo", &no_root_device, Readiness::RootNotVerity),
            ("proc/self/mountinfo", &swapped, Readiness::RootNotVerity),
            ("sys/dev/block/253:0/dm/name", "other\n", Readiness::RootNotVerity),
            ("proc/self/mountinfo", &cut_off, Readiness::RootNotVerity),
            ("proc/self/mountinfo", ROOT, Readiness::ModelNotVerity),
            ("sys/dev/block/253:1/dm/name", "vitrine-root\n", Readiness::ModelNotVerity),
            ("proc/self/net/dev", "", Readiness::EgressOpen),
            ("proc/self/net/dev", "a\nb\n    lo: 0\n  eth0: 0\n", Readiness::EgressOpen),
        ] {
            assert_eq!(check_changed(&[(path, text)], false), reason, "{path}: {text}");
        }
    }

    #[test]
    fn this_process_has_a_network() {
        assert!(can_open_ip_socket());
    }
}
