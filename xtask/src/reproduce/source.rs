//! The source that a release names, in a fresh directory.

use crate::workspace;
use anyhow::{Context as _, bail, ensure};
use image::result::reproduce::unpack;
use measure::Sha1;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the source is taken from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A git repository, its address, or a bundle.
    Git(String),
    /// A tar archive, perhaps compressed.
    Tar(PathBuf),
}

/// The source in a directory of its own.
pub(crate) struct Fresh {
    /// The directory, with nothing else in it.
    pub(crate) root: PathBuf,
    /// The repository it was taken from; its `refs/heads/release` is the commit.
    pub(crate) repository: Option<PathBuf>,
    /// Whether it is known to be the commit.
    pub(crate) checked: Checked,
}

/// Whether a source is known to be that of the commit it was asked for, and what to say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Checked {
    /// Git hashed it.
    Commit(String),
    /// An archive's files, and nothing here knows the commit.
    Unchecked(String),
}

impl Checked {
    pub(crate) fn is_the_commit(&self) -> bool {
        matches!(self, Self::Commit(_))
    }

    fn with(self, path: &Path) -> Self {
        let named = |said| format!("{}: {said}", path.display());
        match self {
            Self::Commit(said) => Self::Commit(named(said)),
            Self::Unchecked(said) => Self::Unchecked(named(said)),
        }
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Commit(said) | Self::Unchecked(said)) = self;
        f.write_str(said)
    }
}

impl Source {
    /// What a command line names, or the repository around the current directory.
    pub(crate) fn new(given: Option<&str>) -> anyhow::Result<Self> {
        let Some(given) = given else {
            let root = workspace::root().context("no --source is named")?;
            return Ok(Self::Git(root.to_str().context("the checkout's path is not UTF-8")?.to_owned()));
        };
        let path = Path::new(given);
        let is_tar = |name: &str| name.ends_with(".tar") || name.contains(".tar.") || name.ends_with(".tgz");
        if !path.exists() {
            return Ok(Self::Git(given.to_owned()));
        }
        let path = std::path::absolute(path).with_context(|| format!("resolving {given}"))?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        match path.is_file() && is_tar(&name) {
            true => Ok(Self::Tar(path)),
            false => Ok(Self::Git(path.to_str().with_context(|| format!("{given} is not UTF-8"))?.to_owned())),
        }
    }

    /// Puts the source of `commit` into `dir`, which must be empty. All of its history is taken with it if it is `whole`.
    ///
    /// # Errors
    /// When it cannot be had. `Err` inside: there is no such commit, or it is another's source.
    pub(crate) fn take(&self, commit: &Sha1, dir: &Path, whole: bool) -> anyhow::Result<Result<Fresh, String>> {
        let root = dir.join("source");
        fs::create_dir(&root).with_context(|| format!("creating {}", root.display()))?;
        match self {
            Self::Git(from) => {
                let repository = dir.join("source.git");
                let git = |arguments: &[&str]| git(&repository, arguments);
                fs::create_dir(&repository).with_context(|| format!("creating {}", repository.display()))?;
                git(&["init", "--quiet", "--bare"])?;
                let commit = commit.to_string();
                let exact = format!("{commit}:refs/heads/release");
                // Git hashes whatever it receives, and a commit's name covers all of its tree.
                let mut fetch = vec!["fetch", "--quiet", "--no-tags"];
                if !whole {
                    fetch.push("--depth=1");
                }
                let asked = git(&[&fetch[..], &["--", from, &exact]].concat());
                if let Err(refused) = asked {
                    // Not every server, and no bundle, can be asked for a commit by its name.
                    let all = git(&["fetch", "--quiet", "--", from, "+refs/*:refs/all/*"]);
                    all.with_context(|| format!("after {refused:#}"))?;
                    if git(&["update-ref", "refs/heads/release", &format!("{commit}^{{commit}}")]).is_err() {
                        return Ok(Err(format!("{from} has no commit {commit}")));
                    }
                }
                let tree = format!("--work-tree={}", root.display());
                let plain =
                    ["-c", "core.autocrlf=false", "-c", "core.attributesFile=/dev/null", "-c", "core.fileMode=true"];
                git(&[&plain[..], &[&tree, "checkout", "--quiet", "--force", "release", "--", "."]].concat())?;
                let checked = Checked::Commit(format!("{commit} from {from}"));
                Ok(Ok(Fresh { root, repository: Some(repository), checked }))
            }
            Self::Tar(path) => {
                unpack(path, &root)?;
                let checked = against_repository(commit, &root, dir)?;
                Ok(checked.map(|checked| Fresh { root, repository: None, checked: checked.with(path) }))
            }
        }
    }
}

/// Whether the files in `root` are those of `commit`, if the repository around the current directory has it. `Err` says that
/// they are not.
fn against_repository(commit: &Sha1, root: &Path, dir: &Path) -> anyhow::Result<Result<Checked, String>> {
    let unchecked = Checked::Unchecked(format!(
        "not checked against {commit}, which no repository here has; what a stage reads is checked against stages.json"
    ));
    let Ok(here) = workspace::root() else { return Ok(Ok(unchecked)) };
    let Ok(expected) = git(&here, &["rev-parse", "--verify", "--quiet", &format!("{commit}^{{tree}}")]) else {
        return Ok(Ok(unchecked));
    };
    let repository = dir.join("tree.git");
    fs::create_dir(&repository).with_context(|| format!("creating {}", repository.display()))?;
    git(&repository, &["init", "--quiet", "--bare"])?;
    let tree = format!("--work-tree={}", root.display());
    git(&repository, &["-c", "core.autocrlf=false", &tree, "add", "--all", "--force", "."])?;
    let found = git(&repository, &["write-tree"])?;
    Ok(match found == expected {
        true => Ok(Checked::Commit(format!("the files of commit {commit}"))),
        false => {
            Err(format!("its files are not those of commit {commit}: tree {}, found {}", expected.trim(), found.trim()))
        }
    })
}

/// Writes a bundle of `refs/heads/release` with all of its history.
pub(crate) fn bundle(repository: &Path, file: &Path) -> anyhow::Result<()> {
    let file = file.to_str().with_context(|| format!("{} is not UTF-8", file.display()))?;
    git(repository, &["bundle", "create", "--quiet", file, "release"]).map(drop)
}

/// Runs git in a repository, whatever the user has configured.
#[expect(clippy::disallowed_methods, reason = "only git has what is committed")]
pub(super) fn git(repository: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(repository).args(arguments);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
        command.env_remove(OsStr::new(variable));
    }
    let output = command.output().context("starting git")?;
    if !output.status.success() {
        bail!("git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let said = String::from_utf8(output.stdout).context("reading what git says")?;
    ensure!(said.len() < 1 << 20, "git says more than expected");
    Ok(said)
}
