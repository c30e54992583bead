//! `vitrine`: what a user of a confidential image types. Each command reads what it is given, calls one pure function
//! and prints; nothing here knows a rule.

mod chat;
mod connect;
mod evidence;
mod fetch;
mod files;
mod flags;
mod host;
mod manual;
mod monitor;
mod policy;
mod receipt;
mod report;
mod roots;
mod session;
mod state;
mod verify;
mod version;

use anyhow::bail;
use clap::Parser as _;
use flags::Command;
use report::{Answer, Style};
use std::process::ExitCode;

fn main() -> ExitCode {
    let colour = host::colours();
    match flags::Flags::try_parse() {
        Ok(flags) => {
            let name = flags.command.as_ref().map_or("version", Command::name);
            report::print(name, Style { json: flags.json, colour }, run(&flags))
        }
        // Help is no answer, and for people a usage error says more than one line.
        Err(error) if error.exit_code() == 0 || !std::env::args_os().any(|argument| argument == "--json") => {
            error.exit()
        }
        Err(error) => report::print("", Style { json: true, colour }, Err(anyhow::anyhow!(flags::one_line(&error)))),
    }
}

fn run(flags: &flags::Flags) -> anyhow::Result<Answer> {
    #[cfg(feature = "simulated-hardware")]
    report::progress(
        "SIMULATED HARDWARE: this program also believes a root whose key everybody has; use it for tests only",
    );
    match &flags.command {
        _ if flags.version => version::run(flags.release.as_deref()),
        None => bail!("expected a command; see `vitrine --help`"),
        Some(Command::Verify(flags)) => verify::run(flags),
        Some(Command::FetchCollateral(flags)) => fetch::run(flags),
        Some(Command::Monitor(flags)) => monitor::run(flags),
        Some(Command::Chat(chat)) => chat::run(chat, flags.json),
        Some(Command::Policy) => policy::run(),
        Some(Command::Connect(connect)) => connect::run(connect, flags.json),
        Some(Command::Completions(flags)) => manual::completions(flags),
        Some(Command::Man(flags)) => manual::page(flags),
    }
}
