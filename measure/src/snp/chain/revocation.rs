//! The rules about the root's list of revoked certificates.

use super::certified;
use super::keys::RsaKey;
use super::link::{self, Known, Link, when};
use super::rules::*;
use super::x509::{self, Crl};
use super::{Demands, Root};
use crate::appraise::{Finding, Permit, Rule, Time};

const RULES: [Rule; 9] =
    [CRL_DER, CRL_ALGORITHM, CRL_SIGNATURE, CRL_ISSUER, CRL_DATES, CRL_AGE, CRL_EXTENSIONS, CRL_ASK, CRL_LEAF];

/// All of them.
pub(super) fn examine(
    bytes: Option<&[u8]>,
    root: Known<&Root>,
    ark: &Known<RsaKey>,
    [ask, leaf]: [&Link<'_>; 2],
    demands: &Demands,
    now: Time,
) -> [Finding; RULES.len()] {
    let Some(bytes) = bytes else { return RULES.map(|rule| missing(rule, demands.missing_crl)) };
    let parsed = Crl::parse(bytes);
    let crl = || parsed.as_ref().map_err(|_| CRL_DER);
    [
        link::parsed(CRL_DER, bytes, &parsed),
        when(CRL_ALGORITHM, crl(), |crl| link::algorithm(CRL_ALGORITHM, &crl.signed)),
        link::signature(CRL_SIGNATURE, CRL_ALGORITHM, crl().map(|crl| &crl.signed), ark),
        when(CRL_ISSUER, crl().and_then(|crl| Ok((crl, root?))), |(crl, root)| {
            let (issuer, required) = (crl.signed.issuer, format!("ARK-{}", root.product));
            let holds = x509::common_name(issuer, root.organisation) == Some(&required);
            Finding::of(CRL_ISSUER, holds, x509::shown_name(issuer), required, "it is another authority's list")
        }),
        when(CRL_DATES, crl(), |crl| match crl.next_update {
            Some(next) => link::dates(CRL_DATES, [crl.this_update, next], now),
            None => {
                let observed = format!("{}, without an end", crl.this_update);
                Finding::failed(CRL_DATES, observed, now.to_string(), "it does not say when the next list is due")
            }
        }),
        when(CRL_AGE, crl(), |crl| {
            demands.crl_max_age.finding(CRL_AGE, crl.this_update.to_string(), |most, observed| {
                let holds = now.0.saturating_sub(crl.this_update.0) <= *most;
                Finding::of(
                    CRL_AGE,
                    holds,
                    observed,
                    format!("at most {most} s ago"),
                    "there must be a newer one by now",
                )
            })
        }),
        when(CRL_EXTENSIONS, crl(), |crl| match certified::list(&crl.extensions) {
            Ok(()) => Finding::passed(CRL_EXTENSIONS, "", ""),
            Err(reason) => Finding::failed(CRL_EXTENSIONS, "", "", reason),
        }),
        listed(CRL_ASK, crl(), ask),
        // The list is the root's, which did not sign the leaf. Should it ever name a leaf's number, that leaf is meant.
        listed(CRL_LEAF, crl(), leaf),
    ]
}

fn missing(rule: Rule, permit: Permit) -> Finding {
    let reason = "there is no revocation list";
    match permit {
        Permit::Accepted => Finding::not_asked(rule, "", format!("{reason}, and the policy accepts that")),
        Permit::Refused if rule == CRL_DER => Finding::missing(rule, "", "", reason),
        Permit::Refused => Finding::waits_for(rule, CRL_DER),
    }
}

fn listed(rule: Rule, crl: Known<&Crl<'_>>, link: &Link<'_>) -> Finding {
    when(rule, crl.and_then(|crl| Ok((crl, link.certificate()?))), |(crl, certificate)| {
        let observed = format!("{} on the list", crl.revoked.len());
        Finding::of(rule, !crl.revoked.contains(&certificate.serial), observed, "", "its number is on the list")
    })
}
