//! A dm-verity volume: a tree of files as erofs, its hash tree, and where both go on a disk (docs/formats.md).

use crate::formats::filetree::Tree;
use crate::formats::listing::Listing;
use crate::formats::{disk, erofs, tar, verity};
use crate::progress::{Progress, Unit};
use crate::tools::sandbox::{Bind, Network, Sandbox};
use crate::tools::tree;
use anyhow::Context as _;
use measure::Sha256;
use measure::cmdline::VerityDisk;
use measure::guid::Guid;
use measure::verity::{Salt, Verity, VerityRoot};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::num::{NonZeroU64, NonZeroUsize};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// What identifies a volume; every GUID and the salt follow from the seed and the name.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    /// `root` or `model`.
    pub name: &'a str,
    /// The seed in `image/request.toml`.
    pub seed: Uuid,
}

impl Name<'_> {
    /// Label of the disk, and of the partition with the data.
    pub fn data(&self) -> String {
        format!("vitrine-{}", self.name)
    }

    /// Label of the partition with the superblock and the hash tree.
    pub fn hash(&self) -> String {
        format!("vitrine-{}-verity", self.name)
    }

    /// SHA-256 of `vitrine/verity-salt/1`, a zero byte, the seed's 16 bytes and the name. A salt keeps hashes of equal
    /// blocks in different volumes apart; it is no secret.
    pub fn salt(&self) -> Sha256 {
        Sha256::of(&[b"vitrine/verity-salt/1\0".as_slice(), self.seed.as_bytes(), self.name.as_bytes()].concat())
    }
}

/// Writes `tree` as erofs to the file `data` with `mkfs.erofs` from the tools tree; `scratch` is an empty directory.
pub fn filesystem(
    name: Name<'_>,
    tree: &Tree,
    epoch: u64,
    tools: &Path,
    scratch: &Path,
    data: &Path,
) -> anyhow::Result<()> {
    let archive = scratch.join("tree.tar");
    let mut out = BufWriter::new(File::create(&archive).with_context(|| format!("creating {}", archive.display()))?);
    tar::write(tree, epoch, &mut out)
        .and_then(|()| Ok(out.flush()?))
        .with_context(|| format!("writing {}", archive.display()))?;

    let uuid = disk::guid(name.seed, &format!("vitrine-{}-erofs", name.name));
    let mut argv = erofs::mkfs(epoch, uuid, "/work/out.erofs", "/work/tree.tar");
    if let Some(program) = argv.first_mut() {
        *program = format!("/usr/bin/{program}");
    }
    let sandbox = Sandbox {
        root: tools.to_path_buf(),
        binds: vec![Bind { host: scratch.to_path_buf(), guest: PathBuf::from("/work"), writable: true }],
        argv,
        env: [("PATH".to_owned(), "/usr/bin".to_owned())].into(),
        cwd: PathBuf::from("/work"),
        network: Network::None,
        uid: tree::UID,
        log: scratch.join("mkfs.erofs.log"),
    };
    sandbox.run(&mut |_line| {}).context("making the file system")?;
    let made = scratch.join("out.erofs");
    fs::rename(&made, data).with_context(|| format!("moving {} to {}", made.display(), data.display()))
}

/// Writes the superblock and the hash tree of the file `data` to the file `hash`, and gives what the guest needs to
/// open the volume.
pub fn protect(name: Name<'_>, data: &Path, hash: &Path, progress: &dyn Progress) -> anyhow::Result<VerityDisk> {
    let uuid = disk::guid(name.seed, &name.hash());
    let formatted = verity::format(data, Some(hash), Salt::new(name.salt().as_bytes())?, uuid, progress)?;
    let data_blocks = NonZeroU64::new(formatted.data_blocks).with_context(|| format!("{} is empty", data.display()))?;
    Ok(VerityDisk {
        data: disk::guid(name.seed, &name.data()),
        hash: uuid,
        data_blocks,
        salt: name.salt(),
        root: formatted.root,
    })
}

/// Writes a disk with both partitions of the volume to the file `out`.
pub fn disk(name: Name<'_>, data: &Path, hash: &Path, out: &Path) -> anyhow::Result<()> {
    let file = File::create(out).with_context(|| format!("creating {}", out.display()))?;
    let label = format!("{}-disk", name.data());
    disk::write(&file, name.seed, &label, &[(&name.data(), data), (&name.hash(), hash)])
        .with_context(|| format!("writing {}", out.display()))
}

/// The volume that `expected` describes as it is on the disk in the file `disk`: its root recomputed from the data.
pub fn measure(expected: &VerityDisk, disk: &Path, progress: &dyn Progress) -> anyhow::Result<VerityDisk> {
    let file = File::open(disk).with_context(|| format!("opening {}", disk.display()))?;
    let length = file.metadata().with_context(|| format!("looking at {}", disk.display()))?.len();
    let table = disk::read(&|offset, buffer: &mut [u8]| file.read_exact_at(buffer, offset), length)
        .with_context(|| format!("reading the partition table of {}", disk.display()))?;
    let data = table.partitions.iter().find(|partition| partition.guid == expected.data);
    let data = data.with_context(|| format!("{}: expected a partition {}", disk.display(), expected.data))?;
    let verity = Verity::new(data.length, Salt::new(expected.salt.as_bytes())?)
        .with_context(|| format!("partition {} of {}", expected.data, disk.display()))?;
    let bar = progress.bar("verity", data.length, Unit::Bytes);
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let read = |offset: u64, buffer: &mut [u8]| {
        file.read_exact_at(buffer, data.offset + offset)?;
        bar.add(buffer.len() as u64);
        Ok(())
    };
    let root = verity.format(threads, &read, &|_offset, _block| Ok(()));
    let root = root.with_context(|| format!("hashing partition {} of {}", expected.data, disk.display()))?;
    let data_blocks = NonZeroU64::new(verity.data_blocks()).context("a volume without blocks")?;
    Ok(VerityDisk { root, data_blocks, ..expected.clone() })
}

/// A volume as `manifest.json` has it: two partitions, block size 4096, SHA-256, a superblock in block 0 of the hash
/// partition and the tree behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// PARTUUID of the data.
    pub data_partuuid: Guid,
    /// PARTUUID of the hash tree.
    pub hash_partuuid: Guid,
    /// Data blocks of 4096 bytes.
    pub data_blocks: NonZeroU64,
    /// Salt in front of every hashed block.
    pub salt: Sha256,
    /// Root of the hash tree.
    pub root_sha256: VerityRoot,
}

impl From<&VerityDisk> for Volume {
    fn from(&VerityDisk { data, hash, data_blocks, salt, root }: &VerityDisk) -> Self {
        Self { data_partuuid: data, hash_partuuid: hash, data_blocks, salt, root_sha256: root }
    }
}

impl From<&Volume> for VerityDisk {
    fn from(&Volume { data_partuuid, hash_partuuid, data_blocks, salt, root_sha256 }: &Volume) -> Self {
        Self { data: data_partuuid, hash: hash_partuuid, data_blocks, salt, root: root_sha256 }
    }
}

/// Every path of the file system in the file `data`, read back from its bytes.
pub fn listing(data: &Path) -> anyhow::Result<Listing> {
    let file = File::open(data).with_context(|| format!("opening {}", data.display()))?;
    let length = file.metadata().with_context(|| format!("looking at {}", data.display()))?.len();
    let read = |offset, buffer: &mut [u8]| file.read_exact_at(buffer, offset);
    erofs::Superblock::read(&read, length)
        .and_then(|superblock| erofs::list(&read, &superblock))
        .with_context(|| format!("reading {}", data.display()))
}
