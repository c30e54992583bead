//! The command line as types; the doc comments are the help.

/// Builds, measures, inspects and boots Vitrine's image.
#[derive(Debug, clap::Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100)]
pub(crate) struct Flags {
    /// Print exactly one JSON object on stdout instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Keep everything that a release is made of in one directory: a mirror for the day when nobody else has it.
    Archive(crate::archive::Flags),
    /// Measure the figures of docs/benchmarks.md on this machine, which should have nothing else to do.
    Bench(crate::bench::Flags),
    /// The main job: check the lock, fetch, build, assemble, measure.
    Build(crate::build::Flags),
    /// Run everything that must hold before a change lands: the tests, README's commands, the boots, a second build.
    Ci(crate::ci::Flags),
    /// Show what changed between two builds, releases or commits, and which measurement moves through what.
    Diff(crate::diff::Flags),
    /// Fetch every locked input into the store; resumes.
    Fetch(crate::fetch::Flags),
    /// Open a disk image, initrd, erofs image, .deb or OVMF firmware and recompute every digest in it.
    Inspect(crate::inspect::Flags),
    /// Make or show a key: for statements and the log (Ed25519), or for submissions to public logs (P-256).
    Key(crate::key::Flags),
    /// Boot the image in QEMU.
    Launch(crate::launch::Flags),
    /// Verify image.lock, or resolve it anew.
    Lock(crate::lock::Flags),
    /// Keep a transparency log in a directory, check one, prove what is in it, or be a witness.
    Log(crate::log::Flags),
    /// Compute what will be measured.
    Measure(crate::measure::Flags),
    /// Make releases known on public logs.
    Publish(crate::publish::Flags),
    /// Sign what dist/ is, enter it in the log, and write the release with its proof.
    Release(crate::release::Flags),
    /// Build a release again, and say whether the same came out or what differs first.
    Reproduce(crate::reproduce::Flags),
    /// Say where a file of the image is from and what it moves, or what a digest is the digest of.
    Why(crate::why::Flags),
}

impl Command {
    /// The command's name in JSON answers.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Archive(_) => "archive",
            Self::Bench(_) => "bench",
            Self::Build(_) => "build",
            Self::Ci(_) => "ci",
            Self::Diff(_) => "diff",
            Self::Fetch(_) => "fetch",
            Self::Inspect(_) => "inspect",
            Self::Key(_) => "key",
            Self::Launch(_) => "launch",
            Self::Lock(_) => "lock",
            Self::Log(_) => "log",
            Self::Measure(_) => "measure",
            Self::Publish(_) => "publish",
            Self::Release(_) => "release",
            Self::Reproduce(_) => "reproduce",
            Self::Why(_) => "why",
        }
    }
}

/// What is wrong with the command line, without the usage that follows.
pub(crate) fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines =
        text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let line = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    format!("{}; see `cargo xtask --help`", line.trim_start_matches("error: "))
}
