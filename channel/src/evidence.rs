//! The evidence message: the first that the server seals, of one size whatever is in it.

use crate::batch::{self, Path};
use crate::cbor::{Reader, Writer};
use crate::feed::MAX_FEED;
use crate::noise::TAG;
use crate::statement::MAX_STATEMENT;
use crate::{Error, KeyStatement};
use measure::{Digest, Sha256};
use sha2::{Digest as _, Sha512};

/// Bytes of the evidence message as it is sent: the largest that Noise has.
pub const MESSAGE: usize = 65_535;
/// Bytes of a report or quote.
pub const MAX_REPORT: usize = 8 << 10;
/// Bytes of the operator document.
pub const MAX_OPERATOR: usize = 4 << 10;
/// Bytes of a [`Binding`].
pub const MAX_BINDING: usize = 4 << 10;

const LABEL: &[u8] = b"vitrine/session/1\0";

// Whatever is within its limit has room; 1 KiB is more than the path (537 bytes) and all heads.
const _: () = assert!(MAX_STATEMENT + 1024 <= MAX_BINDING);
const _: () = assert!(MAX_STATEMENT + MAX_REPORT + MAX_OPERATOR + MAX_FEED + 1024 <= MESSAGE - TAG);

/// What a report is over, when it is the report of one session.
pub(crate) type SessionValue = Digest<64>;

/// What the report of a session says: SHA-512 over label, handshake hash and the SHA-256 of the key statement. Whoever
/// has reports made computes it, from these two and nothing else.
pub fn report_data(handshake: &Sha256, statement: &Sha256) -> Digest<64> {
    let hash = Sha512::new().chain_update(LABEL).chain_update(handshake.as_bytes());
    Digest::new(hash.chain_update(statement.as_bytes()).finalize().into())
}

/// What kind of report it is; the appraisal then says whether it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An SEV-SNP attestation report.
    Snp,
    /// A TDX quote.
    Tdx,
}

/// What the server has to send beside its key statement.
#[derive(Debug, Clone, Copy)]
pub struct Attestation<'a> {
    /// What `report` is.
    pub kind: Kind,
    /// The report or quote, at most [`MAX_REPORT`] bytes.
    pub report: &'a [u8],
    /// How it leads to this session, unless it is of this session alone.
    pub path: Option<&'a Path>,
    /// The operator document, if there is one, at most [`MAX_OPERATOR`] bytes.
    pub operator: Option<&'a [u8]>,
    /// The feed, unread, at most [`MAX_FEED`] bytes.
    pub feed: &'a [u8],
}

/// What a client judges. None of it is verified but that the key statement names the keys of this session and the
/// operator document that came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What the report must say, in its 64 bytes of report data, for it to be about this session.
    pub report_data: Digest<64>,
    /// What `report` is said to be.
    pub kind: Kind,
    /// The report or quote as received.
    pub report: Vec<u8>,
    /// The key statement. The report vouches for it by way of `report_data`.
    pub statement: KeyStatement,
    /// The operator document as received; its hash is in the key statement.
    pub operator: Option<Vec<u8>>,
    /// The feed as received: [`feed::decode`](crate::feed::decode) reads it.
    pub feed: Vec<u8>,
    /// What ties the report to this session, as [`Binding::parse`] reads it: for whoever keeps the evidence.
    pub session: Vec<u8>,
}

/// What a report is over, and how: from this everybody computes what it must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The handshake hash. Only who took part in the handshake knows that it is that of their session.
    pub handshake: Sha256,
    /// The key statement.
    pub statement: KeyStatement,
    /// What the report must say, in its 64 bytes of report data.
    pub report_data: Digest<64>,
}

impl Binding {
    /// Reads a binding.
    ///
    /// # Errors
    /// [`Error::Broken`] for any other encoding than that of [`Evidence::session`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        if reader.map(3)? != 3 {
            return Err(Error::Broken);
        }
        let handshake = Sha256::new(reader.key(1)?.fixed()?);
        let statement = reader.key(2)?.bytes(MAX_STATEMENT)?;
        let path = Path::read(reader.key(3)?)?;
        reader.end()?;
        let session = report_data(&handshake, &Sha256::of(statement));
        let report_data = batch::report_data(session, path.as_ref());
        Ok(Self { handshake, statement: KeyStatement::parse(statement)?, report_data })
    }
}

/// The bytes of a [`Binding`].
fn binding(handshake: &Sha256, statement: &[u8], path: Option<&Path>) -> Vec<u8> {
    let writer = Writer::new().map(3).uint(1).bytes(handshake.as_bytes()).uint(2).bytes(statement);
    write_path(writer.uint(3), path).finish()
}

fn write_path(writer: Writer, path: Option<&Path>) -> Writer {
    match path {
        Some(path) => path.write(writer),
        None => writer.array(0),
    }
}

impl Attestation<'_> {
    /// The message's plaintext with this key statement, padded with zeros. It has room for the tag, so that sealing it
    /// does not move it.
    ///
    /// # Errors
    /// [`Error::TooLong`].
    pub fn plaintext(&self, statement: &[u8]) -> Result<Vec<u8>, Error> {
        let Self { kind, report, path, operator, feed } = *self;
        let lengths = [statement.len(), report.len(), operator.map_or(0, <[u8]>::len), feed.len()];
        for (found, limit) in lengths.into_iter().zip([MAX_STATEMENT, MAX_REPORT, MAX_OPERATOR, MAX_FEED]) {
            if found > limit {
                return Err(Error::TooLong { limit, found });
            }
        }
        let writer = Writer::new().map(6).uint(1).bytes(statement);
        let kind = match kind {
            Kind::Snp => 1,
            Kind::Tdx => 2,
        };
        let writer = write_path(writer.uint(2).uint(kind).uint(3).bytes(report).uint(4), path).uint(5);
        let writer = match operator {
            Some(document) => writer.bytes(document),
            None => writer.null(),
        };
        let mut plaintext = writer.uint(6).bytes(feed).finish();
        plaintext.reserve_exact(MESSAGE.saturating_sub(plaintext.len()));
        plaintext.resize(MESSAGE.saturating_sub(TAG), 0);
        Ok(plaintext)
    }
}

impl Evidence {
    /// Reads the plaintext of the session with this handshake hash.
    ///
    /// # Errors
    /// [`Error::Broken`] for any other encoding, and when the operator document is not the statement's.
    pub fn parse(plaintext: &[u8], handshake: &Sha256) -> Result<Self, Error> {
        let mut reader = Reader::new(plaintext);
        if plaintext.len() != MESSAGE.saturating_sub(TAG) || reader.map(6)? != 6 {
            return Err(Error::Broken);
        }
        let statement_bytes = reader.key(1)?.bytes(MAX_STATEMENT)?;
        let kind = match reader.key(2)?.uint()? {
            1 => Kind::Snp,
            2 => Kind::Tdx,
            _ => return Err(Error::Broken),
        };
        let report = reader.key(3)?.bytes(MAX_REPORT)?.to_vec();
        let path = Path::read(reader.key(4)?)?;
        let operator = reader.key(5)?.optional(|reader| Ok(reader.bytes(MAX_OPERATOR)?.to_vec()))?;
        let feed = reader.key(6)?.bytes(MAX_FEED)?.to_vec();
        let statement = KeyStatement::parse(statement_bytes)?;
        let padded = reader.rest().iter().all(|byte| *byte == 0);
        if !padded || statement.operator != operator.as_deref().map(Sha256::of) {
            return Err(Error::Broken);
        }
        let value = report_data(handshake, &Sha256::of(statement_bytes));
        let report_data = batch::report_data(value, path.as_ref());
        let session = binding(handshake, statement_bytes, path.as_ref());
        Ok(Self { report_data, kind, report, statement, operator, feed, session })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::tests::statement;

    const HASH: Sha256 = Sha256::new([8; 32]);

    #[test]
    fn the_report_is_over_session_and_statement() {
        let digest = Sha512::digest([&b"vitrine/session/1\0"[..], &[1; 32], &[2; 32]].concat());
        assert_eq!(report_data(&Sha256::new([1; 32]), &Sha256::new([2; 32])), Digest::new(digest.into()));
    }

    #[test]
    fn what_is_encoded_is_decoded_at_every_size() {
        let session = Digest::new([1; 64]);
        let (_, paths) = batch::batch(&[session, session]).unwrap();
        let (report, document, feed) = (vec![1; MAX_REPORT], vec![2; MAX_OPERATOR], vec![3; MAX_FEED]);
        for (kind, report, path, operator, feed) in [
            (Kind::Snp, &report[..1184], None, None, &feed[..0]),
            (Kind::Tdx, &report[..], Some(&paths[1]), Some(&document[..]), &feed[..]),
        ] {
            let statement = KeyStatement { operator: operator.map(Sha256::of), ..statement() };
            let bytes = statement.to_bytes().unwrap();
            let attestation = Attestation { kind, report, path, operator, feed };
            let plaintext = attestation.plaintext(&bytes).unwrap();
            assert_eq!(plaintext.len(), MESSAGE - TAG);
            let session = report_data(&HASH, &Sha256::of(&bytes));
            let evidence = Evidence {
                report_data: path.map_or(session, |path| path.root(&session)),
                kind,
                report: report.to_vec(),
                statement,
                operator: operator.map(<[u8]>::to_vec),
                feed: feed.to_vec(),
                session: binding(&HASH, &bytes, path),
            };
            let binding = Binding::parse(&evidence.session).unwrap();
            assert_eq!((binding.handshake, &binding.statement), (HASH, &evidence.statement));
            assert_eq!(binding.report_data, evidence.report_data);
            assert!(evidence.session.len() <= MAX_BINDING);
            for other in [&evidence.session[..evidence.session.len() - 1], &[&evidence.session[..], &[0]].concat()] {
                assert_eq!(Binding::parse(other), Err(Error::Broken));
            }
            assert_eq!(Evidence::parse(&plaintext, &HASH), Ok(evidence));
        }
        let long = [0; MAX_REPORT + 1];
        let fits = Attestation { kind: Kind::Snp, report: &[], path: None, operator: None, feed: &[] };
        for (attestation, limit) in [
            (Attestation { report: &long, ..fits }, MAX_REPORT),
            (Attestation { operator: Some(&long[..=MAX_OPERATOR]), ..fits }, MAX_OPERATOR),
            (Attestation { feed: &[0; MAX_FEED + 1], ..fits }, MAX_FEED),
        ] {
            assert_eq!(attestation.plaintext(&[]), Err(Error::TooLong { limit, found: limit + 1 }));
        }
    }

    #[test]
    fn there_is_one_encoding() {
        let document = b"document".as_slice();
        let good = KeyStatement { operator: Some(Sha256::of(document)), ..statement() };
        let attestation =
            Attestation { kind: Kind::Snp, report: b"report", path: None, operator: Some(document), feed: b"feed" };
        let plaintext = attestation.plaintext(&good.to_bytes().unwrap()).unwrap();
        assert!(Evidence::parse(&plaintext, &HASH).is_ok());
        assert!(Evidence::parse(&plaintext[..plaintext.len() - 1], &HASH).is_err());
        let mut padded = plaintext.clone();
        *padded.last_mut().unwrap() = 1;
        assert_eq!(Evidence::parse(&padded, &HASH), Err(Error::Broken));
        let kind = plaintext.windows(9).position(|window| window == b"\x01\x03\x46report").unwrap();
        let mut other = plaintext.clone();
        other[kind] = 3;
        assert_eq!(Evidence::parse(&other, &HASH), Err(Error::Broken));
        // The statement's document is another, or there is none, or there should be none.
        for (said, sent) in [(good.operator, None), (None, Some(document)), (good.operator, Some(b"other".as_slice()))]
        {
            let statement = KeyStatement { operator: said, ..statement() };
            let attestation = Attestation { operator: sent, ..attestation };
            let plaintext = attestation.plaintext(&statement.to_bytes().unwrap()).unwrap();
            assert_eq!(Evidence::parse(&plaintext, &HASH), Err(Error::Broken));
        }
    }
}
