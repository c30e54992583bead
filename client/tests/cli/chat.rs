//! `vitrine chat`, with a guest in a thread.

use super::guest::{Fault, Guest, Running, write_policy};
use super::{committed, run, vitrine};
use std::fs;
use std::path::Path;
use std::process::Command;

/// `chat` with a guest, by a policy that accepts it.
fn chat(guest: &Running, dir: &Path, more: &[&str]) -> Command {
    write_policy(&dir.join("policy"));
    let mut command = vitrine(["chat", &guest.url, "--policy", "policy"]);
    command.args(more).current_dir(dir);
    command
}

/// Refused: one line why, the whole verdict, nothing on stdout, and the guest got nothing of the user's.
fn refused(guest: Guest, more: &[&str], reason: &str) {
    let dir = tempfile::tempdir().unwrap();
    let guest = guest.start(1);
    let ran = run(&mut chat(&guest, dir.path(), &[more, &["--shaping", "off", "a secret"]].concat()));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("\n  FAILED  "), "{}", ran.stderr);
    let last = ran.stderr.lines().last().unwrap();
    assert!(last.starts_with("no: refused, and nothing was sent: ") && last.contains(reason), "{last}");
    assert!(guest.next().is_empty(), "{reason}");
}

#[cfg(not(feature = "simulated-hardware"))]
#[test]
fn a_released_program_refuses_simulated_hardware() {
    refused(Guest::good(), &[], "[snp.chain.ark.pinned]");
}

#[test]
fn the_policy_in_the_program_accepts_nobody_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let guest = Guest::good().start(1);
    let ran = run(vitrine(["chat", &guest.url, "a secret"]).current_dir(dir.path()));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("\n  policy    strict (sha256 "), "{}", ran.stderr);
    assert!(ran.stderr.lines().last().unwrap().contains("`vitrine policy > policy.toml`, fill in"), "{}", ran.stderr);
    assert!(guest.next().is_empty());
    let printed = run(&mut vitrine(["policy"]));
    assert_eq!(printed.code, Some(0));
    assert_eq!(printed.stdout, fs::read_to_string(committed("policies/strict.toml")).unwrap());
}

#[test]
fn nobody_there_is_no_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let ran = run(vitrine(["chat", &nobody, "a secret"]).current_dir(dir.path()));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("connecting to ws://127.0.0.1"), "{}", ran.stderr);
    for (fault, reason) in [(Fault::Web, "503 Service Unavailable"), (Fault::Handshake, "shaking hands")] {
        let guest = Guest { fault, ..Guest::good() }.start(1);
        let ran = run(&mut chat(&guest, dir.path(), &["a secret"]));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{}", ran.stderr);
        assert!(ran.stderr.contains(reason), "{}", ran.stderr);
        assert!(guest.next().is_empty());
    }
    for (url, reason) in [
        ("ftp://host", "found the scheme \"ftp\""),
        ("host:8080", "expected a URL such as"),
        ("http://user@host", "found a user or a query"),
        ("http://host/?token=1", "found a user or a query"),
    ] {
        let ran = run(&mut vitrine(["chat", url, "a secret"]));
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains(reason), "{url}: {}", ran.stderr);
    }
}

#[cfg(feature = "simulated-hardware")]
mod simulated {
    use super::super::Ran;
    use super::*;
    use nix::pty::{OpenptyResult, openpty};
    use nix::sys::signal::{Signal, kill};
    use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
    use nix::unistd::Pid;
    use openai::{Call, Request, Role};
    use std::io::{Read as _, Write as _};
    use std::process::Stdio;

    const FLAG: &str = "--dangerously-accept-simulated-hardware";
    const QUICK: [&str; 3] = [FLAG, "--shaping", "off"];

    /// What is the user's in what a guest got: the bodies of chats.
    fn bodies(got: &[Vec<u8>]) -> Vec<Request> {
        let calls = got.iter().map(|content| Call::parse(content).unwrap().body).filter(|body| !body.is_empty());
        calls.map(|body| Request::parse(&body).unwrap()).collect()
    }

    fn json(ran: &Ran) -> serde_json::Value {
        serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}{}", ran.stdout, ran.stderr))
    }

    fn quick<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&QUICK[..], more].concat()
    }

    #[test]
    fn an_answer_comes_after_the_verdict() {
        let dir = tempfile::tempdir().unwrap();
        for shaping in ["off", "bucket", "paced"] {
            let guest = Guest::good().start(1);
            let arguments = [FLAG, "--shaping", shaping, "--system", "be brief", "--temperature", "0", "one two three"];
            let ran = run(&mut chat(&guest, dir.path(), &arguments));
            assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "one two three\n"), "{}", ran.stderr);
            for shown in [
                "SIMULATED HARDWARE: whoever runs it",
                "SIMULATED as of ",
                "\n  hardware  SEV-SNP report, version 5, Turin, chip c1c1c1c1…; fmc 1, boot-loader 1,",
                "\n  release   1.2.3, commit c0c0c0",
                "\n  log       simulated.invalid/log, 7 entries as of ",
                "; in it since ",
                "\n  operator  nobody says who",
                "\n  tokens    indexed: the host may see which are used",
                "\n  policy    demonstration (sha256 ",
            ] {
                assert!(ran.stderr.contains(shown), "{shown}: {}", ran.stderr);
            }
            let [request] = &bodies(&guest.next())[..] else { panic!("one question") };
            let said: Vec<_> = request.messages.iter().map(|said| (said.role, said.content.as_str())).collect();
            assert_eq!(said, [(Role::System, "be brief"), (Role::User, "one two three")]);
            assert!(request.temperature == 0.0);
        }
    }

    #[test]
    fn for_programs_there_is_one_object() {
        let dir = tempfile::tempdir().unwrap();
        let guest = Guest::good().start(2);
        let ran = run(&mut chat(&guest, dir.path(), &quick(&["--json", "--max-tokens", "2", "one two three"])));
        let value = json(&ran);
        assert_eq!((ran.code, &value["outcome"], &value["answer"]), (Some(0), &"ok".into(), &"one two ".into()));
        assert_eq!((&value["finish"], &value["usage"]["completion_tokens"]), (&"length".into(), &2.into()));
        assert_eq!(value["verdict"]["outcome"], "simulated");
        // The question can be a file.
        fs::write(dir.path().join("question"), "from a file").unwrap();
        let mut command = chat(&guest, dir.path(), &quick(&["--max-tokens", "2"]));
        let ran = run(command.stdin(fs::File::open(dir.path().join("question")).unwrap()));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "from a \n"), "{}", ran.stderr);
        assert!(ran.stderr.contains("the answer was cut off"), "{}", ran.stderr);
    }

    #[test]
    fn what_was_not_acted_on_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let guest = Guest::good().start(1);
        let ran = run(&mut chat(&guest, dir.path(), &["--state", "state", "--json", "a secret"]));
        assert_eq!((ran.code, &json(&ran)["verdict"]["outcome"]), (Some(1), &"simulated".into()));
        let kept: Vec<_> =
            fs::read_dir(dir.path().join("state")).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(kept, ["lock"]);
    }

    #[test]
    fn without_the_flag_or_with_one_thing_wrong_nothing_is_sent() {
        refused_simulated(Guest::good(), &[]);
        let good = Guest::good;
        refused(Guest { fault: Fault::Report, ..good() }, &[FLAG], "[snp.identity.report-data]");
        let mut stale = good();
        stale.world.status.issued_at.0 -= 8 * 86_400;
        stale.world.status.not_after.0 -= 8 * 86_400;
        refused(stale, &[FLAG], "[status.validity]");
        let mut yanked = good();
        yanked.world.withdrawn = true;
        refused(yanked, &[FLAG], "[release.live]");
        let mut other = good();
        other.processor.measurement[0] ^= 1;
        refused(other, &[FLAG], "[snp.identity.measurement]");
        let mut debugged = good();
        debugged.processor.policy |= 1 << 19;
        refused(debugged, &[FLAG], "[snp.policy.debug]");
        let mut stranger = good();
        stranger.processor.chip_id[0] ^= 1;
        refused(stranger, &[FLAG], "[fleet.row]");
    }

    /// Everything is in order but for the flag.
    fn refused_simulated(guest: Guest, more: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        let guest = guest.start(1);
        let ran = run(&mut chat(&guest, dir.path(), &[more, &["--shaping", "off", "a secret"]].concat()));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{}", ran.stderr);
        assert!(ran.stderr.lines().last().unwrap().contains("the hardware is a program"), "{}", ran.stderr);
        assert!(guest.next().is_empty());
    }

    #[test]
    fn a_part_of_an_answer_is_never_taken_for_one() {
        let dir = tempfile::tempdir().unwrap();
        for (fault, stdout, reason) in [
            (Fault::Ends, "one two", "the reply is incomplete: "),
            (Fault::Garbage, "one two", "the reply is incomplete: the session is broken"),
            (Fault::Truncates, "one two", "the reply is incomplete: "),
            (Fault::Fails, "one two", "the answer is incomplete: the model failed"),
            (Fault::Busy, "", "the guest has too much else to do"),
        ] {
            let guest = Guest { fault, ..Guest::good() }.start(1);
            let ran = run(&mut chat(&guest, dir.path(), &quick(&["one two"])));
            assert_eq!((ran.code, ran.stdout.trim_end()), (Some(1), stdout), "{fault:?}: {}", ran.stderr);
            assert!(ran.stderr.lines().last().unwrap().contains(reason), "{fault:?}: {}", ran.stderr);
        }
        let guest = Guest::good().start(1);
        let ran = run(&mut chat(&guest, dir.path(), &quick(&["--model", "other\x1b[2J", "one two"])));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{}", ran.stderr);
        assert!(ran.stderr.contains("the guest refuses the question: model: expected"), "{}", ran.stderr);
    }

    #[test]
    fn a_receipt_is_verified_before_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("receipt");
        let arguments = quick(&["--receipt", "receipt", "--temperature", "0", "one two"]);
        for (fault, reason) in [(Fault::Receipt, "is about something else"), (Fault::Sampling, "sampled otherwise")] {
            let guest = Guest { fault, ..Guest::good() }.start(1);
            let ran = run(&mut chat(&guest, dir.path(), &arguments));
            assert_eq!(ran.code, Some(1), "{}", ran.stderr);
            assert!(ran.stderr.contains(reason) && !file.exists(), "{}", ran.stderr);
        }
        let guest = Guest::good().start(1);
        let ran = run(&mut chat(&guest, dir.path(), &arguments));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let written: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        assert_eq!(written["answer"], "one two");
    }

    #[test]
    fn the_saved_bundle_gets_the_same_verdict() {
        let dir = tempfile::tempdir().unwrap();
        let mut stale = Guest::good();
        stale.world.status.not_after.0 -= 8 * 86_400;
        stale.world.status.issued_at.0 -= 8 * 86_400;
        for (guest, code) in [(Guest::good(), 0), (stale, 1)] {
            let guest = guest.start(1);
            let ran = run(&mut chat(&guest, dir.path(), &quick(&["--save-bundle", "bundle", "one"])));
            assert_eq!(ran.code, Some(code), "{}", ran.stderr);
            let mut verify = vitrine(["verify", "bundle", "--policy", "policy", FLAG]);
            let judged = run(verify.current_dir(dir.path()));
            assert_eq!(judged.code, Some(code), "{}", judged.stdout);
        }
    }

    #[test]
    fn what_was_accepted_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let accepted = |guest: Guest| {
            let guest = guest.start(1);
            run(&mut chat(&guest, dir.path(), &quick(&["--state", "state", "one"])))
        };
        assert_eq!(accepted(Guest::good()).code, Some(0));
        let mut older = Guest::good();
        older.world.status.sequence -= 1;
        let ran = accepted(older);
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        assert!(ran.stderr.contains("log."), "{}", ran.stderr);
    }

    #[test]
    fn the_release_given_is_the_guests() {
        let dir = tempfile::tempdir().unwrap();
        let good = Guest::good();
        fs::write(dir.path().join("release"), good.world.release()).unwrap();
        fs::write(dir.path().join("other"), b"{}").unwrap();
        let guest = good.start(2);
        let ran = run(&mut chat(&guest, dir.path(), &quick(&["--release", "release", "one"])));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let ran = run(&mut chat(&guest, dir.path(), &quick(&["--release", "other", "one"])));
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        assert!(ran.stderr.contains("[release.copy]"), "{}", ran.stderr);
    }

    #[test]
    fn ctrl_c_cancels_the_answer() {
        let dir = tempfile::tempdir().unwrap();
        let guest = Guest { fault: Fault::Endless, ..Guest::good() }.start(1);
        let mut command = chat(&guest, dir.path(), &[FLAG, "one two"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 7];
        child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        assert_eq!(&first, b"one two");
        kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.ends_with("no: cancelled: the answer is incomplete\n"), "{stderr}");
    }

    /// The guest has said everything by then, and it is on its way in paced messages.
    #[test]
    fn an_answer_that_was_not_read_to_its_end_is_cancelled() {
        let dir = tempfile::tempdir().unwrap();
        let guest = Guest::good().start(1);
        let question = "one two ".repeat(1000);
        let mut command = chat(&guest, dir.path(), &[FLAG, "--receipt", "receipt", &question]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 7]).unwrap();
        kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.ends_with("no: cancelled: the answer is incomplete\n"), "{stderr}");
        assert!(output.stdout.len() < question.len() && !dir.path().join("receipt").exists());
    }

    /// On a terminal, which gets nothing but text, whatever the model says.
    #[test]
    fn a_conversation_goes_on_in_another_session() {
        let dir = tempfile::tempdir().unwrap();
        let guest = Guest { fault: Fault::Leaves, ..Guest::good() }.start(2);
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        // What is typed would be shown in the middle of an answer, at any place.
        let mut mode = tcgetattr(&slave).unwrap();
        mode.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&slave, SetArg::TCSANOW, &mode).unwrap();
        let (mut writer, mut reader) = (fs::File::from(master.try_clone().unwrap()), fs::File::from(master));
        let mut command = chat(&guest, dir.path(), &quick(&[]));
        command.stdin(slave.try_clone().unwrap()).stdout(slave).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        drop(command);
        // It ends with an error once nobody has the other side.
        let shown = std::thread::spawn(move || {
            let mut shown = Vec::new();
            let _end = reader.read_to_end(&mut shown);
            String::from_utf8(shown).unwrap()
        });
        writer.write_all(b"one\x1b[2J two\n").unwrap();
        let first = bodies(&guest.next());
        writer.write_all(b"\nthree\n").unwrap();
        let second = bodies(&guest.next());
        writer.write_all(b"/quit\n").unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        assert_eq!(stderr.matches("SIMULATED as of").count(), 2, "{stderr}");
        let shown = shown.join().unwrap();
        assert!(shown.contains("one\\u{1b}[2J two") && !shown.contains('\x1b'), "{shown:?}");
        let said = |requests: &[Request]| -> Vec<_> {
            requests.iter().flat_map(|request| request.messages.clone()).map(|said| (said.role, said.content)).collect()
        };
        let question = (Role::User, "one\x1b[2J two".to_owned());
        let answer = (Role::Assistant, question.1.clone());
        assert_eq!(said(&first), std::slice::from_ref(&question));
        assert_eq!(said(&second), [question, answer, (Role::User, "three".to_owned())]);
    }
}
