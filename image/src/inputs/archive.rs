//! Debian archives: from a signed `InRelease` to the index of its packages. Bytes in, values out.

pub mod relation;
mod signature;
#[cfg(test)]
pub(crate) mod tests;

use crate::inputs::lock::{MAX_SIZE, is_name, is_relative, is_version};
use anyhow::{Context as _, bail, ensure};
use measure::Sha256;
use relation::{Alternatives, Version};
use std::collections::BTreeMap;
use std::io::Read as _;

pub use signature::Keyring;

/// Largest `InRelease`, in bytes; the largest linked here has 150 KB.
pub const MAX_INRELEASE: u64 = 4 << 20;
/// Largest `Packages.xz`, in bytes; Debian's has 10 MB.
pub const MAX_PACKAGES: u64 = 64 << 20;
/// Largest index once it is unpacked, in bytes; Debian's has 55 MB.
const MAX_INDEX: u64 = 512 << 20;

/// What a verified `InRelease` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// When it was made, in seconds since 1970.
    pub date: u64,
    /// Until when the archive's operators want it used, in seconds since 1970.
    pub valid_until: Option<u64>,
    files: BTreeMap<String, (u64, Sha256)>,
}

impl Release {
    /// Verifies `inrelease`, which must be signed by a key of `keyring` that is valid at the time `at` (seconds since
    /// 1970), and be of the suite `codename`.
    pub fn verify(inrelease: &[u8], keyring: &Keyring, codename: &str, at: u64) -> anyhow::Result<Self> {
        ensure!(inrelease.len() as u64 <= MAX_INRELEASE, "expected at most {MAX_INRELEASE} bytes of InRelease");
        let text = keyring.signed_text(inrelease, at)?;
        let release = Self::parse(&text, codename).context("reading the signed InRelease")?;
        // A day for clocks that disagree.
        ensure!(release.date <= at.saturating_add(86_400), "its Date is in the future");
        Ok(release)
    }

    fn parse(text: &str, codename: &str) -> anyhow::Result<Self> {
        let mut fields = BTreeMap::new();
        let mut files = BTreeMap::new();
        let mut field = "";
        for line in text.lines() {
            if let Some(entry) = line.strip_prefix(' ') {
                if field == "SHA256" {
                    let mut words = entry.split_ascii_whitespace();
                    let (Some(hash), Some(size), Some(path), None) =
                        (words.next(), words.next(), words.next(), words.next())
                    else {
                        bail!("expected \"HASH SIZE PATH\", found {entry:?}");
                    };
                    let (size, hash) = (size.parse().with_context(|| format!("the size of {path}"))?, hash.parse()?);
                    ensure!(files.insert(path.to_owned(), (size, hash)).is_none(), "{path} is listed twice");
                }
            } else if let Some((key, value)) = line.split_once(':') {
                field = key;
                ensure!(fields.insert(key, value.trim()).is_none(), "the field {key} is there twice");
            } else {
                bail!("expected a field, found {line:?}");
            }
        }
        let found = fields.get("Codename").copied().unwrap_or("none");
        ensure!(found == codename, "expected Codename {codename}, found {found}");
        let date = fields.get("Date").context("expected a Date")?;
        let valid_until = fields.get("Valid-Until").map(|date| parse_date(date)).transpose()?;
        Ok(Self { date: parse_date(date)?, valid_until, files })
    }

    /// Size in bytes and digest of a file below `dists/SUITE/`.
    pub fn file(&self, path: &str) -> anyhow::Result<(u64, Sha256)> {
        self.files.get(path).copied().with_context(|| format!("the InRelease does not list {path}"))
    }
}

/// Where a suite's package index is, below `dists/SUITE/`.
pub fn index_path(component: &str) -> String {
    format!("{component}/binary-amd64/Packages.xz")
}

/// Where the index with this digest is, below `dists/SUITE/`: by digest, which stays for some time when the archive
/// changes, and by name.
pub fn index_paths(component: &str, sha256: &Sha256) -> [String; 2] {
    let directory = format!("{component}/binary-amd64");
    [format!("{directory}/by-hash/SHA256/{sha256}"), index_path(component)]
}

/// RFC 5322's form, always in UTC: `Sat, 12 Sep 2026 07:55:41 UTC`.
fn parse_date(text: &str) -> anyhow::Result<u64> {
    let expected = || format!("expected a date like \"Sat, 12 Sep 2026 07:55:41 UTC\", found {text:?}");
    let words: Vec<&str> = text.split([' ', ':']).collect();
    let [_weekday, day, month, year, hour, minute, second, "UTC" | "+0000"] = words[..] else { bail!(expected()) };
    let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        .iter()
        .position(|name| *name == month)
        .with_context(expected)? as u64;
    let number = |text: &str, max: u64| text.parse::<u64>().ok().filter(|n| *n <= max).with_context(expected);
    let (year, day) = (number(year, 9999)?, number(day, 31)?);
    ensure!(year >= 1970 && day >= 1, expected());
    // Years that begin in March put the leap day last, so that the days before a month follow one formula.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    const DAYS_BEFORE_1970: u64 = 719_468;
    let days = days.checked_sub(DAYS_BEFORE_1970).with_context(expected)?;
    Ok(days * 86_400 + number(hour, 23)? * 3600 + number(minute, 59)? * 60 + number(second, 60)?)
}

/// An archive's packages.
#[derive(Debug)]
pub struct Index {
    /// The packages, in the index's order.
    pub packages: Vec<Indexed>,
}

/// What an index says of one `.deb`.
#[derive(Debug, Clone)]
pub struct Indexed {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// `amd64` or `all`.
    pub arch: String,
    /// Whether Debian calls it essential.
    pub essential: bool,
    /// Depends and Pre-Depends together: one of each must be there.
    pub depends: Vec<Alternatives>,
    /// Virtual packages it provides.
    pub provides: Vec<Alternatives>,
    /// Its path below the archive's base URL.
    pub pool: String,
    /// Size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256,
    /// Source package.
    pub source: String,
    /// Version of the source package.
    pub source_version: String,
    /// The entry as it is in the index, without the empty line that ends it.
    pub stanza: String,
}

impl Index {
    /// Unpacks and parses `Packages.xz`, keeping the packages for which `wanted` holds.
    pub fn parse(packages_xz: &[u8], wanted: impl Fn(&str) -> bool) -> anyhow::Result<Self> {
        let mut text = String::new();
        lzma_rust2::XzReader::new(packages_xz, false)
            .take(MAX_INDEX + 1)
            .read_to_string(&mut text)
            .context("unpacking Packages.xz")?;
        ensure!(text.len() as u64 <= MAX_INDEX, "Packages.xz unpacks to more than {MAX_INDEX} bytes");
        Self::parse_text(&text, wanted)
    }

    fn parse_text(text: &str, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Self> {
        let mut packages = Vec::new();
        for stanza in text.split("\n\n").map(|stanza| stanza.trim_matches('\n')).filter(|stanza| !stanza.is_empty()) {
            let fields = crate::formats::deb::fields(stanza)?;
            let name = fields.get("Package").context("an entry of the index has no Package field")?;
            if wanted(name) {
                packages.push(Indexed::parse(&fields, stanza).with_context(|| format!("the index entry of {name}"))?);
            }
        }
        Ok(Self { packages })
    }
}

impl Indexed {
    fn parse(fields: &BTreeMap<String, String>, stanza: &str) -> anyhow::Result<Self> {
        let field = |key| fields.get(key).map(String::as_str);
        let valid = |key, is_valid: fn(&str) -> bool| {
            let value = field(key).with_context(|| format!("expected the field {key}"))?;
            ensure!(is_valid(value), "{key}: {value:?} is not valid");
            Ok(value.to_owned())
        };
        let (name, version) = (valid("Package", is_name)?, valid("Version", is_version)?);
        // `Source: name (version)`, where either part equals the package's own if it is not said.
        let source = field("Source").unwrap_or(&name);
        let (source, source_version) = source.split_once(' ').unwrap_or((source, &version));
        let source_version = source_version.trim_matches(['(', ')']);
        ensure!(is_name(source) && is_version(source_version), "Source: {source:?} is not valid");
        let size = valid("Size", |size| size.parse::<u64>().is_ok_and(|size| size <= MAX_SIZE))?;
        Ok(Self {
            arch: valid("Architecture", |arch| matches!(arch, "amd64" | "all"))?,
            essential: field("Essential") == Some("yes"),
            depends: dependencies(fields)?,
            provides: relation::parse(field("Provides").unwrap_or(""))?,
            pool: valid("Filename", is_relative)?,
            size: size.parse()?,
            sha256: valid("SHA256", |_| true)?.parse()?,
            source: source.to_owned(),
            source_version: source_version.to_owned(),
            stanza: stanza.to_owned(),
            version: Version::new(&version),
            name,
        })
    }
}

/// What a package's control fields say must be there too.
pub fn dependencies(fields: &BTreeMap<String, String>) -> anyhow::Result<Vec<Alternatives>> {
    let mut all = Vec::new();
    for key in ["Pre-Depends", "Depends"] {
        if let Some(value) = fields.get(key) {
            all.extend(relation::parse(value).with_context(|| format!("the field {key}"))?);
        }
    }
    Ok(all)
}
