//! A checkout in which nothing is uncommitted, whatever this one is like.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Clones this checkout into `into`, committed or not, with the measurements of the build in `dist`: that is of what stands
/// here, and of today's packages if locked ones are gone.
pub(crate) fn clone(into: &Path, dist: &Path) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    git(
        into.parent().unwrap(),
        &["clone", "--quiet", "--no-hardlinks", here.to_str().unwrap(), into.to_str().unwrap()],
    );
    let changed = git(here, &["ls-files", "-z", "--modified"]);
    for name in String::from_utf8(changed).unwrap().split_terminator('\0') {
        fs::copy(here.join(name), into.join(name)).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.current_dir(into).args(["measure", "--update", "--dist"]).arg(dist);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    commit(into, "as built");
}

/// Commits all changes of a checkout.
pub(crate) fn commit(checkout: &Path, message: &str) {
    let me = ["-c", "user.name=me", "-c", "user.email=me@example.com", "-c", "commit.gpgsign=false"];
    let commit = ["commit", "--quiet", "--all", "--allow-empty", "--message", message];
    git(checkout, &[&me[..], &commit].concat());
}

/// Runs git in a directory.
pub(crate) fn git(directory: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("git").current_dir(directory).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
