//! `cargo xtask key`: makes and shows the keys that sign releases and submit them.

use crate::report::Answer;
use anyhow::{Context as _, ensure};
use image::files::{read_all, read_bounded};
use log_client::keys::at_rest::{AnyPublicKey, MAX_KEY_FILE, MAX_PASSPHRASE, Passphrase, SecretKey};
use std::fs::{self, File};
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Makes and shows keys.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make a key: FILE, encrypted with a passphrase, and FILE.pub.
    New {
        /// Where; nothing is overwritten.
        file: PathBuf,

        /// What for: `ed25519` signs statements and checkpoints, `p256` submits to public logs.
        #[arg(long, value_enum, default_value_t = Algorithm::Ed25519)]
        algorithm: Algorithm,

        #[command(flatten)]
        passphrase: PassphraseFlags,
    },
    /// Show the public half of a key.
    Show {
        /// FILE.pub, or FILE with its passphrase.
        file: PathBuf,

        #[command(flatten)]
        passphrase: PassphraseFlags,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Algorithm {
    Ed25519,
    P256,
}

/// Where a passphrase comes from: never the command line, where every user of the machine would see it.
#[derive(Debug, clap::Args)]
pub(crate) struct PassphraseFlags {
    /// The file with the passphrase, such as /dev/fd/3; one final line break is not part of it. Without this flag the
    /// terminal is asked.
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// Runs `key`.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<Answer> {
    match &flags.what {
        What::New { file, algorithm, passphrase } => new(file, *algorithm, passphrase),
        What::Show { file, passphrase } => {
            let public = match file.extension().is_some_and(|extension| extension == "pub") {
                true => public(file)?,
                false => open(file, passphrase)?.public(),
            };
            Ok(answer(&public, format!("{} holds", file.display())))
        }
    }
}

/// Decrypts the key in `file`.
pub(crate) fn open(file: &Path, passphrase: &PassphraseFlags) -> anyhow::Result<SecretKey> {
    let pem = Zeroizing::new(text(file)?);
    let passphrase = passphrase.read(&format!("Passphrase of {}: ", file.display()))?;
    SecretKey::from_pem(&pem, &passphrase).with_context(|| format!("opening the key {}", file.display()))
}

/// Reads the public key in `file`.
pub(crate) fn public(file: &Path) -> anyhow::Result<AnyPublicKey> {
    AnyPublicKey::from_pem(&text(file)?).with_context(|| format!("reading the key {}", file.display()))
}

fn text(file: &Path) -> anyhow::Result<String> {
    let reading = || format!("reading {}", file.display());
    let bytes = read_bounded(file, MAX_KEY_FILE as u64).with_context(reading)?;
    String::from_utf8(bytes).map_err(|error| error.utf8_error()).with_context(reading)
}

fn new(file: &Path, algorithm: Algorithm, passphrase: &PassphraseFlags) -> anyhow::Result<Answer> {
    let mut public_file = file.as_os_str().to_owned();
    public_file.push(".pub");
    let public_file = PathBuf::from(public_file);
    for path in [file, &public_file] {
        let taken = path.try_exists().with_context(|| format!("looking for {}", path.display()))?;
        ensure!(!taken, "{} exists; a key is not overwritten", path.display());
    }
    let passphrase = passphrase.choose()?;
    let key = match algorithm {
        Algorithm::Ed25519 => SecretKey::generate_ed25519(),
        Algorithm::P256 => SecretKey::generate_p256(),
    }?;
    // The public key first: a secret key that nothing is known of is worse than a public one that nothing signs with.
    create(&public_file, key.public().to_pem().as_bytes())?;
    create(file, key.to_pem(&passphrase)?.as_bytes())?;
    Ok(answer(&key.public(), format!("wrote {} and {}", file.display(), public_file.display())))
}

/// Writes a file for its owner alone, whole, unless there is one.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let writing = || format!("writing {}", path.display());
    let absolute = std::path::absolute(path).with_context(writing)?;
    let parent = absolute.parent().with_context(writing)?;
    fs::create_dir_all(parent).with_context(writing)?;
    let mut file = tempfile::NamedTempFile::new_in(parent).with_context(writing)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).with_context(writing)?;
    file.persist_noclobber(path).with_context(writing)?;
    File::open(parent).and_then(|parent| parent.sync_all()).with_context(writing)
}

fn answer(public: &AnyPublicKey, reason: String) -> Answer {
    let (algorithm, id, pem) = (public.algorithm(), public.id(), public.to_pem());
    let payload = serde_json::json!({ "algorithm": algorithm, "key_sha256": id, "public_key_pem": pem });
    Answer { yes: true, reason, text: format!("{algorithm} {id}\n{pem}"), payload }
}

impl PassphraseFlags {
    /// The passphrase of an existing key.
    pub(crate) fn read(&self, prompt: &str) -> anyhow::Result<Passphrase> {
        let bytes = match &self.passphrase_file {
            Some(file) => File::open(file)
                .and_then(|file| read_all(file, MAX_PASSPHRASE as u64 + 2))
                .with_context(|| format!("reading the passphrase from {}", file.display()))?,
            None => {
                ensure!(std::io::stdin().is_terminal(), "there is no terminal to ask; name a --passphrase-file");
                rpassword::prompt_password(prompt).context("asking for a passphrase")?.into_bytes()
            }
        };
        Ok(Passphrase::new(Zeroizing::new(bytes))?)
    }

    /// The passphrase of a new key, which a person types twice.
    fn choose(&self) -> anyhow::Result<Passphrase> {
        let first = self.read("Passphrase for the new key: ")?;
        if self.passphrase_file.is_none() {
            ensure!(first == self.read("Again: ")?, "the two passphrases differ");
        }
        Ok(first)
    }
}
