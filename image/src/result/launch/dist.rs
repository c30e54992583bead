//! A build's output directory, as far as booting it goes.

use super::{CPU, Firmware, Machine, Platform};
use crate::files::{create_own, read_bounded, read_text};
use crate::pipeline::dist::{COMMAND_LINE, DISK, INITRD, KERNEL, MODEL, OVMF};
use crate::pipeline::measured::MAX_BOOT_FILE;
use crate::pipeline::stage::{Cache, Stage};
use anyhow::{Context as _, ensure};
use measure::cmdline::{CommandLine, Tee};
use measure::snp::{HashesPage, KernelHashes, Launch, LaunchDigest, Ovmf, SevFeatures, Shape, VmmProfile};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The files a machine is made of.
const FILES: [&str; 6] = [KERNEL, INITRD, COMMAND_LINE, DISK, MODEL, OVMF];

/// Most bytes of a command line; Linux takes half of it.
const MAX_COMMAND_LINE: u64 = 4 << 10;

/// SEV_FEATURES as QEMU and KVM launch guests: SNP and nothing else.
const SEV_FEATURES: SevFeatures = SevFeatures(0x1);

/// The output directory of a build.
#[derive(Debug)]
pub struct Dist {
    /// Absolute.
    dir: String,
}

impl Dist {
    /// The build in `dir`.
    ///
    /// # Errors
    /// When a file that booting needs is missing or the path is not UTF-8.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let missing: Vec<_> = FILES.into_iter().filter(|name| !dir.join(name).is_file()).collect();
        ensure!(
            missing.is_empty(),
            "{} is not a build's output, missing: {}; run `cargo xtask build`, or name its --out directory",
            dir.display(),
            missing.join(", "),
        );
        let dir = fs::canonicalize(dir).with_context(|| format!("resolving {}", dir.display()))?;
        let dir = dir.to_str().with_context(|| format!("{} is not UTF-8", dir.display()))?.to_owned();
        Ok(Self { dir })
    }

    /// The path of one of its files.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }

    /// The build's command line with `tee` in place of what it was built for: the one difference between an image
    /// and its simulation.
    ///
    /// # Errors
    /// When the file is not a command line of docs/formats.md.
    pub fn command_line(&self, tee: Tee) -> anyhow::Result<String> {
        let path = self.path(COMMAND_LINE);
        let text = read_text(Path::new(&path), MAX_COMMAND_LINE)?;
        let built: CommandLine = text.parse().with_context(|| format!("parsing {path}"))?;
        Ok(CommandLine { tee, ..built }.to_string())
    }

    /// The measured firmware with the page of hashes of this build's kernel, initrd and `command_line`, which is
    /// written to `page`.
    ///
    /// # Errors
    /// When a file cannot be read or written, or the firmware has no place for the hashes.
    pub fn measured_firmware(&self, command_line: &str, page: &str) -> anyhow::Result<Firmware> {
        let ovmf = self.read(OVMF)?;
        let hashes = KernelHashes::of(&self.read(KERNEL)?, Some(&self.read(INITRD)?), command_line.as_bytes());
        let HashesPage { gpa, bytes } = Ovmf::parse(&ovmf)
            .map_err(anyhow::Error::from)
            .and_then(|ovmf| Ok(hashes.page(&ovmf)?))
            .with_context(|| self.path(OVMF))?;
        let written = create_own(Path::new(page)).and_then(|mut file| file.write_all(&bytes[..]));
        written.with_context(|| format!("writing the page of hashes to {page}"))?;
        Ok(Firmware::Measured { firmware: self.path(OVMF), page: page.to_owned(), gpa })
    }

    /// The machine that boots this build, with two CPUs and 1 GiB of memory.
    pub fn machine(&self, platform: Platform, command_line: String, console: String, port: u16) -> Machine {
        Machine {
            platform,
            kernel: self.path(KERNEL),
            initrd: self.path(INITRD),
            command_line,
            root: self.path(DISK),
            model: self.path(MODEL),
            console,
            vcpus: 2,
            memory_mib: 1024,
            port,
            metrics: None,
            ports: Vec::new(),
            capture: None,
            record: None,
        }
    }

    /// The launch digest that SEV-SNP would measure when QEMU boots this build with `command_line` and so many virtual
    /// CPUs; computed from the files, not from what a build or a release says of them.
    ///
    /// # Errors
    /// When a file cannot be read, or the firmware cannot be launched so.
    pub fn launch_digest(&self, command_line: &str, vcpus: u16) -> anyhow::Result<LaunchDigest> {
        let ovmf = self.read(OVMF)?;
        let hashes = KernelHashes::of(&self.read(KERNEL)?, Some(&self.read(INITRD)?), command_line.as_bytes());
        let ovmf = Ovmf::parse(&ovmf).with_context(|| self.path(OVMF))?;
        let launch = Launch::new(&ovmf, Some(&hashes), &VmmProfile::QEMU).with_context(|| self.path(OVMF))?;
        let shape = Shape { vcpus: u32::from(vcpus).try_into()?, cpu: CPU.parse()?, sev_features: SEV_FEATURES };
        Ok(launch.before_vmsas.digest(&shape))
    }

    fn read(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.path(name);
        read_bounded(Path::new(&path), MAX_BOOT_FILE).with_context(|| format!("reading {path}"))
    }
}

/// The tools tree this build was made with, which has its QEMU, hashed again; `cache` is Vitrine's cache directory.
///
/// # Errors
/// When `stages.json` does not name it, or it is no longer in the cache or has changed there.
pub fn tools(dist: &Dist, cache: &Path) -> anyhow::Result<PathBuf> {
    let records = crate::pipeline::dist::records(Path::new(&dist.dir))?;
    let record = records.into_iter().find(|record| record.stage == Stage::Tools);
    let record = record.with_context(|| dist.path("stages.json: expected a stage \"tools\", found none"))?;
    let input = record.input;
    let output = Cache::new(cache).finished(record).with_context(|| {
        format!("the tools this image was built with ({input}) are not in {}; run `cargo xtask build`", cache.display())
    })?;
    output.tree().map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use measure::guid::Guid;
    use std::os::unix::fs::symlink;

    /// A firmware of one page that has a place for hashes, and nothing else.
    fn firmware() -> Vec<u8> {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let (mut table, mut image) = (Vec::new(), vec![0; 4096]);
        for (data, guid) in [
            (words(&[0x81_0c00, 0x400]), 0x7255371f_3a3b_4b04_927b_1da6efa8d454_u128),
            (words(&[0x400]), 0xdc886566_984a_4798_a75e_5585a7bf67cc),
            (Vec::new(), 0x96b582de_1fb2_45f7_baea_a366c55a082d),
        ] {
            // The last entry is as long as the whole table.
            let length = if data.is_empty() { table.len() } else { data.len() } + 18;
            table.extend([&data[..], &(length as u16).to_le_bytes(), &Guid::new(guid).to_mixed_endian()].concat());
        }
        let at = image.len() - 32 - table.len();
        image[at..][..table.len()].copy_from_slice(&table);
        let metadata = [b"ASEV".to_vec(), words(&[28, 1, 1, 0x81_0000, 0x1000, 0x10])].concat();
        image[4096 - 0x400..][..metadata.len()].copy_from_slice(&metadata);
        image
    }

    #[test]
    fn the_page_of_hashes_is_not_written_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        FILES.iter().for_each(|name| fs::write(at(name), "").unwrap());
        fs::write(at(OVMF), firmware()).unwrap();
        fs::write(at("other"), "as it was").unwrap();
        symlink("other", at("hashes.page")).unwrap();
        let page = at("hashes.page").to_str().unwrap().to_owned();
        Dist::open(dir.path()).unwrap().measured_firmware("a b", &page).unwrap();
        assert_eq!(fs::read_to_string(at("other")).unwrap(), "as it was");
        assert_eq!(fs::symlink_metadata(&page).unwrap().len(), 4096);
    }

    #[test]
    fn a_command_line_has_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        FILES.iter().for_each(|name| drop(fs::File::create(dir.path().join(name)).unwrap()));
        fs::File::create(dir.path().join(COMMAND_LINE)).unwrap().set_len(1 << 40).unwrap();
        let error = Dist::open(dir.path()).unwrap().command_line(Tee::Simulated).unwrap_err();
        assert!(format!("{error:#}").contains("expected at most 4096 bytes"), "{error:#}");
    }
}
