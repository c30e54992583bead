//! What a log keeps when a system call fails or the process is killed in it, for every call in turn.
//!
//! This program starts itself under strace as a writer, which adds entries, signs and publishes, and says so; strace
//! lets the n-th call of a kind fail, or kills the writer there. Then the log must hash to its signed root, hold all
//! that was acknowledged, and take further entries. Without arguments one size is tried; with `--include-ignored`,
//! as `cargo xtask ci --full` gives it, all.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "starts strace; prints counts and acknowledgements"
)]

use log_client::Signer;
use log_client::edge::directory::Directory;
use log_client::edge::fsck::fsck;
use log_client::edge::log::Log;
use log_client::note::SignatureType;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};

/// How the program is told to be the writer.
const WRITER: &str = "--writer";
/// The calls that change something on the disk, and those that prepare it. `link` is not among them: nothing is linked.
const CALLS: [&str; 12] = [
    "openat",
    "mkdir",
    "write",
    "fsync",
    "syncfs",
    "rename",
    "unlink",
    "unlinkat",
    "rmdir",
    "flock",
    "getdents64",
    "pread64",
];
/// Calls of which there must have been some in every scenario together.
const USED: [&str; 9] = ["openat", "mkdir", "write", "fsync", "syncfs", "rename", "unlink", "getdents64", "pread64"];
/// What happens to a call.
const FAULTS: [&str; 3] = ["error=EIO", "error=ENOSPC", "signal=KILL"];

/// Entries before, published, and entries that the writer adds.
///
/// What was there is added in two steps, so that the index of leaves is behind, and in the last case has to be merged.
const SHORT: [(u64, u64); 2] = [(255, 1), (1030, 1)];
const FULL: [(u64, u64); 8] = [(0, 1), (1, 1), (254, 3), (255, 1), (256, 1), (511, 2), (3, 2600), (1030, 1)];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [first, directory, from, to] = arguments.as_slice()
        && first == WRITER
    {
        let range = from.parse().unwrap()..to.parse().unwrap();
        return write(Path::new(directory), range, |said| println!("{said}"));
    }
    let filtered = arguments.iter().any(|argument| !argument.starts_with("--") && !"crash".contains(argument.as_str()));
    if filtered || arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    let full = arguments.iter().any(|argument| argument.ends_with("ignored"));
    let strace = Command::new("strace").arg("--version").stdout(Stdio::null()).status();
    assert!(strace.is_ok(), "strace is needed: sudo apt-get install strace");
    let mut faults = BTreeMap::new();
    for (before, more) in if full { &FULL[..] } else { &SHORT } {
        scenario(*before, *more, full, &mut faults);
        println!("{more} after {before}; faults survived: {faults:?}");
    }
    for call in USED.iter().filter(|call| full || **call != "syncfs") {
        assert!(faults.get(call).is_some_and(|count| *count > 0), "no call of {call} failed");
    }
}

fn signer() -> Signer {
    Signer::new("example.com/log", SignatureType::ED25519, &[1; 32]).unwrap()
}

fn entries(range: Range<u64>) -> Vec<Vec<u8>> {
    range.map(|index| format!("entry {index}").into_bytes()).collect()
}

/// The writer: begins a log unless there is one, adds entries and publishes. A panic is as good an end as any.
fn write(directory: &Path, range: Range<u64>, say: impl Fn(String)) {
    let log = match Log::open(directory) {
        Err(error) if error.to_string().contains("no log of ours") => Log::init(directory, &signer()),
        opened => opened,
    };
    let (log, indexes) = log.unwrap().append(&entries(range)).unwrap();
    say(format!("appended {}", indexes.last().unwrap()));
    let log = log.sign(&signer()).unwrap().publish(&[]).unwrap();
    say(format!("published {}", log.tree().size));
}

/// Every fault at every call of a run that adds `more` entries to a log of `before`.
fn scenario(before: u64, more: u64, full: bool, faults: &mut BTreeMap<&'static str, usize>) {
    // In memory if there is such a place: what is lost is decided here, not by a disk.
    let scratch = tempfile::tempdir_in("/dev/shm").or_else(|_absent| tempfile::tempdir()).unwrap();
    let base = scratch.path().join("base");
    fs::create_dir(&base).unwrap();
    for range in [0..before / 2, before / 2..before].into_iter().filter(|range| !range.is_empty()) {
        run(&base, range, None);
    }
    let directory = copied(&base, &scratch.path().join("run"));
    let calls = run(&directory, before..before + more, None).1;
    flushed_in_order(&fs::read_to_string(directory.with_extension("trace")).unwrap());
    for (call, numbers) in calls {
        for fault in FAULTS.into_iter().filter(|fault| full || *fault != "error=ENOSPC") {
            for when in &numbers {
                let directory = copied(&base, &scratch.path().join("run"));
                let inject = format!("inject={call}:{fault}:when={when}");
                let (said, _) = run(&directory, before..before + more, Some(&inject));
                check(&directory, before, more, &said, &inject);
                *faults.entry(call).or_default() += 1;
            }
        }
        // Killed again and again in one directory, a call later each time.
        let directory = copied(&base, &scratch.path().join("run"));
        for when in numbers.iter().filter(|_| full) {
            let inject = format!("inject={call}:signal=KILL:when={when}");
            let (said, _) = run(&directory, before..before + more, Some(&inject));
            check_files(&directory, before, &said, &inject);
        }
    }
}

/// What a writer said before its end, and, by kind of call, the numbers of those calls of it that were about the log,
/// counted from 1 among all of the kind.
fn run(directory: &Path, range: Range<u64>, inject: Option<&str>) -> (String, BTreeMap<&'static str, Vec<usize>>) {
    let trace = directory.with_extension("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-qq", "-o"]).arg(&trace).arg(format!("-etrace={}", CALLS.join(",")));
    strace.args(inject.map(|inject| format!("-e{inject}")));
    strace.arg(std::env::current_exe().unwrap()).arg(WRITER).arg(directory);
    strace.args([range.start, range.end].map(|number| number.to_string()));
    let output = strace.stderr(Stdio::null()).output().unwrap();
    assert!(inject.is_some() || output.status.success(), "{range:?} failed without a fault");
    let trace = fs::read_to_string(trace).unwrap();
    let log = directory.display().to_string();
    let numbers = |call: &&'static str| {
        let made = (1..).zip(trace.lines().filter(|line| line.contains(&format!(" {call}("))));
        (*call, made.filter(|(_, line)| line.contains(&log)).map(|(number, _)| number).collect())
    };
    let counts = CALLS.iter().map(numbers).collect();
    (String::from_utf8(output.stdout).unwrap(), counts)
}

/// What a power failure would show and a kill does not: whatever names the state of the log, or tells of it, comes after
/// the flush of everything before it.
fn flushed_in_order(trace: &str) {
    let (mut files, mut directories, mut named, mut written) = (0, BTreeSet::new(), 0, false);
    for line in trace.lines() {
        let (call, rest) = line.split_once('(').unwrap_or_default();
        let quoted: Vec<_> = rest.split('"').collect();
        let open = rest.split(['<', '>']).nth(1).unwrap_or_default();
        match call.split(' ').next_back() {
            Some("write") if open.ends_with("/tmp/file") => written = true,
            Some("write") if rest.starts_with("1<") => assert!(directories.is_empty() && files == 0, "{line}"),
            Some("fsync") if open.ends_with("/tmp/file") => written = false,
            Some("fsync") => {
                directories.remove(open);
            }
            Some("syncfs") => (files, directories) = (0, BTreeSet::new()),
            Some("rename") => {
                let (to, name) = quoted[3].rsplit_once('/').unwrap();
                if ["tree", "signed", "checkpoint"].contains(&name) {
                    assert!(directories.is_empty() && files == 0 && !written, "{line}: after {files}, {directories:?}");
                    named += 1;
                }
                files += usize::from(written);
                written = false;
                directories.insert(to.to_owned());
            }
            Some("mkdir") if line.ends_with("= 0") && !quoted[1].ends_with("/tmp") => {
                directories.insert(quoted[1].rsplit_once('/').unwrap().0.to_owned());
            }
            _ => {}
        }
    }
    assert!(named >= 3, "{named} states were written");
}

/// What must hold of the files as they were left.
fn check_files(directory: &Path, before: u64, said: &str, inject: &str) {
    let number = |verb: &str| Some(said.lines().find_map(|line| line.strip_prefix(verb))?.parse::<u64>().unwrap());
    let (appended, published) = (number("appended "), number("published "));
    let files = Directory::new(directory);
    // Without a checkpoint, the log had not begun, and nobody was told that it had.
    if !directory.join("checkpoint").exists() {
        assert_eq!((before, appended), (0, None), "{inject}: the checkpoint is lost");
        return;
    }
    let signed = fsck(&files, signer().key()).unwrap().unwrap_or_else(|damage| panic!("{inject}: {damage}"));
    let size = signed.checkpoint().size;
    assert!(size >= published.unwrap_or(before), "{inject}: {size} are public, {said:?}");
    if let Some(index) = appended {
        let log = Log::open(directory).unwrap();
        let entry = log.directory().entry(index, log.tree().size).unwrap();
        assert_eq!(entry, format!("entry {index}").into_bytes(), "{inject}");
    }
}

/// And of a log that goes on from there: it has all entries once, and the old tree is the beginning of the new one.
fn check(directory: &Path, before: u64, more: u64, said: &str, inject: &str) {
    check_files(directory, before, said, inject);
    write(directory, before..before + more + 1, |_| ());
    let signed = fsck(&Directory::new(directory), signer().key()).unwrap();
    let size = signed.unwrap_or_else(|damage| panic!("{inject}: {damage}")).checkpoint().size;
    assert_eq!(size, before + more + 1, "{inject}");
    for (index, entry) in entries(before..size).into_iter().enumerate() {
        assert_eq!(Directory::new(directory).entry(before + index as u64, size).unwrap(), entry, "{inject}");
    }
}

/// A copy of a directory, in place of what was there.
fn copied(from: &Path, to: &Path) -> std::path::PathBuf {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
            if from.is_dir() {
                copy(&from, &to);
            } else {
                fs::copy(from, to).unwrap();
            }
        }
    }
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    copy(from, to);
    to.to_owned()
}
