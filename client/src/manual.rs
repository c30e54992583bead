//! Completions and manual pages, from the command line's types: they cannot say anything else than the program.

use crate::flags::Flags;
use crate::report::Answer;
use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_complete::{Generator as _, Shell};
use serde_json::json;

/// What `completions` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionFlags {
    /// The shell.
    shell: Shell,
}

/// What `man` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ManFlags {
    /// The command; vitrine itself, if none is named.
    command: Option<String>,
}

/// The script that a shell reads.
pub(crate) fn completions(flags: &CompletionFlags) -> anyhow::Result<Answer> {
    let mut script = Vec::new();
    flags.shell.try_generate(&built(), &mut script).context("writing the script")?;
    let script = String::from_utf8(script).context("the script")?;
    let reason = format!("completions for {}", flags.shell);
    Ok(Answer {
        yes: true,
        reason,
        payload: json!({ "shell": flags.shell.to_string(), "script": script }),
        text: script,
    })
}

/// A manual page in roff, without a date: the same program prints the same page.
pub(crate) fn page(flags: &ManFlags) -> anyhow::Result<Answer> {
    let vitrine = built();
    let command = match &flags.command {
        None => vitrine,
        Some(name) => vitrine.find_subcommand(name).with_context(|| format!("there is no command {name:?}"))?.clone(),
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .source(concat!("vitrine ", env!("CARGO_PKG_VERSION")))
        .render(&mut page)
        .context("writing the page")?;
    let page = String::from_utf8(page).context("the page")?;
    Ok(Answer { yes: true, reason: "manual page".into(), payload: json!({ "page": page }), text: page })
}

/// The command line with the names of its commands as they are typed.
fn built() -> Command {
    let mut command = Flags::command().bin_name("vitrine");
    command.build();
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    /// The commands, each with its options as they are typed.
    fn commands() -> Vec<(String, Vec<String>)> {
        let built = built();
        let options = |command: &Command| {
            let long = command.get_arguments().filter_map(|argument| argument.get_long());
            long.map(|long| format!("--{long}")).collect::<Vec<_>>()
        };
        let commands = built.get_subcommands().filter(|command| command.get_name() != "help");
        let commands: Vec<_> = commands.map(|command| (command.get_name().to_owned(), options(command))).collect();
        assert!(commands.len() >= 5 && commands.iter().all(|(_name, options)| options.len() >= 2), "{commands:?}");
        commands
    }

    #[test]
    fn every_shell_completes_every_command_and_option() {
        for shell in Shell::value_variants() {
            let script = completions(&CompletionFlags { shell: *shell }).unwrap().text;
            for (command, options) in commands() {
                assert!(script.contains(&command), "{shell}: {command}");
                for option in options {
                    // In fish, the dashes are not part of an option's name.
                    let name = option.trim_start_matches("--");
                    assert!(script.contains(&option) || script.contains(&format!("-l {name}")), "{shell}: {option}");
                }
            }
            assert!(crate::report::is_printable(&script), "{shell}");
        }
    }

    #[test]
    fn every_command_and_option_is_in_the_manual() {
        let page = |command: Option<&str>| page(&ManFlags { command: command.map(str::to_owned) });
        let overview = page(None).unwrap().text;
        for (command, options) in commands() {
            let text = page(Some(&command)).unwrap().text;
            let roff = |text: &str| text.replace('-', "\\-");
            assert!(overview.contains(&roff(&format!("vitrine-{command}(1)"))), "{command}");
            assert!(
                text.contains(&format!(".TH vitrine-{command} 1")) && text.contains(".SH DESCRIPTION"),
                "{command}"
            );
            for option in options {
                assert!(text.contains(&roff(&option)), "{command} {option}");
            }
            assert!(crate::report::is_printable(&text), "{command}");
        }
        assert!(page(Some("brew")).is_err());
    }
}
