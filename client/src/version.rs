//! `vitrine --version`: what this program is.
//!
//! Its bytes are those that the locked toolchain makes of the sources, whichever commit they are from: the commit has the
//! digest of the program in `measurements.lock`, so the program cannot have that of the commit. The signed statement of a
//! release names both, and the program is found in it by its own digest.

use crate::files;
use crate::report::Answer;
use anyhow::{Context as _, bail};
use log_client::dsse::{Envelope, MAX_ENVELOPE};
use log_client::statement::{Predicate, Release, Statement};
use measure::Sha256;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The program in a release's statement.
const NAME: &str = "vitrine";
/// Where the statement is: beside the program, as in a release's directory; where a package puts it.
const PLACES: [&str; 2] = ["release.json", "../share/vitrine/release.json"];
/// The bytes that are running, even if another file has the program's name by now.
const RUNNING: &str = "/proc/self/exe";
/// Largest program, in bytes.
const MAX_PROGRAM: u64 = 1 << 30;

/// Says which program this is, and of which release.
///
/// # Errors
/// When the program or the statement cannot be read.
pub(crate) fn run(release: Option<&Path>) -> anyhow::Result<Answer> {
    let sha256 = Sha256::of(&files::read(Path::new(RUNNING), MAX_PROGRAM)?);
    let file = release.map(Path::to_path_buf).or_else(beside);
    let named = file.as_deref().map(statement).transpose()?;
    let (release, yes, reason) = match (&file, &named) {
        (Some(file), Some((statement, release))) => {
            let listed = statement.subject(NAME) == Some(sha256);
            let file = file.display();
            match listed {
                true => (
                    Some(release),
                    true,
                    format!("release {}, commit {}, says {file}", release.version, release.commit),
                ),
                false => (None, false, format!("{file} is of release {}, which has another {NAME}", release.version)),
            }
        }
        _ => {
            (None, true, "of no release known here: there is no release.json beside it; name one with --release".into())
        }
    };
    let version = env!("CARGO_PKG_VERSION");
    let simulated = cfg!(feature = "simulated-hardware");
    let mut text = format!("{NAME} {version}\nsha256:{sha256}\n{reason}\n");
    if release.is_some() {
        text += "(found by the digest; whether the statement is signed, logged and still in force is not asked here)\n";
    }
    let payload = json!({
        "version": version,
        "program_sha256": sha256,
        "simulated_hardware": simulated,
        "commit": release.map(|release| release.commit),
        "release": release.map(|release| release.version.to_string()),
        "statement": file,
    });
    Ok(Answer { yes, reason, text, payload })
}

fn beside() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    PLACES.into_iter().map(|place| program.with_file_name(place)).find(|place| place.exists())
}

fn statement(file: &Path) -> anyhow::Result<(Statement, Release)> {
    let parse = || {
        let envelope = Envelope::parse(&files::read(file, MAX_ENVELOPE as u64)?)?;
        let statement = Statement::parse(envelope.unverified_payload())?;
        let Predicate::Release(release) = &statement.predicate else {
            bail!("expected a release, found another statement")
        };
        let release = release.as_ref().clone();
        Ok((statement, release))
    };
    parse().with_context(|| format!("reading {}", file.display()))
}
