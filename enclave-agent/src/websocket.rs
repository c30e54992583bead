//! The part of WebSocket (RFC 6455) that sessions need, as a server: binary messages of a limited size, pings, an end.
//! Bytes in, events out. A connection on which nothing comes holds no buffer, which no library offers: those keep the
//! largest message they have sent, and 64 KiB of evidence is the first thing that every session is sent.

use base64ct::{Base64, Encoding as _};
use channel::SUBPROTOCOL;
use hyper::HeaderMap;
use hyper::header::{self, HeaderName, HeaderValue};
use sha1::{Digest as _, Sha1};

/// Bytes of the largest message from a client.
pub const MAX_MESSAGE: usize = channel::shape::LARGEST;
/// Bytes of the largest control frame's content (RFC 6455, 5.5).
const MAX_CONTROL: usize = 125;
/// Bytes of the longest head of a frame.
const MAX_HEAD: usize = 14;
/// What a client's key is hashed with (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// More of a message.
    Continuation = 0,
    /// A message, or its beginning.
    Binary = 2,
    /// The last.
    Close = 8,
    /// To be answered.
    Ping = 9,
    /// The answer.
    Pong = 10,
}

/// What has come.
#[derive(PartialEq, Eq)]
pub enum Event {
    /// A whole binary message.
    Message(Vec<u8>),
    /// To be answered with the same content.
    Ping(Vec<u8>),
    /// An answer to a ping, or something of that form.
    Pong,
    /// There will be no more.
    Close,
}

/// What came is not what a client may send here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a frame of a binary message")]
pub struct Violation;

/// Finds messages in what a client sends.
#[derive(Default)]
pub struct Reader {
    /// The beginning of a frame's head.
    start: Vec<u8>,
    /// The frame that is being received, and its content so far.
    frame: Option<(Head, Vec<u8>)>,
    /// The frames so far of a message that comes in several.
    message: Option<Vec<u8>>,
}

struct Head {
    last: bool,
    opcode: Opcode,
    mask: [u8; 4],
    length: usize,
}

impl Reader {
    /// Takes bytes from the front of `bytes` until something has come or there are no more. A message has at most `most`
    /// bytes.
    ///
    /// # Errors
    /// [`Violation`], after which the connection is to be closed.
    pub fn next(&mut self, bytes: &mut &[u8], most: usize) -> Result<Option<Event>, Violation> {
        loop {
            let Some((head, content)) = &mut self.frame else {
                let Some((byte, rest)) = bytes.split_first() else { return Ok(None) };
                *bytes = rest;
                self.start.push(*byte);
                if let Some(head) = Head::parse(&self.start, self.message.as_deref(), most)? {
                    self.start = Vec::new();
                    let content = Vec::with_capacity(head.length);
                    self.frame = Some((head, content));
                }
                continue;
            };
            let missing = head.length.saturating_sub(content.len());
            let (more, rest) = bytes.split_at(missing.min(bytes.len()));
            content.extend_from_slice(more);
            *bytes = rest;
            if content.len() < head.length {
                return Ok(None);
            }
            let Some((head, mut content)) = self.frame.take() else { return Ok(None) };
            content.iter_mut().zip(head.mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
            if let Some(event) = self.event(&head, content, most) {
                return Ok(Some(event));
            }
        }
    }

    /// Whether something has begun to come and is not whole yet.
    pub fn is_receiving(&self) -> bool {
        !self.start.is_empty() || self.frame.is_some() || self.message.is_some()
    }

    /// Bytes that are held of it: at most those of two messages and of a frame's head.
    pub fn held(&self) -> usize {
        let frame = self.frame.as_ref().map_or(0, |(_, content)| content.capacity());
        let message = self.message.as_ref().map_or(0, Vec::capacity);
        self.start.capacity().saturating_add(frame).saturating_add(message)
    }

    fn event(&mut self, head: &Head, content: Vec<u8>, most: usize) -> Option<Event> {
        match head.opcode {
            Opcode::Close => return Some(Event::Close),
            Opcode::Ping => return Some(Event::Ping(content)),
            Opcode::Pong => return Some(Event::Pong),
            Opcode::Binary | Opcode::Continuation => {}
        }
        let message = match self.message.take() {
            Some(mut message) => {
                // All at once, so that nobody has it copied for each of very many frames.
                message.reserve_exact(most.saturating_sub(message.len()));
                message.extend_from_slice(&content);
                message
            }
            None => content,
        };
        if head.last {
            return Some(Event::Message(message));
        }
        self.message = Some(message);
        None
    }
}

impl Head {
    /// Reads a head, if it is whole. `message` is what has come of a message in several frames, of at most `most` bytes.
    fn parse(start: &[u8], message: Option<&[u8]>, most: usize) -> Result<Option<Self>, Violation> {
        let [first, second, rest @ ..] = start else { return Ok(None) };
        // The reserved bits have no meaning without an extension, and a client masks what it sends.
        if first & 0x70 != 0 || second & 0x80 == 0 {
            return Err(Violation);
        }
        let behind_length = match second & 0x7f {
            126 => rest.split_first_chunk().map(|(length, mask)| (u16::from_be_bytes(*length).into(), mask)),
            127 => rest.split_first_chunk().map(|(length, mask)| (u64::from_be_bytes(*length), mask)),
            length => Some((length.into(), rest)),
        };
        let Some((length, mask)) = behind_length else { return Ok(None) };
        let shortest = match second & 0x7f {
            126 => length > 125,
            127 => length > u16::MAX.into(),
            _ => true,
        };
        let Ok(mask) = mask.try_into() else { return Ok(None) };
        let length = usize::try_from(length).map_err(|_| Violation)?;
        let known = [Opcode::Continuation, Opcode::Binary, Opcode::Close, Opcode::Ping, Opcode::Pong];
        let opcode = known.into_iter().find(|known| *known as u8 == first & 0x0f).ok_or(Violation)?;
        let last = first & 0x80 != 0;
        let fits = match (opcode, message) {
            (Opcode::Binary, None) => length <= most,
            (Opcode::Continuation, Some(message)) => length.saturating_add(message.len()) <= most,
            (Opcode::Binary, Some(_)) | (Opcode::Continuation, None) => false,
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => last && length <= MAX_CONTROL,
        };
        (shortest && fits).then_some(Some(Self { last, opcode, mask, length })).ok_or(Violation)
    }
}

/// A frame with all of a message, to a client.
pub fn frame(opcode: Opcode, content: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(MAX_HEAD.saturating_add(content.len()));
    frame.push(0x80 | opcode as u8);
    match (u8::try_from(content.len()), u16::try_from(content.len())) {
        (Ok(length @ ..126), _) => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(content.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(content);
    frame
}

/// The fields of the answer to a request for a WebSocket on which the subprotocol is spoken; `None` if it is none.
pub(crate) fn accept(request: &HeaderMap) -> Option<[(HeaderName, HeaderValue); 4]> {
    let has = |name: HeaderName, word: &str| {
        let values = request.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|found| found.trim().eq_ignore_ascii_case(word))
    };
    let wanted = has(header::CONNECTION, "upgrade")
        && has(header::UPGRADE, "websocket")
        && has(header::SEC_WEBSOCKET_VERSION, "13")
        && has(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
    let key = request.get(header::SEC_WEBSOCKET_KEY)?.as_bytes();
    if !wanted || Base64::decode(key, &mut [0; 16]).map(<[u8]>::len) != Ok(16) {
        return None;
    }
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let accept = HeaderValue::from_str(&Base64::encode_string(&digest)).ok()?;
    Some([
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
        (header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as a client sends it.
    fn masked(first: u8, content: &[u8]) -> Vec<u8> {
        let mut sent = frame(Opcode::Binary, content);
        let head = sent.len() - content.len();
        (sent[0], sent[1]) = (first, sent[1] | 0x80);
        let mask = [1, 2, 3, 4];
        sent[head..].iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        sent.splice(head..head, mask);
        sent
    }

    /// What comes of bytes in parts of this size: kinds and contents.
    fn read(sent: &[u8], size: usize) -> Result<Vec<(char, Vec<u8>)>, Violation> {
        let (mut reader, mut events) = (Reader::default(), Vec::new());
        for mut part in sent.chunks(size) {
            while let Some(event) = reader.next(&mut part, MAX_MESSAGE)? {
                events.push(match event {
                    Event::Message(content) => ('m', content),
                    Event::Ping(content) => ('i', content),
                    Event::Pong => ('o', Vec::new()),
                    Event::Close => ('c', Vec::new()),
                });
            }
            assert!(part.is_empty());
        }
        Ok(events)
    }

    #[test]
    fn messages_come_whole_however_they_are_sent() {
        let text = |length: usize| vec![b'x'; length];
        for (frames, expected) in [
            (vec![masked(0x82, b"one"), masked(0x82, b"")], vec![('m', b"one".to_vec()), ('m', vec![])]),
            (vec![masked(0x82, &text(125))], vec![('m', text(125))]),
            (vec![masked(0x82, &text(126))], vec![('m', text(126))]),
            (vec![masked(0x82, &text(MAX_MESSAGE))], vec![('m', text(MAX_MESSAGE))]),
            (
                vec![masked(0x02, b"a"), masked(0x89, b"ping"), masked(0x00, b""), masked(0x80, b"b")],
                vec![('i', b"ping".to_vec()), ('m', b"ab".to_vec())],
            ),
            (vec![masked(0x8a, &text(125)), masked(0x88, b"\x03\xe8")], vec![('o', vec![]), ('c', vec![])]),
            (vec![masked(0x02, &text(MAX_MESSAGE)), masked(0x80, b"")], vec![('m', text(MAX_MESSAGE))]),
        ] {
            let sent = frames.concat();
            for size in [1, 2, 3, 7, sent.len()] {
                assert!(read(&sent, size) == Ok(expected.clone()), "{size}");
            }
        }
    }

    #[test]
    fn everything_else_is_a_violation() {
        let unmasked = frame(Opcode::Binary, b"x");
        let not_shortest = [0x82, 0x80 | 126, 0, 125, 0, 0, 0, 0];
        let not_shortest_either = [&[0x82, 0x80 | 127][..], &65_535_u64.to_be_bytes(), &[0; 4]].concat();
        let endless = [&[0x82, 0x80 | 127][..], &[0xff; 12]].concat();
        for (name, sent) in [
            ("text", masked(0x81, b"x")),
            ("unknown", masked(0x83, b"")),
            ("unknown control", masked(0x8b, b"")),
            ("reserved bit", masked(0xc2, b"")),
            ("not masked", unmasked),
            ("a byte too long", masked(0x82, &vec![0; MAX_MESSAGE + 1])),
            ("a byte too long, in two", [masked(0x02, &vec![0; MAX_MESSAGE]), masked(0x80, b"x")].concat()),
            ("more than memory", endless),
            ("length in more bytes than it needs", not_shortest.to_vec()),
            ("the same with eight", not_shortest_either),
            ("long ping", masked(0x89, &[0; MAX_CONTROL + 1])),
            ("ping in two", masked(0x09, b"")),
            ("a message within another", [masked(0x02, b"a"), masked(0x82, b"b")].concat()),
            ("the end of nothing", masked(0x80, b"x")),
        ] {
            for size in [1, sent.len()] {
                assert!(read(&sent, size) == Err(Violation), "{name}");
            }
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_nothing_is_between_messages() {
        let sent = [masked(0x02, &[0; 9000]), masked(0x00, &[0; 5000]), masked(0x80, &[0; 2000])].concat();
        let mut reader = Reader::default();
        for (at, byte) in sent.iter().enumerate() {
            let event = reader.next(&mut &[*byte][..], 16_000);
            assert!(at + 1 == sent.len() || event == Ok(None));
            assert!(reader.held() <= 2 * 16_000 + 2 * MAX_HEAD, "{} bytes after {at}", reader.held());
            assert_eq!(reader.is_receiving(), at + 1 < sent.len());
        }
        assert_eq!(reader.held(), 0);
    }

    #[test]
    fn a_message_has_as_many_bytes_as_it_may() {
        for (most, frames, fits) in [
            (5, vec![masked(0x82, b"12345")], true),
            (5, vec![masked(0x82, b"123456")], false),
            (5, vec![masked(0x02, b"123"), masked(0x80, b"45")], true),
            (5, vec![masked(0x02, b"123"), masked(0x80, b"456")], false),
            // What is no message has its own limit.
            (5, vec![masked(0x89, &[0; MAX_CONTROL])], true),
        ] {
            assert_eq!(Reader::default().next(&mut &frames.concat()[..], most).is_ok(), fits);
        }
    }

    #[test]
    fn answers_are_those_of_the_specification() {
        // RFC 6455, 1.3, but for the subprotocol.
        let fields = |change: (&'static str, &'static str)| {
            let mut fields = HeaderMap::new();
            for (name, value) in [
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-protocol", "chat, vitrine.v1"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
                change,
            ] {
                fields.insert(name, HeaderValue::from_static(value));
            }
            fields
        };
        let answer = accept(&fields(("origin", "https://example.org"))).unwrap();
        let accepted = answer.iter().find(|(name, _)| name == header::SEC_WEBSOCKET_ACCEPT).unwrap();
        assert_eq!(accepted.1, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for change in [
            ("connection", "close"),
            ("upgrade", "h2c"),
            ("sec-websocket-version", "12"),
            ("sec-websocket-protocol", "vitrine.v2"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25j"),
            ("sec-websocket-key", ""),
        ] {
            assert!(accept(&fields(change)).is_none(), "{change:?}");
        }
    }
}
