//! Vitrine's command line in a checkout. Each command calls one library function per stage; nothing here hashes,
//! parses a format or knows an ABI.

mod archive;
mod bench;
mod build;
mod ci;
mod diff;
mod fetch;
mod flags;
mod inspect;
mod key;
mod launch;
mod lock;
mod log;
mod measure;
mod mutate;
mod publish;
mod release;
mod report;
mod reproduce;
mod why;
mod workspace;

use clap::Parser as _;
use flags::Command;
use report::Answer;
use std::process::ExitCode;

fn main() -> ExitCode {
    image::tools::sandbox::entry();
    match flags::Flags::try_parse() {
        Ok(flags) => report::print(flags.command.name(), flags.json, run(&flags)),
        // Help is no answer, and for people a usage error says more than one line.
        Err(error) if error.exit_code() == 0 || !std::env::args_os().any(|argument| argument == "--json") => {
            error.exit()
        }
        Err(error) => report::print("", true, Err(anyhow::anyhow!(flags::one_line(&error)))),
    }
}

fn run(flags: &flags::Flags) -> anyhow::Result<Answer> {
    match &flags.command {
        Command::Archive(flags) => archive::run(flags),
        Command::Bench(flags) => bench::run(flags),
        Command::Build(flags) => build::run(flags),
        Command::Ci(flags) => ci::run(flags),
        Command::Diff(flags) => diff::run(flags),
        Command::Fetch(flags) => fetch::run(flags),
        Command::Inspect(flags) => inspect::run(flags),
        Command::Key(flags) => key::run(flags),
        Command::Launch(flags) => launch::run(flags),
        Command::Lock(flags) => lock::run(flags),
        Command::Log(flags) => log::run(flags),
        Command::Measure(flags) => measure::run(flags),
        Command::Publish(flags) => publish::run(flags),
        Command::Release(flags) => release::run(flags),
        Command::Reproduce(flags) => reproduce::run(flags),
        Command::Why(flags) => why::run(flags),
    }
}
