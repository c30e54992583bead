//! Tar archives: a strict, bounded reader for what Debian packages contain.

mod read;

pub use read::{Member, MemberKind, Reader};
