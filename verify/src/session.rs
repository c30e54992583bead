//! From a session's evidence to the verdict on it, and to the bundle that others can judge again.

pub(crate) mod rules;

use crate::bundle::{Bundle, Evidence, SnpEvidence, TdxEvidence};
use crate::policy::Policy;
use crate::{Memory, Request, Verdict};
use channel::evidence::Kind;
use log_client::Feed;
use log_client::parts::PartsError;
use measure::appraise::{Demand, Finding, Rule, Time};
use measure::snp::chain::Roots;

pub(crate) const FEED: Rule = Rule { id: "session.feed", holds: "what came with the report can be read" };

/// Why what came with a session cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// The feed is not a map of parts.
    #[error("expected a feed of named parts, found something else")]
    Form,
    /// What a log says of the release is not in its one form.
    #[error(transparent)]
    Log(#[from] PartsError),
}

/// The bundle of a session's evidence: what judges it without a network gives the same verdict on it, but for whose
/// session it was, which nobody else can know.
///
/// # Errors
/// When what came beside the report cannot be read; the evidence is refused then.
pub fn bundle(evidence: &channel::Evidence) -> Result<Bundle, FeedError> {
    let parts = channel::feed::decode(&evidence.feed).map_err(|_broken| FeedError::Form)?;
    let part = |name: &str| parts.get(name).filter(|bytes| !bytes.is_empty()).cloned();
    let feed = part("feed").map_or(Ok(Feed::default()), |bytes| Feed::parse(&bytes))?;
    Ok(with(evidence, part, feed))
}

/// The bundle with these parts.
fn with(evidence: &channel::Evidence, part: impl Fn(&str) -> Option<Vec<u8>>, feed: Feed) -> Bundle {
    let report = evidence.report.clone();
    let (session, operator) = (Some(evidence.session.clone()), evidence.operator.clone());
    let evidence = match evidence.kind {
        Kind::Snp => {
            let (leaf, ask, ark, crl) = (part("snp-leaf"), part("snp-ask"), part("snp-ark"), part("snp-crl"));
            Evidence::Snp(SnpEvidence { report, leaf, ask, ark, crl })
        }
        Kind::Tdx => Evidence::Tdx(TdxEvidence { quote: report, collateral: part("tdx-collateral") }),
    };
    Bundle { evidence, feed, session, operator }
}

/// A session that is to be judged, and what only the caller knows.
#[derive(Debug, Clone, Copy)]
pub struct Live<'a> {
    /// What the guest showed.
    pub evidence: &'a channel::Evidence,
    /// The release that the caller has from elsewhere, if any; it must be the guest's, byte for byte.
    pub release: Option<&'a [u8]>,
    /// What this client remembers of logs, at most one of each.
    pub memories: &'a [Memory],
    /// The only clock.
    pub now: Time,
}

/// Judges a session, whose report has to be over this very handshake. `roots` are AMD's unless the program is one that may
/// know simulated hardware.
pub fn appraise(live: &Live<'_>, policy: &Policy, roots: &Roots) -> Verdict {
    let Live { evidence, release, memories, now } = *live;
    let (bundle, read) = match bundle(evidence) {
        Ok(bundle) => (bundle, Ok(())),
        Err(error) => (with(evidence, |_| None, Feed::default()), Err(error)),
    };
    let report_data = &Demand::Is(evidence.report_data);
    let request = Request { bundle: &bundle, release, memories, report_data, now };
    crate::appraise::judge(&request, Some(read), policy, roots)
}

/// What [`FEED`] finds: what is in a file was read already.
pub(crate) fn feed(request: &Request<'_>, live: Option<Result<(), FeedError>>) -> Finding {
    match (live, &request.bundle.session) {
        (Some(Err(error)), _) => Finding::failed(FEED, "", "", error.to_string()),
        (Some(Ok(())), _) | (None, Some(_)) => Finding::passed(FEED, "", ""),
        (None, None) => Finding::not_asked(FEED, "", "the evidence is of no session"),
    }
}
