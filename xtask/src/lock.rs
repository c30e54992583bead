//! `cargo xtask lock`: resolves or verifies `image.lock`.

use crate::report::{Answer, Terminal};
use crate::workspace;
use anyhow::{Context as _, ensure};
use image::inputs::fetch::Mirrors;
use image::inputs::lock::{LOCK, Lock};
use image::inputs::request::Request;
use image::inputs::resolve::{self, Checked, Resolver};
use image::inputs::store::Store;
use serde_json::json;
use std::path::Path;

#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Resolve the request anew and write image.lock; with PKG, change only it and what is built from its source.
    #[arg(long, value_name = "PKG", num_args = 0..=1)]
    update: Option<Option<String>>,
    /// Verify image.lock without changing or fetching anything (what happens without flags, too).
    #[arg(long, conflicts_with = "update")]
    check: bool,
    /// Also name the locked files that no mirror has any more, and try to fetch the archives' signed indexes.
    #[arg(long, requires = "check")]
    online: bool,
    #[command(flatten)]
    mirrors: crate::fetch::MirrorFlags,
}

pub(crate) fn run(flags: &Flags) -> anyhow::Result<Answer> {
    let root = workspace::root()?;
    let request = Request::read(&root)?;
    let cache = workspace::cache()?;
    let store = Store::open(&cache)?;
    let mirrors = flags.mirrors.apply(Mirrors::new(&request))?;
    let path = root.join(LOCK);
    match &flags.update {
        Some(only) => update(&root, &request, &cache, &store, &mirrors, only.as_deref()),
        None => {
            let lock = Lock::read(&path)?;
            let gone = match flags.online {
                true => {
                    resolve::fetch_indexes(&lock, &store, &mirrors, &Terminal::new())?;
                    Some(resolve::online(&lock, &mirrors, &Terminal::new())?)
                }
                false => None,
            };
            let checked = resolve::check(&lock, &request, &root, &store)?;
            verdict(&lock, checked, gone)
        }
    }
}

fn update(
    root: &Path,
    request: &Request,
    cache: &Path,
    store: &Store,
    mirrors: &Mirrors,
    only: Option<&str>,
) -> anyhow::Result<Answer> {
    let path = root.join(LOCK);
    let mut unread = None;
    let old = match path
        .try_exists()
        .with_context(|| format!("looking for {}", path.display()))?
        .then(|| Lock::read(&path))
    {
        None => None,
        Some(Ok(old)) => Some(old),
        // The way out of a lock that cannot be read is a new one, but a part of it cannot be kept.
        Some(Err(error)) if only.is_none() => {
            unread = Some(format!("the old image.lock is not compared: {error:#}"));
            None
        }
        Some(Err(error)) => return Err(error),
    };
    let now = workspace::now()?.0;
    let progress = Terminal::new();
    let resolver = Resolver { root, store, mirrors, scratch: cache, now, progress: &progress };
    let (lock, mut notes) = resolver.update(request, old.as_ref(), only)?;
    notes.extend(unread);
    lock.write(&path)?;
    let diff = resolve::diff(old.as_ref(), &lock);
    let notes: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
    let changes = diff.lines().count();
    let reason = format!("{changes} changes, {} packages locked", lock.packages.len());
    let text = format!("{diff}{notes}{reason}\n");
    let payload = json!({ "changes": diff.lines().collect::<Vec<_>>(), "notes": notes.lines().collect::<Vec<_>>() });
    Ok(Answer { yes: true, reason, text, payload })
}

/// Yes only if everything that can be checked from the lock, the request and the packages was checked.
fn verdict(lock: &Lock, checked: Checked, gone: Option<Vec<String>>) -> anyhow::Result<Answer> {
    let Checked { problems, unfetched, unchained } = &checked;
    let stale = gone.as_deref().unwrap_or_default();
    let yes = problems.is_empty() && stale.is_empty();
    ensure!(
        !yes || unfetched.is_empty(),
        "{} packages are not fetched, so their dependencies were not checked: run `cargo xtask fetch` first",
        unfetched.len()
    );
    let mut text: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    text.extend(stale.iter().map(|name| format!("no mirror has {name} any more\n")));
    text.extend(unchained.iter().map(|name| format!("not checked: the index of {name} is not in the store\n")));
    let reason = match (yes, problems.first()) {
        (true, _) => format!("image.lock: {} packages, {} files", lock.packages.len(), lock.files.len()),
        (false, Some(first)) => format!("{} problems, the first: {first}", problems.len()),
        (false, None) => {
            format!("no mirror has {} locked files any more: run `cargo xtask lock --update`", stale.len())
        }
    };
    if yes {
        text.push_str(&format!("{reason}\n"));
    }
    let payload = json!({ "problems": problems, "unfetched": unfetched, "unchained": unchained, "gone": gone });
    Ok(Answer { yes, reason, text, payload })
}
