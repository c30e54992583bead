//! `vitrine connect`: OpenAI's API on this machine, answered by a guest whose evidence was accepted. Behind it is what is
//! behind `chat`; here is who may use it, and in which form (docs/connect.md).

mod answers;
mod chat;
mod guard;
mod http;
mod server;
mod sessions;
#[cfg(test)]
mod tests;

use crate::report::{self, Answer};
use crate::session::{self, Target};
use anyhow::{Context as _, ensure};
use guard::Token;
use nix::sys::signal::{SigSet, Signal};
use serde_json::json;
use server::Server;
use sessions::{Sessions, Trouble};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Says that this is here, and nothing else; it needs no token.
const HEALTH: &str = "/healthz";
const MODELS: &str = "/v1/models";
const CHAT: &str = "/v1/chat/completions";
/// A header field; with 1, the answer has a receipt.
const RECEIPT: &str = "x-vitrine-receipt";

/// What `connect` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    session: session::Flags,
    /// Where to listen. It must be an address of this machine's loopback interface. With port 0, any free port.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Listen on any address. Whoever can read the network in between reads along: what comes here is not encrypted yet.
    #[arg(long)]
    dangerously_listen_anywhere: bool,
    /// A file whose one line is the token that clients must show, which nobody else may be able to open. If not given, a
    /// token is made and printed.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Sessions at a time, and so requests at a time.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    sessions: u8,
}

/// Serves until the process is asked to end.
pub(crate) fn run(flags: &Flags, json: bool) -> anyhow::Result<Answer> {
    let Flags { listen, token_file, .. } = flags;
    ensure!(
        listen.ip().is_loopback() || flags.dangerously_listen_anywhere,
        "--listen: expected an address of the loopback interface, such as 127.0.0.1:0, found {listen}, on the way to \
         which others can read along; --dangerously-listen-anywhere allows it",
    );
    let token = token_file.as_deref().map_or_else(Token::generate, Token::read)?;
    let target = Target::read(&flags.session)?;
    let listener = TcpListener::bind(listen).with_context(|| format!("listening on {listen}"))?;
    let address = listener.local_addr().with_context(|| format!("listening on {listen}"))?;

    let sessions = Arc::new(Sessions::new(target, flags.sessions.into()));
    match sessions.start() {
        Ok(()) => {}
        Err(Trouble::Refused(verdict, reason)) => {
            let payload = json!({ "verdict": verdict });
            return Ok(Answer { yes: false, reason, text: String::new(), payload });
        }
        Err(Trouble::Unreachable(error)) => return Err(error),
        Err(other) => return Err(other.into()),
    }
    if !listen.ip().is_loopback() {
        report::progress(&format!("WARNING: whoever can read the network on the way to {address} reads along"));
    }

    // Before there are other threads, which inherit it, so that a signal waits for who asks for it.
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    signals.thread_block().context("blocking signals")?;
    announce(address, &token, token_file.as_deref(), json)?;
    let server = Server { token, sessions: Arc::clone(&sessions) };
    let serving = std::thread::Builder::new().spawn(move || server::accept(&listener, server));
    serving.context("starting a thread")?;
    signals.wait().context("waiting for a signal")?;
    // A second one ends the process at once.
    signals.thread_unblock().context("unblocking signals")?;
    sessions.end();
    Ok(Answer { yes: true, reason: "ended by a signal".into(), text: String::new(), payload: json!({}) })
}

/// Says how to use it, in a form that a shell reads.
fn announce(address: SocketAddr, token: &Token, file: Option<&Path>, json: bool) -> anyhow::Result<()> {
    let url = format!("http://{address}/v1");
    let key = file.is_none().then(|| token.show());
    if json {
        return report::tell(&report::line(&json!({ "base_url": url, "api_key": key }))?);
    }
    report::tell(&format!("export OPENAI_BASE_URL={url}"))?;
    match file {
        None => report::tell(&format!("export OPENAI_API_KEY={}", token.show())),
        Some(file) => {
            report::progress(&format!("OPENAI_API_KEY is the line in {}", file.display()));
            Ok(())
        }
    }
}
