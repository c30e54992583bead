//! `inspect`: what a file is, every digest in it recomputed.

use crate::report::Answer;
use std::path::PathBuf;

/// Opens a disk image, initrd, erofs image, .deb or OVMF firmware and recomputes every digest in it.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The file; its content says what it is, not its name.
    file: PathBuf,
}

/// Exit 1 if something in the file is not what it says it is.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<Answer> {
    let found = image::result::inspect::inspect(&flags.file)?;
    let reason = match found.wrong.first() {
        Some(wrong) => format!("{}: {wrong}", flags.file.display()),
        None => format!("{}: every digest in it was recomputed", flags.file.display()),
    };
    Ok(Answer { yes: found.wrong.is_empty(), reason, text: found.to_string(), payload: serde_json::to_value(&found)? })
}
