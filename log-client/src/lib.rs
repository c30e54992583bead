//! Releases on a transparency log. The core (statements, notes, tiles, proofs) is bytes in, values out; files and the
//! network are at the edges.
