//! One report for many sessions: a tree over what each of them would have a report say, of which the root is what the
//! one report says. Clients read it; a guest may send the empty path, which is a report of the session's own.

use crate::cbor::{Reader, Writer};
use crate::{Error, evidence};
use measure::Digest;
use sha2::{Digest as _, Sha512};

/// Steps from a leaf to the root, always: a path of another length is refused, so no node passes for a leaf.
pub const DEPTH: usize = 8;
/// Sessions that one report can serve.
pub const MAX_LEAVES: usize = 1 << DEPTH;

const LEAF: &[u8] = b"vitrine/batch-leaf/1\0";
const NODE: &[u8] = b"vitrine/batch-node/1\0";

/// From one session's value to the report's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Which leaf, from 0.
    index: u8,
    /// The other child of each node on the way, from the leaf's sibling up.
    siblings: [Digest<64>; DEPTH],
}

fn hash(label: &[u8], left: &[u8], right: &[u8]) -> Digest<64> {
    Digest::new(Sha512::new().chain_update(label).chain_update(left).chain_update(right).finalize().into())
}

fn node(left: &Digest<64>, right: &Digest<64>) -> Digest<64> {
    hash(NODE, left.as_bytes(), right.as_bytes())
}

impl Path {
    /// The report data of the one report, if `session` is this path's leaf.
    pub fn root(&self, session: &Digest<64>) -> Digest<64> {
        let leaf = hash(LEAF, session.as_bytes(), &[]);
        let steps = self.siblings.iter().enumerate();
        steps.fold(leaf, |below, (height, sibling)| match (self.index >> height) & 1 {
            0 => node(&below, sibling),
            _ => node(sibling, &below),
        })
    }

    pub(crate) fn write(&self, writer: Writer) -> Writer {
        let writer = writer.array(DEPTH.saturating_add(1)).uint(self.index.into());
        self.siblings.iter().fold(writer, |writer, sibling| writer.bytes(sibling.as_bytes()))
    }

    /// Reads a path; `None` is the empty one.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Option<Self>, Error> {
        const WHOLE: usize = DEPTH + 1;
        match reader.array(WHOLE)? {
            0 => Ok(None),
            WHOLE => {
                let index = u8::try_from(reader.uint()?).map_err(|_| Error::Broken)?;
                let mut siblings = [Digest::new([0; 64]); DEPTH];
                for sibling in &mut siblings {
                    *sibling = Digest::new(reader.fixed()?);
                }
                Ok(Some(Self { index, siblings }))
            }
            _ => Err(Error::Broken),
        }
    }
}

/// What one report must say for all of `sessions` (values of [`evidence::report_data`]), and the path of each.
///
/// # Errors
/// When there are more than [`MAX_LEAVES`].
pub fn batch(sessions: &[Digest<64>]) -> Result<(Digest<64>, Vec<Path>), Error> {
    if sessions.len() > MAX_LEAVES {
        return Err(Error::TooLong { limit: MAX_LEAVES, found: sessions.len() });
    }
    let mut level: Vec<_> = sessions.iter().map(|session| hash(LEAF, session.as_bytes(), &[])).collect();
    // Nothing that a session could say is the leaf that stands for none.
    let nobody = hash(LEAF, &[], &[]);
    level.resize(MAX_LEAVES, nobody);
    let paths = (0..=u8::MAX).take(sessions.len());
    let mut paths: Vec<_> = paths.map(|index| Path { index, siblings: [nobody; DEPTH] }).collect();
    for height in 0..DEPTH {
        for path in &mut paths {
            let sibling = level.get(usize::from(path.index >> height) ^ 1);
            if let (Some(place), Some(sibling)) = (path.siblings.get_mut(height), sibling) {
                *place = *sibling;
            }
        }
        let pairs = level.as_chunks::<2>().0.iter();
        level = pairs.map(|[left, right]| node(left, right)).collect();
    }
    level.first().map(|root| (*root, paths)).ok_or(Error::Broken)
}

/// What the report must say for this session's value, by way of its path.
pub(crate) fn report_data(session: evidence::SessionValue, path: Option<&Path>) -> Digest<64> {
    path.map_or(session, |path| path.root(&session))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(count: usize) -> Vec<Digest<64>> {
        (0..count).map(|n| Digest::new([n as u8; 64])).collect()
    }

    #[test]
    fn every_leaf_leads_to_the_root_and_nothing_else_does() {
        for count in [1, 2, 3, 255, 256] {
            let sessions = sessions(count);
            let (root, paths) = batch(&sessions).unwrap();
            assert_eq!(paths.len(), count);
            for (at, (session, path)) in sessions.iter().zip(&paths).enumerate() {
                assert_eq!(path.root(session), root, "{at} of {count}");
                let other = Path { index: path.index ^ 1, ..path.clone() };
                assert_ne!(other.root(session), root);
                assert_ne!(path.root(&root), root);
            }
            for height in 0..DEPTH {
                let mut other = paths[0].clone();
                other.siblings[height] = Digest::new([9; 64]);
                assert_ne!(other.root(&sessions[0]), root);
            }
        }
        assert_eq!(batch(&sessions(257)), Err(Error::TooLong { limit: 256, found: 257 }));
    }

    /// The tree of one leaf, spelled out: what `docs/formats.md` says, without the code above.
    #[test]
    fn the_tree_is_the_one_in_the_document() {
        let sha512 = |parts: &[&[u8]]| <[u8; 64]>::from(Sha512::digest(parts.concat()));
        let mut nobody = sha512(&[b"vitrine/batch-leaf/1\0"]);
        let mut root = sha512(&[b"vitrine/batch-leaf/1\0", &[1; 64]]);
        for _ in 0..8 {
            root = sha512(&[b"vitrine/batch-node/1\0", &root, &nobody]);
            nobody = sha512(&[b"vitrine/batch-node/1\0", &nobody, &nobody]);
        }
        assert_eq!(batch(&[Digest::new([1; 64])]).unwrap().0, Digest::new(root));
    }

    #[test]
    fn paths_have_one_length() {
        let (_, paths) = batch(&sessions(3)).unwrap();
        let bytes = paths[2].write(Writer::new()).finish();
        assert_eq!(Path::read(&mut Reader::new(&bytes)), Ok(Some(paths[2].clone())));
        assert_eq!(Path::read(&mut Reader::new(&[0x80])), Ok(None));
        let shorter = [&[0x88], &bytes[1..]].concat();
        let elsewhere = [&[0x89, 0x19, 1, 0], &bytes[2..]].concat();
        for refused in [shorter, elsewhere, vec![0x8a], bytes[..bytes.len() - 1].to_vec()] {
            assert_eq!(Path::read(&mut Reader::new(&refused)), Err(Error::Broken));
        }
    }
}
