//! The chips of the fleet ("Fleet" in `docs/formats.md`): the roster, whose root is in the log, and a chip's row with the
//! path that leads from it to the root.

use crate::encoding::{base64, decimal, digest};
use crate::merkle::{self, MAX_PROOF, MerkleError};
use crate::tile::Tile;
use crate::tree::{RightEdge, Tiles};
use core::fmt;
use core::str::FromStr;
use measure::Sha256;
use measure::snp::report::ChipId;
use std::collections::BTreeMap;
use std::convert::Infallible;

/// Most chips of a fleet.
pub const MAX_CHIPS: usize = 1 << 16;
/// Longest row with its path, in bytes.
pub const MAX_ROW: usize = 4096;

/// What the hashed form of a row begins with.
const LABEL: &[u8] = b"vitrine/fleet-row/1\0";
/// First line of a row in a file.
const HEADER: &str = "vitrine-fleet-row 1";

/// All chips, ascending and distinct. Text form: one chip id a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    chips: Vec<ChipId>,
}

/// A chip and how it hangs together with the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The chip.
    pub chip: ChipId,
    /// Its place in the roster.
    pub index: u64,
    /// The hashes from its row to the root.
    pub path: Vec<Sha256>,
}

/// Why a text is no roster or row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// A line has another shape or is missing.
    #[error("line {line}: expected {expected}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// Its shape.
        expected: &'static str,
    },
    /// Too many chips.
    #[error("expected at most {MAX_CHIPS} chips")]
    Chips,
    /// A row that is too long.
    #[error("expected a row of at most {MAX_ROW} bytes, found {found}")]
    Size {
        /// Bytes found.
        found: usize,
    },
}

fn line<T>(at: usize, expected: &'static str, value: Option<T>) -> Result<T, FleetError> {
    value.ok_or(FleetError::Line { line: at, expected })
}

impl FromStr for Roster {
    type Err = FleetError;

    fn from_str(text: &str) -> Result<Self, FleetError> {
        let mut chips: Vec<ChipId> = Vec::new();
        for (text, at) in text.split_inclusive('\n').zip(1..) {
            let chip = text.strip_suffix('\n').and_then(|chip| chip.parse().ok());
            let chip = line(at, "128 lowercase hexadecimal digits and a newline", chip)?;
            line(at, "a chip after the one before", chips.last().is_none_or(|last| *last < chip).then_some(()))?;
            chips.push(chip);
        }
        if chips.len() > MAX_CHIPS { Err(FleetError::Chips) } else { Ok(Self { chips }) }
    }
}

impl fmt::Display for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chips.iter().try_for_each(|chip| writeln!(f, "{chip}"))
    }
}

impl Roster {
    /// Number of chips.
    pub fn chips(&self) -> u64 {
        self.chips.len() as u64
    }

    /// The root over all rows (RFC 6962, section 2.1).
    pub fn root(&self) -> Sha256 {
        self.grown(|_, _| ()).root()
    }

    /// The row of `chip`, if it is in the fleet.
    pub fn row(&self, chip: &ChipId) -> Option<Row> {
        let index = self.chips.binary_search(chip).ok()? as u64;
        let mut tiles: BTreeMap<Tile, Vec<Sha256>> = BTreeMap::new();
        let edge = self.grown(|tile, hashes| drop(tiles.insert(tile, hashes.to_vec())));
        tiles.extend(edge.partial().map(|(tile, hashes)| (tile, hashes.to_vec())));
        let read = |tile: Tile| Ok::<_, Infallible>(tiles.get(&tile).cloned().unwrap_or_else(Vec::new));
        let Ok(path) = Tiles::new(self.chips(), read).inclusion(index, self.chips());
        Some(Row { chip: *chip, index, path })
    }

    fn grown(&self, mut full: impl FnMut(Tile, &[Sha256])) -> RightEdge {
        let mut edge = RightEdge::empty();
        for chip in &self.chips {
            let Ok(()) = edge.push(leaf(chip), |tile, hashes| {
                full(tile, hashes);
                Ok::<_, Infallible>(())
            });
        }
        edge
    }
}

fn leaf(chip: &ChipId) -> Sha256 {
    merkle::leaf_hash(&[LABEL, chip.0.as_bytes()].concat())
}

impl Row {
    /// Checks that the row is in the roster of `chips` chips with this root.
    ///
    /// # Errors
    /// When it is not.
    pub fn verify(&self, chips: u64, root: &Sha256) -> Result<(), MerkleError> {
        merkle::verify_inclusion(&leaf(&self.chip), self.index, chips, root, &self.path)
    }
}

impl FromStr for Row {
    type Err = FleetError;

    fn from_str(text: &str) -> Result<Self, FleetError> {
        if text.len() > MAX_ROW {
            return Err(FleetError::Size { found: text.len() });
        }
        let mut lines = text.split_inclusive('\n').map(|text| text.strip_suffix('\n'));
        let mut next = || lines.next().flatten();
        line(1, HEADER, next().filter(|text| *text == HEADER))?;
        let chip = line(2, "128 lowercase hexadecimal digits", next().and_then(|text| text.parse().ok()))?;
        let index = line(3, "a number", next().and_then(decimal))?;
        let hash = |(text, at): (Option<&str>, usize)| line(at, "32 bytes in base64", text.and_then(digest));
        let path = lines.zip(4..).map(hash).collect::<Result<Vec<_>, _>>()?;
        line(4, "at most 63 hashes", (path.len() <= MAX_PROOF).then_some(()))?;
        Ok(Self { chip, index, path })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}\n{}\n{}", self.chip, self.index)?;
        self.path.iter().try_for_each(|hash| writeln!(f, "{}", base64(hash.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(chips: u16) -> Roster {
        let chip = |number: u16| {
            let mut bytes = [0; 64];
            bytes[62..].copy_from_slice(&number.to_be_bytes());
            ChipId(measure::Digest::new(bytes))
        };
        Roster { chips: (0..chips).map(chip).collect() }
    }

    #[test]
    fn every_chip_has_a_row_and_no_other() {
        for chips in [1, 2, 3, 5, 8, 255, 256, 257, 700] {
            let roster = roster(chips);
            let (root, count) = (roster.root(), roster.chips());
            for chip in roster.chips.iter().step_by(1 + usize::from(chips) / 9) {
                let row = roster.row(chip).unwrap();
                assert_eq!(row.verify(count, &root), Ok(()));
                assert_eq!(row.to_string().parse(), Ok(row.clone()));
                let other = Row { chip: ChipId(measure::Digest::new([9; 64])), ..row.clone() };
                assert!(matches!(other.verify(count, &root), Err(MerkleError::Root { .. })));
                let other = Row { index: row.index ^ 1, ..row };
                assert!(other.verify(count, &root).is_err());
            }
            assert_eq!(roster.row(&ChipId(measure::Digest::new([9; 64]))), None);
        }
    }

    /// By hand: the label, 64 zero bytes, and the tag of a leaf.
    #[test]
    fn hashed_as_documented() {
        let bytes = [&[0][..], b"vitrine/fleet-row/1\0", &[0; 64]].concat();
        assert_eq!(roster(1).root(), Sha256::of(&bytes));
        assert_eq!(roster(0).root(), Sha256::of(b""));
    }

    #[test]
    fn strict() {
        let text = roster(3).to_string();
        assert_eq!(text.parse(), Ok(roster(3)));
        let wrong = |line, expected| Some(FleetError::Line { line, expected });
        let form = "128 lowercase hexadecimal digits and a newline";
        let lines: Vec<_> = text.split_inclusive('\n').collect();
        for (text, error) in [
            (text.trim_end().to_owned(), wrong(3, form)),
            (format!("{text}\n"), wrong(4, form)),
            (text.replacen('0', "A", 1), wrong(1, form)),
            ([lines[1], lines[0]].concat(), wrong(2, "a chip after the one before")),
            ([lines[1], lines[1]].concat(), wrong(2, "a chip after the one before")),
        ] {
            assert_eq!(text.parse::<Roster>().err(), error);
        }
        let row = roster(3).row(&roster(3).chips[1]).unwrap().to_string();
        for (from, to, error) in [
            ("row 1", "row 2", wrong(1, HEADER)),
            ("\n00", "\n0", wrong(2, "128 lowercase hexadecimal digits")),
            ("\n1\n", "\n01\n", wrong(3, "a number")),
            ("=\n", "\n", wrong(4, "32 bytes in base64")),
        ] {
            assert_eq!(row.replacen(from, to, 1).parse::<Row>().err(), error);
        }
        assert_eq!(format!("{row}\n").parse::<Row>().err(), wrong(6, "32 bytes in base64"));
        assert!(matches!(" ".repeat(MAX_ROW + 1).parse::<Row>(), Err(FleetError::Size { .. })));
    }
}
