//! Vitrine's command line in a checkout. Each command calls one library function per stage; nothing here hashes,
//! parses a format or knows an ABI.

mod flags;
mod launch;
mod report;
mod workspace;

use clap::Parser as _;
use report::Answer;
use std::process::ExitCode;

fn main() -> ExitCode {
    image::sandbox::entry();
    let flags = flags::Flags::parse();
    let command = flags.command.name();
    let answer = run(&flags);
    report::print(command, flags.json, answer)
}

fn run(flags: &flags::Flags) -> anyhow::Result<Answer> {
    match &flags.command {
        flags::Command::Launch(flags) => launch::run(flags),
    }
}
