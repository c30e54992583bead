//! A copy of somebody's log, as far as it is public.

use super::directory::{CHECKPOINT, Directory};
use super::durable;
use super::feed::{MAX_BYTES, MAX_ENTRIES};
use super::fsck::rehash;
use super::source::{Mirror, Source};
use crate::bundle::MAX_BUNDLE;
use crate::checkpoint::SignedCheckpoint;
use crate::note::{MAX_NOTE, VerifierKey};
use crate::tile::{Level, Tile, WIDTH};
use crate::tree::Tiles;
use anyhow::{Context as _, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

/// How long a whole copy may take: an hour.
const PATIENCE_IN_ALL: Duration = Duration::from_secs(60 * 60);
/// Bytes of a full tile of hashes.
const MAX_HASHES: u64 = WIDTH * 32;

/// Brings the copy in `into` up to date and rehashes it. What an earlier run left is the log's past: a log that is shorter or
/// another by now is refused, and the copy stays as it was.
///
/// # Errors
/// When the log cannot be read, is larger than [`MAX_ENTRIES`] or [`MAX_BYTES`], is not signed by `log`, does not hash to what is signed, or contradicts the copy.
pub fn copy(from: &Mirror, log: &VerifierKey, into: &Path) -> anyhow::Result<SignedCheckpoint> {
    let source = Source::new(from, PATIENCE_IN_ALL);
    let note = source.get(CHECKPOINT, MAX_NOTE as u64)?.with_context(|| format!("there is no {CHECKPOINT}"))?;
    let signed = SignedCheckpoint::verify(&note, log).context("verifying the checkpoint")?;
    let size = signed.checkpoint().size;
    ensure!(size <= MAX_ENTRIES, "expected a log of at most {MAX_ENTRIES} entries, found {size}");

    let copied = Directory::new(into);
    let earlier = if into.join(CHECKPOINT).exists() { Some(copied.checkpoint(log)?) } else { None };
    let earlier = earlier.as_ref().map(SignedCheckpoint::checkpoint);
    let before = earlier.map_or(0, |earlier| earlier.size);
    ensure!(before <= size, "the log had {before} entries and now has {size}");
    fs::create_dir_all(into).with_context(|| format!("creating {}", into.display()))?;
    let mut batch = durable::Batch::new(into, into);
    let update = || {
        let mut total = 0_u64;
        for tile in tiles(size) {
            let known = [tile, tile.full()].map(|tile| fs::metadata(into.join(tile.to_string())));
            let is_entries = tile.level() == Level::Entries;
            let length = match known.into_iter().find_map(Result::ok) {
                Some(known) => known.len(),
                None => {
                    let (tile, bytes) = source.tile(tile, if is_entries { MAX_BUNDLE } else { MAX_HASHES })?;
                    batch.write(&tile.to_string(), &bytes)?;
                    bytes.len() as u64
                }
            };
            total = total.saturating_add(if is_entries { length } else { 0 });
            ensure!(total <= MAX_BYTES as u64, "expected a log of at most {MAX_BYTES} bytes");
        }
        batch.finish()?;
        rehash(&copied, signed.checkpoint()).context("rehashing the copy")?;
        if let Some(earlier) = earlier {
            let root = Tiles::new(size, |tile| copied.hashes(tile)).root(before)?;
            ensure!(root == earlier.root, "the log's first {before} entries are not those that it had");
        }
        durable::replace(into, into, CHECKPOINT, &note)
    };
    if let Err(error) = update() {
        // What did not fit is not to stand in the way of what will, whether this run wrote it or one that was killed.
        let verified: BTreeSet<Tile> = tiles(before).collect();
        let unverified = tiles(size).flat_map(|tile| [tile, tile.full()]).filter(|tile| !verified.contains(tile));
        for tile in unverified {
            match fs::remove_file(into.join(tile.to_string())) {
                Err(missing) if missing.kind() == ErrorKind::NotFound => {}
                removed => removed.with_context(|| format!("{error:#}; then removing {tile}"))?,
            }
        }
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
    use crate::checkpoint::Checkpoint;
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

    #[test]
    fn neither_too_large_nor_spoilt_by_a_run_that_was_killed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let signer = Signer::new("example.com/log", SignatureType::ED25519, &[1; 32]).unwrap();
        let copy = |name: &str| super::copy(&Mirror::Directory(at(name)), signer.key(), &at("copy"));
        let entries: Vec<_> = (0..600_u32).map(|number| number.to_be_bytes().to_vec()).collect();
        let (log, _) = Log::init(&at("log"), &signer).unwrap().append(&entries[..258]).unwrap();
        let log = log.sign(&signer).unwrap().publish(&[]).unwrap();
        copy("log").unwrap();
        let (log, _) = log.append(&entries[258..]).unwrap();
        drop(log.sign(&signer).unwrap().publish(&[]).unwrap());
        let garbage = |name: &str, size: u64| fs::File::create(at("copy").join(name)).unwrap().set_len(size).unwrap();
        for (name, size, expected) in [
            ("tile/entries/001", 3, "rehashing the copy"),
            ("tile/entries/002.p/88", 3, "rehashing the copy"),
            ("tile/entries/002", 3, "rehashing the copy"),
            ("tile/0/002.p/88", 32 * 88, "rehashing the copy"),
            ("tile/entries/001", MAX_BYTES as u64, "at most 268435456 bytes"),
        ] {
            fs::create_dir_all(at("copy").join(name).parent().unwrap()).unwrap();
            garbage(name, size);
            let error = format!("{:#}", copy("log").unwrap_err());
            assert!(error.contains(expected) && !at("copy").join(name).exists(), "{name}: {error}");
            assert_eq!(Directory::new(at("copy")).checkpoint(signer.key()).unwrap().checkpoint().size, 258, "{name}");
        }
        assert_eq!(copy("log").unwrap().checkpoint().size, 600);

        let (size, root) = (MAX_ENTRIES + 1, measure::Sha256::of(b""));
        let text = Checkpoint { origin: "example.com/log".into(), size, root, extensions: vec![] }.to_string();
        fs::create_dir(at("large")).unwrap();
        fs::write(at("large").join(CHECKPOINT), format!("{text}\n{}", signer.sign(&text, 0))).unwrap();
        assert!(copy("large").unwrap_err().to_string().contains("at most 1048576 entries, found 1048577"));
    }
}
