//! `cargo xtask archive`: everything that a release is made of, in one directory.

use crate::fetch::MirrorFlags;
use crate::report::{Answer, Terminal};
use crate::reproduce::published::{BelieveFlags, Published};
use crate::reproduce::source::{self, Source};
use crate::workspace;
use anyhow::{Context as _, bail, ensure};
use image::files::replace;
use image::inputs::fetch::{self, Mirrors};
use image::inputs::lock::LOCK;
use image::inputs::store::Store;
use image::inputs::{crates, lock::Lock, request::Request};
use image::pipeline::measured::Artifact;
use image::pipeline::scratch::Scratch;
use image::progress::Progress as _;
use image::result::archive::{RELEASE, SOURCE, write};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What `archive` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// A release: its directory or release.json, or an index or version in --log.
    release: String,

    #[command(flatten)]
    believe: BelieveFlags,

    /// Where the archive is written. An interrupted run goes on there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Where the commit is taken from: a git repository, its address, or a bundle; this repository by default.
    #[arg(long, value_name = "URL|FILE")]
    source: Option<String>,

    #[command(flatten)]
    mirrors: MirrorFlags,
}

/// Runs `archive`.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<Answer> {
    let terminal = Terminal::new();
    let believed = flags.believe.read()?;
    let published = match Published::find(&flags.release, flags.believe.log.as_ref(), &believed)? {
        Ok(published) => published,
        Err(reason) => return Ok(no(format!("{} is not believed: {reason}", flags.release))),
    };
    if let Err(mismatch) = published.files()? {
        return Ok(no(mismatch.reason));
    }
    let cache = workspace::cache()?;
    let out = std::path::absolute(&flags.out).with_context(|| format!("resolving {}", flags.out.display()))?;
    let whole = out.join(RELEASE).join(crate::release::RELEASE);
    if whole.exists() {
        let known = fs::read(&whole).with_context(|| format!("reading {}", whole.display()))?;
        ensure!(known == published.entry, "{} is the archive of another release", out.display());
    }

    let since = Instant::now();
    let scratch = Scratch::new(&cache.join("work"))?;
    let source = match Source::new(flags.source.as_deref())? {
        Source::Tar(path) => bail!("{}: expected git: only a commit's history proves its name", path.display()),
        source => source,
    };
    let release = &published.release;
    let fresh = match source.take(&release.commit, scratch.path(), true)? {
        Ok(fresh) => fresh,
        Err(reason) => bail!("the source of release {}: {reason}", release.version),
    };
    terminal.done("source", &fresh.checked.to_string(), since.elapsed());
    let lock = Artifact::of(&fresh.root.join(LOCK))?.sha256;
    if lock != release.lock_sha256 {
        return Ok(no(format!(
            "{LOCK} of commit {}: the release has sha256 {}, found {lock}",
            release.commit, release.lock_sha256
        )));
    }
    let lock = Lock::read(&fresh.root.join(LOCK))?;
    let crates = crates::read(&fresh.root)?;
    let mirrors = flags.mirrors.apply(Mirrors::new(&Request::read(&fresh.root)?))?;
    let store = Store::open(&cache)?;
    fetch::fetch(&lock, &crates, &store, &mirrors, &terminal)?;
    let files = write(&lock, &crates, &store, &out, &terminal)?;

    let repository = fresh.repository.context("the source has no repository")?;
    let bundle = scratch.path().join(SOURCE);
    source::bundle(&repository, &bundle)?;
    copy(&bundle, &out.join(SOURCE))?;
    let to = out.join(RELEASE);
    fs::create_dir_all(&to).with_context(|| format!("creating {}", to.display()))?;
    replace(&to.join(crate::release::PROOF), published.proof.as_bytes())?;
    for subject in &published.statement.subjects {
        if let Some(from) = published.dir.as_ref().map(|dir| dir.join(&subject.name)).filter(|path| path.exists()) {
            copy(&from, &to.join(&subject.name))?;
        }
    }
    // The last: an archive without it is not finished.
    replace(&whole, &published.entry)?;
    scratch.remove()?;
    let reason =
        format!("{} has release {} and everything it is made of: {files} inputs", out.display(), release.version);
    let payload = json!({ "out": out, "version": release.version.to_string(), "inputs": files });
    Ok(Answer { yes: true, text: format!("{reason}\n"), reason, payload })
}

/// Copies a file, whole or not at all.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copying = || format!("copying {} to {}", from.display(), to.display());
    let name = to.file_name().with_context(copying)?;
    let part = to.with_file_name(format!("{}.part", name.display()));
    fs::copy(from, &part)
        .and_then(|_bytes| fs::File::open(&part)?.sync_all())
        .and_then(|()| fs::rename(&part, to))
        .with_context(copying)
}

fn no(reason: String) -> Answer {
    Answer { yes: false, text: String::new(), reason, payload: json!({}) }
}
