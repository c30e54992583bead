//! Small images made by `mkfs.erofs` 1.8.6 from one tree: 512-byte and 4096-byte blocks, chunks, and a compressed one.

use image::formats::bytes::Corrupt;
use image::formats::erofs::{Superblock, list};
use image::formats::listing::Listing;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const B512: &[u8] = include_bytes!("../../fuzz/samples/erofs/b512");
const B4096: &[u8] = include_bytes!("../../fuzz/samples/erofs/b4096");
const CHUNK: &[u8] = include_bytes!("../../fuzz/samples/erofs/chunk");
const LZ4: &[u8] = include_bytes!("../../fuzz/samples/erofs/lz4");

const LISTING: &str = "\
. d 0755 0 0 - -
big f 0644 0 0 1280 BIG
dev d 0755 0 0 - -
dev/console c 0600 0 0 - 5:1
dev/sda300 b 0660 0 0 - 259:300
lib l 0777 0 0 - usr/lib
pipe p 0600 0 0 - -
su f 4755 0 70000 6 SU
su2 f 4755 0 70000 6 SU
";

fn open(image: &[u8]) -> anyhow::Result<(Superblock, anyhow::Result<Listing>)> {
    let read = |at: u64, buffer: &mut [u8]| {
        let from = usize::try_from(at).ok().and_then(|at| image.get(at..)?.get(..buffer.len()));
        buffer.copy_from_slice(from.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    };
    let superblock = Superblock::read(&read, image.len() as u64)?;
    let listing = list(&read, &superblock);
    Ok((superblock, listing))
}

fn expected() -> String {
    let big: Vec<u8> = (0..5).flat_map(|_| 0..=255).collect();
    let digest = |bytes| measure::Sha256::of(bytes).to_string();
    LISTING.replace("BIG", &digest(&big)).replace("SU", &digest(b"setuid"))
}

#[test]
fn finds_what_is_in_the_image() -> Outcome {
    for image in [B512, B4096] {
        assert_eq!(open(image)?.1?.to_string(), expected());
    }
    // Made from a directory, so without devices; its big file is in chunks.
    let without_devices: String =
        expected().lines().filter(|line| !line.contains("dev/")).map(|line| format!("{line}\n")).collect();
    assert_eq!(open(CHUNK)?.1?.to_string(), without_devices);
    Ok(())
}

#[test]
fn compression_is_named() -> Outcome {
    let (superblock, listing) = open(LZ4)?;
    assert_eq!(superblock.block, 512);
    let error = listing.err().ok_or("was listed")?;
    assert!(
        format!("{error:#}").contains("uses compression settings or big clusters, which is not supported"),
        "{error:#}"
    );
    Ok(())
}

#[test]
fn a_changed_superblock_is_corrupt() -> Outcome {
    assert!(open(B4096)?.0.checksum.is_some());
    let mut image = B4096.to_vec();
    for at in (1028..1152).filter(|at| !(1036..1037).contains(at) && !(1060..1064).contains(at)) {
        image[at] ^= 1;
        // A flag that says there is no checksum is as good as none.
        let error = open(&image).err();
        assert!(at == 1032 || error.is_some_and(|error| error.downcast_ref::<Corrupt>().is_some()), "byte {at}");
        image[at] ^= 1;
    }
    Ok(())
}

#[test]
fn truncated_or_hostile_is_an_error() -> Outcome {
    for length in 0..B512.len() {
        assert!(open(&B512[..length]).is_err(), "{length} bytes");
    }
    // The root's inode is number 36; its entries start with `.`.
    let mut cases = 0;
    for at in 1152..B512.len() {
        let mut image = B512.to_vec();
        image[at] ^= 0xff;
        let Ok(listing) = open(&image)?.1 else { continue };
        // What can be changed without notice shows in the listing, or is padding, time or link count.
        cases += usize::from(listing.to_string() != expected());
    }
    assert!(cases > 1000, "only {cases} changes showed");
    Ok(())
}

#[test]
fn a_directory_in_two_places_is_refused() -> Outcome {
    let root = 36_u64.to_le_bytes();
    let mut refused = 0;
    for entry in
        (0..B512.len() - 12).filter(|&at| B512[at + 10] == 2 && B512[at + 11] == 0 && B512[at + 2..at + 8] == [0; 6])
    {
        let mut image = B512.to_vec();
        image[entry..entry + 8].copy_from_slice(&root);
        if image != B512 && open(&image)?.1.is_err_and(|error| error.chain().any(|cause| cause.is::<Corrupt>())) {
            refused += 1;
        }
    }
    assert!(refused > 0);
    Ok(())
}
