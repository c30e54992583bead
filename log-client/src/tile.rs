//! Tiles (C2SP tlog-tiles): the tree's hashes, and the entries, in files of up to 256.

use crate::encoding::decimal;
use core::fmt;
use core::str::FromStr;
use measure::Sha256;

/// Hashes of a full tile, entries of a full bundle.
pub const WIDTH: u64 = 256;
/// Levels of the tree in one tile.
pub(crate) const HEIGHT: u32 = 8;
/// Bytes of a hash.
const HASH: usize = 32;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The entries themselves ([`crate::bundle`]).
    Entries,
    /// Hashes: of entries at level 0, of full tiles of the level below at the others. At most 63.
    Hashes(u8),
}

/// Which tile: shown and read as its path below the log's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tile {
    level: Level,
    index: u64,
    width: u16,
}

/// Why a text is not a tile's path, or bytes are not the tile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TileError {
    /// Not a path of a tile.
    #[error("expected tile/<level>/<index> or tile/entries/<index>, found another path")]
    Path,
    /// The tile has another length.
    #[error("{tile}: expected {expected} bytes, found {found}")]
    Length {
        /// The tile.
        tile: Tile,
        /// Bytes it has.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
}

impl Tile {
    /// The tile at `index` of its level in a tree of `size` entries; `None` if it is empty there.
    pub fn in_tree(level: Level, index: u64, size: u64) -> Option<Self> {
        let nodes = match level {
            Level::Entries => size,
            Level::Hashes(level) => size.checked_shr(HEIGHT.checked_mul(level.into())?)?,
        };
        let width = nodes.checked_sub(index.checked_mul(WIDTH)?)?.min(WIDTH);
        let width = u16::try_from(width).ok().filter(|width| *width > 0)?;
        Some(Self { level, index, width })
    }

    /// The tiles at the right edge of a tree of `size` entries that are not full, from the level of the entries' hashes
    /// upwards.
    pub fn partial(size: u64) -> impl Iterator<Item = Self> {
        let levels = u64::BITS.div_ceil(HEIGHT) as u8;
        (0..levels).filter_map(move |level| {
            let nodes = size >> (u32::from(level) * HEIGHT);
            Self::in_tree(Level::Hashes(level), nodes / WIDTH, size)
        })
    }

    /// What it holds.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Its number among its level's, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Hashes or entries in it, 1 to 256.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Whether nothing will be added to it.
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == WIDTH
    }

    /// The tile that holds all of this one and is never replaced; it may not exist yet.
    pub fn full(self) -> Self {
        Self { width: WIDTH as u16, ..self }
    }

    /// The entries that belong to this tile of hashes of level 0, or the other way round.
    pub fn at(self, level: Level) -> Self {
        Self { level, ..self }
    }

    /// The hashes in the bytes of this tile.
    pub fn hashes(&self, bytes: &[u8]) -> Result<Vec<Sha256>, TileError> {
        let expected = usize::from(self.width).saturating_mul(HASH);
        if bytes.len() != expected {
            return Err(TileError::Length { tile: *self, expected, found: bytes.len() });
        }
        Ok(bytes.as_chunks::<HASH>().0.iter().map(|hash| Sha256::new(*hash)).collect())
    }
}

/// The bytes of a tile with these hashes.
pub fn bytes_of(hashes: &[Sha256]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

impl fmt::Display for Tile {
    #[expect(clippy::arithmetic_side_effects, reason = "the divisor is between 1 and the index")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            Level::Entries => f.write_str("tile/entries")?,
            Level::Hashes(level) => write!(f, "tile/{level}")?,
        }
        let mut divisor = 1;
        while self.index / divisor >= 1000 {
            divisor *= 1000;
        }
        while divisor > 1 {
            write!(f, "/x{:03}", self.index / divisor % 1000)?;
            divisor /= 1000;
        }
        write!(f, "/{:03}", self.index % 1000)?;
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

impl FromStr for Tile {
    type Err = TileError;

    fn from_str(path: &str) -> Result<Self, TileError> {
        parse(path).filter(|tile| tile.to_string() == path).ok_or(TileError::Path)
    }
}

/// Reads a path, and others of the same meaning.
fn parse(path: &str) -> Option<Tile> {
    let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let level = match level {
        "entries" => Level::Entries,
        level => Level::Hashes(decimal(level)?.try_into().ok().filter(|level| *level < 64)?),
    };
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (index, decimal(width)?.try_into().ok().filter(|width| (1..256).contains(width))?),
        None => (rest, WIDTH as u16),
    };
    let index = index.split('/').try_fold(0_u64, |index, group| {
        let group: u16 = group.strip_prefix('x').unwrap_or(group).parse().ok()?;
        index.checked_mul(1000)?.checked_add(group.into())
    })?;
    Some(Tile { level, index, width })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_examples() {
        let tile = Tile { level: Level::Hashes(0), index: 1234067, width: 256 };
        assert_eq!(tile.to_string(), "tile/0/x001/x234/067");
        let widths = |size| Tile::partial(size).map(|tile| tile.to_string()).collect::<Vec<_>>();
        assert_eq!(widths(70_000), ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]);
        assert_eq!(widths(256), ["tile/1/000.p/1"]);
        assert_eq!(widths(0), [""; 0]);
        assert_eq!(Tile::in_tree(Level::Hashes(1), 0, 70_000), Some(Tile { level: Level::Hashes(1), ..tile_0() }));
        assert_eq!(Tile::in_tree(Level::Hashes(3), 0, 70_000), None);
        assert_eq!(Tile::in_tree(Level::Entries, 274, 70_000), None);
        assert_eq!(Tile::in_tree(Level::Hashes(63), 0, u64::MAX), None);
    }

    fn tile_0() -> Tile {
        Tile { level: Level::Hashes(0), index: 0, width: 256 }
    }

    #[test]
    fn one_path_per_tile() {
        for good in ["tile/0/000", "tile/63/x999/000.p/1", "tile/entries/000.p/255", "tile/7/x036/x028/797/018"] {
            let parsed = good.parse::<Tile>();
            assert_eq!(parsed.is_ok(), good != "tile/7/x036/x028/797/018", "{good}");
        }
        for bad in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile/00/000",
            "tile/64/000",
            "tile/-1/000",
            "tile/0/00",
            "tile/0/0000",
            "tile/0/x001",
            "tile/0/001/000",
            "tile/0/x000/001",
            "tile/0/+01",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "/tile/0/000",
            "tile/0/000/",
            "tile/data/000",
            "tile/0/../0/000",
            "tile/0/x184/x467/x440/x737/x095/x516/x150",
        ] {
            assert_eq!(bad.parse::<Tile>(), Err(TileError::Path), "{bad}");
        }
    }

    #[test]
    fn exactly_as_many_hashes_as_its_width() {
        let tile: Tile = "tile/0/000.p/2".parse().unwrap();
        let hashes = [Sha256::of(b"a"), Sha256::of(b"b")];
        assert_eq!(tile.hashes(&bytes_of(&hashes)).unwrap(), hashes);
        for length in [0, 32, 63, 65, 96] {
            let found = tile.hashes(&vec![0; length]);
            assert_eq!(found, Err(TileError::Length { tile, expected: 64, found: length }));
        }
    }
}
