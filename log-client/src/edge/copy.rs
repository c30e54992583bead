//! A copy of somebody's log, as far as it is public.

use super::directory::{CHECKPOINT, Directory};
use super::durable;
use super::fsck::rehash;
use super::source::{Mirror, Source};
use crate::bundle::MAX_BUNDLE;
use crate::checkpoint::SignedCheckpoint;
use crate::note::{MAX_NOTE, VerifierKey};
use crate::tile::{Level, Tile, WIDTH};
use crate::tree::Tiles;
use anyhow::{Context as _, ensure};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How long a whole copy may take: a day.
const PATIENCE_IN_ALL: Duration = Duration::from_secs(24 * 60 * 60);

/// Brings the copy in `into` up to date and rehashes it. What an earlier run left is the log's past: a log that is shorter or
/// another by now is refused, and the copy stays as it was.
///
/// # Errors
/// When the log cannot be read, is not signed by `log`, does not hash to what is signed, or contradicts the copy.
pub fn copy(from: &Mirror, log: &VerifierKey, into: &Path) -> anyhow::Result<SignedCheckpoint> {
    let source = Source::new(from, PATIENCE_IN_ALL);
    let note = source.get(CHECKPOINT, MAX_NOTE as u64)?.with_context(|| format!("there is no {CHECKPOINT}"))?;
    let signed = SignedCheckpoint::verify(&note, log).context("verifying the checkpoint")?;
    let size = signed.checkpoint().size;

    let copied = Directory::new(into);
    let mut new = Vec::new();
    fs::create_dir_all(into).with_context(|| format!("creating {}", into.display()))?;
    let mut batch = durable::Batch::new(into, into);
    let update = || {
        for tile in tiles(size) {
            let known = |tile: Tile| into.join(tile.to_string()).exists();
            if known(tile) || known(tile.full()) {
                continue;
            }
            let (tile, bytes) = source.tile(tile, MAX_BUNDLE)?;
            let path = into.join(tile.to_string());
            batch.write(&tile.to_string(), &bytes)?;
            new.push(path);
        }
        batch.finish()?;
        rehash(&copied, signed.checkpoint()).context("rehashing the copy")?;
        if into.join(CHECKPOINT).exists() {
            let earlier = copied.checkpoint(log)?;
            let before = earlier.checkpoint();
            ensure!(before.size <= size, "the log had {} entries and now has {size}", before.size);
            let root = Tiles::new(size, |tile| copied.hashes(tile)).root(before.size)?;
            ensure!(root == before.root, "the log's first {} entries are not those that it had", before.size);
        }
        durable::replace(into, into, CHECKPOINT, &note)
    };
    if let Err(error) = update() {
        // What did not fit is not to stand in the way of what will.
        new.iter().try_for_each(fs::remove_file).with_context(|| format!("{error:#}; then cleaning up"))?;
        return Err(error);
    }
    Ok(signed)
}

/// Every tile of a log of `size` entries.
fn tiles(size: u64) -> impl Iterator<Item = Tile> {
    let wide = |level: Level, count: u64| (0..count.div_ceil(WIDTH)).map(move |index| (level, index));
    let hashes = (0..8_u8)
        .flat_map(move |level| wide(Level::Hashes(level), size.checked_shr(u32::from(level) * 8).unwrap_or(0)));
    let all = wide(Level::Entries, size).chain(hashes);
    all.filter_map(move |(level, index)| Tile::in_tree(level, index, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::log::Log;
    use crate::note::{SignatureType, Signer};

    #[test]
    fn grows_with_the_log_and_refuses_another() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let signer = Signer::new("example.com/log", SignatureType::ED25519, &[1; 32]).unwrap();
        let publish = |name: &str, from: u32, to: u32| {
            let entries: Vec<_> = (from..to).map(|number| number.to_be_bytes().to_vec()).collect();
            let (log, _) = Log::open(&at(name)).unwrap().append(&entries).unwrap();
            log.sign(&signer).unwrap().publish(&[]).unwrap();
        };
        let copy = |name: &str| super::copy(&Mirror::Directory(at(name)), signer.key(), &at("copy"));
        for name in ["log", "other"] {
            Log::init(&at(name), &signer).unwrap();
        }
        for (from, to) in [(0, 3), (3, 258), (258, 600)] {
            publish("log", from, to);
            assert_eq!(copy("log").unwrap().checkpoint().size, u64::from(to));
        }
        let found = Directory::new(at("copy")).entry(300, 600).unwrap();
        assert_eq!(found, 300_u32.to_be_bytes());

        publish("other", 0, 2);
        assert!(format!("{:#}", copy("other").unwrap_err()).contains("had 600 entries and now has 2"));
        publish("other", 7, 1000);
        let said = format!("{:#}", copy("other").unwrap_err());
        assert!(said.contains("rehashing the copy") || said.contains("not those that it had"), "{said}");
        assert_eq!(copy("log").unwrap().checkpoint().size, 600);
    }
}
