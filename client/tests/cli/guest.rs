//! A guest as its clients meet it, in a thread: the channel's server, the simulated processor and log, and a worker that
//! says the last message back. It can be told to do something else.

use super::{committed, demo};
use channel::evidence::{Attestation, Kind};
use channel::server::{About, Hello, Identity, Received, Session};
use channel::{Outcome, SUBPROTOCOL, Seed, feed, receipt};
use measure::Sha384;
use measure::appraise::Time;
use measure::cmdline::Tee;
use measure::snp::product::{Product, TcbVersion};
use measure::snp::report::{GuestPolicy, Report};
use openai::{Call, Frame, Piece, Request, Route, fake};
use simulate::Processor;
use simulate::log::{World, policy};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant, SystemTime};
use tungstenite::http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL};
use tungstenite::{Message, WebSocket};

/// What a guest does otherwise than it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// It is a web server.
    Web,
    /// It answers the client's first message with others.
    Handshake,
    /// Its report is of another session.
    Report,
    /// It closes the connection in the middle of an answer.
    Ends,
    /// It says that the answer is complete when it is not.
    Truncates,
    /// It sends something else in the middle of an answer.
    Garbage,
    /// It has too much to do.
    Busy,
    /// It gives up in the middle of an answer.
    Fails,
    /// Its receipts are about another answer.
    Receipt,
    /// Its receipts are of answers that were sampled otherwise.
    Sampling,
    /// It ends the session after an answer.
    Leaves,
    /// The same, and its second report and all later ones are of another session.
    Turns,
    /// Its answers have no end.
    Endless,
}

/// A guest, and the world in which there is a release for it.
pub(crate) struct Guest {
    pub(crate) world: World,
    pub(crate) processor: Processor,
    pub(crate) fault: Fault,
}

/// Where a guest is, and what it gets.
pub(crate) struct Running {
    pub(crate) url: String,
    sessions: Receiver<Vec<Vec<u8>>>,
}

impl Running {
    /// What the next of its sessions got after the handshake: the requests' contents, and nothing else that could be read.
    pub(crate) fn next(&self) -> Vec<Vec<u8>> {
        self.sessions.recv_timeout(Duration::from_secs(60)).expect("a session")
    }
}

impl Guest {
    /// Everything is in order.
    pub(crate) fn good() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let mut processor = demo::processor();
        let tcb = TcbVersion { fmc: 1, boot_loader: 1, tee: 1, snp: 4, microcode: 90 };
        let chip = Report::parse(&processor.report([0; 64])).unwrap().chip_id();
        let mut world = World::good(Time(now), Tee::Simulated, (Product::Turin, tcb, chip));
        world.release.launch_policies[0].policy = GuestPolicy(processor.policy);
        let digest = world.release.shapes().unwrap().rows()[0].launch_digest;
        processor.measurement = *digest.0.as_bytes();
        Self { world, processor, fault: Fault::None }
    }

    /// What it passes on beside its report.
    pub(crate) fn feed(&self) -> Vec<u8> {
        let certificates = self.processor.certificates();
        let parts = [
            ("feed", self.world.feed().to_bytes().unwrap()),
            ("snp-ark", certificates.ark),
            ("snp-ask", certificates.intermediate),
            ("snp-leaf", certificates.leaf),
            ("snp-crl", certificates.crl),
        ];
        feed::encode(&parts.map(|(name, bytes)| (name.to_owned(), bytes)).into()).unwrap()
    }

    /// Starts it, for `sessions` sessions.
    pub(crate) fn start(self, sessions: usize) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let models = [self.world.release.model_sha256].into();
            let about = About { boot_id: [1; 16], epoch: 0, models, operator: None };
            let identity = Identity::new(Seed::new([1; 32]), about).unwrap();
            let (guest, identity) = (&self, &identity);
            std::thread::scope(|scope| {
                for number in 0..sessions {
                    let (tcp, _) = listener.accept().unwrap();
                    let sender = sender.clone();
                    scope.spawn(move || {
                        let mut got = Vec::new();
                        guest.serve(tcp, identity, number as u8, &mut got);
                        // A test may have seen enough.
                        let _unheard = sender.send(got);
                    });
                }
            });
        });
        Running { url, sessions: receiver }
    }

    /// One connection, until either side has enough.
    fn serve(&self, mut tcp: TcpStream, identity: &Identity, seed: u8, got: &mut Vec<Vec<u8>>) -> Option<()> {
        tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        if self.fault == Fault::Web {
            let _request = tcp.read(&mut [0; 4096]).ok()?;
            return tcp.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").ok();
        }
        #[expect(clippy::result_large_err, reason = "tungstenite's own type")]
        let protocol = |_request: &_, mut response: tungstenite::handshake::server::Response| {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
            Ok(response)
        };
        let mut socket = tungstenite::accept_hdr(tcp, protocol).ok()?;
        let m1 = socket.read().ok()?.into_data();
        let (hello, m2) = Hello::answer(identity, Seed::new([seed; 32]), &m1).ok()?;
        if self.fault == Fault::Handshake {
            return socket.send(Message::binary(vec![7; m2.len()])).ok();
        }
        socket.send(Message::binary(m2)).ok()?;
        let m3 = socket.read().ok()?.into_data();
        let started = Instant::now();
        let attesting = hello.finish(&m3, Duration::ZERO).ok()?;
        let mut report_data = *attesting.report_data().as_bytes();
        let other = self.fault == Fault::Report || self.fault == Fault::Turns && seed > 0;
        report_data[63] ^= u8::from(other);
        let report = self.processor.report(report_data);
        let feed = self.feed();
        let attestation = Attestation { kind: Kind::Snp, report: &report, path: None, operator: None, feed: &feed };
        let (session, evidence) = attesting.attest(&attestation).unwrap();
        socket.send(Message::binary(evidence)).ok()?;
        self.converse(&mut socket, session, identity, started, got)
    }

    fn converse(
        &self,
        socket: &mut WebSocket<TcpStream>,
        mut session: Session,
        identity: &Identity,
        started: Instant,
        got: &mut Vec<Vec<u8>>,
    ) -> Option<()> {
        let pause = Some(Duration::from_millis(2));
        socket.get_mut().set_read_timeout(pause).unwrap();
        let mut asked = false;
        loop {
            while let Some(message) = session.poll(started.elapsed()).ok()? {
                socket.send(Message::binary(message)).ok()?;
            }
            if asked && session.is_idle() && matches!(self.fault, Fault::Leaves | Fault::Turns) {
                let bye = session.close(started.elapsed()).ok()?;
                return socket.send(Message::binary(bye)).ok();
            }
            let message = match socket.read() {
                Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                message => message.ok()?,
            };
            let Message::Binary(message) = message else { continue };
            let now = started.elapsed();
            match session.receive(&message, now).ok()? {
                Received::Nothing => {}
                Received::Request(content) => {
                    got.push(content.to_vec());
                    asked = asked || !Call::parse(&content).unwrap().body.is_empty();
                    let outcome = self.answer(&content, identity, |piece| {
                        let mut bytes = Vec::new();
                        piece.write(&mut bytes);
                        session.write(&bytes, now).unwrap();
                    });
                    if let Some(outcome) = outcome {
                        session.finish(outcome, now).unwrap();
                    }
                    if outcome.is_some() {
                        continue;
                    }
                    while let Some(message) = session.poll(started.elapsed()).ok()? {
                        socket.send(Message::binary(message)).ok()?;
                    }
                    match self.fault {
                        Fault::Ends => return None,
                        Fault::Garbage => socket.send(Message::binary(vec![9; 256])).ok()?,
                        _ => {}
                    }
                }
                Received::Cancel => session.finish(Outcome::Cancelled, now).unwrap(),
                Received::Over => return Some(()),
            }
        }
    }

    /// What it says; `None` if that is not all.
    fn answer(&self, content: &[u8], identity: &Identity, mut say: impl FnMut(Piece)) -> Option<Outcome> {
        let call = Call::parse(content).unwrap();
        if call.route == Route::Models {
            say(Piece::Models(openai::models("parrot")));
            return Some(Outcome::Complete);
        }
        if self.fault == Fault::Busy {
            say(Piece::Busy);
            return Some(Outcome::Complete);
        }
        let other = br#"{"error":{"message":"model: expected \"parrot\""}}"#;
        let request = match Request::parse(&call.body) {
            Ok(request) if request.model == "parrot" => request,
            refused => {
                say(Piece::Refused(refused.map_or_else(|refusal| refusal.to_json(), |_| other.to_vec())));
                return Some(Outcome::Complete);
            }
        };
        let mut whole = String::new();
        for frame in fake::answer(&request) {
            match frame {
                Frame::Text(text) => {
                    whole.push_str(&text);
                    say(Piece::Text(text));
                }
                Frame::Done(finish, usage) => match self.fault {
                    Fault::Ends | Fault::Garbage | Fault::Endless => return None,
                    Fault::Truncates => return Some(Outcome::Complete),
                    Fault::Fails => say(Piece::Failed(openai::Failure::Engine)),
                    _ => say(Piece::Done(finish, usage)),
                },
                Frame::Ready | Frame::Failed(_) => unreachable!("the fake worker does not fail"),
            }
        }
        if let Some(salt) = call.salt {
            whole.push_str(if self.fault == Fault::Receipt { "!" } else { "" });
            let receipt = receipt::Receipt {
                statement: identity.statement_digest(),
                measurement: Sha384::new(self.processor.measurement),
                model: self.world.release.model_sha256,
                request: receipt::request_hash(&salt, &call.body),
                answer: receipt::answer_hash(&salt, whole.as_bytes()),
                sampling: receipt::Sampling {
                    temperature: request.temperature.to_bits() ^ u32::from(self.fault == Fault::Sampling),
                    top_p: request.top_p.to_bits(),
                    seed: 0,
                    max_tokens: request.max_tokens.unwrap_or(0).into(),
                },
            };
            say(Piece::Receipt(receipt.sign(identity).unwrap()));
        }
        Some(if self.fault == Fault::Fails { Outcome::Failed } else { Outcome::Complete })
    }
}

/// Writes the policy that accepts such a guest, as simulated.
pub(crate) fn write_policy(path: &Path) {
    let mut demanded: toml::Table = fs::read_to_string(committed("docs/demo/policy.toml")).unwrap().parse().unwrap();
    let snp = demanded["snp"].as_table_mut().unwrap();
    snp.insert("measurements".into(), "release".into());
    let mut release = policy();
    release["log"]["tail"] = "any".into();
    demanded.insert("release".into(), release.into());
    fs::write(path, demanded.to_string()).unwrap();
}
