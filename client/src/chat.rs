//! `vitrine chat`: the verdict first, then a conversation.

mod interrupts;

use crate::receipt::Signed;
use crate::report::{self, Answer};
use crate::session::{self, Opened, Session, Target};
use crate::{files, host};
use anyhow::{Context as _, bail, ensure};
use channel::Outcome;
use interrupts::Interrupts;
use openai::{Call, Finish, MAX_TEXT, Message, Piece, Request, Role, Route, Usage};
use serde_json::{Value, json};
use std::io::{self, BufRead, IsTerminal as _, Read as _};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// What `chat` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    session: session::Flags,
    /// What to ask. If not given: what is on stdin, or, on a terminal, one question after the other.
    prompt: Option<String>,
    /// The model's name; if not given, the first of those that the guest has.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// What the model is told before the conversation.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// 0 to 2: how far the answer strays from the likeliest. With 0 the same question gets the same answer.
    #[arg(long, value_name = "NUMBER", default_value_t = 1.0)]
    temperature: f32,
    /// Above 0, up to 1: words are drawn from only the likeliest that together are this likely.
    #[arg(long, value_name = "NUMBER", default_value_t = 1.0)]
    top_p: f32,
    /// What the draws depend on; something else each time, if not given.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u32>,
    /// The longest answer, in tokens; as many as the guest allows, if not given.
    #[arg(long, value_name = "NUMBER")]
    max_tokens: Option<u32>,
    /// Have the guest sign the question and its answer, verify that, and write all of it into this file. For one question.
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
}

const PRINTING: &str = "writing the answer to stdout";

/// What came of a question.
#[derive(Default)]
struct Reply {
    text: String,
    /// That the answer is whole, and how it ended.
    done: Option<(Finish, Usage)>,
    /// Why it is not.
    failed: Option<String>,
    /// The guest's signature.
    receipt: Option<Vec<u8>>,
    /// The models, if they were asked for.
    models: Option<Vec<u8>>,
}

/// Talks. With `json` nothing is printed but the answer that is given back.
pub(crate) fn run(flags: &Flags, json: bool) -> anyhow::Result<Answer> {
    let terminal = flags.prompt.is_none() && io::stdin().is_terminal();
    if terminal && (json || flags.receipt.is_some()) {
        bail!("expected a question on the command line or on stdin, found a terminal");
    }
    let target = Target::read(&flags.session)?;
    let prompt = match &flags.prompt {
        Some(prompt) => Some(prompt.clone()),
        None if terminal => None,
        None => Some(all_of_stdin()?),
    };
    let history = flags.system.iter().map(|text| Message { role: Role::System, content: text.clone() }).collect();
    let chat = Chat { flags, target, model: flags.model.clone(), history, json, interrupts: Interrupts::new()? };
    let session = match chat.open()? {
        Ok(session) => session,
        Err(refused) => return Ok(refused),
    };
    match prompt {
        Some(prompt) => chat.once(session, prompt),
        None => chat.converse(session),
    }
}

struct Chat<'a> {
    flags: &'a Flags,
    target: Target,
    model: Option<String>,
    history: Vec<Message>,
    json: bool,
    interrupts: Interrupts,
}

impl Chat<'_> {
    /// A session, with its verdict shown; or the answer that there is none.
    fn open(&self) -> anyhow::Result<Result<Box<Session>, Answer>> {
        self.interrupts.release()?;
        match session::open(&self.target)? {
            Opened::Session(session) => {
                self.say_aside(&session.summary());
                Ok(Ok(session))
            }
            Opened::Refused(verdict) => {
                self.say_aside(&verdict.to_string());
                let reason = self.target.reason(&verdict);
                Ok(Err(Answer { yes: false, reason, text: String::new(), payload: json!({ "verdict": verdict }) }))
            }
        }
    }

    /// Says something that is not the model's.
    fn say_aside(&self, text: &str) {
        if !self.json {
            report::progress(text);
        }
    }

    /// One question.
    fn once(mut self, mut session: Box<Session>, prompt: String) -> anyhow::Result<Answer> {
        let asked = self.ask(&mut session, prompt);
        let mut payload = json!({ "verdict": session.verdict() });
        self.interrupts.release()?;
        session.close();
        let (reply, signed) = match asked {
            Ok(asked) => asked,
            Err(error) => {
                return Ok(Answer { yes: false, reason: format!("{error:#}"), text: String::new(), payload });
            }
        };
        payload["answer"] = reply.text.into();
        if let Some((finish, usage)) = reply.done {
            payload["finish"] = json!(if finish == Finish::Stop { "stop" } else { "length" });
            payload["usage"] = json!({ "prompt_tokens": usage.prompt, "completion_tokens": usage.completion });
        }
        if let (Some(path), Some(signed)) = (&self.flags.receipt, signed) {
            files::replace(path, &signed)?;
        }
        let reason = reply.failed.clone().unwrap_or_else(|| "answered".into());
        Ok(Answer { yes: reply.failed.is_none(), reason, text: String::new(), payload })
    }

    /// One question after the other.
    fn converse(mut self, session: Box<Session>) -> anyhow::Result<Answer> {
        let mut open = Some(session);
        report::progress("Ctrl-C ends an answer; Ctrl-D or /quit ends the conversation.");
        loop {
            // At the prompt, too: the conversation is ended otherwise.
            self.interrupts.hold()?;
            report::prompt();
            let Some(line) = question(&mut io::stdin().lock())? else { break };
            let line = match line.trim() {
                "" => continue,
                "/quit" => break,
                line => line.to_owned(),
            };
            // Guests end sessions that are old or idle. Another one needs a verdict of its own.
            let mut session = match open.take().and_then(Session::still_open) {
                Some(session) => session,
                None => match self.open()? {
                    Ok(session) => session,
                    Err(refused) => return Ok(refused),
                },
            };
            match self.ask(&mut session, line) {
                Ok((Reply { failed: None, .. }, _)) => {}
                Ok((Reply { failed: Some(reason), .. }, _)) => report::progress(&reason),
                Err(error) => report::progress(&format!("{error:#}")),
            }
            // As long as a paced reply is rounded up, its messages are answered. A session that ends then is not used again.
            let _over = session.rest();
            open = Some(session);
        }
        if let Some(session) = open {
            session.close();
        }
        Ok(Answer { yes: true, reason: "the conversation is over".into(), text: String::new(), payload: json!({}) })
    }

    /// Asks, shows what comes, and keeps question and answer as part of the conversation if the answer is whole. The
    /// second is the file of its receipt, if one is wanted.
    fn ask(&mut self, session: &mut Session, prompt: String) -> anyhow::Result<(Reply, Option<Vec<u8>>)> {
        let model = match &self.model {
            Some(model) => model.clone(),
            None => self.first_model(session)?,
        };
        let mut messages = self.history.clone();
        messages.push(Message { role: Role::User, content: prompt });
        let Flags { temperature, top_p, seed, max_tokens, .. } = *self.flags;
        let request = Request {
            model: model.clone(),
            messages,
            max_tokens,
            temperature,
            top_p,
            seed,
            stop: vec![],
            stream: true,
            include_usage: false,
        };
        let body = request.to_json();
        // What the guest would refuse need not be sent.
        let request = Request::parse(&body)?;
        let salt = self.flags.receipt.as_ref().map(|_| host::random()).transpose()?;
        let call = Call { route: Route::Chat, salt, body };
        let reply = self.reply(session, &call)?;
        if !self.json && !reply.text.is_empty() {
            report::say("\n").context(PRINTING)?;
        }
        if let Some((Finish::Length, _)) = reply.done {
            self.say_aside("the answer was cut off: it is as long as it may be");
        }
        let signed = match (&salt, reply.done) {
            (Some(salt), Some(_)) => {
                let receipt = reply.receipt.as_deref().context("the guest has sent no receipt")?;
                let (signed, signer) =
                    (Signed { receipt, salt, body: &call.body, answer: &reply.text }, session.signer()?);
                signed.verify(&signer)?;
                Some(signed.file(&signer)?)
            }
            _ => None,
        };
        if reply.failed.is_none() {
            self.model = Some(model);
            self.history = request.messages;
            self.history.push(Message { role: Role::Assistant, content: reply.text.clone() });
        }
        Ok((reply, signed))
    }

    /// The name of the first model that the guest has.
    fn first_model(&self, session: &mut Session) -> anyhow::Result<String> {
        let call = Call { route: Route::Models, salt: None, body: vec![] };
        let Reply { models, failed, .. } = self.reply(session, &call)?;
        let models: Value = match (models, failed) {
            (Some(models), _) => serde_json::from_slice(&models).context("reading the guest's list of models")?,
            (None, reason) => bail!("{}", reason.unwrap_or_else(|| "the guest has sent no list of models".into())),
        };
        let name = models["data"][0]["id"].as_str().context("the guest has no model")?;
        Ok(name.to_owned())
    }

    /// Makes a call and shows the answer as it comes.
    fn reply(&self, session: &mut Session, call: &Call) -> anyhow::Result<Reply> {
        let mut reply = Reply::default();
        let mut unread = None;
        self.interrupts.hold()?;
        let outcome = session.ask(call, &mut |piece| {
            let shown = match piece {
                Some(piece) => reply.take(piece, !self.json),
                None => Ok(()),
            };
            match (shown, self.interrupts.happened()) {
                (Ok(()), false) => ControlFlow::Continue(()),
                (shown, _) => {
                    unread = shown.err();
                    // The next one ends the program.
                    let _held = self.interrupts.release();
                    ControlFlow::Break(())
                }
            }
        });
        if let Some(error) = unread {
            return Err(error).context(PRINTING);
        }
        match outcome? {
            Outcome::Complete if call.route == Route::Models || reply.done.is_some() || reply.failed.is_some() => {}
            Outcome::Complete => reply.failed = Some("the guest has sent something else than an answer".into()),
            Outcome::Cancelled => reply.failed = Some("cancelled: the answer is incomplete".into()),
            _ if reply.failed.is_some() => {}
            Outcome::Failed => reply.failed = Some("the guest failed: the answer is incomplete".into()),
        }
        reply.done = reply.done.filter(|_| reply.failed.is_none());
        Ok(reply)
    }
}

impl Reply {
    fn take(&mut self, piece: Piece, show: bool) -> io::Result<()> {
        match piece {
            Piece::Text(text) => {
                self.text.push_str(&text);
                return if show { report::say(&text) } else { Ok(()) };
            }
            Piece::Done(finish, usage) => self.done = Some((finish, usage)),
            Piece::Receipt(receipt) => self.receipt = Some(receipt),
            Piece::Models(models) => self.models = Some(models),
            Piece::Refused(error) => {
                let error: Value = serde_json::from_slice(&error).unwrap_or(Value::Null);
                let reason = error["error"]["message"].as_str().unwrap_or("it does not say why");
                self.failed = Some(format!("the guest refuses the question: {reason}"));
            }
            Piece::Failed(failure) => self.failed = Some(format!("the answer is incomplete: {failure}")),
            Piece::Busy => self.failed = Some("the guest has too much else to do; ask again later".into()),
        }
        Ok(())
    }
}

/// The next line; `None` when there is no more.
fn question(from: &mut impl BufRead) -> anyhow::Result<Option<String>> {
    let mut line = String::new();
    let read = from.take(MAX_TEXT as u64 + 1).read_line(&mut line).context("reading a question from stdin")?;
    // The rest of it would be taken for the next one.
    ensure!(read <= MAX_TEXT, "stdin: expected a line of at most {MAX_TEXT} bytes");
    Ok((read > 0).then_some(line))
}

fn all_of_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    let read = io::stdin().lock().take(MAX_TEXT as u64 + 1).read_to_string(&mut text);
    let read = read.context("reading the question from stdin")?;
    ensure!((1..=MAX_TEXT).contains(&read), "stdin: expected a question of 1 to {MAX_TEXT} bytes, found {read}");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_one_line() {
        let longest = format!("{}\n", "x".repeat(MAX_TEXT - 1));
        for (text, expected) in [("", None), ("one\ntwo\n", Some("one\n")), (&longest, Some(longest.as_str()))] {
            assert_eq!(question(&mut text.as_bytes()).unwrap().as_deref(), expected);
        }
        assert!(question(&mut ["x", &longest].concat().as_bytes()).is_err());
    }
}
