//! The policy that this program has with it, and `vitrine policy`, which prints it.

use crate::files;
use crate::report::Answer;
use std::path::Path;
use verify::Policy;
use verify::policy::MAX_POLICY;

/// What a careful client demands. It names nobody's keys and no log: whom to believe is for its user to say.
const STRICT: &str = include_str!("../../policies/strict.toml");
/// What errors call it.
const NAME: &str = "the policy in this program";

/// The policy in this file, or the one that is in this program.
pub(crate) fn read(path: Option<&Path>) -> anyhow::Result<Policy> {
    Ok(match path {
        Some(path) => Policy::parse(&path.display().to_string(), &files::read(path, MAX_POLICY as u64)?)?,
        None => Policy::parse(NAME, STRICT.as_bytes())?,
    })
}

/// Prints it.
pub(crate) fn run() -> anyhow::Result<Answer> {
    let policy = read(None)?;
    let payload = serde_json::json!({ "name": policy.name, "sha256": policy.sha256, "policy": STRICT });
    Ok(Answer { yes: true, reason: "the policy to start from".into(), text: STRICT.into(), payload })
}
