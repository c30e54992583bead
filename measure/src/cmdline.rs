//! The kernel command line of the guest: a closed grammar (docs/formats.md, "Kernel command line").
//!
//! The host renders it and the hardware measures it; `/init` parses what the kernel received. Nothing is
//! optional and nothing may be added, except the one token that UEFI firmware is known to add.

use core::fmt;
use core::num::NonZeroU64;
use core::str::FromStr;

use crate::Sha256;
use crate::guid::Guid;
use crate::verity::VerityRoot;

/// Bytes a command line may have: x86 keeps 2048 (`COMMAND_LINE_SIZE`), of which one is the final NUL.
pub const MAX_LEN: usize = 2047;

/// What OVMF's direct boot adds: AmdSev builds in front, others behind, SeaBIOS not at all.
const ADDED_BY_FIRMWARE: &str = "initrd=initrd";

/// What every command line begins with. Defaults of the kernel's configuration are repeated where the guest's
/// safety rests on them, so that another kernel package cannot change them unseen.
const FIXED: [&str; 21] = [
    // A panic reboots at once, and so does an oops: a guest in doubt ends. The host's QEMU runs with -no-reboot.
    "panic=-1",
    "oops=panic",
    // Not even root in the guest reads kernel memory, and only modules signed by the kernel's builder load.
    "lockdown=confidentiality",
    "module.sig_enforce=1",
    // Freed memory is cleared (allocation is already cleared by configuration), and the heap is hard to groom.
    "init_on_free=1",
    "slab_nomerge",
    "page_alloc.shuffle=1",
    "randomize_kstack_offset=on",
    "vsyscall=none",
    "debugfs=off",
    // The CPU's generator is inside the trust boundary; a seed from the boot loader is the host's.
    "random.trust_cpu=on",
    "random.trust_bootloader=off",
    // At a panic the kernel would write its log to a store that an ACPI table of the host's describes.
    "erst_disable",
    // Errors reach the console, chatter does not.
    "quiet",
    // systemd: no login prompts, nothing mounted or served because of what the host attached or passed in.
    "systemd.getty_auto=no",
    "systemd.gpt_auto=no",
    "systemd.ssh_auto=no",
    "systemd.swap=no",
    "systemd.import_credentials=no",
    // systemd's own crash ends the machine and leaves no core file.
    "systemd.crash_action=reboot",
    "systemd.dump_core=no",
];

/// Keys of one verity disk, in order, without the disk's prefix.
const DISK_KEYS: [&str; 5] = ["data", "hash", "blocks", "salt", "digest"];

/// Who vouches for the guest. A value of the measured command line, so it cannot be claimed falsely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tee {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
    /// Nobody: software emulation with a console, which no released policy accepts.
    Simulated,
}

impl Tee {
    const fn name(self) -> &'static str {
        match self {
            Self::Snp => "snp",
            Self::Tdx => "tdx",
            Self::Simulated => "simulated",
        }
    }

    /// A console shows kernel memory to the host, so only the simulation has one; `null` keeps the kernel from
    /// picking the VGA console by itself.
    const fn console(self) -> &'static str {
        match self {
            Self::Snp | Self::Tdx => "console=null",
            Self::Simulated => "console=ttyS0",
        }
    }
}

impl fmt::Display for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One dm-verity volume: two partitions and the parameters of the hash tree. Block size 4096, SHA-256, hash type
/// 1 and a tree that begins in block 1 of the hash partition are fixed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerityDisk {
    /// Unique GUID of the partition with the file system.
    pub data: Guid,
    /// Unique GUID of the partition with the superblock (never read in the guest) and the hash tree.
    pub hash: Guid,
    /// 4096-byte blocks of the data partition that the tree covers.
    pub data_blocks: NonZeroU64,
    /// Salt of every hash, 32 bytes.
    pub salt: Sha256,
    /// Root of the hash tree.
    pub root: VerityRoot,
}

/// All that a command line can say. [`fmt::Display`] renders it, [`FromStr`] parses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// What the guest runs on.
    pub tee: Tee,
    /// The root file system.
    pub root: VerityDisk,
    /// The model.
    pub model: VerityDisk,
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in FIXED {
            write!(f, "{token} ")?;
        }
        write!(f, "vitrine.tee={} {}", self.tee, self.tee.console())?;
        for (name, disk) in [("root", &self.root), ("model", &self.model)] {
            let VerityDisk { data, hash, data_blocks, salt, root } = disk;
            let values: [&dyn fmt::Display; 5] = [data, hash, data_blocks, salt, root];
            for (key, value) in DISK_KEYS.iter().zip(values) {
                write!(f, " vitrine.{name}.{key}={value}")?;
            }
        }
        Ok(())
    }
}

/// Why a text is not a command line of this grammar. Positions count tokens from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseCommandLineError {
    /// Longer than the kernel keeps.
    #[error("expected at most {MAX_LEN} bytes, found {found}")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// The text ends early.
    #[error("token {at}: expected {expected}, found the end")]
    Missing {
        /// Position of the missing token.
        at: usize,
        /// What belongs there.
        expected: String,
    },
    /// Another token than the one that belongs there.
    #[error("token {at}: expected {expected}, found {fault} {found:?}")]
    Token {
        /// Position of the token.
        at: usize,
        /// What belongs there.
        expected: String,
        /// What is wrong with the token.
        fault: Fault,
        /// The token.
        found: String,
    },
    /// The right key with a value that is not of its form.
    #[error("token {at}: expected {key}={form}, found {found:?}")]
    Value {
        /// Position of the token.
        at: usize,
        /// The key.
        key: String,
        /// The form its value has.
        form: &'static str,
        /// The token.
        found: String,
    },
}

/// What is wrong with a token, as far as it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing between two spaces, or a space at an end.
    Empty,
    /// Its key stands earlier, too.
    Duplicate,
    /// Its key belongs elsewhere, or has another value.
    Misplaced,
    /// Its key is none of the grammar's.
    Unknown,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the empty token",
            Self::Duplicate => "the duplicate token",
            Self::Misplaced => "the misplaced or changed token",
            Self::Unknown => "the unknown token",
        })
    }
}

impl FromStr for CommandLine {
    type Err = ParseCommandLineError;

    /// Without a final newline. One `initrd=initrd` is ignored, at one end.
    fn from_str(text: &str) -> Result<Self, ParseCommandLineError> {
        if text.len() > MAX_LEN {
            return Err(ParseCommandLineError::TooLong { found: text.len() });
        }
        let all: Vec<&str> = text.split(' ').collect();
        let ours = match all.as_slice() {
            [ADDED_BY_FIRMWARE, rest @ ..] | [rest @ .., ADDED_BY_FIRMWARE] => rest,
            rest => rest,
        };
        let mut tokens =
            Tokens { rest: ours, all: &all, at: if all.first() == Some(&ADDED_BY_FIRMWARE) { 2 } else { 1 } };
        for expected in FIXED {
            tokens.literal(expected)?;
        }
        let tee = tokens.value("vitrine.tee", "snp|tdx|simulated", |name| {
            [Tee::Snp, Tee::Tdx, Tee::Simulated].into_iter().find(|tee| tee.name() == name)
        })?;
        tokens.literal(tee.console())?;
        let line = Self { tee, root: tokens.disk("root")?, model: tokens.disk("model")? };
        match tokens.rest {
            [] => Ok(line),
            [extra, ..] => Err(tokens.wrong("the end".into(), extra)),
        }
    }
}

/// The tokens not yet read, all of them (to name a fault), and the position of the next.
struct Tokens<'a> {
    rest: &'a [&'a str],
    all: &'a [&'a str],
    at: usize,
}

impl<'a> Tokens<'a> {
    fn literal(&mut self, expected: &'static str) -> Result<(), ParseCommandLineError> {
        self.take(expected.into(), |token| (token == expected).then_some(())).map(|(_, ())| ())
    }

    /// The value of `key`, if `parse` accepts it; `form` says what it accepts.
    fn value<T>(
        &mut self,
        key: &str,
        form: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ParseCommandLineError> {
        let at = self.at;
        let (token, value) = self.take(format!("{key}={form}"), |token| token.strip_prefix(key)?.strip_prefix('='))?;
        parse(value).ok_or_else(|| ParseCommandLineError::Value { at, key: key.into(), form, found: token.into() })
    }

    fn disk(&mut self, name: &str) -> Result<VerityDisk, ParseCommandLineError> {
        let [data, hash, blocks, salt, digest] = DISK_KEYS.map(|key| format!("vitrine.{name}.{key}"));
        Ok(VerityDisk {
            data: self.value(&data, "UUID", |text| text.parse().ok())?,
            hash: self.value(&hash, "UUID", |text| text.parse().ok())?,
            data_blocks: self.value(&blocks, "NUMBER", |text| {
                // Only the canonical form: no sign, no leading zero.
                text.parse::<NonZeroU64>().ok().filter(|number| number.to_string() == text)
            })?,
            salt: self.value(&salt, "64HEX", |text| text.parse().ok())?,
            root: self.value(&digest, "64HEX", |text| text.parse().ok())?,
        })
    }

    fn take<T>(
        &mut self,
        expected: String,
        matches: impl Fn(&'a str) -> Option<T>,
    ) -> Result<(&'a str, T), ParseCommandLineError> {
        let [token, rest @ ..] = self.rest else {
            return Err(ParseCommandLineError::Missing { at: self.at, expected });
        };
        let Some(value) = matches(token) else { return Err(self.wrong(expected, token)) };
        self.rest = rest;
        self.at = self.at.saturating_add(1);
        Ok((token, value))
    }

    /// The error for `found` at the present position.
    fn wrong(&self, expected: String, found: &str) -> ParseCommandLineError {
        let same_key = |token: &&str| key(token) == key(found);
        let disk_key = |name| DISK_KEYS.iter().any(|field| key(found) == format!("vitrine.{name}.{field}"));
        let fault = if found.is_empty() {
            Fault::Empty
        } else if self.all.iter().take(self.at.saturating_sub(1)).any(same_key) {
            Fault::Duplicate
        } else if FIXED.iter().chain(&["vitrine.tee", "console"]).any(same_key)
            || ["root", "model"].into_iter().any(disk_key)
        {
            Fault::Misplaced
        } else {
            Fault::Unknown
        };
        ParseCommandLineError::Token { at: self.at, expected, fault, found: found.into() }
    }
}

fn key(token: &str) -> &str {
    token.split_once('=').map_or(token, |(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(seed: u8) -> VerityDisk {
        VerityDisk {
            data: Guid::from_bytes([seed; 16]),
            hash: Guid::from_bytes([seed + 1; 16]),
            data_blocks: NonZeroU64::MAX,
            salt: Sha256::of(&[seed]),
            root: VerityRoot(Sha256::of(&[seed + 1])),
        }
    }

    fn sample(tee: Tee) -> CommandLine {
        CommandLine { tee, root: disk(0x10), model: disk(0x20) }
    }

    #[test]
    fn renders_below_the_limit_and_parses_back() {
        for tee in [Tee::Snp, Tee::Tdx, Tee::Simulated] {
            let line = sample(tee);
            let text = line.to_string();
            assert_eq!(text.parse(), Ok(line.clone()));
            assert_eq!(format!("{ADDED_BY_FIRMWARE} {text}").parse(), Ok(line.clone()));
            let longest = format!("{text} {ADDED_BY_FIRMWARE}");
            assert_eq!(longest.parse(), Ok(line));
            assert!(longest.len() <= MAX_LEN, "{} bytes with the largest values", longest.len());
        }
    }

    /// The bytes themselves, so that a change of the grammar is seen here and in docs/formats.md.
    #[test]
    fn rendered_bytes() {
        let expected = "panic=-1 oops=panic lockdown=confidentiality module.sig_enforce=1 init_on_free=1 slab_nomerge \
            page_alloc.shuffle=1 randomize_kstack_offset=on vsyscall=none debugfs=off random.trust_cpu=on \
            random.trust_bootloader=off erst_disable quiet systemd.getty_auto=no systemd.gpt_auto=no \
            systemd.ssh_auto=no \
            systemd.swap=no systemd.import_credentials=no systemd.crash_action=reboot systemd.dump_core=no \
            vitrine.tee=simulated console=ttyS0 \
            vitrine.root.data=10101010-1010-1010-1010-101010101010 \
            vitrine.root.hash=11111111-1111-1111-1111-111111111111 vitrine.root.blocks=18446744073709551615 \
            vitrine.root.salt=c555eab45d08845ae9f10d452a99bfcb06f74a50b988fe7e48dd323789b88ee3 \
            vitrine.root.digest=4a64a107f0cb32536e5bce6c98c393db21cca7f4ea187ba8c4dca8b51d4ea80a \
            vitrine.model.data=20202020-2020-2020-2020-202020202020 \
            vitrine.model.hash=21212121-2121-2121-2121-212121212121 vitrine.model.blocks=18446744073709551615 \
            vitrine.model.salt=36a9e7f1c95b82ffb99743e0c5c4ce95d83c9a430aac59f84ef3cbfab6145068 \
            vitrine.model.digest=bb7208bc9b5d7c04f1236a82a0093a5e33f40423d5ba8d4266f7092c3ba43b62";
        assert_eq!(sample(Tee::Simulated).to_string(), expected);
        assert!(sample(Tee::Snp).to_string().contains(" vitrine.tee=snp console=null vitrine.root.data="));
    }

    /// One mutation of a good line per guard, and the message it must give.
    #[test]
    fn everything_else_is_refused() {
        let good = sample(Tee::Simulated).to_string();
        let swap = |from: &str, to: &str| {
            assert!(good.contains(from), "{from}");
            good.replacen(from, to, 1)
        };
        let hash = "11111111-1111-1111-1111-111111111111";
        for (text, message) in [
            (String::new(), "token 1: expected panic=-1, found the empty token \"\""),
            (format!("{good} "), "token 34: expected the end, found the empty token"),
            (format!(" {good}"), "token 1: expected panic=-1, found the empty token"),
            (format!("{good}\n"), "token 33: expected vitrine.model.digest=64HEX, found \"vitrine.model.digest="),
            (swap("quiet ", "quiet  "), "token 15: expected systemd.getty_auto=no, found the empty token"),
            (swap("quiet ", "quiet\t"), "token 14: expected quiet, found the unknown token \"quiet\\tsystemd.getty"),
            (
                swap("panic=-1", "panic=0"),
                "token 1: expected panic=-1, found the misplaced or changed token \"panic=0\"",
            ),
            (
                swap("quiet ", ""),
                "token 14: expected quiet, found the misplaced or changed token \"systemd.getty_auto=no\"",
            ),
            (
                swap("quiet", "quiet quiet"),
                "token 15: expected systemd.getty_auto=no, found the duplicate token \"quiet\"",
            ),
            (swap("quiet", "quiet rdinit=/x"), "token 15: expected systemd.getty_auto=no, found the unknown token"),
            (format!("{good} init=/bin/sh"), "token 34: expected the end, found the unknown token \"init=/bin/sh\""),
            (format!("{good} vitrine.tee=snp"), "token 34: expected the end, found the duplicate token"),
            (format!("{good} vitrine.rooted"), "token 34: expected the end, found the unknown token"),
            (
                swap("tee=simulated", "tee=none"),
                "token 22: expected vitrine.tee=snp|tdx|simulated, found \"vitrine.tee=none\"",
            ),
            (swap("tee=simulated", "tee=snp"), "token 23: expected console=null, found the misplaced or changed token"),
            (swap("console=ttyS0 ", ""), "token 23: expected console=ttyS0, found the misplaced or changed token"),
            (swap(hash, ""), "token 25: expected vitrine.root.hash=UUID, found \"vitrine.root.hash=\""),
            (swap(hash, &hash.replace('-', "")), "token 25: expected vitrine.root.hash=UUID"),
            (swap(hash, &hash.replacen('-', "", 1)), "token 25: expected vitrine.root.hash=UUID"),
            (swap(hash, &hash.replace('1', "A")), "token 25: expected vitrine.root.hash=UUID"),
            (swap("blocks=1", "blocks=+1"), "token 26: expected vitrine.root.blocks=NUMBER"),
            (swap("blocks=1", "blocks=01"), "token 26: expected vitrine.root.blocks=NUMBER"),
            (swap("blocks=1", "blocks=9"), "token 26: expected vitrine.root.blocks=NUMBER"),
            (swap("blocks=18446744073709551615", "blocks=0"), "token 26: expected vitrine.root.blocks=NUMBER"),
            (swap("salt=c5", "salt=C5"), "token 27: expected vitrine.root.salt=64HEX"),
            (swap("salt=c5", "salt="), "token 27: expected vitrine.root.salt=64HEX"),
            (swap("digest=4a", "digest=4a4a"), "token 28: expected vitrine.root.digest=64HEX"),
            (
                swap(" vitrine.model.digest", ""),
                "token 32: expected vitrine.model.salt=64HEX, found \"vitrine.model.salt=",
            ),
            (good.rsplit_once(' ').unwrap().0.into(), "token 33: expected vitrine.model.digest=64HEX, found the end"),
            (swap("quiet", "initrd=initrd quiet"), "token 14: expected quiet, found the unknown token"),
            (format!("initrd=initrd {good} initrd=initrd"), "token 35: expected the end, found the duplicate token"),
            (format!("{good} initrd=other"), "token 34: expected the end, found the unknown token"),
            (ADDED_BY_FIRMWARE.into(), "token 2: expected panic=-1, found the end"),
            (format!("{good}{}", " x".repeat(MAX_LEN)), "expected at most 2047 bytes, found"),
        ] {
            let error = text.parse::<CommandLine>().expect_err(&text).to_string();
            assert!(error.contains(message), "{error}\n  should contain {message}");
        }
    }
}
