//! `cargo xtask fetch`: every locked input into the store.

use crate::report::{Answer, Terminal};
use crate::workspace;
use anyhow::Context as _;
use image::inputs::fetch::{self, Fetched, Mirrors};
use image::inputs::lock::{LOCK, Lock};
use image::inputs::request::Request;
use image::inputs::store::Store;
use serde_json::json;

#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    mirrors: MirrorFlags,
    /// Hash everything that is in the store already, and fetch again what has changed.
    #[arg(long)]
    verify: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MirrorFlags {
    /// Ask this server first, which serves a store or what `archive` writes; or, as NAME=URL, use it instead of the
    /// archive NAME's mirrors.
    #[arg(long = "mirror", value_name = "[NAME=]URL")]
    mirrors: Vec<String>,
}

impl MirrorFlags {
    pub(crate) fn apply(&self, mut mirrors: Mirrors) -> anyhow::Result<Mirrors> {
        for mirror in &self.mirrors {
            mirrors.add(mirror).with_context(|| format!("--mirror {mirror}"))?;
        }
        Ok(mirrors)
    }
}

pub(crate) fn run(flags: &Flags) -> anyhow::Result<Answer> {
    let root = workspace::root()?;
    let lock = Lock::read(&root.join(LOCK))?;
    let crates = image::inputs::crates::read(&root)?;
    let mirrors = flags.mirrors.apply(Mirrors::new(&Request::read(&root)?))?;
    let store = Store::open(&workspace::cache()?)?;
    let progress = Terminal::new();
    let spoilt = if flags.verify { fetch::verify(&lock, &crates, &store, &progress)? } else { Vec::new() };
    let Fetched { present, fetched } = fetch::fetch(&lock, &crates, &store, &mirrors, &progress)?;
    let reason = format!("{} files in the store, {fetched} of them new", present + fetched);
    let mut text: String = spoilt.iter().map(|name| format!("had changed in the store: {name}\n")).collect();
    text.push_str(&format!("{reason}\n"));
    let payload = json!({ "present": present, "fetched": fetched, "spoilt": spoilt });
    Ok(Answer { yes: true, reason, text, payload })
}
