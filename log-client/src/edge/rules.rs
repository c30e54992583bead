//! What the owner of a log has laid down once, and every later command keeps to: `.state/rules`.
//!
//! ```text
//! vitrine-log-rules 1
//! root <a root key, 64 hexadecimal digits>
//! root-quorum <how many of them sign>
//! mirror <a directory or an address>
//! split-view refused|accepted
//! policy
//! <the tlog-policy as it was given, to the end>
//! ```
//!
//! Lines of what was not laid down are missing. There is one text per content.

use super::cosign::Mirror;
use crate::encoding::decimal;
use crate::keys::PublicKey;
use crate::policy::{MAX_POLICY, Policy, SplitView};
use anyhow::{Context as _, ensure};
use core::fmt;
use measure::Digest;
use std::num::NonZeroUsize;

/// Most root keys: an envelope has no more signatures.
pub const MAX_ROOTS: usize = crate::dsse::MAX_SIGNATURES;
/// Most mirrors.
pub const MAX_MIRRORS: usize = 16;
/// Longest rules, in bytes.
pub(crate) const MAX_RULES: u64 = (MAX_POLICY + (64 << 10)) as u64;

const HEADER: &str = "vitrine-log-rules 1";

/// Who must agree before a log goes on, besides its own key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Whose statements count. Without them the log takes any entry, and nobody judges it.
    pub roots: Option<Roots>,
    /// Copies of the log: if one has more than the log itself, the log is from a backup.
    pub mirrors: Vec<Mirror>,
    /// Who must cosign. Without it no witness is asked.
    pub witnesses: Option<Witnesses>,
}

/// The root keys, and how many of them sign an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    keys: Vec<PublicKey>,
    quorum: NonZeroUsize,
}

/// A tlog-policy, with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnesses {
    text: String,
    split_view: SplitView,
    policy: Policy,
}

impl Roots {
    /// `quorum` of these keys.
    ///
    /// # Errors
    /// When there are not so many keys, too many, or one is there twice.
    pub fn new(keys: Vec<PublicKey>, quorum: NonZeroUsize) -> anyhow::Result<Self> {
        let distinct: std::collections::BTreeSet<_> = keys.iter().map(PublicKey::id).collect();
        ensure!(distinct.len() == keys.len(), "a root key is there twice");
        ensure!(keys.len() <= MAX_ROOTS, "expected at most {MAX_ROOTS} root keys, found {}", keys.len());
        ensure!(quorum.get() <= keys.len(), "expected at least {quorum} root keys, found {}", keys.len());
        Ok(Self { keys, quorum })
    }

    /// The keys.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// How many of them sign an event.
    pub fn quorum(&self) -> NonZeroUsize {
        self.quorum
    }
}

impl Witnesses {
    /// The policy with this text.
    ///
    /// # Errors
    /// When it is none, or two of its quorums need have no witness in common and that was not accepted.
    pub fn new(text: String, split_view: SplitView) -> anyhow::Result<Self> {
        let policy = Policy::parse(text.as_bytes(), split_view)?;
        Ok(Self { text, split_view, policy })
    }

    /// Who must cosign.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(Roots { keys, quorum }) = &self.roots {
            keys.iter().try_for_each(|key| writeln!(f, "root {}", Digest::new(*key.as_bytes())))?;
            writeln!(f, "root-quorum {quorum}")?;
        }
        self.mirrors.iter().try_for_each(|mirror| writeln!(f, "mirror {mirror}"))?;
        match &self.witnesses {
            None => Ok(()),
            Some(Witnesses { text, split_view, .. }) => {
                let split_view = if *split_view == SplitView::Accepted { "accepted" } else { "refused" };
                write!(f, "split-view {split_view}\npolicy\n{text}")
            }
        }
    }
}

impl std::str::FromStr for Rules {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (mut keys, mut quorum, mut mirrors, mut split_view, mut witnesses) =
            (Vec::new(), None, Vec::new(), None, None);
        let mut rest = text.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix('\n')).context("line 1")?;
        let mut at = 1_usize;
        while let Some((line, after)) = rest.split_once('\n') {
            (rest, at) = (after, at.saturating_add(1));
            let wrong = || format!("line {at}: expected a rule, found {line:?}");
            match line.split_once(' ').unwrap_or((line, "")) {
                ("root", key) => keys.push(PublicKey::new(key.parse::<Digest<32>>().with_context(wrong)?.as_bytes())?),
                ("root-quorum", number) => {
                    quorum = Some(decimal(number).and_then(|number| NonZeroUsize::new(number as usize)));
                }
                ("mirror", place) => mirrors.push(place.parse()?),
                ("split-view", "refused") => split_view = Some(SplitView::Refused),
                ("split-view", "accepted") => split_view = Some(SplitView::Accepted),
                ("policy", "") => {
                    witnesses = Some(Witnesses::new(rest.to_owned(), split_view.with_context(wrong)?)?);
                    break;
                }
                _ => anyhow::bail!(wrong()),
            }
        }
        let roots = quorum.map(|quorum| Roots::new(keys, quorum.context("expected a root-quorum from 1 on")?));
        let rules = Self { roots: roots.transpose()?, mirrors, witnesses };
        ensure!(rules.mirrors.len() <= MAX_MIRRORS, "expected at most {MAX_MIRRORS} mirrors");
        // Whatever is missing, there twice or in another order was not written by us: it must not pass for less than it was.
        ensure!(rules.to_string() == text, "expected the one form of a log's rules");
        Ok(rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;
    use crate::note::{SignatureType, Signer};

    fn rules() -> Rules {
        let keys = [1, 2, 3].map(|seed| SigningKey::from_seed(&[seed; 32]).public()).to_vec();
        let log = Signer::new("example.com/log", SignatureType::ED25519, &[9; 32]).unwrap();
        let policy = format!("log {}\n\nquorum none", log.key());
        Rules {
            roots: Some(Roots::new(keys, NonZeroUsize::new(2).unwrap()).unwrap()),
            mirrors: ["/srv/log", "https://example.com/log"].map(|place| place.parse().unwrap()).to_vec(),
            witnesses: Some(Witnesses::new(policy, SplitView::Accepted).unwrap()),
        }
    }

    #[test]
    fn one_form() {
        for rules in [rules(), Rules::default(), Rules { witnesses: None, ..rules() }, Rules { roots: None, ..rules() }]
        {
            assert_eq!(rules.to_string().parse::<Rules>().unwrap(), rules);
        }
        let text = rules().to_string();
        for (from, to) in [
            ("rules 1", "rules 2"),
            ("root-quorum 2", "root-quorum 0"),
            ("root-quorum 2", "root-quorum 4"),
            ("root-quorum 2", "root-quorum 02"),
            ("root-quorum 2\n", ""),
            ("root ", "root  "),
            ("mirror /srv/log\n", "mirror /srv/log\n\n"),
            ("mirror /srv/log\n", "mirror /srv/log\nmirrors x\n"),
            ("split-view accepted\n", ""),
            ("split-view accepted\n", "split-view refused\n"),
            ("quorum none", "quorum no"),
        ] {
            assert_eq!(text.matches(from).count().min(1), 1, "{from}");
            assert!(text.replacen(from, to, 1).parse::<Rules>().is_err(), "{from:?} -> {to:?}");
        }
        let (head, _) = text.split_once("policy\n").unwrap();
        for cut in [head, head.trim_end(), ""] {
            assert!(cut.parse::<Rules>().is_err(), "{cut:?}");
        }
    }

    #[test]
    fn root_keys() {
        let key = |seed| SigningKey::from_seed(&[seed; 32]).public();
        assert!(Roots::new(vec![key(1), key(1)], NonZeroUsize::MIN).is_err());
        assert!(Roots::new(vec![key(1)], NonZeroUsize::new(2).unwrap()).is_err());
        assert!(Roots::new((0..9).map(key).collect(), NonZeroUsize::MIN).is_err());
    }
}
