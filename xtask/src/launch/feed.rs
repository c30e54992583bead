//! What the guest hands to its clients unread: what a log says of the release, and certificates.

use crate::log::feed::{self, ReadingFlags};
use crate::release::demonstration::FEED;
use crate::release::{PROOF, RELEASE, unverified};
use crate::report::Terminal;
use crate::workspace;
use anyhow::{Context as _, bail};
use channel::feed::{MAX_FEED, Parts, encode};
use image::files::read_bounded;
use image::result::launch::Dist;
use log_client::edge::cosign::Mirror;
use log_client::edge::feed::Which;
use log_client::{Feed, feed as log_feed};
use simulate::Certificates;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use verify::bundle::{Bundle, Evidence, MAX_BUNDLE, SnpEvidence, TdxEvidence};

/// What of it is said on the command line.
#[derive(Debug, clap::Args)]
pub(super) struct FeedFlags {
    /// What a log says of the release, as `log feed` writes it; read again when it changes. By default what `release` has
    /// left beside the build.
    #[arg(long, value_name = "FILE", conflicts_with = "log")]
    feed: Option<PathBuf>,

    /// The log from which that is taken instead, again and again, about the release beside the build.
    #[arg(long, value_name = "DIR|URL")]
    log: Option<Mirror>,

    /// How often the log is read.
    #[arg(long, value_name = "MINUTES", default_value_t = 10, requires = "log", value_parser = clap::value_parser!(u64).range(1..=1440))]
    renew: u64,

    /// The certificates of this host's processor: a bundle as `vitrine fetch-collateral` writes it, read again when it
    /// changes. A simulated processor brings its own.
    #[arg(long, value_name = "BUNDLE", conflicts_with = "simulate")]
    collateral: Option<PathBuf>,

    #[command(flatten)]
    reading: ReadingFlags,
}

/// Where a feed comes from, for as long as the guest runs.
pub(super) struct Source {
    says: Says,
    collateral: Collateral,
    terminal: Terminal,
    newest: Vec<u8>,
    read: Instant,
    every: Duration,
    /// What was last warned of.
    warned: Option<String>,
}

/// Who says something of the release.
enum Says {
    Nobody,
    File(PathBuf),
    /// The files that every release has.
    Release {
        envelope: PathBuf,
        proof: PathBuf,
    },
    Log {
        log: Mirror,
        release: PathBuf,
        reading: Box<ReadingFlags>,
    },
}

enum Collateral {
    None,
    Bundle(PathBuf),
    Simulated(Certificates),
}

/// How often files are looked at.
const FILES: Duration = Duration::from_secs(10);

impl Source {
    /// What `flags` say about the build in `dist`, read once; `simulated` are a simulated processor's certificates.
    ///
    /// # Errors
    /// When what is named cannot be read, or is more than can travel.
    pub(super) fn open(flags: &FeedFlags, dist: &Dist, simulated: Option<Certificates>) -> anyhow::Result<Self> {
        let beside = |name| PathBuf::from(dist.path(name));
        let there = |path: &Path| path.try_exists().with_context(|| format!("looking for {}", path.display()));
        let every = if flags.log.is_some() { Duration::from_secs(flags.renew.saturating_mul(60)) } else { FILES };
        let says = match (flags.log.clone(), flags.feed.clone()) {
            (Some(log), _) => Says::Log { log, release: beside(RELEASE), reading: Box::new(flags.reading.clone()) },
            (None, Some(file)) => Says::File(file),
            (None, None) if there(&beside(FEED))? => Says::File(beside(FEED)),
            (None, None) if there(&beside(RELEASE))? => {
                Says::Release { envelope: beside(RELEASE), proof: beside(PROOF) }
            }
            (None, None) => Says::Nobody,
        };
        let collateral = match (simulated, flags.collateral.clone()) {
            (Some(certificates), _) => Collateral::Simulated(certificates),
            (None, Some(bundle)) => Collateral::Bundle(bundle),
            (None, None) => Collateral::None,
        };
        let newest = encoded(&says, &collateral)?;
        Ok(Self { says, collateral, terminal: Terminal::new(), newest, read: Instant::now(), every, warned: None })
    }

    /// Whether the guest gets nothing of a release, or no certificates: then it serves, and no client can accept it.
    pub(super) fn lacks(&self) -> Option<&'static str> {
        match (&self.says, &self.collateral) {
            (Says::Nobody, _) => Some("no --feed and no --log: clients get nothing about the release"),
            (_, Collateral::None) => Some("no --collateral: clients get no certificates of this processor"),
            _ => None,
        }
    }

    /// The feed as it is now, or as it was if that cannot be read: clients see how old it is.
    pub(super) fn newest(&mut self) -> Vec<u8> {
        if self.read.elapsed() >= self.every {
            self.read = Instant::now();
            self.warned = match encoded(&self.says, &self.collateral) {
                Ok(feed) => {
                    self.newest = feed;
                    None
                }
                Err(error) => {
                    let text = format!("the guest keeps its old feed: {error:#}");
                    if self.warned.as_ref() != Some(&text) {
                        self.terminal.warn(&text);
                    }
                    Some(text)
                }
            };
        }
        self.newest.clone()
    }
}

/// All of it as it is now.
fn encoded(says: &Says, collateral: &Collateral) -> anyhow::Result<Vec<u8>> {
    let mut parts = Parts::new();
    if let Some(feed) = says.read()? {
        parts.insert("feed".to_owned(), feed);
    }
    parts.extend(collateral.read()?.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)));
    match encode(&parts) {
        Ok(feed) => Ok(feed),
        Err(_too_long) => {
            let sizes: Vec<_> = parts.iter().map(|(name, bytes)| format!("{name} {}", bytes.len())).collect();
            bail!("expected at most {MAX_FEED} bytes for the guest's feed with all names, found {}", sizes.join(", "))
        }
    }
}

impl Says {
    /// A `.vitrine-feed`.
    fn read(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let feed = match self {
            Self::Nobody => return Ok(None),
            Self::File(file) => {
                let bytes = bounded(file, log_feed::MAX_FEED)?;
                Feed::parse(&bytes).with_context(|| format!("reading {}", file.display()))?
            }
            Self::Release { envelope, proof } => {
                let release_proof = match read_bounded(proof, log_feed::MAX_FEED as u64) {
                    Err(error) if error.kind() == ErrorKind::NotFound => None,
                    read => Some(read.with_context(|| format!("reading {}", proof.display()))?),
                };
                Feed { release: Some(bounded(envelope, log_feed::MAX_FEED)?), release_proof, ..Feed::default() }
            }
            Self::Log { log, release, reading } => {
                let (_, stated) = unverified(release)?.with_context(|| format!("no {}", release.display()))?;
                feed::read(log, Which::Version(stated.version), reading, workspace::now()?)?.0
            }
        };
        Ok(Some(feed.to_bytes()?))
    }
}

impl Collateral {
    fn read(&self) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
        Ok(match self {
            Self::None => Vec::new(),
            Self::Simulated(Certificates { ark, intermediate, leaf, crl }) => {
                snp([leaf, intermediate, ark, crl].map(|der| Some(der.clone())))
            }
            Self::Bundle(file) => {
                let bundle = Bundle::parse(&bounded(file, MAX_BUNDLE)?);
                match bundle.with_context(|| format!("reading {}", file.display()))?.evidence {
                    Evidence::Snp(SnpEvidence { leaf, ask, ark, crl, .. }) => snp([leaf, ask, ark, crl]),
                    Evidence::Tdx(TdxEvidence { collateral, .. }) => {
                        collateral.map(|collateral| ("tdx-collateral", collateral)).into_iter().collect()
                    }
                }
            }
        })
    }
}

/// What there is of leaf, intermediate, root and revocation list, by the names that clients know.
fn snp(ders: [Option<Vec<u8>>; 4]) -> Vec<(&'static str, Vec<u8>)> {
    let names = ["snp-leaf", "snp-ask", "snp-ark", "snp-crl"];
    names.into_iter().zip(ders).filter_map(|(name, der)| Some((name, der?))).collect()
}

fn bounded(file: &Path, limit: usize) -> anyhow::Result<Vec<u8>> {
    read_bounded(file, limit as u64).with_context(|| format!("reading {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use channel::feed::decode;
    use log_client::feed::KINDS;
    use simulate::{Guest, Processor, Product};

    #[test]
    fn parts_have_the_names_that_clients_know() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("release.feed");
        let feed = Feed { release: Some(b"envelope".to_vec()), ..Feed::default() }.to_bytes().unwrap();
        std::fs::write(&file, &feed).unwrap();
        let guest = Guest { policy: 0, measurement: [0; 48], host_data: [0; 32] };
        let simulated = Processor::patched(Product::Turin, guest).certificates();
        let bundle = dir.path().join("bundle");
        let Certificates { leaf, intermediate: ask, ark, .. } = simulated.clone();
        let evidence =
            SnpEvidence { report: vec![1; 1184], leaf: Some(leaf.clone()), ask: Some(ask), ark: Some(ark), crl: None };
        std::fs::write(&bundle, Bundle::bare(Evidence::Snp(evidence)).to_bytes().unwrap()).unwrap();
        for (says, collateral, expected) in [
            (Says::Nobody, Collateral::None, "".to_owned()),
            (Says::File(file.clone()), Collateral::None, format!("feed {}", feed.len())),
            (
                Says::Release { envelope: file, proof: dir.path().join("none") },
                Collateral::Bundle(bundle),
                "feed snp-ark snp-ask snp-leaf".to_owned(),
            ),
            (Says::Nobody, Collateral::Simulated(simulated), "snp-ark snp-ask snp-crl snp-leaf".to_owned()),
        ] {
            let parts = decode(&encoded(&says, &collateral).unwrap()).unwrap();
            let one = parts.iter().find(|_| parts.len() == 1).map(|(name, bytes)| format!("{name} {}", bytes.len()));
            let names = || parts.keys().map(String::as_str).collect::<Vec<_>>().join(" ");
            assert_eq!(one.unwrap_or_else(names), expected);
            assert!(parts.get("snp-leaf").is_none_or(|found| *found == leaf));
        }
    }

    #[test]
    fn what_is_too_large_or_no_feed_is_named_and_the_old_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("release.feed");
        let feed = |size| Feed { tail: Some(vec![1; size]), ..Feed::default() }.to_bytes().unwrap();
        let says = Says::File(file.clone());
        std::fs::write(&file, feed(100)).unwrap();
        let newest = encoded(&says, &Collateral::None).unwrap();
        let (terminal, read) = (Terminal::new(), Instant::now());
        let every = Duration::ZERO;
        let mut source =
            Source { says, collateral: Collateral::None, terminal, newest: newest.clone(), read, every, warned: None };
        let limit = KINDS.iter().find(|kind| kind.name == "tail").unwrap().limit;
        for (bytes, expected) in
            [(feed(limit), "49152 bytes for the guest's feed"), (b"other".to_vec(), "release.feed")]
        {
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(source.newest(), newest);
            assert!(source.warned.as_ref().unwrap().contains(expected), "{:?}", source.warned);
        }
        std::fs::write(&file, feed(101)).unwrap();
        assert_ne!(source.newest(), newest);
        assert_eq!(source.warned, None);
    }
}
