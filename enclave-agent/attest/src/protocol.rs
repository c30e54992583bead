//! The messages: one request and one answer on each connection.

use channel::evidence::{Kind, MAX_OPERATOR, MAX_REPORT};
use channel::feed::MAX_FEED;
use measure::{Digest, Sha256};

/// Where the helper listens.
pub const SOCKET: &str = "/run/agent/attest.sock";

/// Bytes of a request.
pub const REQUEST: usize = LABEL.len() + 1 + 64;

/// Bytes an answer begins with, [`Head`].
pub const HEAD: usize = LABEL.len() + 1 + 4;

/// What every message begins with.
const LABEL: [u8; 17] = *b"vitrine/attest/1\0";

/// What a request is, behind the label.
const REPORT: u8 = 1;
const OPERATOR: u8 = 2;
const FEED: u8 = 3;

/// What an answer is, behind the label.
const SNP: u8 = 1;
const TDX: u8 = 2;
const DOCUMENT: u8 = 3;
const NO_DOCUMENT: u8 = 4;
const NEWEST: u8 = 5;
const FAILED: u8 = 6;

/// All that can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// A report of a session.
    Report {
        /// The session's handshake hash.
        handshake: Sha256,
        /// SHA-256 of its key statement.
        statement: Sha256,
    },
    /// The operator document.
    Operator,
    /// The newest feed.
    Feed,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A report or quote, at most [`MAX_REPORT`] bytes, as whoever made it has made it: whether it is one, and of this
    /// session, is for the reader to check.
    Report {
        /// What it is said to be.
        kind: Kind,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// The operator document as the host gave it, at most [`MAX_OPERATOR`] bytes, if it gave one.
    Operator(Option<Vec<u8>>),
    /// The newest feed as the host gave it, at most [`MAX_FEED`] bytes; empty if it gave none yet.
    Feed(Vec<u8>),
    /// There is nothing.
    Failed(Failure),
}

/// Why there is nothing. A failing provider of reports is never replaced by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// What came was no request.
    #[error("it was no request")]
    Refused,
    /// More reports a second than the helper has made.
    #[error("too many reports were asked for")]
    Busy,
    /// The command line cannot be read, or says what the machine is not.
    #[error("the machine is not what the command line says")]
    Machine,
    /// There is no provider of reports, or another than the command line says.
    #[error("the provider of reports is missing or another")]
    Provider,
    /// The provider makes no report, or something that is none.
    #[error("no report was made")]
    Report,
    /// The host has the port for it and gives no operator document, or one that is too long.
    #[error("no operator document came from its port")]
    Operator,
}

/// How an answer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    kind: u8,
    length: usize,
}

/// Bytes that are no message of this protocol, or a message that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a message of vitrine/attest/1, found something else")]
pub struct Malformed;

impl Failure {
    /// A word for logs and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::Machine => "machine",
            Self::Provider => "provider",
            Self::Report => "report",
            Self::Operator => "operator",
        }
    }

    fn to_byte(self) -> u8 {
        match self {
            Self::Refused => 1,
            Self::Busy => 2,
            Self::Machine => 3,
            Self::Provider => 4,
            Self::Report => 5,
            Self::Operator => 6,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        let all = [Self::Refused, Self::Busy, Self::Machine, Self::Provider, Self::Report, Self::Operator];
        all.into_iter().find(|failure| failure.to_byte() == byte)
    }
}

impl Request {
    /// The message.
    pub fn to_bytes(&self) -> [u8; REQUEST] {
        let (kind, [first, second]) = match self {
            Self::Report { handshake, statement } => (REPORT, [*handshake.as_bytes(), *statement.as_bytes()]),
            Self::Operator => (OPERATOR, [[0; 32]; 2]),
            Self::Feed => (FEED, [[0; 32]; 2]),
        };
        let bytes = LABEL.into_iter().chain([kind]).chain(first).chain(second);
        let mut message = [0; REQUEST];
        message.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        message
    }

    /// Reads a message.
    ///
    /// # Errors
    /// When it is any other than [`Self::to_bytes`] makes.
    pub fn parse(message: &[u8; REQUEST]) -> Result<Self, Malformed> {
        let (kind, rest) = labelled(message)?;
        let (first, second) = rest.split_first_chunk::<32>().ok_or(Malformed)?;
        let second: &[u8; 32] = second.try_into().map_err(|_| Malformed)?;
        let request = match kind {
            REPORT => Self::Report { handshake: Digest::new(*first), statement: Digest::new(*second) },
            OPERATOR => Self::Operator,
            FEED => Self::Feed,
            _ => return Err(Malformed),
        };
        (request.to_bytes() == *message).then_some(request).ok_or(Malformed)
    }
}

impl Answer {
    /// The message.
    ///
    /// # Errors
    /// When a part is longer than it may be.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Malformed> {
        let failed;
        let (kind, body) = match self {
            Self::Report { kind: Kind::Snp, bytes } => (SNP, &bytes[..]),
            Self::Report { kind: Kind::Tdx, bytes } => (TDX, &bytes[..]),
            Self::Operator(Some(document)) => (DOCUMENT, &document[..]),
            Self::Operator(None) => (NO_DOCUMENT, &[][..]),
            Self::Feed(feed) => (NEWEST, &feed[..]),
            Self::Failed(failure) => {
                failed = [failure.to_byte()];
                (FAILED, &failed[..])
            }
        };
        let head = Head::new(kind, body.len()).ok_or(Malformed)?;
        let length = u32::try_from(head.length).map_err(|_| Malformed)?.to_be_bytes();
        Ok([&LABEL[..], &[kind], &length, body].concat())
    }

    /// Reads a message.
    ///
    /// # Errors
    /// When it is any other than [`Self::to_bytes`] makes.
    pub fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let (head, body) = message.split_first_chunk().ok_or(Malformed)?;
        Head::parse(head)?.answer(body)
    }
}

impl Head {
    /// `None` unless an answer of this kind can be so long.
    fn new(kind: u8, length: usize) -> Option<Self> {
        let fits = match kind {
            SNP | TDX => length <= MAX_REPORT,
            DOCUMENT => length <= MAX_OPERATOR,
            NO_DOCUMENT => length == 0,
            NEWEST => length <= MAX_FEED,
            FAILED => length == 1,
            _ => false,
        };
        fits.then_some(Self { kind, length })
    }

    /// Reads the beginning of an answer.
    ///
    /// # Errors
    /// When no answer begins so.
    pub fn parse(head: &[u8; HEAD]) -> Result<Self, Malformed> {
        let (kind, rest) = labelled(head)?;
        let length = u32::from_be_bytes(rest.try_into().map_err(|_| Malformed)?);
        Self::new(kind, usize::try_from(length).map_err(|_| Malformed)?).ok_or(Malformed)
    }

    /// How many bytes follow: never more than an answer of its kind may have.
    pub fn body_len(&self) -> usize {
        self.length
    }

    /// The answer with this body.
    ///
    /// # Errors
    /// When it is not the body of this head.
    pub fn answer(self, body: &[u8]) -> Result<Answer, Malformed> {
        if body.len() != self.length {
            return Err(Malformed);
        }
        Ok(match (self.kind, body) {
            (SNP, report) => Answer::Report { kind: Kind::Snp, bytes: report.to_vec() },
            (TDX, quote) => Answer::Report { kind: Kind::Tdx, bytes: quote.to_vec() },
            (DOCUMENT, document) => Answer::Operator(Some(document.to_vec())),
            (NO_DOCUMENT, _) => Answer::Operator(None),
            (NEWEST, feed) => Answer::Feed(feed.to_vec()),
            (FAILED, [code]) => Answer::Failed(Failure::from_byte(*code).ok_or(Malformed)?),
            _ => return Err(Malformed),
        })
    }
}

/// What a message is, and what follows.
fn labelled(message: &[u8]) -> Result<(u8, &[u8]), Malformed> {
    match message.strip_prefix(&LABEL) {
        Some([kind, rest @ ..]) => Ok((*kind, rest)),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Vec<Answer> {
        use Failure::{Busy, Machine, Operator, Provider, Refused, Report};
        let report = |kind, length| Answer::Report { kind, bytes: vec![7; length] };
        let mut answers = vec![
            report(Kind::Snp, 1184),
            report(Kind::Tdx, MAX_REPORT),
            Answer::Operator(Some(vec![8; MAX_OPERATOR])),
            Answer::Operator(Some(Vec::new())),
            Answer::Operator(None),
            Answer::Feed(Vec::new()),
            Answer::Feed(vec![9; MAX_FEED]),
        ];
        answers.extend([Refused, Busy, Machine, Provider, Report, Operator].map(Answer::Failed));
        answers
    }

    #[test]
    fn messages_are_these_bytes() {
        let request =
            Request::Report { handshake: Sha256::new([0xaa; 32]), statement: Sha256::new([0xbb; 32]) }.to_bytes();
        assert_eq!(request, *[&b"vitrine/attest/1\0\x01"[..], &[0xaa; 32], &[0xbb; 32]].concat());
        assert_eq!(Request::Feed.to_bytes(), *[&b"vitrine/attest/1\0\x03"[..], &[0; 64]].concat());
        for (answer, bytes) in [
            (Answer::Report { kind: Kind::Snp, bytes: vec![1, 2] }, &b"\x01\0\0\0\x02\x01\x02"[..]),
            (Answer::Report { kind: Kind::Tdx, bytes: vec![1] }, b"\x02\0\0\0\x01\x01"),
            (Answer::Operator(Some(b"x".to_vec())), b"\x03\0\0\0\x01x"),
            (Answer::Operator(None), b"\x04\0\0\0\0"),
            (Answer::Feed(b"f".to_vec()), b"\x05\0\0\0\x01f"),
            (Answer::Failed(Failure::Operator), b"\x06\0\0\0\x01\x06"),
        ] {
            assert_eq!(answer.to_bytes(), Ok([b"vitrine/attest/1\0", bytes].concat()));
        }
        assert_eq!((REQUEST, HEAD), (82, 22));
    }

    #[test]
    fn there_is_one_encoding() {
        for request in [Request::Operator, Request::Feed] {
            let message = request.to_bytes();
            assert_eq!(Request::parse(&message), Ok(request));
            for at in 0..REQUEST {
                let mut other = message;
                other[at] ^= 0x80;
                assert_eq!(Request::parse(&other), Err(Malformed), "byte {at}");
            }
        }
        for answer in answers() {
            let message = answer.to_bytes().unwrap();
            assert_eq!(Answer::parse(&message), Ok(answer));
            for at in 0..HEAD {
                let mut other = message.clone();
                other[at] ^= 0x80;
                assert_eq!(Answer::parse(&other), Err(Malformed), "byte {at}");
            }
            assert_eq!(Answer::parse(&message[..message.len() - 1]), Err(Malformed));
            assert_eq!(Answer::parse(&[&message[..], &[0]].concat()), Err(Malformed));
        }
        assert_eq!(Answer::parse(b"vitrine/attest/1\0\x06\0\0\0\x01\x07"), Err(Malformed));
        assert_eq!(Answer::parse(b"vitrine/attest/1\0\x07\0\0\0\0"), Err(Malformed));
    }

    #[test]
    fn nothing_is_longer_than_it_may_be() {
        for answer in [
            Answer::Report { kind: Kind::Snp, bytes: vec![0; MAX_REPORT + 1] },
            Answer::Report { kind: Kind::Tdx, bytes: vec![0; MAX_REPORT + 1] },
            Answer::Operator(Some(vec![0; MAX_OPERATOR + 1])),
            Answer::Feed(vec![0; MAX_FEED + 1]),
        ] {
            assert_eq!(answer.to_bytes(), Err(Malformed));
        }
        for (kind, length) in [(SNP, MAX_REPORT), (DOCUMENT, MAX_OPERATOR), (NO_DOCUMENT, 0), (NEWEST, MAX_FEED)] {
            let length = (length as u32 + 1).to_be_bytes();
            let head: Vec<u8> = [&LABEL[..], &[kind], &length].concat();
            assert_eq!(Head::parse(&head.try_into().unwrap()), Err(Malformed));
        }
    }
}
