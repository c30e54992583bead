//! What the host sends on its two ports, for both sides: frames, each by itself, one after the other. Who begins to read in
//! the middle of one finds the next by its label.
//!
//! ```
//! use attest::frame::{FEED, Reader};
//!
//! let mut sent = FEED.frame(b"old")?;
//! sent.extend(FEED.frame(b"new")?);
//! let mut reader = Reader::new(&FEED);
//! assert_eq!(reader.push(&sent[3..]), Some(b"new".to_vec()));
//! # Ok::<(), attest::frame::TooLong>(())
//! ```

use crate::{MAX_FEED, MAX_OPERATOR};

/// A virtio-serial port on which the host sends and the guest reads.
#[derive(Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in the guest.
    pub name: &'static str,
    /// What every frame begins with.
    label: &'static [u8],
    /// Most bytes in a frame.
    pub limit: usize,
}

/// The operator document.
pub const OPERATOR: Port = Port { name: "vitrine.operator", label: b"vitrine/operator/1\0", limit: MAX_OPERATOR };

/// The feed, the newest of which counts.
pub const FEED: Port = Port { name: "vitrine.feed", label: b"vitrine/feed/1\0", limit: MAX_FEED };

/// Bytes of a length, big-endian.
const LENGTH: usize = 4;

/// More than a frame can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("port {port}: expected at most {limit} bytes, found {found}")]
pub struct TooLong {
    port: &'static str,
    limit: usize,
    found: usize,
}

impl Port {
    /// The frame that holds these bytes.
    ///
    /// # Errors
    /// When they are more than [`Self::limit`].
    pub fn frame(&self, bytes: &[u8]) -> Result<Vec<u8>, TooLong> {
        let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= self.limit);
        let length = length.ok_or(TooLong { port: self.name, limit: self.limit, found: bytes.len() })?;
        Ok([self.label, &length.to_be_bytes(), bytes].concat())
    }
}

/// Finds whole frames in what comes, whatever else comes. It keeps at most one frame and what was pushed last.
#[derive(Debug)]
pub struct Reader {
    port: &'static Port,
    kept: Vec<u8>,
}

impl Reader {
    /// Before anything has come on `port`.
    pub fn new(port: &'static Port) -> Self {
        Self { port, kept: Vec::new() }
    }

    /// What has come next; gives the last frame that is whole now and was not before.
    pub fn push(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.kept.extend_from_slice(bytes);
        let mut rest = self.kept.as_slice();
        let mut newest = None;
        loop {
            rest = self.port.skip_to_label(rest);
            let Some((length, behind)) =
                rest.strip_prefix(self.port.label).and_then(<[u8]>::split_first_chunk::<LENGTH>)
            else {
                break;
            };
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            if length > self.port.limit {
                // No frame. What it claims to hold is not waited for.
                rest = behind;
            } else if let Some((body, behind)) = behind.split_at_checked(length) {
                newest = Some(body.to_vec());
                rest = behind;
            } else {
                break;
            }
        }
        self.kept = rest.to_vec();
        newest
    }
}

impl Port {
    /// What is left from where a label begins, whole or as far as the bytes go.
    fn skip_to_label<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let mut tails = (0..=bytes.len()).filter_map(|at| bytes.get(at..));
        tails.find(|tail| tail.starts_with(self.label) || self.label.starts_with(tail)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_these_bytes() {
        assert_eq!(OPERATOR.frame(b"ab"), Ok(b"vitrine/operator/1\0\0\0\0\x02ab".to_vec()));
        assert_eq!(FEED.frame(b""), Ok(b"vitrine/feed/1\0\0\0\0\0".to_vec()));
        for port in [&OPERATOR, &FEED] {
            let full = port.frame(&vec![1; port.limit]).unwrap();
            assert_eq!(Reader::new(port).push(&full), Some(vec![1; port.limit]));
            let found = port.limit + 1;
            assert_eq!(port.frame(&vec![1; found]), Err(TooLong { port: port.name, limit: port.limit, found }));
        }
    }

    #[test]
    fn however_it_is_cut_the_whole_frames_are_found() {
        let frames = [&b"one"[..], b"", b"three vitrine/feed", &[b'v'; 70]];
        let framed: Vec<Vec<u8>> = frames.iter().map(|frame| FEED.frame(frame).unwrap()).collect();
        let other = OPERATOR.frame(b"of another port").unwrap();
        let long = [FEED.label, &(MAX_FEED as u32 + 1).to_be_bytes()].concat();
        let torn = &framed[0][..framed[0].len() - 1];
        for (name, between) in [
            ("nothing", &b""[..]),
            ("noise", b"vitrine/feed/2\0\0\0\0\x01x"),
            ("half a label", b"vitrine/vitrine/fee"),
            ("another port's", &other),
            ("one that is too long", &long),
            ("one that ends early, so that the next begins within it", b""),
        ] {
            let parts: Vec<&[u8]> = framed.iter().flat_map(|frame| [between, frame]).collect();
            let sent = parts.concat();
            for size in [1, 2, 7, 19, 4096] {
                let mut reader = Reader::new(&FEED);
                let found: Vec<_> = sent.chunks(size).filter_map(|chunk| reader.push(chunk)).collect();
                if size == 1 {
                    assert_eq!(found, frames, "{name}");
                }
                assert_eq!(found.last().map(Vec::as_slice), frames.last().copied(), "{name}, {size} at a time");
                assert_eq!(reader.kept, b"", "{name}");
            }
        }
        // A frame that ends early takes its bytes from the next, and the one after that is whole again.
        let sent = [torn, &framed[3], &framed[0], &framed[2]].concat();
        assert_eq!(Reader::new(&FEED).push(&sent), Some(frames[2].to_vec()));
    }

    #[test]
    fn endless_bytes_are_not_kept() {
        let mut reader = Reader::new(&OPERATOR);
        for _ in 0..100 {
            assert_eq!(reader.push(&[b'v'; 4096]), None);
            assert!(reader.kept.len() < OPERATOR.label.len());
        }
        let open = [OPERATOR.label, &(MAX_OPERATOR as u32).to_be_bytes()].concat();
        for _ in 0..100 {
            reader.push(&open);
            assert!(reader.kept.len() <= OPERATOR.label.len() + LENGTH + MAX_OPERATOR);
        }
    }
}
