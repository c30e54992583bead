//! The forged-evidence corpus: good evidence of every product, and evidence with exactly one thing wrong, each piece
//! with the one rule that must refuse it. `docs/formats.md`, "Forged evidence", describes the files.

mod chain;
mod good;
mod log;
mod report;
mod scene;
mod session;
mod tdx;

use measure::digest::{Hex, ParseDigestError, Sha256, bytes_from_hex};
use scene::Scene;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The index.
const CASES: &str = "cases.toml";
/// What every case is judged by, but for the keys it names.
const POLICY: &str = "policy.toml";
/// The pieces of evidence, each named by its SHA-256.
const BLOBS: &str = "blobs";
/// In place of a digest: that piece is not there.
const ABSENT: &str = "absent";

/// A piece of evidence and what must become of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// `GOOD` or `GOOD/WHAT-IS-WRONG`.
    pub name: String,
    /// What is wrong, in a few words; for a good case what is particular.
    pub says: String,
    /// The good case that it is but for one thing; `None` for a good case.
    pub of: Option<String>,
    /// The rule that refuses it, and no other does; `None` for a good case.
    pub rule: Option<Refusal>,
    /// When it is judged, in seconds since 1970.
    pub now: u64,
    /// What the guest was asked to put into the report or quote.
    pub report_data: [u8; 64],
    /// Its pieces by name, such as `snp-report`.
    pub evidence: BTreeMap<String, Vec<u8>>,
    /// The keys of the policy, as paths such as `snp.genoa.platform.ecc`, that it has other values for.
    pub policy: toml::Table,
}

/// How a rule refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It fails.
    Fails(String),
    /// It is needed and cannot be decided, and neither can what waits for it; nothing fails.
    Undecided(String),
}

/// The whole corpus.
#[derive(Debug, Clone, PartialEq)]
pub struct Corpus {
    /// The policy, TOML.
    pub policy: String,
    /// The good cases of each kind of evidence come before the bad ones.
    pub cases: Vec<Case>,
}

/// Why a directory is not a corpus, or cannot be made one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The index or the policy is not what it should be.
    #[error("{path}: {reason}")]
    Index {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A piece of evidence has another hash than its name.
    #[error("{path}: expected SHA-256 {expected}, found {found}")]
    Blob {
        /// Its path.
        path: PathBuf,
        /// Its name.
        expected: Sha256,
        /// Its hash.
        found: Sha256,
    },
}

/// The corpus, made anew. It is the same each time.
pub fn forge() -> Corpus {
    let good = good::cases();
    let mut cases: Vec<Case> = good.iter().map(Scene::case).collect();
    let find = |name: &str| good.iter().find(|scene| scene.name == name).unwrap_or_else(|| panic!("no case {name}"));
    for bad in report::cases().into_iter().chain(chain::cases()) {
        cases.push(bad.case(find(&bad.of)));
    }
    let hardware = find("genoa-v5-vcek");
    let of_releases = log::cases(&hardware.case());
    let of_sessions = session::cases(hardware, &of_releases[0]);
    cases.extend(of_releases.into_iter().chain(of_sessions));
    cases.extend(tdx::cases());
    Corpus { policy: good::POLICY.to_owned(), cases }
}

/// The index as it is written. A bad case says only what it has that its good one has not.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    schema: u32,
    case: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    name: String,
    says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fails: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    undecided: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    report_data: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    evidence: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    policy: toml::Table,
}

impl Corpus {
    /// The good case that `case` is but for one thing.
    pub fn good(&self, case: &Case) -> Option<&Case> {
        self.cases.iter().find(|good| case.of.as_ref() == Some(&good.name))
    }

    /// The files, by path below the corpus's directory.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = self.cases.iter().map(|case| Entry::of(case, self.good(case))).collect();
        let index = toml::to_string(&Index { schema: 1, case: entries }).expect("an index is TOML");
        let mut files = BTreeMap::from([
            (
                CASES.to_owned(),
                format!("# Made by `cargo run -p simulate --bin forge -- write verify/corpus`.\n\n{index}")
                    .into_bytes(),
            ),
            (POLICY.to_owned(), self.policy.clone().into_bytes()),
        ]);
        for blob in self.cases.iter().flat_map(|case| case.evidence.values()) {
            files.insert(format!("{BLOBS}/{}", Sha256::of(blob)), blob.clone());
        }
        files
    }

    /// Makes `directory` the corpus and nothing else.
    pub fn write(&self, directory: &Path) -> Result<(), CorpusError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| CorpusError::File { path, error }
        };
        let blobs = directory.join(BLOBS);
        std::fs::create_dir_all(&blobs).map_err(failed(&blobs))?;
        for blob in std::fs::read_dir(&blobs).map_err(failed(&blobs))? {
            let blob = blob.map_err(failed(&blobs))?.path();
            std::fs::remove_file(&blob).map_err(failed(&blob))?;
        }
        for (path, bytes) in self.files() {
            let path = directory.join(path);
            std::fs::write(&path, bytes).map_err(failed(&path))?;
        }
        Ok(())
    }

    /// Reads a corpus. Every piece of evidence has the hash it is named by.
    pub fn read(directory: &Path) -> Result<Self, CorpusError> {
        let index = directory.join(CASES);
        let wrong = |reason: String| CorpusError::Index { path: index.clone(), reason };
        let text = |path: &Path| String::from_utf8(read(path)?).map_err(|error| wrong(error.to_string()));
        let entries: Index = toml::from_str(&text(&index)?).map_err(|error| wrong(error.to_string()))?;
        let mut corpus = Self { policy: text(&directory.join(POLICY))?, cases: Vec::new() };
        for entry in entries.case {
            let name = entry.name.clone();
            let case = entry.case(&corpus, directory).map_err(|error| match error {
                Fault::Corpus(error) => error,
                Fault::Entry(reason) => wrong(format!("case {name}: {reason}")),
            })?;
            corpus.cases.push(case);
        }
        Ok(corpus)
    }
}

enum Fault {
    Corpus(CorpusError),
    Entry(String),
}

impl Entry {
    fn of(case: &Case, good: Option<&Case>) -> Self {
        let digest = |bytes: &Vec<u8>| Sha256::of(bytes).to_string();
        let differs = |name: &String, bytes| good.is_none_or(|good| good.evidence.get(name) != Some(bytes));
        let there = case.evidence.iter().filter(|(name, bytes)| differs(name, bytes));
        let gone = good.into_iter().flat_map(|good| good.evidence.keys());
        let gone = gone.filter(|name| !case.evidence.contains_key(*name)).map(|name| (name.clone(), ABSENT.into()));
        let (fails, undecided) = match case.rule.clone() {
            None => (None, None),
            Some(Refusal::Fails(rule)) => (Some(rule), None),
            Some(Refusal::Undecided(rule)) => (None, Some(rule)),
        };
        let new_key = |key: &String, value| good.is_none_or(|good| good.policy.get(key) != Some(value));
        let policy = case.policy.iter().filter(|(key, value)| new_key(key, value));
        Self {
            name: case.name.clone(),
            says: case.says.clone(),
            of: case.of.clone(),
            fails,
            undecided,
            now: (good.map(|good| good.now) != Some(case.now)).then_some(case.now),
            report_data: (good.map(|good| good.report_data) != Some(case.report_data))
                .then(|| Hex(&case.report_data).to_string()),
            evidence: there.map(|(name, bytes)| (name.clone(), digest(bytes))).chain(gone).collect(),
            policy: policy.map(|(key, value)| (key.clone(), value.clone())).collect(),
        }
    }

    fn case(self, corpus: &Corpus, directory: &Path) -> Result<Case, Fault> {
        let missing = |what: &str| Fault::Entry(format!("{what} is missing"));
        let good = match &self.of {
            None => None,
            Some(of) => {
                Some(corpus.cases.iter().find(|case| case.name == *of).ok_or_else(|| missing("its good case"))?)
            }
        };
        let rule = match (self.fails, self.undecided) {
            (None, None) => None,
            (Some(rule), None) => Some(Refusal::Fails(rule)),
            (None, Some(rule)) => Some(Refusal::Undecided(rule)),
            (Some(_), Some(_)) => return Err(Fault::Entry("a rule fails or is undecided, not both".into())),
        };
        if rule.is_some() != good.is_some() {
            return Err(missing("its good case or its rule"));
        }
        let report_data = match self.report_data {
            Some(text) => bytes_from_hex(&text).map_err(|error: ParseDigestError| Fault::Entry(error.to_string()))?,
            None => good.ok_or_else(|| missing("report-data"))?.report_data.to_vec(),
        };
        let mut evidence = good.map(|good| good.evidence.clone()).unwrap_or_default();
        for (name, digest) in self.evidence {
            if digest == ABSENT {
                evidence.remove(&name);
                continue;
            }
            let expected: Sha256 = digest.parse().map_err(|error: ParseDigestError| Fault::Entry(error.to_string()))?;
            let path = directory.join(BLOBS).join(&digest);
            let bytes = read(&path).map_err(Fault::Corpus)?;
            let found = Sha256::of(&bytes);
            if found != expected {
                return Err(Fault::Corpus(CorpusError::Blob { path, expected, found }));
            }
            evidence.insert(name, bytes);
        }
        let mut policy = good.map(|good| good.policy.clone()).unwrap_or_default();
        self.policy.into_iter().for_each(|(path, value)| demand(&mut policy, &path, value));
        Ok(Case {
            name: self.name,
            says: self.says,
            of: self.of,
            rule,
            now: self.now.or(good.map(|good| good.now)).ok_or_else(|| missing("now"))?,
            report_data: report_data.try_into().map_err(|_| Fault::Entry("report-data is not 64 bytes".into()))?,
            evidence,
            policy,
        })
    }
}

impl Case {
    /// Writes the case for a program that does not read the index: each piece as `PIECE.bin`, `report-data.bin`,
    /// `policy.toml` with this case's values, and `now` in decimal.
    pub fn write(&self, base: &str, directory: &Path) -> Result<(), CorpusError> {
        let policy = self.policy(base);
        let policy = policy.map_err(|reason| CorpusError::Index { path: directory.join(POLICY), reason })?;
        let pieces = self.evidence.iter().map(|(name, bytes)| (format!("{name}.bin"), bytes.clone()));
        let others = [
            (POLICY.to_owned(), policy.into_bytes()),
            ("report-data.bin".to_owned(), self.report_data.to_vec()),
            ("now".to_owned(), format!("{}\n", self.now).into_bytes()),
        ];
        for (name, bytes) in pieces.chain(others) {
            let path = directory.join(name);
            std::fs::write(&path, bytes).map_err(|error| CorpusError::File { path, error })?;
        }
        Ok(())
    }

    /// The policy it is judged by: `base` with the keys it has other values for.
    pub fn policy(&self, base: &str) -> Result<String, String> {
        let mut policy: toml::Table = base.parse().map_err(|error: toml::de::Error| error.to_string())?;
        for (path, value) in &self.policy {
            let (tables, key) = path.rsplit_once('.').unwrap_or(("", path));
            let mut table = &mut policy;
            for name in tables.split('.').filter(|name| !name.is_empty()) {
                let inner = table.get_mut(name).and_then(toml::Value::as_table_mut);
                table = inner.ok_or_else(|| format!("the policy has no table {name} of {path}"))?;
            }
            let old = table.insert(key.to_owned(), value.clone());
            old.ok_or_else(|| format!("the policy has no key {path}"))?;
        }
        Ok(policy.to_string())
    }
}

/// Gives a key of a policy another value. What was said of keys below it is no longer.
fn demand(policy: &mut toml::Table, path: &str, value: toml::Value) {
    let below = format!("{path}.");
    policy.retain(|key, _| !key.starts_with(&below));
    policy.insert(path.to_owned(), value);
}

fn read(path: &Path) -> Result<Vec<u8>, CorpusError> {
    std::fs::read(path).map_err(|error| CorpusError::File { path: path.to_owned(), error })
}
