//! Loading the listed kernel modules, and no others ever after.

use std::fs::File;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use crate::{Doing as _, Failure};

/// The list, with a reason per line; the host packs the initrd from the same file.
const LIST: &str = include_str!("../modules.txt");

/// `MODULE_INIT_COMPRESSED_FILE` of linux/module.h: the kernel decompresses, then checks the signature.
const COMPRESSED_FILE: ModuleInitFlags = ModuleInitFlags::from_bits_retain(4);

/// Loads the list in its order.
pub(crate) fn load_all() -> Result<(), Failure> {
    for (name, absent_ok) in parse(LIST) {
        let path = format!("/modules/{name}.ko.xz");
        let file = File::open(&path).doing(format!("opening {path}"))?;
        match finit_module(&file, c"", COMPRESSED_FILE) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(Errno::ENODEV) if absent_ok => {}
            Err(error) => return Err(format!("loading {path}: {error}")),
        }
    }
    Ok(())
}

/// No module loads until the next boot, whoever asks.
pub(crate) fn forbid_more() -> Result<(), Failure> {
    let path = "/proc/sys/kernel/modules_disabled";
    std::fs::write(path, "1").doing(format!("writing {path}"))
}

/// Name and whether ENODEV is expected, per line that has a module.
fn parse(list: &str) -> impl Iterator<Item = (&str, bool)> {
    list.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        Some((words.next()?, words.next() == Some("absent-ok")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_in_order() {
        let text = "# a comment\n\na  # why\nb-c absent-ok # why\n";
        assert_eq!(parse(text).collect::<Vec<_>>(), [("a", false), ("b-c", true)]);
        assert_eq!(parse(LIST).last(), Some(("sev-guest", true)));
    }
}
