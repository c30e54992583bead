//! What a program in a sandbox sees and cannot do, as root and as another user.
//!
//! The tree is the host's /usr, so this needs no network and no package.

#![expect(clippy::disallowed_methods, reason = "starts itself as another user and as a caller that dies")]
#![expect(clippy::print_stdout, reason = "it is its own test harness")]

use image::tools::sandbox::{self, Bind, Ending, Failed, Network, Sandbox};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// First argument by which this executable knows that it is to run the sandbox in its second.
const CALLER: &str = "__caller";

/// An id that owns nothing, as long as it is not the caller's.
const NOBODY: u32 = 65534;

/// A name, and what runs in a directory of its own that holds `tree`.
type Test = (&'static str, fn(&Path));

const TESTS: [Test; 9] = [
    ("world_is_the_given_one", world_is_the_given_one),
    ("binds_are_writable_or_not", binds_are_writable_or_not),
    ("host_network_is_seen_only_on_demand", host_network_is_seen_only_on_demand),
    ("status_and_signal_are_told_apart", status_and_signal_are_told_apart),
    ("failure_quotes_the_log", failure_quotes_the_log),
    ("what_cannot_start_says_why", what_cannot_start_says_why),
    ("dropping_kills_all", dropping_kills_all),
    ("death_of_the_caller_kills_all", death_of_the_caller_kills_all),
    ("refused_namespaces_name_the_setting", refused_namespaces_name_the_setting),
];

fn main() {
    sandbox::entry();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [caller, spec] = arguments.as_slice()
        && caller == CALLER
    {
        let sandbox: Sandbox = serde_json::from_str(spec).unwrap();
        sandbox.run(&mut |_line| ()).unwrap();
        return;
    }
    let selected = |name: &str| arguments.iter().all(|argument| argument.starts_with('-') || name.contains(argument));
    let selected: Vec<_> = TESTS.iter().filter(|(name, _test)| selected(name)).collect();
    for (name, test) in &selected {
        let dir = tempfile::tempdir().unwrap();
        make_tree(&dir.path().join("tree"));
        test(dir.path());
        println!("test {name} ... ok");
    }
    println!("{} passed, 0 failed", selected.len());
    if nix::unistd::geteuid().is_root() {
        // Everything again as somebody else, who needs a copy of this executable where it can be read.
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("sandbox");
        fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        std::os::unix::fs::chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        let nobody = NOBODY.to_string();
        let status = Command::new("setpriv")
            .args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"])
            .arg(copy)
            .args(arguments)
            .env("TMPDIR", dir.path())
            .status();
        assert!(status.unwrap().success(), "the tests failed as user {nobody}");
    }
}

fn make_tree(tree: &Path) {
    for dir in ["usr", "etc", "var/tmp"] {
        fs::create_dir_all(tree.join(dir)).unwrap();
    }
    for link in ["bin", "lib", "lib64"] {
        symlink(format!("usr/{link}"), tree.join(link)).unwrap();
    }
}

/// A sandbox that runs `script`.
fn shell(dir: &Path, script: &str) -> Sandbox {
    let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    Sandbox {
        root: dir.join("tree"),
        binds: vec![Bind { host: PathBuf::from("/usr"), guest: PathBuf::from("/usr"), writable: false }],
        argv,
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin".to_owned())]),
        cwd: PathBuf::from("/"),
        network: Network::None,
        uid: 0,
        log: dir.join("log"),
    }
}

/// The output of a script that must succeed.
fn output(sandbox: &Sandbox) -> String {
    sandbox.run(&mut |_line| ()).unwrap_or_else(|error| panic!("{error:#}"));
    fs::read_to_string(&sandbox.log).unwrap()
}

fn world_is_the_given_one(dir: &Path) {
    for (script, uid, expected) in [
        ("uname -n", 0, "vitrine\n"),
        ("tr '\\0' '\\n' </proc/$$/environ", 0, "A=b c\nPATH=/usr/bin\n"),
        ("umask; pwd", 0, "0022\n/var\n"),
        ("id -u; id -g", 0, "0\n0\n"),
        ("id -u; id -g", 1000, "1000\n1000\n"),
        ("while read a b c; do echo $a $c; done </proc/self/uid_map", 1000, "1000 1\n"),
        ("cut -d: -f1 /proc/net/dev | tail -n +3", 0, "    lo\n"),
        ("echo /*", 0, "/bin /dev /etc /lib /lib64 /proc /run /sys /tmp /usr /var\n"),
        ("cd /dev; echo *", 0, "fd full null random shm stderr stdin stdout urandom zero\n"),
        ("ls /proc/self/fd; echo x >/dev/null; cat", 0, "0\n1\n2\n3\n"),
        ("echo /proc/[0-9]*", 0, "/proc/1 /proc/3\n"),
        ("for d in / /usr /etc /dev/../var; do touch $d/x 2>/dev/null && echo $d; done; :", 0, ""),
        ("mount -o remount,bind,rw /usr 2>/dev/null && echo writable; :", 0, ""),
        ("touch /tmp/x /run/x /var/tmp/x /dev/shm/x && echo ok", 0, "ok\n"),
    ] {
        let mut sandbox = shell(dir, script);
        sandbox.env.insert("A".to_owned(), "b c".to_owned());
        sandbox.cwd = PathBuf::from("/var");
        sandbox.uid = uid;
        assert_eq!(output(&sandbox), expected, "{script} as {uid}");
    }
    assert!(!dir.join("tree/dev").exists(), "nothing is made in the tree");
}

fn binds_are_writable_or_not(dir: &Path) {
    for name in ["in", "out dir é"] {
        fs::create_dir(dir.join(name)).unwrap();
    }
    fs::write(dir.join("in/file"), "read").unwrap();
    let mut sandbox = shell(dir, "cat /in/file /etc-file; touch /in/x 2>/dev/null; echo written >/work/out/file");
    let bind = |host: &str, guest: &str, writable| Bind { host: dir.join(host), guest: guest.into(), writable };
    sandbox.binds.extend([
        bind("in", "/in", false),
        bind("in/file", "/etc-file", false),
        bind("out dir é", "/work/out", true),
    ]);
    assert_eq!(output(&sandbox), "readread");
    assert_eq!(fs::read_to_string(dir.join("out dir é/file")).unwrap(), "written\n");
    assert!(!dir.join("in/x").exists());
}

fn host_network_is_seen_only_on_demand(dir: &Path) {
    let mut sandbox = shell(dir, "readlink /proc/self/ns/net");
    let host = fs::read_link("/proc/self/ns/net").unwrap().to_str().unwrap().to_owned() + "\n";
    assert_ne!(output(&sandbox), host);
    sandbox.network = Network::Host;
    assert_eq!(output(&sandbox), host);
}

fn status_and_signal_are_told_apart(dir: &Path) {
    for (script, expected) in [
        ("exit 7", Ending::Exited(7)),
        ("exit 137", Ending::Exited(137)),
        ("kill -9 $$", Ending::Signaled(9)),
        ("kill -6 $$", Ending::Signaled(6)),
        ("sleep 60 & exit 0", Ending::Exited(0)),
    ] {
        assert_eq!(shell(dir, script).spawn().unwrap().wait().unwrap(), expected, "{script}");
    }
}

fn failure_quotes_the_log(dir: &Path) {
    let sandbox = shell(
        dir,
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do echo $i; echo e$i >&2; done; exit 3",
    );
    let mut lines = 0;
    let failed = sandbox.run(&mut |_line| lines += 1).unwrap_err().downcast::<Failed>().unwrap();
    assert_eq!((lines, failed.ending), (40, Ending::Exited(3)));
    let text = failed.to_string();
    assert!(
        text.starts_with("/bin/sh exited with status 3; the last lines of ") && text.ends_with("\n20\ne20"),
        "{text}"
    );
    assert!(text.contains(sandbox.log.to_str().unwrap()) && text.contains("\n6\n") && !text.contains("e5\n"), "{text}");
    assert_eq!(sandbox::tail(&sandbox.log).unwrap(), failed.tail);
}

fn what_cannot_start_says_why(dir: &Path) {
    let with = |change: &dyn Fn(&mut Sandbox)| {
        let mut sandbox = shell(dir, ":");
        change(&mut sandbox);
        format!("{:#}", sandbox.run(&mut |_line| ()).unwrap_err())
    };
    let missing = Bind { host: "/no/such".into(), guest: "/x".into(), writable: false };
    let nowhere = Bind { host: "/usr".into(), guest: "/etc/new".into(), writable: false };
    for (error, expected) in [
        (with(&|s| s.argv[0] = "/no/program".into()), "starting /no/program"),
        (with(&|s| s.argv[0] = "sh".into()), "\"sh\" is not an absolute path"),
        (with(&|s| s.root = "tree".into()), "tree is not an absolute path"),
        (with(&|s| s.cwd = "/no/such".into()), "in /no/such"),
        (with(&|s| s.root = dir.join("none")), "none: No such file"),
        (with(&|s| s.binds.push(missing.clone())), "looking for /no/such"),
        (with(&|s| s.binds.push(nowhere.clone())), "making the mount point"),
        (with(&|s| s.log = dir.join("no/log")), "creating the log"),
        (with(&|s| s.argv.push("x".repeat(200_000))), "at most 120000 fit"),
    ] {
        assert!(error.contains(expected), "expected {expected:?} in {error}");
    }
}

/// Waits until `condition` holds.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A script that touches a file again and again, in a process that its parent leaves behind, and that file.
fn beacon(dir: &Path) -> (Sandbox, PathBuf) {
    let out = dir.join("out");
    fs::create_dir_all(&out).unwrap();
    let mut sandbox = shell(dir, "(while :; do : >/out/alive; sleep 0.05; done) & sleep 1000");
    sandbox.binds.push(Bind { host: out.clone(), guest: "/out".into(), writable: true });
    (sandbox, out.join("alive"))
}

/// Fails if the file is made again.
fn assert_silent(alive: &Path) {
    let _absent_or_removed = fs::remove_file(alive);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!alive.exists(), "something still runs");
}

fn dropping_kills_all(dir: &Path) {
    let (sandbox, alive) = beacon(dir);
    let mut running = sandbox.spawn().unwrap();
    eventually("it starts", || alive.exists());
    assert!(running.is_running().unwrap());
    drop(running);
    assert_silent(&alive);
    let running = sandbox.spawn().unwrap();
    eventually("it starts again", || alive.exists());
    drop(running);
    assert_silent(&alive);
}

fn death_of_the_caller_kills_all(dir: &Path) {
    let (sandbox, alive) = beacon(dir);
    let mut caller = Command::new(std::env::current_exe().unwrap())
        .args([CALLER, &serde_json::to_string(&sandbox).unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("it starts", || alive.exists());
    caller.kill().unwrap();
    caller.wait().unwrap();
    // The pipe closes when the last process of the sandbox that inherited it is gone.
    caller.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_silent(&alive);
}

fn refused_namespaces_name_the_setting(dir: &Path) {
    let spec = serde_json::to_string(&shell(dir, ":")).unwrap();
    let output = Command::new("unshare")
        .args(["-Ur", "sh", "-c", "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([CALLER, &spec])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("sudo sysctl -w user.max_user_namespaces=15000"), "{text}");
}
