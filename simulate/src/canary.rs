//! A text that must come out nowhere, and the forms in which it might.

use anyhow::{Context as _, bail, ensure};
use base64ct::{Base64Unpadded, Base64UrlUnpadded, Encoding as _};
use measure::Digest;
use std::fs;
use std::path::{Path, PathBuf};

/// Fewest bytes of a text: a shorter one is somewhere by chance.
const SHORTEST: usize = 12;
/// Largest file that is looked through.
const MAX_FILE: u64 = 256 << 20;

/// A text, as it is and as programs write what they should not.
pub struct Canary {
    text: String,
    forms: Vec<(&'static str, Vec<u8>)>,
}

impl Canary {
    /// # Panics
    /// When the text is too short to be told from others.
    pub fn new(text: &str) -> Self {
        assert!(text.len() >= SHORTEST, "expected at least {SHORTEST} bytes, found {:?}", text);
        let bytes = text.as_bytes();
        let hex: String = bytes.iter().map(|byte| Digest::new([*byte]).to_string()).collect();
        let numbers = |between: &str| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(between).into_bytes();
        let mut forms = vec![
            ("itself", bytes.to_vec()),
            ("UTF-16", text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
            ("upper-case hexadecimal", hex.to_uppercase().into_bytes()),
            ("hexadecimal", hex.into_bytes()),
            ("numbers", numbers(", ")),
            ("JSON of numbers", numbers(",")),
            ("backwards", bytes.iter().rev().copied().collect()),
        ];
        for before in 0..3 {
            // What is in front of it and behind shares a group of four characters with it.
            let padded = [&vec![0; before][..], bytes].concat();
            let own = |encoded: String| {
                let (begin, end) = (if before == 0 { 0 } else { 4 }, padded.len() / 3 * 4);
                encoded.into_bytes()[begin..end].to_vec()
            };
            forms.push(("base64", own(Base64Unpadded::encode_string(&padded))));
            forms.push(("base64url", own(Base64UrlUnpadded::encode_string(&padded))));
        }
        Self { text: text.to_owned(), forms }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// In which form it is in `bytes`, if it is.
    pub fn find(&self, bytes: &[u8]) -> Option<&'static str> {
        self.forms.iter().find(|(_, form)| memchr::memmem::find(bytes, form).is_some()).map(|(name, _)| *name)
    }

    /// Looks through every file in a directory and those below it, but for `inputs`, which nobody has written to.
    /// How many files and bytes that were.
    ///
    /// # Errors
    /// Where it was found; or when a file cannot be read, or is larger than any that should be there.
    pub fn is_not_in(&self, directory: &Path, inputs: &[PathBuf]) -> anyhow::Result<(u64, u64)> {
        let (mut files, mut read) = (0, 0);
        let mut entries: Vec<_> = fs::read_dir(directory)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .with_context(|| format!("reading {}", directory.display()))?;
        entries.sort();
        for path in entries.into_iter().filter(|path| !inputs.contains(path)) {
            let metadata = fs::symlink_metadata(&path).with_context(|| format!("reading {}", path.display()))?;
            if metadata.is_dir() {
                let (more_files, more_read) = self.is_not_in(&path, inputs)?;
                (files, read) = (files + more_files, read + more_read);
            } else if metadata.is_file() {
                ensure!(metadata.len() <= MAX_FILE, "{}: too large to look through", path.display());
                let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
                if let Some(form) = self.find(&bytes) {
                    bail!("{}: {:?} is in it as {form}", path.display(), self.text);
                }
                (files, read) = (files + 1, read + metadata.len());
            }
        }
        Ok((files, read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "xylophone-4711-quince";

    #[test]
    fn every_form_is_found() {
        let canary = Canary::new(TEXT);
        assert_eq!(canary.find(b"nothing of the kind"), None);
        let hex = "78796c6f70686f6e652d343731312d7175696e6365";
        for (text, form) in [
            (format!("prompt={TEXT}\n"), "itself"),
            (hex.to_owned(), "hexadecimal"),
            (format!("0x{}", hex.to_uppercase()), "upper-case hexadecimal"),
            (format!("{:?}", TEXT.as_bytes()), "numbers"),
            (TEXT.chars().rev().collect(), "backwards"),
        ] {
            assert_eq!(canary.find(text.as_bytes()), Some(form), "{text}");
        }
        for before in ["", "a", "ab", "abc", "{\"content\":\""] {
            for behind in ["", "}", "}}"] {
                let text = [before, TEXT, behind].concat();
                let encoded =
                    [Base64Unpadded::encode_string(text.as_bytes()), Base64UrlUnpadded::encode_string(text.as_bytes())];
                assert!(encoded.iter().all(|encoded| canary.find(encoded.as_bytes()).is_some()), "{text}");
            }
        }
    }

    #[test]
    fn every_file_is_looked_through() {
        let canary = Canary::new(TEXT);
        let directory = tempfile::tempdir().unwrap();
        let input = directory.path().join("input");
        fs::create_dir(directory.path().join("below")).unwrap();
        fs::write(directory.path().join("below/log"), "event=serving\n").unwrap();
        fs::write(&input, TEXT).unwrap();
        let looked = |inputs: &[PathBuf]| canary.is_not_in(directory.path(), inputs);
        assert_eq!(looked(std::slice::from_ref(&input)).unwrap(), (1, 14));
        assert!(looked(&[]).unwrap_err().to_string().ends_with("is in it as itself"));
        fs::write(directory.path().join("below/log"), "event=78796c6f70686f6e652d343731312d7175696e6365\n").unwrap();
        assert!(looked(&[input]).unwrap_err().to_string().ends_with("is in it as hexadecimal"));
    }
}
