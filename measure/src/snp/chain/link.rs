//! The rules that there are for each of the three certificates.

use super::Root;
use super::keys::{self, RsaKey};
use super::rules::{Level, PINNED};
use super::x509::{self, Certificate, Extension, Malformed, Signed};
use crate::appraise::{Finding, Rule, Time};

/// A value, or the rule that has to pass before there is one.
pub(super) type Known<T> = Result<T, Rule>;

/// What `judge` says, or that `rule` waits for another.
pub(super) fn when<T>(rule: Rule, known: Known<T>, judge: impl FnOnce(T) -> Finding) -> Finding {
    known.map_or_else(|first| Finding::waits_for(rule, first), judge)
}

/// A certificate as received, and its rules.
pub(super) struct Link<'a> {
    rules: &'static Level,
    /// What came, and what it is.
    received: Option<(&'a [u8], Result<Certificate<'a>, Malformed>)>,
}

impl<'a> Link<'a> {
    pub(super) fn read(rules: &'static Level, bytes: Option<&'a [u8]>) -> Self {
        Self { rules, received: bytes.map(|bytes| (bytes, Certificate::parse(bytes))) }
    }

    pub(super) fn certificate(&self) -> Known<&Certificate<'a>> {
        match &self.received {
            Some((_, Ok(certificate))) => Ok(certificate),
            Some((_, Err(_))) | None => Err(self.rules.der),
        }
    }

    /// Its public key.
    pub(super) fn public_key<K>(&self, read: fn(&[u8]) -> Option<K>) -> Known<K> {
        self.certificate().and_then(|certificate| read(certificate.key).ok_or(self.rules.key))
    }

    pub(super) fn der(&self) -> Finding {
        match &self.received {
            Some((bytes, certificate)) => parsed(self.rules.der, bytes, certificate),
            None => Finding::missing(self.rules.der, "", "", "it did not come with the evidence"),
        }
    }

    pub(super) fn algorithm(&self) -> Finding {
        when(self.rules.algorithm, self.certificate(), |found| algorithm(self.rules.algorithm, &found.signed))
    }

    pub(super) fn key<K>(&self, key: &Known<K>) -> Finding {
        let rule = self.rules.key;
        when(rule, self.certificate(), |_| Finding::of(rule, key.is_ok(), "", "", "the key is of another kind or size"))
    }

    pub(super) fn signature(&self, issuer: &Known<RsaKey>) -> Finding {
        let signed = self.certificate().map(|certificate| &certificate.signed);
        signature(self.rules.signature, self.rules.algorithm, signed, issuer)
    }

    /// `allowed` are pairs of issuer and subject.
    pub(super) fn names(&self, root: Known<&Root>, allowed: impl Fn(&Root) -> Vec<[String; 2]>) -> Finding {
        let rule = self.rules.names;
        when(rule, self.certificate().and_then(|found| Ok((found, root?))), |(found, root)| {
            let allowed = allowed(root);
            let is = |name, common: &str| x509::common_name(name, root.organisation) == Some(common);
            let holds =
                allowed.iter().any(|[issuer, subject]| is(found.signed.issuer, issuer) && is(found.subject, subject));
            let observed = format!("{} by {}", x509::shown_name(found.subject), x509::shown_name(found.signed.issuer));
            let required: Vec<_> = allowed.iter().map(|[issuer, subject]| format!("{subject} by {issuer}")).collect();
            let required = format!("{}, all of {}", required.join(" or "), root.organisation);
            Finding::of(rule, holds, observed, required, "these are not the names under this root")
        })
    }

    pub(super) fn dates(&self, now: Time) -> Finding {
        when(self.rules.dates, self.certificate(), |found| {
            dates(self.rules.dates, [found.not_before, found.not_after], now)
        })
    }

    pub(super) fn extensions(&self, judge: fn(&[Extension<'_>]) -> Result<String, String>) -> Finding {
        let rule = self.rules.extensions;
        when(rule, self.certificate(), |found| match judge(&found.extensions) {
            Ok(observed) => Finding::passed(rule, observed, ""),
            Err(reason) => Finding::failed(rule, "", "", reason),
        })
    }

    /// Of the root only: whether its key is pinned. A key that is none is said to be so once, by the rule about keys.
    pub(super) fn pinned(&self, key: &Known<RsaKey>, root: Known<&Root>) -> Finding {
        when(PINNED, key.as_ref().map_err(|rule| *rule), |_| match root {
            Ok(root) => Finding::passed(PINNED, format!("{} for {}", root.key, root.product), ""),
            Err(_) => Finding::failed(PINNED, "another key", "", "nobody said that this key is a root"),
        })
    }
}

/// Whether bytes were what they should be.
pub(super) fn parsed<T>(rule: Rule, bytes: &[u8], parsed: &Result<T, Malformed>) -> Finding {
    let observed = format!("{} bytes", bytes.len());
    match parsed {
        Ok(_) => Finding::passed(rule, observed, ""),
        Err(error) => Finding::failed(rule, observed, "", error.to_string()),
    }
}

/// Whether both places name the one algorithm.
pub(super) fn algorithm(rule: Rule, signed: &Signed<'_>) -> Finding {
    let [inside, beside] = signed.algorithms;
    let reason = if inside == beside { "it names another algorithm" } else { "the two places differ" };
    Finding::of(rule, inside == beside && keys::is_pss(inside), "", "", reason)
}

/// Whether `issuer` signed this. It has to name the algorithm first.
pub(super) fn signature(rule: Rule, named: Rule, signed: Known<&Signed<'_>>, issuer: &Known<RsaKey>) -> Finding {
    let named = signed.and_then(|signed| if algorithm(named, signed).permits() { Ok(signed) } else { Err(named) });
    when(rule, named.and_then(|signed| Ok((signed, issuer.as_ref().map_err(|first| *first)?))), |(signed, issuer)| {
        let holds = issuer.verifies(signed.message, signed.signature);
        Finding::of(rule, holds, "", "", "the signature is not that key's over these bytes")
    })
}

/// Whether `now` is inside a period; both ends are.
pub(super) fn dates(rule: Rule, [from, to]: [Time; 2], now: Time) -> Finding {
    let reason = if now < from { "it is not in force yet" } else { "it has run out" };
    Finding::of(rule, (from..=to).contains(&now), format!("{from} to {to}"), now.to_string(), reason)
}
