//! dm-verity against roots and trees made by `veritysetup` 2.7.5.

use measure::Sha256;
use measure::guid::Guid;
use measure::verity::{BLOCK, Mismatch, Salt, Superblock, SuperblockError, Verity, VerityError, VerityRoot};
use std::io;
use std::num::NonZeroUsize;
use std::sync::Mutex;

const UUID: Guid = Guid::new(0x01234567_89ab_cdef_0123_456789abcdef);

/// `blocks` blocks of different bytes.
fn data(blocks: usize) -> Vec<u8> {
    (0..blocks as u64 * 512).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect()
}

fn salt(length: usize) -> Salt {
    let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
    Salt::new(&bytes).unwrap()
}

fn read_from(bytes: &[u8]) -> impl Fn(u64, &mut [u8]) -> io::Result<()> + Sync {
    |offset, buffer: &mut [u8]| {
        let at = offset as usize;
        let found = bytes.get(at..at + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }
}

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

/// Root, and what `veritysetup format` would write: superblock and tree.
fn format(data: &[u8], salt: Salt, count: usize) -> (Verity, VerityRoot, Vec<u8>) {
    let verity = Verity::new(data.len() as u64, salt).unwrap();
    let tree = Mutex::new(vec![0xee; verity.hash_blocks() as usize * BLOCK]);
    let write = |offset: u64, block: &[u8]| {
        tree.lock().unwrap()[offset as usize..][..block.len()].copy_from_slice(block);
        Ok(())
    };
    let root = verity.format(threads(count), &read_from(data), &write).unwrap();
    let superblock = Superblock { uuid: UUID, data_blocks: verity.data_blocks(), salt: verity.salt().clone() };
    let file = [superblock.to_block().to_vec(), tree.into_inner().unwrap()].concat();
    (verity, root, file)
}

/// Every row is from `veritysetup format --salt SALT --uuid 01234567-89ab-cdef-0123-456789abcdef DATA TREE`, where
/// SALT is `-` or 000102..., and the last column is `sha256sum TREE`. This test leaves each DATA in `target/tmp`.
#[test]
fn equals_veritysetup() {
    let rows = include_str!("verity.txt");
    for row in rows.lines() {
        let [blocks, salt_length, root, tree] = row.split(' ').collect::<Vec<_>>()[..] else { panic!("{row}") };
        let data = data(blocks.parse().unwrap());
        std::fs::write(format!("{}/verity-{blocks}", env!("CARGO_TARGET_TMPDIR")), &data).unwrap();
        for count in if data.len() > 1 << 24 { 2..=2 } else { 1..=4 } {
            let (_, found, file) = format(&data, salt(salt_length.parse().unwrap()), count);
            assert_eq!((found.to_string(), Sha256::of(&file).to_string()), (root.into(), tree.into()), "{row}");
        }
    }
    assert_eq!(rows.lines().count(), 14);
}

#[test]
fn verify_names_the_first_wrong_block() {
    let check = |data: &[u8], tree: &[u8], verity: &Verity, root| {
        verity.verify(root, threads(2), &read_from(data), &read_from(tree)).unwrap()
    };
    let hash = |level, block| Some(Mismatch::Hash { level, block });
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 0x80;
        bytes
    };
    // Levels of 3 and 1 blocks, and of 129, 2 and 1: the highest is stored first.
    let cases = [
        (300, vec![(0, hash(1, 0)), (1, hash(0, 1)), (3, hash(0, 3))], vec![0, 127, 128, 299]),
        (128 * 128 + 1, vec![(0, hash(2, 0)), (1, hash(1, 1)), (2, hash(1, 2)), (131, hash(0, 131))], vec![128 * 128]),
    ];
    for (blocks, hash_blocks, data_blocks) in cases {
        let data = data(blocks);
        let (verity, root, file) = format(&data, salt(32), 2);
        let tree = &file[BLOCK..];
        assert_eq!(check(&data, tree, &verity, root), None);
        let other = VerityRoot(Sha256::of(b"another"));
        assert_eq!(check(&data, tree, &verity, other), hash_blocks[0].1);
        for (block, expected) in hash_blocks {
            // The first byte is a digest's, the last one often padding.
            for byte in [0, BLOCK - 1] {
                let tree = flipped(tree, block * BLOCK + byte);
                assert_eq!(check(&data, &tree, &verity, root), expected, "byte {byte} of hash block {block}");
            }
        }
        for block in data_blocks {
            let expected = Some(Mismatch::Data { block: block as u64 });
            let data = flipped(&data, block * BLOCK + 17);
            assert_eq!(check(&data, tree, &verity, root), expected);
            let data = flipped(&data, blocks * BLOCK - 1);
            assert_eq!(check(&data, tree, &verity, root), expected, "the first of two");
        }
    }
}

#[test]
fn verify_a_single_block() {
    let data = data(1);
    let (verity, root, file) = format(&data, salt(0), 1);
    assert_eq!(file.len(), BLOCK);
    let check = |data: &[u8]| verity.verify(root, threads(1), &read_from(data), &read_from(&[])).unwrap();
    assert_eq!(check(&data), None);
    assert_eq!(check(&[0; BLOCK]), Some(Mismatch::Data { block: 0 }));
}

#[test]
fn errors_say_where() {
    for size in [0, 1, 4095, 4097, 5000] {
        assert!(matches!(Verity::new(size, salt(0)), Err(VerityError::DataSize { found }) if found == size));
    }
    let blocks = (1 << 30) + 1;
    let result = Verity::new(blocks * BLOCK as u64, salt(0));
    assert!(matches!(result, Err(VerityError::TooManyBlocks { found }) if found == blocks));
    assert!(Verity::new((blocks - 1) * BLOCK as u64, salt(0)).is_ok());

    let data = data(300);
    let (verity, root, file) = format(&data, salt(0), 1);
    let short = read_from(&data[..128 * BLOCK]);
    let error = verity.format(threads(2), &short, &|_, _| Ok(())).unwrap_err();
    assert!(matches!(error, VerityError::ReadData { offset, .. } if offset >= 128 * BLOCK as u64), "{error}");
    let error = verity.format(threads(2), &read_from(&data), &|_, _| Err(io::ErrorKind::StorageFull.into()));
    assert!(matches!(error, Err(VerityError::WriteTree { .. })));
    let truncated = read_from(&file[BLOCK..BLOCK * 3]);
    let error = verity.verify(root, threads(2), &read_from(&data), &truncated).unwrap_err();
    assert!(matches!(error, VerityError::ReadTree { offset: 8192 | 12288, .. }), "{error}");
}

#[test]
fn salts() {
    assert_eq!("-".parse(), Ok(salt(0)));
    assert_eq!(salt(0).to_string(), "-");
    assert_eq!("0001".parse(), Ok(salt(2)));
    assert_eq!(salt(256).to_string().parse(), Ok(salt(256)));
    for wrong in ["", "0", "0G", "AB", "--", &"00".repeat(257)] {
        assert!(wrong.parse::<Salt>().is_err(), "{wrong:?}");
    }
    assert!(Salt::new(&[0; 257]).is_err());
}

#[test]
fn superblock_round_trips_and_refuses() {
    for length in [0, 1, 255, 256] {
        let superblock = Superblock { uuid: UUID, data_blocks: u64::MAX, salt: salt(length) };
        assert_eq!(Superblock::parse(&superblock.to_block()), Ok(superblock));
    }
    let good = Superblock { uuid: UUID, data_blocks: 7, salt: salt(32) }.to_block();
    for length in [0, 511, BLOCK - 1] {
        assert_eq!(Superblock::parse(&good[..length]), Err(SuperblockError::Length { found: length }));
    }
    let with = |at: usize, value: u8| {
        let mut block = good;
        block[at] = value;
        Superblock::parse(&block).unwrap_err().to_string()
    };
    let cases = [
        (0, 0, "expected the magic bytes \"verity\" of a superblock"),
        (8, 2, "expected 1 as the superblock's version, found 2"),
        (12, 0, "expected 1 as the superblock's hash type, found 0"),
        (35, b'5', "expected sha256 as the superblock's algorithm, found \"sha556\""),
        (36, 0x80, "expected sha256 as the superblock's algorithm, found \"sha2\u{fffd}6\""),
        (65, 0x20, "expected 4096 as the superblock's data block size, found 8192"),
        (69, 0x20, "expected 4096 as the superblock's hash block size, found 8192"),
        (81, 2, "expected a salt of at most 256 bytes in the superblock, found 544"),
    ];
    for (at, value, expected) in cases {
        assert_eq!(with(at, value), expected);
    }
}
