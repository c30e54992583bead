//! What a guest and the simulated secure processor say to each other on virtio-serial port `vitrine.sim`
//! (docs/formats.md, "Simulated secure processor"). Every message has one size and one form, so neither side ever
//! allocates or waits for what the other one claims.
//!
//! ```
//! use simulate_port::{Answer, Request};
//!
//! let request = Request { report_data: [0xd4; 64] };
//! assert_eq!(Request::parse(&request.to_bytes()), Ok(request));
//! assert_eq!(Answer::parse(&Answer::Refused.to_bytes()), Ok(Answer::Refused));
//! ```

/// The port's name in the guest.
pub const NAME: &str = "vitrine.sim";

/// Bytes of an attestation report (AMD 56860, "ATTESTATION_REPORT structure").
pub const REPORT: usize = 0x4a0;

/// Bytes of a request.
pub const REQUEST: usize = HEAD + 64;

/// Bytes of an answer.
pub const ANSWER: usize = HEAD + REPORT;

/// What every message begins with.
const LABEL: [u8; 14] = *b"vitrine/sim/1\0";

/// The label, what the message is, and a byte that is zero.
const HEAD: usize = LABEL.len() + 2;

/// What the message is, behind the label.
const ASKED: u8 = 1;
const MADE: u8 = 2;
const REFUSED: u8 = 3;

/// Asks for a report of VMPL 0 with this data. There is nothing else to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// REPORT_DATA.
    pub report_data: [u8; 64],
}

/// What comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and most are reports")]
pub enum Answer {
    /// The report. Whether it is of the data that was asked for is for the reader to check, who may find an answer to
    /// somebody before them.
    Report([u8; REPORT]),
    /// What came was no request. The processor closes the connection after this.
    Refused,
}

/// Bytes that are no message of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a message of {}, found other bytes", NAME)]
pub struct Malformed;

impl Request {
    /// The message.
    pub fn to_bytes(&self) -> [u8; REQUEST] {
        message(ASKED, &self.report_data)
    }

    /// Reads a message.
    ///
    /// # Errors
    /// When it is any other than [`Self::to_bytes`] makes.
    pub fn parse(message: &[u8; REQUEST]) -> Result<Self, Malformed> {
        match parts(message)? {
            (ASKED, body) => Ok(Self { report_data: *body }),
            _ => Err(Malformed),
        }
    }
}

impl Answer {
    /// The message.
    pub fn to_bytes(&self) -> [u8; ANSWER] {
        match self {
            Self::Report(report) => message(MADE, report),
            Self::Refused => message(REFUSED, &[0; REPORT]),
        }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// When it is any other than [`Self::to_bytes`] makes.
    pub fn parse(message: &[u8; ANSWER]) -> Result<Self, Malformed> {
        match parts(message)? {
            (MADE, report) => Ok(Self::Report(*report)),
            (REFUSED, nothing) if *nothing == [0; REPORT] => Ok(Self::Refused),
            _ => Err(Malformed),
        }
    }
}

fn message<const BODY: usize, const SIZE: usize>(kind: u8, body: &[u8; BODY]) -> [u8; SIZE] {
    const { assert!(SIZE == HEAD + BODY) };
    let mut message = [0; SIZE];
    let (head, rest) = message.split_at_mut(HEAD);
    head[..LABEL.len()].copy_from_slice(&LABEL);
    head[LABEL.len()] = kind;
    rest.copy_from_slice(body);
    message
}

/// What the message is, and its body.
fn parts<const BODY: usize, const SIZE: usize>(message: &[u8; SIZE]) -> Result<(u8, &[u8; BODY]), Malformed> {
    const { assert!(SIZE == HEAD + BODY) };
    let (label, rest) = message.split_first_chunk().ok_or(Malformed)?;
    let ([kind, 0], body) = rest.split_first_chunk().ok_or(Malformed)? else { return Err(Malformed) };
    if *label != LABEL {
        return Err(Malformed);
    }
    Ok((*kind, body.first_chunk().ok_or(Malformed)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_these_bytes() {
        let request = Request { report_data: [0xd4; 64] }.to_bytes();
        assert_eq!((&request[..16], &request[16..]), (&b"vitrine/sim/1\0\x01\0"[..], &[0xd4; 64][..]));
        let report = Answer::Report([7; REPORT]).to_bytes();
        assert_eq!((&report[..16], &report[16..]), (&b"vitrine/sim/1\0\x02\0"[..], &[7; REPORT][..]));
        let refused = Answer::Refused.to_bytes();
        assert_eq!((&refused[..16], &refused[16..]), (&b"vitrine/sim/1\0\x03\0"[..], &[0; REPORT][..]));
        assert_eq!((REQUEST, ANSWER), (80, 1200));
    }

    #[test]
    fn each_byte_of_the_head_counts() {
        let request = Request { report_data: [1; 64] };
        let answers = [Answer::Report([1; REPORT]), Answer::Refused];
        assert_eq!(Request::parse(&request.to_bytes()), Ok(request));
        for answer in answers {
            assert_eq!(Answer::parse(&answer.to_bytes()), Ok(answer));
        }
        for at in 0..HEAD {
            let mut bytes = request.to_bytes();
            bytes[at] ^= 0x80;
            assert_eq!(Request::parse(&bytes), Err(Malformed), "byte {at}");
            for answer in answers {
                let mut bytes = answer.to_bytes();
                bytes[at] ^= 0x80;
                assert_eq!(Answer::parse(&bytes), Err(Malformed), "byte {at}");
            }
        }
        // A refusal says nothing else.
        let mut bytes = Answer::Refused.to_bytes();
        bytes[ANSWER - 1] = 1;
        assert_eq!(Answer::parse(&bytes), Err(Malformed));
        // One is not the other.
        let mut bytes = request.to_bytes();
        bytes[LABEL.len()] = MADE;
        assert_eq!(Request::parse(&bytes), Err(Malformed));
    }
}
