//! The command line as types; the doc comments are the help.

use std::path::PathBuf;

/// Verifies evidence of confidential machines. Needs no network, but for `chat`, `connect`, `fetch-collateral` and
/// `monitor`.
#[derive(Debug, clap::Parser)]
#[command(name = "vitrine", version, disable_version_flag = true, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Flags {
    /// Print exactly one JSON object on stdout instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Print the program's version and digest, and the release and commit it is of, as a release's statement says.
    #[arg(long, short = 'V')]
    pub(crate) version: bool,

    /// With --version: that statement, instead of the release.json beside the program.
    #[arg(long, value_name = "FILE", requires = "version")]
    pub(crate) release: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Judge evidence by a policy, offline: every rule passed, failed or not performed.
    ///
    /// Exit code 0: accepted. 1: not accepted, and the answer says why. 2: could not decide.
    Verify(crate::verify::Flags),
    /// Make an evidence bundle of a report or quote: get from AMD or Intel what a verdict needs besides it.
    FetchCollateral(crate::fetch::Flags),
    /// Watch a log: read what is new in it, verified, and print an alarm for what its owner did not do, one JSON object a
    /// line.
    ///
    /// Exit code 0: nothing to say. 1: an alarm, new or standing. 2: the log could not be read. With `--json` the answer is
    /// one more line, behind the alarms.
    Monitor(crate::monitor::Flags),
    /// Talk to the model of a guest, once its evidence is accepted: the verdict first, then questions and answers.
    ///
    /// Nothing is sent before the verdict. stdout holds answers and nothing else. Exit code 0: answered. 1: refused, or the
    /// answer is incomplete. 2: no verdict, such as when nobody answers.
    Chat(crate::chat::Flags),
    /// Print the policy that this program has with it, to copy and to fill in.
    Policy,
    /// Serve OpenAI's API on this machine, answered by a guest whose evidence is accepted, session by session. Clients find
    /// it by OPENAI_BASE_URL and OPENAI_API_KEY, which are printed.
    ///
    /// Exit code 0: ended by SIGINT or SIGTERM. 1: not accepted, and the answer says why. 2: could not decide.
    Connect(crate::connect::Flags),
    /// Print what makes a shell complete vitrine's command line.
    Completions(crate::manual::CompletionFlags),
    /// Print the manual page of vitrine, or of one of its commands, for `man -l -` or a package.
    Man(crate::manual::ManFlags),
}

impl Command {
    /// The command's name in JSON answers.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Verify(_) => "verify",
            Self::FetchCollateral(_) => "fetch-collateral",
            Self::Monitor(_) => "monitor",
            Self::Chat(_) => "chat",
            Self::Policy => "policy",
            Self::Connect(_) => "connect",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
        }
    }
}

/// What is wrong with the command line, without the usage that follows.
pub(crate) fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines =
        text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let line = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    format!("{}; see `vitrine --help`", line.trim_start_matches("error: "))
}
