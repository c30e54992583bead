//! How large the image's parts are, and how many packages are in them.

use anyhow::Context as _;
use image::inputs::lock::Set;
use image::pipeline::dist;
use image::pipeline::stage::{STAGES, Stage};
use image::tools::compiler::GUEST;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::{Bench, says};

/// The files of `dist/` and, for images made of packages, the set they come from.
const FILES: [(&str, Option<(&str, Set)>); 5] = [
    ("vmlinuz", None),
    ("initrd", Some(("initrd", Set::Kernel))),
    ("rootfs.erofs", Some(("rootfs", Set::Rootfs))),
    ("rootfs.verity", None),
    ("model.raw", None),
];

/// One file.
#[derive(Debug, serde::Serialize)]
pub(super) struct Size {
    file: String,
    bytes: u64,
    /// How many packages a file or link of it comes from, of how many in the set.
    packages: Option<(usize, usize)>,
}

#[derive(serde::Deserialize)]
struct Provenance {
    images: BTreeMap<String, Vec<Line>>,
}

#[derive(serde::Deserialize)]
struct Line {
    package: Option<String>,
    sha256: Option<String>,
    target: Option<String>,
}

pub(super) fn rows(bench: &Bench) -> anyhow::Result<Vec<Size>> {
    let path = bench.dist.path("provenance.json");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let provenance: Provenance = serde_json::from_str(&text).with_context(|| format!("parsing {path}"))?;
    let mut sizes = Vec::new();
    for (name, packages) in FILES {
        let packages = packages.map(|(image, set)| {
            let lines = provenance.images.get(image).with_context(|| format!("{path}: no image {image}"))?;
            let contents = lines.iter().filter(|line| line.sha256.is_some() || line.target.is_some());
            let used: BTreeSet<_> = contents.filter_map(|line| line.package.as_ref()).collect();
            anyhow::Ok((used.len(), bench.checkout.lock.packages(set).count()))
        });
        let bytes = size(Path::new(&bench.dist.path(name)))?;
        sizes.push(Size { file: format!("`{name}`"), bytes, packages: packages.transpose()? });
    }
    let (_manifest, records) = dist::read(Path::new(&bench.dist.path("")))?;
    let guest = records.iter().find(|record| record.stage == Stage::Guest).context("no record of stage guest")?;
    let tree = bench.cache.join(STAGES).join("guest").join(guest.input.to_string()).join("tree");
    for program in GUEST.packages.iter().map(|package| package.binary) {
        sizes.push(Size {
            file: format!("the program `{program}`"),
            bytes: size(&tree.join(program))?,
            packages: None,
        });
    }
    sizes.extend(verifiers(bench)?);
    Ok(sizes)
}

/// The client, and the whole verifier as WebAssembly, made as small as the compiler can.
fn verifiers(bench: &Bench) -> anyhow::Result<[Size; 2]> {
    const SMALL: [&str; 5] = ["opt-level=\"z\"", "lto=true", "codegen-units=1", "panic=\"abort\"", "strip=true"];
    let target = bench.checkout.root.join("target");
    says(bench.cargo().args(["vitrine", "--quiet"]))?;
    let mut small = bench.cargo();
    small.args(["build", "--quiet", "--locked", "--release", "--package", "verify", "--bin", "whole"]);
    small.args(["--target", "wasm32-unknown-unknown", "--target-dir"]).arg(target.join("small"));
    small.args(SMALL.iter().flat_map(|setting| ["--config".to_owned(), format!("profile.release.{setting}")]));
    says(&mut small).context("`rustup target add wasm32-unknown-unknown` installs what may be missing")?;
    let verifier = |file: &str, path: &str| {
        anyhow::Ok(Size { file: file.to_owned(), bytes: size(&target.join(path))?, packages: None })
    };
    Ok([
        verifier("the static program `vitrine`", "x86_64-unknown-linux-gnu/release/vitrine")?,
        verifier("the verifier as WebAssembly", "small/wasm32-unknown-unknown/release/whole.wasm")?,
    ])
}

fn size(path: &Path) -> anyhow::Result<u64> {
    Ok(fs::metadata(path).with_context(|| format!("looking at {}", path.display()))?.len())
}

pub(super) fn table(sizes: &[Size]) -> String {
    let mut text = "| file | MB | packages in it | packages locked for it |\n|---|---|---|---|\n".to_owned();
    for Size { file, bytes, packages } in sizes {
        let (used, locked) = packages.map_or_else(Default::default, |(used, all)| (used.to_string(), all.to_string()));
        text += &format!("| {file} | {:.1} | {used} | {locked} |\n", *bytes as f64 / 1e6);
    }
    text
}
