//! An initrd as the kernel sees it: cpio archives one after the other, zeros between, the last ones perhaps compressed.

use super::{Tree, content};
use crate::formats::compression::{Capped, Compression};
use crate::formats::cpio;
use crate::formats::listing::Listing;
use anyhow::{Context as _, bail};
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Seek as _, SeekFrom};

/// Most that a compressed part may unpack to.
const MAX_UNPACKED: u64 = 4 << 30;

/// One archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Archive {
    pub(super) compression: String,
    #[serde(flatten)]
    pub(super) tree: Tree,
}

/// The archives of `file`. Reading ends at the first that is wrong.
pub(super) fn archives(mut file: &File, wrong: &mut Vec<String>) -> anyhow::Result<Vec<Archive>> {
    file.seek(SeekFrom::Start(0))?;
    let mut from = BufReader::with_capacity(1 << 16, file);
    let mut archives = Vec::new();
    match parts(&mut from, Compression::None, &mut archives) {
        Ok(()) if archives.is_empty() => bail!("there is no cpio archive in it"),
        Ok(()) => {}
        Err(error) => {
            // An archive that simply ends is truncated; so is a file that never was an initrd undecided.
            let ends = |cause: &io::Error| cause.kind() == ErrorKind::UnexpectedEof;
            if archives.is_empty() || error.chain().filter_map(|cause| cause.downcast_ref()).any(ends) {
                return Err(error);
            }
            wrong.push(format!("archive {}: {:#}", archives.len() + 1, content(error)?));
        }
    }
    Ok(archives)
}

fn parts(from: &mut dyn BufRead, inside: Compression, archives: &mut Vec<Archive>) -> anyhow::Result<()> {
    loop {
        // Zeros may stand between archives.
        let head = from.fill_buf()?;
        let zeros = head.iter().take_while(|byte| **byte == 0).count();
        if head.is_empty() {
            return Ok(());
        }
        if zeros > 0 {
            from.consume(zeros);
            continue;
        }
        match Compression::recognise(head) {
            Compression::None => {
                let mut from = &mut *from;
                let entries = cpio::read(&mut from)?;
                let tree = Tree::of(&Listing::new(entries)?);
                archives.push(Archive { compression: inside.to_string(), tree });
            }
            _ if inside != Compression::None => bail!("a compressed part inside a compressed part"),
            compression => {
                let stream = Capped::new(compression.reader(&mut *from)?, MAX_UNPACKED);
                parts(&mut BufReader::with_capacity(1 << 16, stream), compression, archives)
                    .with_context(|| format!("in a part compressed with {compression}"))?;
            }
        }
    }
}
