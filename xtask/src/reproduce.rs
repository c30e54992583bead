//! `cargo xtask reproduce`: builds a release again, through the stage functions of `build`, and says whether the same came out.

mod attest;
mod outcome;
pub(crate) mod published;
mod says;
pub(crate) mod source;
#[cfg(test)]
mod tests;
mod watch;

use crate::fetch::MirrorFlags;
use crate::report::{self, Answer, Terminal};
use crate::{build, workspace};
use anyhow::{Context as _, bail, ensure};
use attest::Found;
use image::files::{remove_tree, require_regular};
use image::inputs::fetch::Mirrors;
use image::inputs::lock::LOCK;
use image::inputs::store::Store;
use image::pipeline::build::Checkout;
use image::pipeline::dist;
use image::pipeline::measured::Artifact;
use image::pipeline::stage::{Cache, STAGES, Stage};
use image::progress::Progress as _;
use image::result::reproduce::{chain, chain_of_lock};
use image::result::{archive, vary};
use log_client::statement::Subject;
use outcome::{Outcome, Rebuild};
use published::{BelieveFlags, Published};
use serde_json::json;
use source::{Fresh, Source};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Where reproductions are, in Vitrine's cache.
const PLACE: &str = "reproduce";

/// What `reproduce` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// A release: its directory or release.json, what `archive` wrote, or an index or version in --log.
    #[arg(required_unless_present = "watch")]
    release: Option<String>,

    #[command(flatten)]
    believe: BelieveFlags,

    #[command(flatten)]
    how: How,

    #[command(flatten)]
    attest: attest::AttestFlags,

    /// Reproduce every release of --log that this directory does not say was reproduced before; it is made if it is not there.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["release", "inputs", "from", "take"], requires = "log")]
    watch: Option<PathBuf>,

    /// Look again so many seconds after each look, until the process is ended; without it, look once.
    #[arg(long, value_name = "SECONDS", requires = "watch", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    interval: Option<u32>,
}

/// How a release is built again.
#[derive(Debug, clap::Args)]
struct How {
    /// Where the commit is taken from: a git repository, its address, a bundle, or a tar archive of the files; this repository by
    /// default.
    #[arg(long, value_name = "URL|FILE")]
    source: Option<String>,

    /// Only follow the hashes from the source to the release's stages; build nothing.
    #[arg(long)]
    inputs: bool,

    /// Take the stages before this one from earlier builds, if they are there. What comes out is not a full reproduction.
    #[arg(long, value_name = "STAGE", value_parser = stage, conflicts_with_all = ["inputs", "vary"])]
    from: Option<Stage>,

    /// Take this stage from earlier builds, if it is there. What comes out is not a full reproduction.
    #[arg(long, value_name = "STAGE", value_parser = stage, conflicts_with = "inputs")]
    take: Option<Stage>,

    /// Build under other circumstances, which must not matter: user, path, file system, locale, processors and so on.
    #[arg(long, conflicts_with = "inputs")]
    vary: bool,

    /// Keep the source and what was built, whatever comes out.
    #[arg(long)]
    keep: bool,

    #[command(flatten)]
    mirrors: MirrorFlags,
}

impl How {
    /// Whether what an earlier build left is taken for the stage.
    fn is_taken(&self, stage: Stage) -> bool {
        self.from.is_some_and(|from| stage < from) || self.take == Some(stage)
    }

    /// Whether every stage is built.
    fn is_full(&self) -> bool {
        !Stage::ALL.into_iter().any(|stage| self.is_taken(stage))
    }
}

fn stage(name: &str) -> anyhow::Result<Stage> {
    let names = Stage::ALL.map(Stage::name).join(" ");
    Stage::ALL.into_iter().find(|stage| stage.name() == name).with_context(|| format!("expected one of {names}"))
}

/// Runs `reproduce`.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<Answer> {
    let believed = flags.believe.read()?;
    let attest = flags.attest.open(flags.believe.log.as_ref(), &flags.how)?;
    if let Some(state) = &flags.watch {
        return watch::run(flags, state, &believed, attest.as_ref());
    }
    let what = flags.release.as_deref().context("no release is named")?;
    // What `archive` wrote has everything, and nothing else is asked then.
    let whole = archived(Path::new(what))?;
    let release = whole.map(|dir| dir.join(archive::RELEASE));
    let release = release.as_deref().map_or(Ok(what), |path| path.to_str().context("the path is not UTF-8"))?;
    match Published::find(release, flags.believe.log.as_ref(), &believed)? {
        Ok(published) => one(&published, &flags.how, whole, attest.as_ref(), &workspace::cache()?),
        Err(reason) => Ok(no(format!("{what} is not believed: {reason}"))),
    }
}

/// The directory, if it is what `archive` wrote.
fn archived(dir: &Path) -> anyhow::Result<Option<&Path>> {
    let bundle = dir.join(archive::SOURCE);
    if !bundle.exists() {
        return Ok(None);
    }
    // A directory there would be a repository, whose configuration git obeys.
    require_regular(&bundle)?;
    Ok(Some(dir))
}

/// Reproduces one release. What was found is attested last, when the answer is certain.
fn one(
    published: &Published,
    how: &How,
    whole: Option<&Path>,
    attest: Option<&attest::Attest>,
    cache: &Path,
) -> anyhow::Result<Answer> {
    let started = Instant::now();
    let (mut answer, found) = find(published, how, whole, attest.is_some(), cache)?;
    if let Some(attest) = attest {
        let found = found.context("--attest: only a full reproduction is attested")?;
        let attested = attest.write(published, found, started.elapsed())?;
        answer.text += &format!("{}\n", attested.text);
        answer.payload["attested"] = attested.payload;
    }
    Ok(answer)
}

/// The answer, and what there is to attest: nothing if nothing was to be built.
fn find(
    published: &Published,
    how: &How,
    whole: Option<&Path>,
    attested: bool,
    cache: &Path,
) -> anyhow::Result<(Answer, Option<Found>)> {
    let started = Instant::now();
    let terminal = Terminal::new();
    let unbuilt = |Mismatch { subject, reason }| (no(reason), Some(Found::unbuilt(subject)));
    let release = &published.release;
    let there = match published.files()? {
        Ok(there) => there.len(),
        Err(mismatch) => return Ok(unbuilt(mismatch)),
    };
    let said = format!("{}, entry {} of {}, {there} files as signed", release.version, published.index, published.log);
    terminal.done("release", &said, started.elapsed());

    let place = Place::new(cache, published)?;
    let since = Instant::now();
    let source = match (whole, &how.source) {
        (Some(dir), None) => Source::new(dir.join(archive::SOURCE).to_str()),
        (_, source) => Source::new(source.as_deref()),
    }?;
    let fresh = match source.take(&release.commit, &place.fresh()?, false)? {
        Ok(fresh) => fresh,
        Err(reason) => bail!("the source of release {}: {reason}", release.version),
    };
    let Fresh { root, checked, .. } = &fresh;
    terminal.done("source", &checked.to_string(), since.elapsed());
    if attested && !checked.is_the_commit() {
        place.end(how.keep)?;
        bail!("--attest: expected the source of commit {}; {checked}; name a git --source", release.commit);
    }
    let checkout = match inputs(published, root)? {
        Ok(checkout) => checkout,
        Err(mismatch) => {
            place.end(how.keep)?;
            return Ok(unbuilt(mismatch));
        }
    };
    if how.inputs {
        place.end(how.keep)?;
        let mut reason =
            format!("release {} follows from its source, as far as hashes tell; nothing was built", release.version);
        let source_checked = checked.is_the_commit();
        if !source_checked {
            reason += &format!("; the source was not checked against commit {}", release.commit);
        }
        let word = if source_checked { "INPUTS MATCH" } else { "INPUTS OF AN UNCHECKED SOURCE MATCH" };
        let payload = json!({
            "version": release.version.to_string(), "commit": release.commit, "source_checked": source_checked, "built": false,
        });
        return Ok((Answer { yes: true, text: format!("{word}  {reason}\n"), reason, payload }, None));
    }

    let mut mirrors = how.mirrors.apply(Mirrors::new(&checkout.request))?;
    if let Some(dir) = whole {
        mirrors.directories.insert(0, dir.to_path_buf());
        mirrors.offline = true;
    }
    let store = Store::open(cache)?;
    build::fetch(&checkout, &store, &mirrors, &terminal)?;

    let since = Instant::now();
    let rebuild = match how.vary {
        true => varied(root, how.take, cache, &place)?,
        false => plain(&checkout, how, &store, cache, &place, &terminal)?,
    };
    let build_seconds = since.elapsed();
    terminal.done("build", &rebuild.dist.display().to_string(), build_seconds);
    let outcome = Outcome::of(published, &fresh, rebuild, cache, &place.path)?;
    report::explain(&outcome.lines());
    let answer = outcome.answer(published, started.elapsed(), build_seconds)?;
    place.end(how.keep || !outcome.is_reproduced())?;
    Ok((answer, Some(outcome.found())))
}

/// Why a release cannot come out of its source, before anything is built.
pub(crate) struct Mismatch {
    /// What there is instead of what was signed.
    pub(crate) subject: Subject,
    pub(crate) reason: String,
}

/// What goes into the build of a release, if it is what the release says.
fn inputs(published: &Published, root: &Path) -> anyhow::Result<Result<Checkout, Mismatch>> {
    let (since, terminal) = (Instant::now(), Terminal::new());
    let (expected, found) = (published.release.lock_sha256, Artifact::of(&root.join(LOCK))?.sha256);
    let mismatch = |reason| Ok(Err(Mismatch { subject: Subject::new(LOCK, found), reason }));
    if found != expected {
        let commit = published.release.commit;
        return mismatch(format!("{LOCK} of commit {commit}: the release has sha256 {expected}, found {found}"));
    }
    let checkout = Checkout::read(root)?;
    let packages = checkout.lock.packages.len();
    terminal.done("lock", &format!("{packages} packages, sha256:{found:#} as signed"), since.elapsed());
    let since = Instant::now();
    let (whence, broken) = match published.with_stages() {
        Some(dir) => (dist::STAGES, chain(&checkout, &dist::records(dir)?)?),
        None => (image::pipeline::measured::MEASUREMENTS_LOCK, chain_of_lock(&checkout)?),
    };
    if let Some(program) = broken.iter().find(|broken| broken.is_the_program()) {
        let commit = published.release.commit;
        bail!("{program}: this program builds otherwise than the release's; run the one of its commit {commit}");
    }
    if let Some(first) = broken.first() {
        let more = if broken.len() > 1 { format!(" (and {} more)", broken.len() - 1) } else { String::new() };
        return mismatch(format!("the source does not give the inputs of the release: {first}{more}"));
    }
    let said = format!("every input of {} stages is that of {whence}", Stage::ALL.len());
    terminal.done("inputs", &said, since.elapsed());
    Ok(Ok(checkout))
}

/// Builds with nothing that was built before, but by an earlier run of this reproduction that was interrupted; or from a stage
/// on.
fn plain(
    checkout: &Checkout,
    how: &How,
    store: &Store,
    cache: &Path,
    place: &Place,
    terminal: &Terminal,
) -> anyhow::Result<Rebuild> {
    let stages = place.path.join(STAGES);
    fs::create_dir_all(&stages).with_context(|| format!("creating {}", stages.display()))?;
    let mut rebuild = Rebuild { dist: place.path.join("dist"), ..Rebuild::default() };
    for stage in Stage::ALL {
        let (here, earlier) = (stages.join(stage.name()), cache.join(STAGES).join(stage.name()));
        let cached = how.is_taken(stage);
        if cached || here.is_symlink() {
            remove_tree(&here)?;
        }
        if cached {
            fs::create_dir_all(&earlier).with_context(|| format!("creating {}", earlier.display()))?;
            symlink(&earlier, &here).with_context(|| format!("linking {}", earlier.display()))?;
            rebuild.cached.push(stage);
        } else if finished(&here)? {
            rebuild.resumed.push(stage);
        }
    }
    let built = image::pipeline::build::build(checkout, store, &Cache::new(&place.path), terminal)?;
    let scratch = place.path.join("scratch");
    remove_tree(&scratch)?;
    fs::create_dir(&scratch).with_context(|| format!("creating {}", scratch.display()))?;
    remove_tree(&rebuild.dist)?;
    built.write(&rebuild.dist, &scratch)?;
    Ok(rebuild)
}

/// Whether a stage's directory has something that is finished.
fn finished(dir: &Path) -> anyhow::Result<bool> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        entries => entries.with_context(|| format!("reading {}", dir.display()))?,
    };
    let mut found = false;
    for entry in entries {
        let path = entry.with_context(|| format!("reading {}", dir.display()))?.path();
        found |= path.extension().is_none() && path.join("output").exists();
    }
    Ok(found)
}

/// Builds under other circumstances.
fn varied(root: &Path, taken: Option<Stage>, cache: &Path, place: &Place) -> anyhow::Result<Rebuild> {
    let program = std::env::current_exe().context("finding this program")?;
    // Another user must reach it, so it is not in this one's cache.
    let scratch = tempfile::Builder::new().prefix("vitrine-vary-").tempdir().context("creating a scratch directory")?;
    let varied = vary::build(root, &program, cache, taken, scratch.path())?;
    let axes =
        varied.varied.iter().map(|axis| ("varied", axis)).chain(varied.same.iter().map(|axis| ("NOT varied", axis)));
    for (how, axis) in axes {
        report::explain(&format!("{how:>12}  {}: {}\n", axis.name, axis.value));
    }
    let dist = place.path.join("dist");
    remove_tree(&dist)?;
    let names = fs::read_dir(&varied.dist).with_context(|| format!("reading {}", varied.dist.display()))?;
    let names =
        names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<std::io::Result<Vec<_>>>();
    let names = names.with_context(|| format!("reading {}", varied.dist.display()))?;
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), varied.dist.join(name))).collect();
    dist::replace(&dist, &files)?;
    remove_tree(scratch.path())?;
    let vary::Varied { varied, same, traces, .. } = varied;
    let cached = taken.into_iter().collect();
    Ok(Rebuild { dist, cached, varied, same, traces, ..Rebuild::default() })
}

/// Where one release is reproduced. It stays after an interruption, and the next run goes on with the stages that it has.
struct Place {
    path: PathBuf,
    _lock: File,
}

impl Place {
    fn new(cache: &Path, published: &Published) -> anyhow::Result<Self> {
        let all = cache.join(PLACE);
        fs::create_dir_all(&all).with_context(|| format!("creating {}", all.display()))?;
        let name = ::measure::Sha256::of(&published.entry).to_string();
        let (path, lock_path) = (all.join(&name), all.join(format!("{name}.lock")));
        let lock = File::create(&lock_path).with_context(|| format!("creating {}", lock_path.display()))?;
        ensure!(lock.try_lock().is_ok(), "another run reproduces this release: {} is locked", lock_path.display());
        fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self { path, _lock: lock })
    }

    /// An empty directory for the source.
    fn fresh(&self) -> anyhow::Result<PathBuf> {
        let fresh = self.path.join("fresh");
        remove_tree(&fresh)?;
        fs::create_dir(&fresh).with_context(|| format!("creating {}", fresh.display()))?;
        Ok(fresh)
    }

    fn end(&self, keep: bool) -> anyhow::Result<()> {
        if keep { Ok(()) } else { remove_tree(&self.path) }
    }
}

/// The answer no.
fn no(reason: String) -> Answer {
    Answer { yes: false, text: String::new(), reason, payload: json!({}) }
}
