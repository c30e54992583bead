//! `vitrine verify`: the verdict on evidence, from files alone.

use crate::evidence::{self, Certificates};
use crate::report::Answer;
use crate::state::State;
use crate::{files, host, roots};
use anyhow::{Context as _, bail};
use measure::Digest;
use measure::appraise::{Outcome, Time};
use measure::snp::appraise::Demand;
use std::path::PathBuf;
use verify::bundle::{Evidence, MAX_BUNDLE};
use verify::policy::MAX_POLICY;
use verify::verdict;
use verify::{Bundle, Policy, Request, Verdict, appraise};

/// What `verify` takes.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("evidence").required(true).args(["bundle", "report", "quote"]))]
pub(crate) struct Flags {
    /// An evidence bundle.
    bundle: Option<PathBuf>,
    /// Instead of a bundle: an SEV-SNP attestation report.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Its certificates, in any order: VCEK or VLEK, ASK or ASVK, ARK; PEM or DER, one or more to a file.
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "report", conflicts_with_all = ["bundle", "quote"])]
    cert: Vec<PathBuf>,
    /// The revocation list of the root; PEM or DER.
    #[arg(long, value_name = "FILE", requires = "report", conflicts_with_all = ["bundle", "quote"])]
    crl: Option<PathBuf>,
    /// Instead of a bundle: a TDX quote.
    #[arg(long, value_name = "FILE", requires = "collateral")]
    quote: Option<PathBuf>,
    /// Its collateral: TCB information, identity of the quoting enclave, revocation lists, as one JSON object.
    #[arg(long, value_name = "FILE", requires = "quote", conflicts_with_all = ["bundle", "report"])]
    collateral: Option<PathBuf>,
    /// What is demanded: a policy file, such as policies/strict.toml.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The release's signed statement: what the bundle has must be the same, byte by byte.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["report", "quote"])]
    release: Option<PathBuf>,
    /// A directory in which this client remembers the newest that it has accepted of each log, and below which it does not
    /// go. It is made if it is not there; without it nothing is remembered.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Judge as of this time, RFC 3339 or seconds since 1970, instead of by this machine's clock.
    #[arg(long, value_name = "TIME", value_parser = time)]
    now: Option<Time>,
    /// What the guest must have put into the evidence: 128 hexadecimal digits. Any, if not given.
    #[arg(long, value_name = "HEX")]
    report_data: Option<Digest<64>>,
    /// Exit with 0 where everything passed but the hardware is simulated. It proves nothing.
    #[cfg(feature = "simulated-hardware")]
    #[arg(long)]
    dangerously_accept_simulated_hardware: bool,
}

/// Gives the verdict.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<Answer> {
    let policy = files::read(&flags.policy, MAX_POLICY as u64)?;
    let policy = Policy::parse(&flags.policy.display().to_string(), &policy)?;
    let bundle = given(flags)?;
    let release = flags.release.as_ref().map(|path| files::read(path, MAX_BUNDLE as u64)).transpose()?;
    let now = flags.now.map_or_else(host::now, Ok)?;
    let report_data = flags.report_data.map_or(Demand::Any, Demand::Is);
    let state = flags.state.as_deref().map(State::open).transpose()?;
    let memories = state.as_ref().map_or_else(|| Ok(Vec::new()), |state| state.memories(&policy))?;
    let (release, memories, report_data) = (release.as_deref(), memories.as_slice(), &report_data);
    let request = Request { bundle: &bundle, release, memories, report_data, now };
    let verdict = appraise(&request, &policy, &roots::believed());
    let yes = match verdict.outcome() {
        verdict::Outcome::Accepted => true,
        verdict::Outcome::Rejected => false,
        verdict::Outcome::Simulated => accepts_simulated(flags),
    };
    if let Some(state) = state.filter(|_| yes) {
        state.learn(&verdict)?;
    }
    let text = verdict.to_string();
    Ok(Answer { yes, reason: reason(&verdict), text, payload: serde_json::json!({ "verdict": verdict }) })
}

/// Why the verdict is what it is: a rule that stands in the way, one that failed if there is any, and how many do.
fn reason(verdict: &Verdict) -> String {
    let blocking: Vec<_> = verdict.findings().iter().filter(|found| !found.permits()).collect();
    let failed = blocking.iter().find(|found| found.outcome == Outcome::Failed);
    match (failed.or(blocking.first()), blocking.len()) {
        (None, _) if verdict.outcome() == verdict::Outcome::Simulated => {
            "simulated: nothing failed, but the hardware is a program and proves nothing".into()
        }
        (None, _) => verdict.outcome().to_string(),
        (Some(first), 1) => format!("{}: {} {}", verdict.outcome(), first.rule.id, first.outcome),
        (Some(first), all) => {
            format!("{}: {} {} (and {} more)", verdict.outcome(), first.rule.id, first.outcome, all - 1)
        }
    }
}

#[cfg(not(feature = "simulated-hardware"))]
fn accepts_simulated(_flags: &Flags) -> bool {
    false
}

#[cfg(feature = "simulated-hardware")]
fn accepts_simulated(flags: &Flags) -> bool {
    flags.dangerously_accept_simulated_hardware
}

/// The evidence that the flags name.
fn given(flags: &Flags) -> anyhow::Result<Bundle> {
    if let Some(path) = &flags.bundle {
        let bytes = files::read(path, MAX_BUNDLE as u64)?;
        return Bundle::parse(&bytes).with_context(|| path.display().to_string());
    }
    let crl = || flags.crl.as_deref().map(evidence::crl).transpose();
    Ok(Bundle::bare(match (&flags.report, &flags.quote, &flags.collateral) {
        (Some(path), ..) => {
            let report = evidence::report(path)?;
            Evidence::Snp(Certificates::read(&flags.cert)?.of_report(report, crl()?)?)
        }
        (None, Some(quote), Some(collateral)) => Evidence::Tdx(evidence::tdx(quote, collateral)?),
        _ => bail!("expected a bundle, a report or a quote with its collateral"),
    }))
}

/// A time on the command line.
pub(crate) fn time(text: &str) -> Result<Time, String> {
    match text.parse() {
        Ok(seconds) => Ok(Time(seconds)),
        Err(_) => text.parse().map_err(|error| format!("{error}, or seconds since 1970")),
    }
}
