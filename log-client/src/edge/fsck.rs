//! Rehashing a log from its entries up.

use super::directory::{CHECKPOINT, Directory};
use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::merkle::leaf_hash;
use crate::note::VerifierKey;
use crate::tile::{Level, Tile, WIDTH};
use crate::tree::RightEdge;
use measure::Sha256;
use std::io::{self, ErrorKind};

/// What is wrong with a log: the first thing found.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct Damage(anyhow::Error);

/// Checks every entry and every tile against the checkpoint, which the log with this key must have signed. Reads each
/// file once; memory does not grow with the log.
///
/// # Errors
/// When there is no checkpoint or a file cannot be read, so that there is no answer.
pub fn fsck(directory: &Directory, log: &VerifierKey) -> anyhow::Result<Result<SignedCheckpoint, Damage>> {
    let path = directory.root().join(CHECKPOINT);
    anyhow::ensure!(path.exists(), "{} is no log: there is no {CHECKPOINT} in it", directory.root().display());
    let checked = directory.checkpoint(log).and_then(|signed| {
        rehash(directory, signed.checkpoint())?;
        Ok(signed)
    });
    let found = |error: &anyhow::Error| match error.root_cause().downcast_ref::<io::Error>() {
        Some(error) => [ErrorKind::NotFound, ErrorKind::FileTooLarge].contains(&error.kind()),
        None => true,
    };
    match checked {
        Ok(signed) => Ok(Ok(signed)),
        Err(error) if found(&error) => Ok(Err(Damage(error))),
        Err(error) => Err(error),
    }
}

/// Checks every entry and every tile against a root.
pub(crate) fn rehash(directory: &Directory, checkpoint: &Checkpoint) -> anyhow::Result<()> {
    let size = checkpoint.size;
    let mut edge = RightEdge::empty();
    for index in 0..size.div_ceil(WIDTH) {
        let Some(bundle) = Tile::in_tree(Level::Entries, index, size) else { break };
        for entry in directory.entries(bundle)? {
            edge.push(leaf_hash(&entry), |tile, hashes| same(directory, tile, hashes))?;
        }
    }
    for (tile, hashes) in edge.partial() {
        same(directory, tile, hashes)?;
    }
    let found = edge.root();
    anyhow::ensure!(
        found == checkpoint.root,
        "expected the root {} of {size} entries, found {found}: an entry was changed",
        checkpoint.root
    );
    Ok(())
}

fn same(directory: &Directory, tile: Tile, hashes: &[Sha256]) -> anyhow::Result<()> {
    let found = directory.hashes(tile)?;
    let different = found.iter().zip(hashes).position(|(found, expected)| found != expected);
    if let Some(at) = different {
        anyhow::bail!("{}/{tile}: hash {at} is not that of what is below it", directory.root().display());
    }
    Ok(())
}
