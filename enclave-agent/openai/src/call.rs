//! What is said in a session: a call is the content of a channel's request, and its reply is a series of pieces
//! (docs/formats.md, "Calls").

use crate::frame::{Failure, Finish, MAX_FRAME, Usage};

/// Most bytes of a piece's content.
pub const MAX_PIECE: usize = MAX_FRAME;

/// What a client asks of the agent. There is no `Debug`: it holds what the user wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    /// What it is about.
    pub route: Route,
    /// Present if a receipt is wanted, which [`Route::Chat`] alone has: what its hashes are salted with.
    pub salt: Option<[u8; 32]>,
    /// For [`Route::Chat`] the JSON that [`Request::parse`](crate::Request::parse) reads, for [`Route::Models`] nothing.
    pub body: Vec<u8>,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// OpenAI's `/v1/chat/completions`.
    Chat,
    /// OpenAI's `/v1/models`.
    Models,
}

/// A part of a reply. A whole reply is any number of [`Text`](Self::Text)s, then [`Done`](Self::Done), then a
/// [`Receipt`](Self::Receipt) if one was wanted; or any number of texts, then [`Failed`](Self::Failed); or one of the
/// other kinds alone. There is no `Debug`: it holds what the model wrote.
#[derive(Clone, PartialEq, Eq)]
pub enum Piece {
    /// The next text of the answer: not empty.
    Text(String),
    /// The answer is complete.
    Done(Finish, Usage),
    /// The signed receipt: `channel::receipt` reads it.
    Receipt(Vec<u8>),
    /// The models that there are, as OpenAI's JSON.
    Models(Vec<u8>),
    /// Nothing was done, because of what was asked: OpenAI's JSON of the error, which may quote the request.
    Refused(Vec<u8>),
    /// There is no answer, or no more of it.
    Failed(Failure),
    /// Nothing was done, because there is too much else to do.
    Busy,
}

/// Bytes that are no call, or no series of pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a call or the pieces of its reply, found other bytes")]
pub struct Malformed;

const CHAT: u8 = 1;
const MODELS: u8 = 2;

const TEXT: u8 = 1;
const DONE: u8 = 2;
const RECEIPT: u8 = 3;
const LIST: u8 = 4;
const REFUSED: u8 = 5;
const FAILED: u8 = 6;
const BUSY: u8 = 7;

impl Call {
    /// The content of the channel's request.
    pub fn to_bytes(&self) -> Vec<u8> {
        let route = match self.route {
            Route::Chat => CHAT,
            Route::Models => MODELS,
        };
        let head = [route, self.salt.is_some().into()];
        [&head[..], self.salt.as_ref().map_or(&[], |salt| &salt[..]), &self.body].concat()
    }

    /// Reads the content of a channel's request. How long a chat's body may be is for
    /// [`Request::parse`](crate::Request::parse) to say.
    ///
    /// # Errors
    /// For anything that is not the form of a call.
    pub fn parse(content: &[u8]) -> Result<Self, Malformed> {
        let (salt, body) = match content {
            [_, 0, body @ ..] => (None, body),
            [_, 1, rest @ ..] => rest.split_first_chunk().map(|(salt, body)| (Some(*salt), body)).ok_or(Malformed)?,
            _ => return Err(Malformed),
        };
        let route = match content {
            [CHAT, ..] => Route::Chat,
            [MODELS, ..] if salt.is_none() && body.is_empty() => Route::Models,
            _ => return Err(Malformed),
        };
        Ok(Self { route, salt, body: body.to_vec() })
    }
}

impl Piece {
    /// Appends the piece's bytes to a reply.
    ///
    /// # Panics
    /// When the content is longer than [`MAX_PIECE`].
    pub fn write(&self, reply: &mut Vec<u8>) {
        let (kind, content) = match self {
            Self::Text(text) => (TEXT, text.as_bytes()),
            Self::Done(finish, Usage { prompt, completion }) => {
                let counts = [prompt.to_be_bytes(), completion.to_be_bytes()].concat();
                return piece(reply, DONE, &[&[finish.to_byte()], &counts[..]].concat());
            }
            Self::Receipt(receipt) => (RECEIPT, receipt.as_slice()),
            Self::Models(json) => (LIST, json.as_slice()),
            Self::Refused(json) => (REFUSED, json.as_slice()),
            Self::Failed(failure) => (FAILED, &[failure.to_byte()][..]),
            Self::Busy => (BUSY, &[][..]),
        };
        piece(reply, kind, content);
    }

    fn parse(kind: u8, content: Vec<u8>) -> Result<Self, Malformed> {
        match (kind, content.as_slice()) {
            (TEXT, [_, ..]) => String::from_utf8(content).map(Self::Text).map_err(|_| Malformed),
            (DONE, &[finish, p0, p1, p2, p3, c0, c1, c2, c3]) => {
                let finish = Finish::from_byte(finish).ok_or(Malformed)?;
                let (prompt, completion) = (u32::from_be_bytes([p0, p1, p2, p3]), u32::from_be_bytes([c0, c1, c2, c3]));
                Ok(Self::Done(finish, Usage { prompt, completion }))
            }
            (RECEIPT, [_, ..]) => Ok(Self::Receipt(content)),
            (LIST, [_, ..]) => Ok(Self::Models(content)),
            (REFUSED, [_, ..]) => Ok(Self::Refused(content)),
            (FAILED, &[code]) => Failure::from_byte(code).map(Self::Failed).ok_or(Malformed),
            (BUSY, []) => Ok(Self::Busy),
            _ => Err(Malformed),
        }
    }
}

fn piece(reply: &mut Vec<u8>, kind: u8, content: &[u8]) {
    assert!(content.len() <= MAX_PIECE, "a piece is small");
    let size = content.len() as u16;
    reply.push(kind);
    reply.extend_from_slice(&size.to_be_bytes());
    reply.extend_from_slice(content);
}

/// Reads a reply as it comes.
#[derive(Default)]
pub struct Pieces {
    /// The beginning of a piece whose end has not come.
    held: Vec<u8>,
    next: Next,
}

/// What may come next.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Anything,
    /// A text, or what ends an answer.
    Text,
    /// A receipt or nothing.
    Receipt,
    Nothing,
}

impl Pieces {
    /// Takes some more of the reply; gives the pieces that are whole now.
    ///
    /// # Errors
    /// When it is no such series of pieces. What is pushed after that is refused, too.
    pub fn push(&mut self, content: &[u8]) -> Result<Vec<Piece>, Malformed> {
        self.held.extend_from_slice(content);
        let pieces = self.take();
        if pieces.is_err() {
            (self.held, self.next) = (vec![0], Next::Nothing);
        }
        pieces
    }

    fn take(&mut self) -> Result<Vec<Piece>, Malformed> {
        let (mut pieces, mut rest) = (Vec::new(), self.held.as_slice());
        while let [kind, high, low, behind @ ..] = rest {
            let size = usize::from(u16::from_be_bytes([*high, *low]));
            if !(TEXT..=BUSY).contains(kind) || size > MAX_PIECE {
                return Err(Malformed);
            }
            let Some((content, behind)) = behind.split_at_checked(size) else { break };
            let piece = Piece::parse(*kind, content.to_vec())?;
            self.next = self.next.after(&piece)?;
            pieces.push(piece);
            rest = behind;
        }
        self.held = rest.to_vec();
        Ok(pieces)
    }

    /// To be asked when the channel says that the reply is complete.
    ///
    /// # Errors
    /// When the pieces are not.
    pub fn end(&self) -> Result<(), Malformed> {
        let whole = matches!(self.next, Next::Receipt | Next::Nothing);
        (whole && self.held.is_empty()).then_some(()).ok_or(Malformed)
    }
}

impl Next {
    fn after(self, piece: &Piece) -> Result<Self, Malformed> {
        match (self, piece) {
            (Self::Anything | Self::Text, Piece::Text(_)) => Ok(Self::Text),
            (Self::Anything | Self::Text, Piece::Done(..)) => Ok(Self::Receipt),
            (Self::Anything | Self::Text, Piece::Failed(_)) => Ok(Self::Nothing),
            (Self::Anything, Piece::Models(_) | Piece::Refused(_) | Piece::Busy) => Ok(Self::Nothing),
            (Self::Receipt, Piece::Receipt(_)) => Ok(Self::Nothing),
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(pieces: &[Piece]) -> Vec<u8> {
        let mut reply = Vec::new();
        pieces.iter().for_each(|piece| piece.write(&mut reply));
        reply
    }

    /// The pieces of a reply that comes in parts of this size, if it is whole.
    fn read(reply: &[u8], size: usize) -> Result<Vec<Piece>, Malformed> {
        let (mut reader, mut pieces) = (Pieces::default(), Vec::new());
        for part in reply.chunks(size) {
            pieces.extend(reader.push(part)?);
        }
        reader.end().map(|()| pieces)
    }

    #[test]
    fn calls_are_these_bytes() {
        let salted = [&[1, 1][..], &[7; 32], b"{}"].concat();
        for (route, salt, body, expected) in [
            (Route::Chat, None, &b"{}"[..], &b"\x01\0{}"[..]),
            (Route::Chat, None, b"", b"\x01\0"),
            (Route::Chat, Some([7; 32]), b"{}", &salted),
            (Route::Models, None, b"", b"\x02\0"),
        ] {
            let call = Call { route, salt, body: body.to_vec() };
            assert_eq!(call.to_bytes(), expected);
            assert!(Call::parse(expected) == Ok(call));
        }
        let models = [&[2, 1][..], &[7; 32]].concat();
        for other in [&b""[..], b"\x01", b"\0\0", b"\x03\0", b"\x01\x02{}", &salted[..33], b"\x02\0{", &models] {
            assert!(Call::parse(other) == Err(Malformed), "{other:?}");
        }
    }

    #[test]
    fn pieces_are_these_bytes_however_they_come() {
        let usage = Usage { prompt: 258, completion: 3 };
        for (pieces, expected) in [
            (vec![Piece::Done(Finish::Stop, usage)], &b"\x02\0\x09\0\0\0\x01\x02\0\0\0\x03"[..]),
            (
                vec![Piece::Text("é".into()), Piece::Done(Finish::Length, usage), Piece::Receipt(b"r".to_vec())],
                b"\x01\0\x02\xc3\xa9\x02\0\x09\x01\0\0\x01\x02\0\0\0\x03\x03\0\x01r",
            ),
            (vec![Piece::Models(b"[]".to_vec())], b"\x04\0\x02[]"),
            (vec![Piece::Refused(b"{}".to_vec())], b"\x05\0\x02{}"),
            (vec![Piece::Failed(Failure::Request)], b"\x06\0\x01\0"),
            (vec![Piece::Text("a".into()), Piece::Failed(Failure::Engine)], b"\x01\0\x01a\x06\0\x01\x03"),
            (vec![Piece::Busy], b"\x07\0\0"),
        ] {
            assert_eq!(bytes(&pieces), expected);
            for size in 1..=expected.len() {
                assert!(read(expected, size) == Ok(pieces.clone()), "{expected:?} {size}");
            }
            for end in 0..expected.len() {
                let cut = read(&expected[..end], end.max(1));
                // Without its receipt an answer is complete, too.
                assert!(cut == Err(Malformed) || cut == Ok(pieces[..2.min(pieces.len())].to_vec()), "{end}");
            }
        }
        let longest = [Piece::Text("x".repeat(MAX_PIECE)), Piece::Failed(Failure::Model)];
        assert!(read(&bytes(&longest), 1000) == Ok(longest.to_vec()));
    }

    #[test]
    fn other_bytes_are_refused() {
        let done = b"\x02\0\x09\0\0\0\0\0\0\0\0\0";
        let above = [&[TEXT][..], &(MAX_PIECE as u16 + 1).to_be_bytes()].concat();
        for other in [
            &b"\0\0\0"[..],
            b"\x08\0\0",
            b"\x01\0\0",
            b"\x01\0\x01\xff",
            b"\x02\0\x09\x02\0\0\0\0\0\0\0\0",
            b"\x02\0\x08\0\0\0\0\0\0\0\0",
            b"\x03\0\x01r",
            b"\x04\0\0",
            b"\x05\0\0",
            b"\x06\0\0",
            b"\x06\0\x01\x04",
            b"\x07\0\x01\0",
            b"\x07\0\0\x07\0\0",
            b"\x01\0\x01a\x07\0\0",
            b"\x01\0\x01a\x05\0\x01a",
            &above,
            &[&done[..], done].concat(),
            &[&done[..], b"\x01\0\x01a"].concat(),
            &[&done[..], b"\x03\0\0"].concat(),
            &[&done[..], b"\x03\0\x01r\x03\0\x01r"].concat(),
        ] {
            let mut reader = Pieces::default();
            assert!(reader.push(other) == Err(Malformed), "{other:?}");
            assert!(reader.push(done) == Err(Malformed) && reader.end() == Err(Malformed), "{other:?}");
        }
        assert!(read(b"", 1) == Err(Malformed));
    }
}
