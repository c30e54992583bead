//! What the worker takes from itself. systemd has taken the network, the files and the privileges before.

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter_all_threads,
};
use std::collections::BTreeMap;

/// Nobody else reads this process's memory, and none of it is ever written to a disk.
pub(crate) fn close_memory() -> nix::Result<()> {
    prctl::set_dumpable(false)?;
    prctl::set_no_new_privs()?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
}

/// From here on, in all threads, a system call that is not listed below ends the process.
pub(crate) fn give_up_system_calls() -> Result<(), Box<dyn std::error::Error>> {
    // What a thread is started with lies in memory, where no filter can look at it; told that this call does not exist,
    // the C library makes the one below, whose flags can be seen.
    let clone3 = BTreeMap::from([(nix::libc::SYS_clone3, Vec::new())]);
    let refused = SeccompAction::Errno(nix::libc::ENOSYS as u32);
    apply(SeccompFilter::new(clone3, SeccompAction::Allow, refused, TargetArch::x86_64)?)?;
    apply(SeccompFilter::new(allowed()?, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64)?)
}

fn apply(filter: SeccompFilter) -> Result<(), Box<dyn std::error::Error>> {
    let program: BpfProgram = filter.try_into()?;
    Ok(apply_filter_all_threads(&program)?)
}

/// The system calls that reading a request, computing and writing an answer take.
fn allowed() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    use nix::libc;
    let argument =
        |index, length, operator, value| SeccompRule::new(vec![SeccompCondition::new(index, length, operator, value)?]);
    let (word, long) = (SeccompCmpArgLen::Dword, SeccompCmpArgLen::Qword);
    let flags = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
    let flags =
        flags | libc::CLONE_SYSVSEM | libc::CLONE_SETTLS | libc::CLONE_PARENT_SETTID | libc::CLONE_CHILD_CLEARTID;
    let executable = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
    let any = [
        libc::SYS_brk,
        libc::SYS_clock_gettime,
        libc::SYS_close,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_madvise,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_read,
        libc::SYS_recvfrom,
        libc::SYS_restart_syscall,
        libc::SYS_rseq,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_yield,
        libc::SYS_sendto,
        libc::SYS_set_robust_list,
        libc::SYS_sigaltstack,
        libc::SYS_write,
    ];
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> = any.into_iter().map(|call| (call, Vec::new())).collect();
    // No file is opened, so what is mapped is memory; none of it is ever run.
    allowed.insert(libc::SYS_mmap, vec![argument(2, word.clone(), executable.clone(), 0)?]);
    allowed.insert(libc::SYS_mprotect, vec![argument(2, word.clone(), executable, 0)?]);
    // A debug build asks whether a descriptor is open before it closes it.
    allowed.insert(libc::SYS_fcntl, vec![argument(1, word, SeccompCmpOp::Eq, libc::F_GETFD as u64)?]);
    // Threads, and no processes.
    allowed.insert(libc::SYS_clone, vec![argument(0, long, SeccompCmpOp::Eq, flags as u64)?]);
    // Decided by the filter before this one.
    allowed.insert(libc::SYS_clone3, Vec::new());
    Ok(allowed)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a filter is for good, so each of these takes a process of its own")]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    const ACT: &str = "INFER_TEST_ACT";

    #[test]
    fn what_is_not_listed_ends_the_process() {
        let this = std::env::current_exe().unwrap();
        let act = |name: &str| {
            let mut command = Command::new(&this);
            let output = command.args(["--exact", "sandbox::tests::act", "--ignored"]).env(ACT, name).output().unwrap();
            (output.status.code(), output.status.signal())
        };
        assert_eq!(act("compute"), (Some(0), None));
        for name in ["open", "look", "connect", "listen", "start", "kill", "name"] {
            assert_eq!(act(name), (None, Some(nix::libc::SIGSYS)), "{name}");
        }
    }

    /// What the test above starts: gives up the system calls, and makes one.
    #[test]
    #[ignore = "for the test above"]
    fn act() {
        // Whoever runs all tests that are ignored does not mean this one, which would end them all.
        let Ok(act) = std::env::var(ACT) else { return };
        close_memory().unwrap();
        give_up_system_calls().unwrap();
        match act.as_str() {
            "open" => drop(std::fs::File::open("/dev/null")),
            "look" => drop(std::fs::metadata("/")),
            "connect" => drop(std::net::TcpStream::connect("127.0.0.1:9")),
            "listen" => drop(std::os::unix::net::UnixDatagram::unbound()),
            "start" => drop(Command::new("/bin/true").spawn()),
            "kill" => drop(nix::sys::signal::raise(nix::sys::signal::SIGUSR1)),
            "name" => drop(prctl::set_name(c"x")),
            _ => assert_eq!(std::thread::spawn(|| vec![1_u8; 1 << 20].len()).join().unwrap(), 1 << 20),
        }
        std::process::exit(0);
    }
}
