//! `vitrine fetch-collateral`: what a verdict needs besides the evidence itself, from who vouches for the processor.
//!
//! Whoever answers is not believed: what comes back must lead to the roots that `verify` knows before it is kept or
//! written, and `verify` looks at all of it again.

mod cache;
pub(crate) mod http;
mod kds;
mod log;
mod pcs;
#[cfg(test)]
pub(crate) mod server;
#[cfg(test)]
mod tests;

use crate::evidence::{self, Certificates};
use crate::report::{self, Answer};
use crate::{files, host, roots};
use anyhow::{Context as _, bail};
use cache::Cache;
use http::{Client, Patience};
use log_client::Feed;
use log_client::edge::cosign::Mirror;
use log_client::edge::feed::Which;
use measure::Sha256;
use measure::appraise::Time;
use measure::tdx::collateral::Root;
use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;
use verify::Bundle;
use verify::bundle::{Evidence, MAX_BUNDLE, SnpEvidence, TdxEvidence};

/// How long revocation lists and statements about firmware are used before they are asked for again.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// What `fetch-collateral` takes.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("evidence").required(true).args(["bundle", "report", "quote"]))]
pub(crate) struct Flags {
    /// A bundle to renew: the revocation list is fetched anew.
    bundle: Option<PathBuf>,
    /// Instead of a bundle: an SEV-SNP attestation report.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// A certificate that is there already, such as a VLEK, which only the host has; PEM or DER.
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "report", conflicts_with_all = ["bundle", "quote"])]
    cert: Vec<PathBuf>,
    /// Instead of a bundle: a TDX quote.
    #[arg(long, value_name = "FILE")]
    quote: Option<PathBuf>,
    /// The release's signed statement, to be put into the bundle.
    #[arg(long, value_name = "FILE")]
    release: Option<PathBuf>,
    /// The release's proof from the log, to be put into the bundle. With --log it is the one that was written when the
    /// release was published: since when it has been public.
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// What a log says of the release, as `cargo xtask log feed` writes it, to be put into the bundle instead of what is
    /// there.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["release", "proof", "log"])]
    feed: Option<PathBuf>,
    /// The log from which everything about the release is taken anew: its status, who has rebuilt it, all proofs.
    #[arg(long, value_name = "DIR|URL", requires = "policy")]
    log: Option<Mirror>,
    /// With --log: the policy that names the log, its witnesses and the root keys.
    #[arg(long, value_name = "FILE", requires = "log")]
    policy: Option<PathBuf>,
    /// With --log: which release, if neither the bundle nor --release says so.
    #[arg(long, value_name = "INDEX|VERSION", requires = "log")]
    entry: Option<Which>,
    /// With --log: the roster that the newest status names, for the chip's row.
    #[arg(long, value_name = "FILE", requires = "log")]
    roster: Option<PathBuf>,
    /// With --log: every entry behind the release as well.
    #[arg(long, requires = "log")]
    tail: bool,
    /// With --log: what `verify --state` remembers there, so that the bundle proves that the log continues it.
    #[arg(long, value_name = "DIR", requires = "log")]
    state: Option<PathBuf>,
    /// The bundle to write; it may be the one to fill.
    #[arg(long, value_name = "BUNDLE")]
    out: PathBuf,
    /// The processor, where a report of version 2 does not say it: Milan or Genoa.
    #[arg(long, value_name = "NAME", value_parser = kds::product)]
    product: Option<measure::snp::product::Product>,
    /// Use nothing but the cache.
    #[arg(long)]
    offline: bool,
    /// AMD's key distribution service, or a mirror of it.
    #[arg(long, value_name = "URL", default_value = kds::AMD)]
    kds: String,
    /// Intel's provisioning certification service, or a cache of it (PCCS).
    #[arg(long, value_name = "URL", default_value = pcs::INTEL)]
    pcs: String,
    /// Certificates and lists must be valid at this time, RFC 3339 or seconds since 1970, instead of by this machine's clock.
    #[arg(long, value_name = "TIME", value_parser = crate::verify::time)]
    now: Option<Time>,
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    timeout: u32,
}

/// Where answers come from, and which came.
struct Sources<'a> {
    cache: Cache,
    /// None if nothing may be asked.
    http: Option<Client<'a>>,
    now: std::time::SystemTime,
    used: RefCell<Vec<Used>>,
}

/// An answer that was used.
struct Used {
    asked: String,
    bytes: Vec<u8>,
    fetched: bool,
}

/// Makes a bundle, or renews one.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<Answer> {
    let patience = Patience::with_total(Duration::from_secs(flags.timeout.into()));
    let sources = Sources {
        cache: Cache::new(host::collateral()?),
        http: (!flags.offline).then(|| Client::new(patience, &report::progress)),
        now: host::clock(),
        used: RefCell::default(),
    };
    let bundle = filled(flags, &sources)?;
    let bytes = bundle.to_bytes()?;
    files::replace(&flags.out, &bytes)?;
    let fetched = sources.keep()?;
    let path = flags.out.display();
    Ok(Answer {
        yes: true,
        reason: format!("{path} has all that was asked for"),
        text: format!("{path}\n"),
        payload: serde_json::json!({ "bundle": path.to_string(), "sha256": Sha256::of(&bytes), "fetched": fetched }),
    })
}

/// A bundle without what is to be fetched.
struct Given {
    evidence: Bare,
    feed: Feed,
    session: Option<Vec<u8>>,
    operator: Option<Vec<u8>>,
}

/// Evidence without what is to be fetched.
enum Bare {
    Snp(Vec<u8>, Certificates),
    Tdx(Vec<u8>),
}

fn filled(flags: &Flags, sources: &Sources<'_>) -> anyhow::Result<Bundle> {
    let Given { evidence, mut feed, session, operator } = given(flags)?;
    let part = |path: &Option<PathBuf>| path.as_ref().map(|path| files::read(path, MAX_BUNDLE as u64)).transpose();
    feed.release = part(&flags.release)?.or(feed.release);
    feed.release_proof = part(&flags.proof)?.or(feed.release_proof);
    if let Some(bytes) = part(&flags.feed)? {
        feed = Feed::parse(&bytes)?;
    }
    if let Some(log) = &flags.log {
        let report = match &evidence {
            Bare::Snp(report, _) => Some(report.as_slice()),
            Bare::Tdx(_) => None,
        };
        feed = log::fill(flags, log, feed, report)?;
    }
    let now = flags.now.map_or_else(host::now, Ok)?;
    let evidence = match evidence {
        Bare::Snp(report, certificates) => {
            let roots = roots::believed();
            Evidence::Snp(kds::fill(report, &certificates, flags.product, &flags.kds, sources, &roots, now)?)
        }
        Bare::Tdx(quote) => Evidence::Tdx(pcs::fill(quote, &flags.pcs, sources, Root::Intel, now)?),
    };
    Ok(Bundle { evidence, feed, session, operator })
}

/// What is in the files that the flags name.
fn given(flags: &Flags) -> anyhow::Result<Given> {
    let evidence = match (&flags.bundle, &flags.report, &flags.quote) {
        (Some(path), ..) => {
            let bytes = files::read(path, MAX_BUNDLE as u64)?;
            let bundle = Bundle::parse(&bytes).with_context(|| path.display().to_string())?;
            let Bundle { evidence, feed, session, operator } = bundle;
            let evidence = match evidence {
                Evidence::Snp(SnpEvidence { report, leaf, ask, ark, crl: _ }) => {
                    Bare::Snp(report, Certificates { leaf, ask, ark })
                }
                Evidence::Tdx(TdxEvidence { quote, collateral: _ }) => Bare::Tdx(quote),
            };
            return Ok(Given { evidence, feed, session, operator });
        }
        (_, Some(path), _) => Bare::Snp(evidence::report(path)?, Certificates::read(&flags.cert)?),
        (.., Some(path)) => Bare::Tdx(evidence::quote(path)?),
        (None, None, None) => bail!("expected a bundle, a report or a quote"),
    };
    Ok(Given { evidence, feed: Feed::default(), session: None, operator: None })
}

impl Sources<'_> {
    /// What `url` answers; see [`Self::answer`].
    fn url(&self, url: &str, limit: u64, kept: bool, age: Option<Duration>) -> anyhow::Result<Vec<u8>> {
        self.answer(url, limit, kept, age, |http| http.get(url, limit).map(|answer| answer.body))
    }

    /// What was asked for, of at most `limit` bytes: what was kept, if `kept` and not older than `age`, else what `fetch`
    /// gets. What is older is better than nothing.
    fn answer(
        &self,
        asked: &str,
        limit: u64,
        kept: bool,
        age: Option<Duration>,
        fetch: impl Fn(&Client<'_>) -> anyhow::Result<Vec<u8>>,
    ) -> anyhow::Result<Vec<u8>> {
        let kept = if kept { self.cache.kept(asked, limit, self.now)? } else { None };
        let old = kept.as_ref().is_some_and(|kept| age.is_some_and(|age| kept.age > age));
        let (bytes, fetched) = match (kept, &self.http) {
            (Some(kept), None) => (kept.bytes, false),
            (Some(kept), Some(_)) if !old => (kept.bytes, false),
            (None, None) => bail!("{asked} is not in the cache; without --offline it would be fetched"),
            (Some(kept), Some(http)) => match fetch(http) {
                Ok(bytes) => (bytes, true),
                Err(error) => {
                    let hours = kept.age.as_secs() / 3600;
                    report::progress(&format!("{error:#}; using what was kept {hours} hours ago"));
                    (kept.bytes, false)
                }
            },
            (None, Some(http)) => (fetch(http)?, true),
        };
        self.used.borrow_mut().push(Used { asked: asked.to_owned(), bytes: bytes.clone(), fetched });
        Ok(bytes)
    }

    /// Whether anything that was used came from the cache; forgets what was used.
    fn restart(&self) -> bool {
        self.used.take().iter().any(|used| !used.fetched)
    }

    /// Keeps what was fetched, and gives the names of it.
    fn keep(&self) -> anyhow::Result<Vec<String>> {
        let fetched: Vec<_> = self.used.take().into_iter().filter(|used| used.fetched).collect();
        fetched.iter().try_for_each(|used| self.cache.keep(&used.asked, &used.bytes))?;
        Ok(fetched.into_iter().map(|used| used.asked).collect())
    }
}
