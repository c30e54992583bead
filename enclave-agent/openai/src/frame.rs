//! What passes between the agent and a worker: first [`Frame::Ready`] from the worker, then one request, then its answer
//! in pieces and an end. Whoever has enough closes the connection.

use crate::request::{MAX_BODY, Request};
use std::io::{self, Read, Write};

/// Most bytes of a frame's content from a worker.
pub const MAX_FRAME: usize = 16 << 10;

/// Most bytes of a request to a worker, where what a client may leave out is written out.
const MAX_ASKED: usize = MAX_BODY + 1024;

/// What a worker says.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    /// The model is in memory and has made a token; a request may come.
    Ready,
    /// The next piece of the answer: not empty, at most [`MAX_FRAME`] bytes.
    Text(String),
    /// The answer is complete.
    Done(Finish, Usage),
    /// There is no answer, or no more of it.
    Failed(Failure),
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model or a stop string ended it.
    Stop,
    /// It was as long as it may be.
    Length,
}

/// How many tokens there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Of the conversation so far.
    pub prompt: u32,
    /// Of the answer.
    pub completion: u32,
}

/// Why there is no answer. These are all the reasons, and none says anything of what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// What came was no request.
    #[error("not a request")]
    Request,
    /// The conversation leaves no room in the model's context.
    #[error("the conversation is longer than the model's context")]
    TooLong,
    /// The model cannot be loaded, or cannot be kept in memory.
    #[error("the model is not available")]
    Model,
    /// llama.cpp gave up.
    #[error("the model failed")]
    Engine,
}

/// Why a frame cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The connection failed or ended; [`io::ErrorKind::UnexpectedEof`] if it ended.
    #[error("reading from the other side")]
    Io(#[from] io::Error),
    /// No frame of this protocol.
    #[error("expected a frame, found other bytes")]
    Malformed,
    /// A request that the rules refuse.
    #[error("expected a request")]
    Refused,
}

const READY: u8 = 1;
const TEXT: u8 = 2;
const DONE: u8 = 3;
const FAILED: u8 = 4;
const REQUEST: u8 = 5;

impl Finish {
    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Self::Stop => 0,
            Self::Length => 1,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Stop, Self::Length].into_iter().find(|finish| finish.to_byte() == byte)
    }
}

impl Failure {
    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Self::Request => 0,
            Self::TooLong => 1,
            Self::Model => 2,
            Self::Engine => 3,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        let all = [Self::Request, Self::TooLong, Self::Model, Self::Engine];
        all.into_iter().find(|failure| failure.to_byte() == byte)
    }
}

impl Frame {
    /// Sends the frame.
    ///
    /// # Errors
    /// When the stream fails.
    ///
    /// # Panics
    /// When a text is larger than [`MAX_FRAME`].
    pub fn write(&self, stream: &mut impl Write) -> io::Result<()> {
        let (kind, content) = match self {
            Self::Ready => (READY, Vec::new()),
            Self::Text(text) => {
                assert!(text.len() <= MAX_FRAME, "a piece of text is small");
                (TEXT, text.as_bytes().to_vec())
            }
            Self::Done(finish, Usage { prompt, completion }) => {
                (DONE, [&[finish.to_byte()][..], &prompt.to_le_bytes(), &completion.to_le_bytes()].concat())
            }
            Self::Failed(failure) => (FAILED, vec![failure.to_byte()]),
        };
        write(stream, kind, &content)
    }
}

/// Reads a frame of a worker.
///
/// # Errors
/// When the stream fails or ends, or what comes is no such frame.
pub fn read(stream: &mut impl Read) -> Result<Frame, FrameError> {
    let (kind, content) = read_any(stream, MAX_FRAME)?;
    match (kind, content.as_slice()) {
        (READY, []) => Ok(Frame::Ready),
        (TEXT, [_, ..]) => String::from_utf8(content).map(Frame::Text).map_err(|_| FrameError::Malformed),
        (DONE, &[finish, p0, p1, p2, p3, c0, c1, c2, c3]) => {
            let finish = Finish::from_byte(finish).ok_or(FrameError::Malformed)?;
            let (prompt, completion) = (u32::from_le_bytes([p0, p1, p2, p3]), u32::from_le_bytes([c0, c1, c2, c3]));
            Ok(Frame::Done(finish, Usage { prompt, completion }))
        }
        (FAILED, &[code]) => Failure::from_byte(code).map(Frame::Failed).ok_or(FrameError::Malformed),
        _ => Err(FrameError::Malformed),
    }
}

/// Sends a request to a worker.
///
/// # Errors
/// When the stream fails.
pub fn write_request(stream: &mut impl Write, request: &Request) -> io::Result<()> {
    write(stream, REQUEST, &request.to_json())
}

/// Reads the request, in the worker.
///
/// # Errors
/// When the stream fails or ends, or what comes is no request.
pub fn read_request(stream: &mut impl Read) -> Result<Request, FrameError> {
    match read_any(stream, MAX_ASKED)? {
        (REQUEST, content) => Request::parse_within(&content, MAX_ASKED).map_err(|_refusal| FrameError::Refused),
        _ => Err(FrameError::Malformed),
    }
}

fn write(stream: &mut impl Write, kind: u8, content: &[u8]) -> io::Result<()> {
    let size = u32::try_from(content.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&[kind][..], &size.to_le_bytes(), content].concat())?;
    stream.flush()
}

fn read_any(stream: &mut impl Read, limit: usize) -> Result<(u8, Vec<u8>), FrameError> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let [kind, size @ ..] = head;
    let size = u32::from_le_bytes(size) as usize;
    if size > limit {
        return Err(FrameError::Malformed);
    }
    let mut content = vec![0; size];
    stream.read_exact(&mut content)?;
    Ok((kind, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(frame: &Frame) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn frames_are_these_bytes() {
        let usage = Usage { prompt: 258, completion: 3 };
        for (frame, expected) in [
            (Frame::Ready, &b"\x01\0\0\0\0"[..]),
            (Frame::Text("é".into()), b"\x02\x02\0\0\0\xc3\xa9"),
            (Frame::Done(Finish::Stop, usage), b"\x03\x09\0\0\0\0\x02\x01\0\0\x03\0\0\0"),
            (Frame::Done(Finish::Length, usage), b"\x03\x09\0\0\0\x01\x02\x01\0\0\x03\0\0\0"),
            (Frame::Failed(Failure::Request), b"\x04\x01\0\0\0\0"),
            (Frame::Failed(Failure::TooLong), b"\x04\x01\0\0\0\x01"),
            (Frame::Failed(Failure::Model), b"\x04\x01\0\0\0\x02"),
            (Frame::Failed(Failure::Engine), b"\x04\x01\0\0\0\x03"),
        ] {
            assert_eq!(bytes(&frame), expected);
            assert!(read(&mut &expected[..]).unwrap() == frame);
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        let large = [&[TEXT][..], &u32::MAX.to_le_bytes(), b"x"].concat();
        let above = [&[TEXT][..], &(MAX_FRAME as u32 + 1).to_le_bytes(), &[b'x'; MAX_FRAME + 1]].concat();
        for other in [
            &b"\x00\0\0\0\0"[..],
            b"\x05\0\0\0\0",
            b"\x01\x01\0\0\0x",
            b"\x02\0\0\0\0",
            b"\x02\x01\0\0\0\xff",
            b"\x03\x09\0\0\0\x02\0\0\0\0\0\0\0\0",
            b"\x03\x08\0\0\0\0\0\0\0\0\0\0\0",
            b"\x04\x01\0\0\0\x04",
            b"\x04\0\0\0\0",
            &large,
            &above,
        ] {
            assert!(matches!(read(&mut &other[..]), Err(FrameError::Malformed)), "{other:?}");
        }
        let text = bytes(&Frame::Text("ab".into()));
        for end in 0..text.len() {
            assert!(matches!(read(&mut &text[..end]), Err(FrameError::Io(_))), "{end}");
        }
    }

    #[test]
    fn a_worker_reads_requests_and_nothing_else() {
        let body = br#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;
        let request = Request::parse(body).unwrap();
        let mut sent = Vec::new();
        write_request(&mut sent, &request).unwrap();
        assert!(read_request(&mut &sent[..]).unwrap() == request);
        let frame = |kind: u8, content: &[u8]| {
            let mut bytes = Vec::new();
            write(&mut bytes, kind, content).unwrap();
            bytes
        };
        assert!(matches!(read_request(&mut &frame(TEXT, body)[..]), Err(FrameError::Malformed)));
        assert!(matches!(read_request(&mut &frame(REQUEST, b"{}")[..]), Err(FrameError::Refused)));
        let large = frame(REQUEST, &vec![b' '; MAX_ASKED + 1]);
        assert!(matches!(read_request(&mut &large[..]), Err(FrameError::Malformed)));
    }

    #[test]
    fn the_largest_request_reaches_the_worker() {
        let (begin, end) = (r#"{"model":"m","messages":[{"role":"user","content":""#, r#""}]}"#);
        let room = MAX_BODY - begin.len() - end.len();
        let body = format!("{begin}{}{}{end}", r"\u0001".repeat(room / 6), "x".repeat(room % 6));
        let request = Request::parse(body.as_bytes()).unwrap();
        let mut sent = Vec::new();
        write_request(&mut sent, &request).unwrap();
        assert!(sent.len() > MAX_BODY && read_request(&mut sent.as_slice()).unwrap() == request);
    }
}
