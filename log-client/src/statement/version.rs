//! Versions of releases.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A version; later ones are greater. Text form: `MAJOR.MINOR.PATCH`, decimal without leading zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Version {
    /// First.
    pub major: u32,
    /// Second.
    pub minor: u32,
    /// Third.
    pub patch: u32,
}

/// A text that is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a version like 1.2.3, found {found:?}")]
pub struct ParseVersionError {
    found: String,
}

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, ParseVersionError> {
        let error = || ParseVersionError { found: text.to_owned() };
        let numbers: Vec<u32> = text.split('.').map(str::parse).collect::<Result<_, _>>().map_err(|_number| error())?;
        let [major, minor, patch] = numbers[..] else { return Err(error()) };
        let version = Self { major, minor, patch };
        // Signs and leading zeros are numbers to the parser.
        if version.to_string() == text { Ok(version) } else { Err(error()) }
    }
}

impl TryFrom<String> for Version {
    type Error = ParseVersionError;

    fn try_from(text: String) -> Result<Self, ParseVersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn one_text_each() {
        for text in ["0.0.0", "1.2.3", "10.0.4294967295"] {
            assert_eq!(text.parse::<Version>().unwrap().to_string(), text);
        }
        for text in ["", "1", "1.2", "1.2.3.4", "01.2.3", "+1.2.3", "1.2.-3", "1.2.3 ", "1.2.4294967296", "1.2.3-rc1"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("1.10.0") > version("1.9.99"));
    }
}
