//! Partition tables: ours byte for byte, hostile ones named.

use image::formats::bytes::Corrupt;
use image::formats::disk::{self, Disk};
use std::fs::{self, File};
use std::path::Path;
use uuid::Uuid;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const SEED: Uuid = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);

/// A disk with partitions of 5000 and 4096 bytes.
fn disk(dir: &Path) -> anyhow::Result<Vec<u8>> {
    let (data, hash, out) = (dir.join("data"), dir.join("hash"), dir.join("disk"));
    fs::write(&data, [7; 5000])?;
    fs::write(&hash, [9; 4096])?;
    disk::write(&File::create(&out)?, SEED, "test-disk", &[("test", &data), ("test-verity", &hash)])?;
    Ok(fs::read(out)?)
}

fn read(bytes: &[u8]) -> anyhow::Result<Disk> {
    let at = |offset: u64, buffer: &mut [u8]| {
        let from = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)?.get(..buffer.len()));
        buffer.copy_from_slice(from.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    };
    disk::read(&at, bytes.len() as u64)
}

#[test]
fn ours_reads_back() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let bytes = disk(scratch.path())?;
    assert_eq!(bytes.len(), 4 << 20);
    let found = read(&bytes)?;
    assert_eq!(found.guid, disk::guid(SEED, "test-disk"));
    let parts: Vec<_> = found.partitions.iter().map(|part| (part.name.as_str(), part.offset, part.length)).collect();
    assert_eq!(parts, [("test", 1 << 20, 8192), ("test-verity", 2 << 20, 4096)]);
    assert_eq!(found.partitions[1].guid, disk::guid(SEED, "test-verity"));
    assert_eq!(bytes[1 << 20..][..8192], [[7; 5000].as_slice(), &[0; 3192]].concat());
    assert_eq!(bytes[2 << 20..][..4097], [[9; 4096].as_slice(), &[0]].concat());

    let elsewhere = tempfile::tempdir()?;
    assert!(disk(elsewhere.path())? == bytes);
    Ok(())
}

/// The `gpt` crate, which shares no code with ours, finds the same.
#[test]
fn another_reader_agrees() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let bytes = disk(scratch.path())?;
    let ours = read(&bytes)?;
    let theirs = gpt::GptConfig::new().writable(false).open(scratch.path().join("disk"))?;
    assert_eq!(theirs.guid().to_string(), ours.guid.to_string());
    assert_eq!(theirs.primary_header()?.last_usable, 8192 - 34);
    for (part, theirs) in ours.partitions.iter().zip(theirs.partitions().values()) {
        assert_eq!((theirs.name.as_str(), theirs.part_guid.to_string()), (part.name.as_str(), part.guid.to_string()));
        assert_eq!((theirs.first_lba * 512, theirs.last_lba * 512 + 512), (part.offset, part.offset + part.length));
    }
    assert_eq!(theirs.partitions().len(), 2);
    Ok(())
}

#[test]
fn every_byte_of_the_tables_counts() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let mut bytes = disk(scratch.path())?;
    let end = bytes.len();
    // Headers are 92 bytes of their sectors; the tables are covered whole.
    for at in [510, 511, 450].into_iter().chain(512..604).chain(1024..1024 + 16384).chain(end - 33 * 512..end - 420) {
        bytes[at] ^= 0x80;
        assert!(read(&bytes).is_err(), "byte {at}");
        bytes[at] ^= 0x80;
    }
    read(&bytes)?;
    for length in [0, 511, 512, 1024, 2 << 20, end - 512, end - 1] {
        let error = read(&bytes[..length]).err().ok_or("was accepted")?;
        assert!(error.downcast_ref::<Corrupt>().is_none(), "{length}: a truncated disk is undecided: {error:#}");
    }
    Ok(())
}

/// Changes a table and repairs the checksums, as someone would who wants to be believed.
fn forge(bytes: &mut [u8], change: impl Fn(&mut [u8])) {
    let end = bytes.len();
    for (header, table) in [(512, 1024), (end - 512, end - 33 * 512)] {
        change(&mut bytes[table..table + 16384]);
        let crc = crc32fast::hash(&bytes[table..table + 16384]).to_le_bytes();
        bytes[header + 88..header + 92].copy_from_slice(&crc);
        bytes[header + 16..header + 20].fill(0);
        let crc = crc32fast::hash(&bytes[header..header + 92]).to_le_bytes();
        bytes[header + 16..header + 20].copy_from_slice(&crc);
    }
}

#[test]
fn forged_tables_are_named() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let bytes = disk(scratch.path())?;
    let set = |at: usize, value: u64| move |table: &mut [u8]| table[at..at + 8].copy_from_slice(&value.to_le_bytes());
    for (change, expected) in [
        (Box::new(set(40, 4096)) as Box<dyn Fn(&mut [u8])>, "overlap"),
        (Box::new(set(40, 8191)), "outside the usable"),
        (Box::new(set(40, u64::MAX)), "outside the usable"),
        (Box::new(set(32, 1)), "outside the usable"),
        (Box::new(set(40, 2047)), "outside the usable"),
        (Box::new(|table: &mut [u8]| table.copy_within(16..32, 144)), "GUID"),
    ] {
        let mut forged = bytes.clone();
        forge(&mut forged, change);
        let error = read(&forged).err().ok_or(format!("{expected}: was accepted"))?;
        assert!(error.to_string().contains(expected), "{expected}: {error:#}");
        assert!(error.downcast_ref::<Corrupt>().is_some());
    }
    let longer = [bytes, vec![0; 512]].concat();
    assert!(read(&longer).is_err_and(|error| error.to_string().contains("the backup's sector")));
    Ok(())
}
