//! What was found, for people.

use super::disk::Content;
use super::{FileSystem, Firmware, Found, Inspection, Package, Tree};
use std::fmt;

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.found {
            Found::Disk { .. } => "disk with a GUID partition table",
            Found::Initrd { .. } => "initrd",
            Found::Erofs(_) => "erofs image",
            Found::Deb(_) => "Debian package",
            Found::Ovmf(_) => "OVMF firmware",
        };
        writeln!(f, "{what}, {} bytes, sha256 {}", self.size, self.sha256)?;
        match &self.found {
            Found::Disk { table: None } => {}
            Found::Disk { table: Some(table) } => {
                writeln!(f, "disk {}, {} sectors of 512 bytes", table.guid, table.sectors)?;
                for part in &table.partitions {
                    writeln!(f, "\npartition {} {}, {} bytes at {}", part.name, part.guid, part.length, part.offset)?;
                    writeln!(f, "type {}", part.type_guid)?;
                    match &part.content {
                        Content::Erofs(erofs) => write!(f, "{erofs}")?,
                        Content::Verity(tree) => {
                            writeln!(
                                f,
                                "dm-verity {}, {} data blocks, salt {}",
                                tree.uuid, tree.data_blocks, tree.salt
                            )?;
                            match (&tree.data, tree.root_sha256) {
                                (Some(data), Some(root)) => writeln!(f, "root {root}, computed from {data}")?,
                                (Some(data), None) => writeln!(f, "does not match {data}")?,
                                (None, _) => writeln!(f, "no partition of this name without -verity: root unknown")?,
                            }
                        }
                        Content::Unknown => writeln!(f, "content of no known format")?,
                    }
                }
            }
            Found::Initrd { archives } => {
                for archive in archives {
                    write!(f, "\ncpio archive, compression {}\n{}", archive.compression, archive.tree)?;
                }
            }
            Found::Erofs(erofs) => write!(f, "{erofs}")?,
            Found::Deb(package) => write!(f, "{package}")?,
            Found::Ovmf(firmware) => write!(f, "{firmware}")?,
        }
        self.wrong.iter().try_for_each(|wrong| writeln!(f, "\nWRONG: {wrong}"))
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "tree sha256 {}, {} paths", self.tree_sha256, self.entries.len())?;
        self.entries.iter().try_for_each(|entry| writeln!(f, "  {entry}"))
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(found) = &self.superblock {
            let checksum = found.crc32c.as_ref().map_or("none".to_owned(), |sum| format!("{sum}, recomputed"));
            writeln!(
                f,
                "erofs {}, {} blocks of {} bytes, {} inodes, time {}, CRC-32C {checksum}",
                found.uuid, found.blocks, found.block_size, found.inodes, found.time
            )?;
        }
        self.tree.iter().try_for_each(|tree| write!(f, "{tree}"))?;
        self.unsupported.iter().try_for_each(|why| writeln!(f, "content not listed: {why}"))
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "control.tar {}, data.tar {}", self.control_compression, self.data_compression)?;
        self.control.iter().try_for_each(|(key, value)| writeln!(f, "{key}: {value}"))?;
        match self.md5sums {
            Some(count) => writeln!(f, "md5sums: {count} recomputed")?,
            None => writeln!(f, "md5sums: none")?,
        }
        self.tree.iter().try_for_each(|tree| write!(f, "{tree}"))
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "loaded at {:#x}", self.gpa)?;
        match self.ap_reset {
            Some(address) => writeln!(f, "further vCPUs start at {address:#x}")?,
            None => writeln!(f, "no SEV-ES reset block")?,
        }
        writeln!(f, "kernel hashes: {}", if self.kernel_hashes { "supported" } else { "not supported" })?;
        for entry in &self.table {
            writeln!(f, "table {} {}, {} bytes", entry.guid, entry.name.unwrap_or("unknown"), entry.size)?;
        }
        match &self.sections {
            Some(sections) => sections.iter().try_for_each(|section| {
                writeln!(f, "section {:#x} {:?}, {} bytes", section.gpa, section.section_type, section.size)
            }),
            None => writeln!(f, "no SEV metadata: it cannot start as an SEV-SNP guest"),
        }
    }
}
