//! Relations between packages (Debian policy 7.1) and the order of versions (5.6.12).

use anyhow::{Context as _, ensure};
use std::cmp::Ordering;
use std::fmt;

/// A package's version; ordered as dpkg orders them.
#[derive(Debug, Clone)]
pub struct Version(String);

impl Version {
    /// The version with this text.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> (u64, &str, &str) {
        let (epoch, rest) = self.0.split_once(':').unwrap_or(("0", &self.0));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        // An epoch that is no number sorts last; no version in an archive has one.
        (epoch.parse().unwrap_or(u64::MAX), upstream, revision)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let ((epoch, upstream, revision), (epoch2, upstream2, revision2)) = (self.parts(), other.parts());
        epoch
            .cmp(&epoch2)
            .then_with(|| compare(upstream.as_bytes(), upstream2.as_bytes()))
            .then_with(|| compare(revision.as_bytes(), revision2.as_bytes()))
    }
}

/// Compares alternating runs of non-digits and digits. A tilde sorts before the end, the end before letters, and
/// letters before everything else.
fn compare(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (text_a, text_b) = (take(&mut a, |c| !c.is_ascii_digit()), take(&mut b, |c| !c.is_ascii_digit()));
        let weight = |text: &[u8], at: usize| match text.get(at) {
            Some(b'~') => -1,
            None => 0,
            Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
            Some(other) => i32::from(*other) + 256,
        };
        let order = (0..text_a.len().max(text_b.len()))
            .map(|at| weight(text_a, at).cmp(&weight(text_b, at)))
            .find(|order| order.is_ne());
        if let Some(order) = order {
            return order;
        }
        let (number_a, number_b) = (take(&mut a, u8::is_ascii_digit), take(&mut b, u8::is_ascii_digit));
        let (number_a, number_b) = (without_zeros(number_a), without_zeros(number_b));
        let order = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

fn take<'a>(text: &mut &'a [u8], belongs: impl Fn(&u8) -> bool) -> &'a [u8] {
    let end = text.iter().position(|c| !belongs(c)).unwrap_or(text.len());
    let (head, tail) = text.split_at(end);
    *text = tail;
    head
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let start = number.iter().position(|c| *c != b'0').unwrap_or(number.len());
    number.split_at(start).1
}

/// Relations of which one suffices: `a (>= 1) | b`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternatives(pub Vec<Relation>);

/// A package by name, perhaps in some versions only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The package's name.
    pub name: String,
    /// Which versions; any if absent.
    pub versions: Option<(Operator, Version)>,
}

/// How a version must compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Before,
    /// `<=`
    UpTo,
    /// `=`
    Exactly,
    /// `>=`
    From,
    /// `>>`
    After,
}

impl Relation {
    /// Whether `version` is one of the demanded versions.
    pub fn allows(&self, version: &Version) -> bool {
        let Some((operator, wanted)) = &self.versions else { return true };
        let order = version.cmp(wanted);
        match operator {
            Operator::Before => order.is_lt(),
            Operator::UpTo => order.is_le(),
            Operator::Exactly => order.is_eq(),
            Operator::From => order.is_ge(),
            Operator::After => order.is_gt(),
        }
    }

    /// Whether a package that provides `provided` is as good: a demand for versions is met only by a provided version.
    pub fn is_provided_by(&self, provided: &Relation) -> bool {
        self.name == provided.name
            && match (&self.versions, &provided.versions) {
                (None, _) => true,
                (Some(_), Some((Operator::Exactly, version))) => self.allows(version),
                (Some(_), _) => false,
            }
    }
}

impl fmt::Display for Alternatives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Relation { name, versions }) in self.0.iter().enumerate() {
            f.write_str(if at > 0 { " | " } else { "" })?;
            f.write_str(name)?;
            if let Some((operator, version)) = versions {
                let operator = match operator {
                    Operator::Before => "<<",
                    Operator::UpTo => "<=",
                    Operator::Exactly => "=",
                    Operator::From => ">=",
                    Operator::After => ">>",
                };
                write!(f, " ({operator} {version})")?;
            }
        }
        Ok(())
    }
}

/// Parses a relation field of a binary package.
pub fn parse(field: &str) -> anyhow::Result<Vec<Alternatives>> {
    let groups = field.split(',').map(str::trim).filter(|group| !group.is_empty());
    groups.map(|group| group.split('|').map(relation).collect::<Result<_, _>>().map(Alternatives)).collect()
}

fn relation(text: &str) -> anyhow::Result<Relation> {
    let text = text.trim();
    let (name, rest) = text.split_once([' ', '(']).map_or((text, ""), |(name, _)| {
        let (name, rest) = text.split_at(name.len());
        (name, rest.trim())
    });
    // Everything here is amd64 or all, so `python3:any` is met by what meets `python3`.
    let name = name.split_once(':').map_or(name, |(name, _qualifier)| name);
    ensure!(crate::inputs::lock::is_name(name), "expected a package's name, found {text:?}");
    if rest.is_empty() {
        return Ok(Relation { name: name.to_owned(), versions: None });
    }
    let inner = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let inner = inner.with_context(|| format!("expected \"NAME (OPERATOR VERSION)\", found {text:?}"))?;
    let end = inner.find(|c| !matches!(c, '<' | '=' | '>')).unwrap_or(inner.len());
    let (operator, version) = inner.split_at(end);
    let operator = match operator {
        "<<" => Operator::Before,
        "<=" => Operator::UpTo,
        "=" => Operator::Exactly,
        ">=" => Operator::From,
        ">>" => Operator::After,
        _ => anyhow::bail!("expected one of << <= = >= >>, found {text:?}"),
    };
    let version = version.trim();
    ensure!(crate::inputs::lock::is_version(version), "expected a version, found {version:?}");
    Ok(Relation { name: name.to_owned(), versions: Some((operator, Version::new(version))) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_by_dpkg() {
        // Each before the next.
        let ordered = [
            "0~~",
            "0~~a",
            "0~",
            "0",
            "0a",
            "0.1",
            "1.0~rc1-1",
            "1.0-1~bpo13+1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1+deb13u1",
            "1.0-1+deb13u10",
            "1.0-2",
            "1.0.1-1",
            "1.2",
            "1.10",
            "1.10a",
            "1.10+",
            "2024-1-1",
            "1:0.1",
            "2:0",
        ];
        let ordered = ordered.map(Version::new);
        for (at, a) in ordered.iter().enumerate() {
            for (bt, b) in ordered.iter().enumerate() {
                assert_eq!(a.cmp(b), at.cmp(&bt), "{a} {b}");
            }
        }
        for (a, b) in [("1.0", "1.00"), ("0:1", "1"), ("1-0", "1"), ("1.0-01", "1.0-1")] {
            assert_eq!(Version::new(a), Version::new(b));
        }
    }

    #[test]
    fn relations() {
        for (field, version, expected) in [
            ("a (<< 2)", "1", true),
            ("a (<< 2)", "2", false),
            ("a (<= 2)", "2", true),
            ("a (= 2)", "2-1", false),
            ("a (>= 2)", "2-1", true),
            ("a(>>2)", "2", false),
            ("a:any", "0", true),
        ] {
            let parsed = parse(field).unwrap();
            assert_eq!(parsed[0].0[0].allows(&Version::new(version)), expected, "{field} {version}");
        }
        for bad in ["a b", "a (1)", "a (>= )", "a (>= 1", "| a", "(>= 1)", "a (>= 1) x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let provided = |field: &str| parse(field).unwrap().remove(0).0.remove(0);
        assert!(provided("v").is_provided_by(&provided("v")));
        assert!(provided("v (>= 2)").is_provided_by(&provided("v (= 3)")));
        assert!(!provided("v (>= 2)").is_provided_by(&provided("v (= 1)")));
        assert!(!provided("v (>= 2)").is_provided_by(&provided("v")), "an unversioned Provides meets no version");
    }
}
