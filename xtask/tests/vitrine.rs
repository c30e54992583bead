//! The one static program, of `cargo vitrine` and of `dist/` (or `$VITRINE_DIST`), with nothing around it: an empty root, no
//! network, no library.
//!
//! Run by `cargo xtask ci`, or by `cargo test -p xtask --test vitrine -- --ignored` after `cargo vitrine` and
//! `cargo xtask build`.

#![expect(clippy::disallowed_methods, reason = "which build to test is in the environment")]
#![expect(clippy::print_stdout, reason = "it is its own test harness")]

use anyhow::{Context as _, ensure};
use image::tools::sandbox::{Ending, Network, Sandbox};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What is in the root beside the program.
const FILES: [&str; 2] = ["evidence.vitrine-bundle", "policy.toml"];

fn main() -> anyhow::Result<()> {
    image::tools::sandbox::entry();
    if !std::env::args().any(|argument| argument == "--ignored" || argument == "--include-ignored") {
        println!("ignored: needs `cargo vitrine` and a finished build; run by cargo xtask ci");
        return Ok(());
    }
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a checkout around xtask")?;
    let dist = std::env::var_os("VITRINE_DIST").map_or_else(|| checkout.join("dist"), PathBuf::from);
    for program in [checkout.join("target/x86_64-unknown-linux-gnu/release/vitrine"), dist.join("vitrine")] {
        judges(checkout, &program)?;
        println!("test {} ... ok", program.display());
    }
    println!("2 passed, 0 failed");
    Ok(())
}

/// It does what it should in an empty root.
fn judges(checkout: &Path, program: &Path) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let root = dir.path().join("root");
    fs::create_dir(&root)?;
    fs::copy(program, root.join("vitrine")).with_context(|| format!("copying {}", program.display()))?;
    for file in FILES {
        fs::copy(checkout.join("docs/demo").join(file), root.join(file)).with_context(|| format!("copying {file}"))?;
    }

    // Simulated evidence, which the released program judges like any other and rejects for its root alone.
    let arguments = "verify evidence.vitrine-bundle --policy policy.toml --now 2026-11-23T00:00:00Z --json";
    let log = dir.path().join("log");
    let sandbox = Sandbox {
        root,
        binds: vec![],
        argv: ["/vitrine"].into_iter().chain(arguments.split(' ')).map(str::to_owned).collect(),
        env: BTreeMap::new(),
        cwd: "/".into(),
        network: Network::None,
        uid: 0,
        log: log.clone(),
    };
    let failed = sandbox.run(&mut |_line| ()).err().context("expected the evidence to be rejected")?;
    let failed = failed.downcast::<image::tools::sandbox::Failed>().context("starting vitrine in an empty root")?;
    ensure!(matches!(failed.ending, Ending::Exited(1)), "expected exit code 1: {failed}");
    let printed = fs::read_to_string(&log)?;
    let answer = printed.lines().find(|line| line.starts_with('{')).with_context(|| printed.clone())?;
    let answer: serde_json::Value = serde_json::from_str(answer)?;
    let rules = answer["verdict"]["rules"].as_array().context("a verdict")?;
    let failed: Vec<_> = rules.iter().filter(|rule| rule["outcome"] == "failed").map(|rule| &rule["id"]).collect();
    ensure!(failed == ["snp.chain.ark.pinned"] && rules.len() > 50, "{failed:?} of {} rules", rules.len());
    Ok(())
}
