//! Certificates and revocation lists as views of the bytes received (RFC 5280), in strict DER. Nothing is ever written
//! back: signatures are checked over what came in, and algorithms and keys are compared as they came in.

use crate::appraise::Time;
use der::asn1::{AnyRef, BitStringRef, GeneralizedTime, ObjectIdentifier, OctetStringRef, UintRef, UtcTime};
use der::{Decode, ErrorKind, Reader, SliceReader, Tag, TagNumber, Tagged};

/// Bytes in a certificate at most; AMD's have less than 1,800.
pub const MAX_CERTIFICATE: usize = 4 << 10;
/// Bytes in a revocation list at most; AMD's list intermediates and have about 1,000.
pub const MAX_CRL: usize = 64 << 10;

/// Octets in a serial number at most (RFC 5280, section 4.1.2.2).
const MAX_SERIAL: usize = 20;
/// The first second that is written as GeneralizedTime (RFC 5280, section 4.1.2.5).
const YEAR_2050: u64 = 2_524_608_000;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
/// The other parts of a name, in AMD's order; the organisation comes after them.
const PLACE: [(ObjectIdentifier, &str); 4] = [
    (ObjectIdentifier::new_unwrap("2.5.4.11"), "Engineering"),
    (ObjectIdentifier::new_unwrap("2.5.4.6"), "US"),
    (ObjectIdentifier::new_unwrap("2.5.4.7"), "Santa Clara"),
    (ObjectIdentifier::new_unwrap("2.5.4.8"), "CA"),
];
const ORGANISATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");

/// Why bytes are not a certificate or a revocation list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("expected at most {limit} bytes, found {found}")]
    TooLong { limit: usize, found: usize },
    #[error("{0}")]
    Der(#[from] der::Error),
    #[error("expected {expected}")]
    Shape { expected: &'static str },
}

/// Something and its signature: what certificates and revocation lists have in common.
#[derive(Debug)]
pub(super) struct Signed<'a> {
    /// The bytes that the signature is over.
    pub(super) message: &'a [u8],
    /// AlgorithmIdentifier inside what is signed, and beside the signature.
    pub(super) algorithms: [&'a [u8]; 2],
    /// The signature, a whole number of bytes.
    pub(super) signature: &'a [u8],
    /// Name.
    pub(super) issuer: &'a [u8],
}

/// A certificate of version 3.
#[derive(Debug)]
pub(super) struct Certificate<'a> {
    pub(super) signed: Signed<'a>,
    /// Without leading zeros.
    pub(super) serial: &'a [u8],
    pub(super) not_before: Time,
    pub(super) not_after: Time,
    /// Name.
    pub(super) subject: &'a [u8],
    /// SubjectPublicKeyInfo.
    pub(super) key: &'a [u8],
    pub(super) extensions: Vec<Extension<'a>>,
}

/// A revocation list.
#[derive(Debug)]
pub(super) struct Crl<'a> {
    pub(super) signed: Signed<'a>,
    pub(super) this_update: Time,
    pub(super) next_update: Option<Time>,
    /// Serial numbers, without leading zeros.
    pub(super) revoked: Vec<&'a [u8]>,
    /// Of the list and of its entries.
    pub(super) extensions: Vec<Extension<'a>>,
}

/// An extension.
#[derive(Debug)]
pub(super) struct Extension<'a> {
    pub(super) oid: ObjectIdentifier,
    pub(super) critical: bool,
    /// What is inside its OCTET STRING.
    pub(super) value: &'a [u8],
}

impl<'a> Certificate<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let [message, beside, signature] = envelope(bytes, MAX_CERTIFICATE)?;
        AnyRef::from_der(message)?.sequence(|reader| {
            let version = tagged(reader, 0)?.map(u8::from_der).transpose()?;
            if version != Some(2) {
                return Err(Malformed::Shape { expected: "version 3" });
            }
            let serial = serial(reader)?;
            let algorithms = [sequence(reader)?, beside];
            let issuer = sequence(reader)?;
            let (not_before, not_after) =
                reader.sequence(|reader| Ok::<_, Malformed>((time(reader)?, time(reader)?)))?;
            let (subject, key) = (sequence(reader)?, sequence(reader)?);
            let extensions = extensions(tagged(reader, 3)?)?;
            let signed = Signed { message, algorithms, signature, issuer };
            Ok(Self { signed, serial, not_before, not_after, subject, key, extensions })
        })
    }
}

impl<'a> Crl<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let [message, beside, signature] = envelope(bytes, MAX_CRL)?;
        AnyRef::from_der(message)?.sequence(|reader| {
            if Tag::peek(reader)? == Tag::Integer && u8::decode(reader)? != 1 {
                return Err(Malformed::Shape { expected: "version 2" });
            }
            let algorithms = [sequence(reader)?, beside];
            let issuer = sequence(reader)?;
            let this_update = time(reader)?;
            let next_update = match next_tag(reader)? {
                Some(Tag::UtcTime | Tag::GeneralizedTime) => Some(time(reader)?),
                _ => None,
            };
            let (mut revoked, mut found) = (Vec::new(), Vec::new());
            if next_tag(reader)? == Some(Tag::Sequence) {
                AnyRef::decode(reader)?.sequence(|reader| {
                    while !reader.is_finished() {
                        let (serial, more) = entry(reader)?;
                        revoked.push(serial);
                        found.extend(more);
                    }
                    Ok::<_, Malformed>(())
                })?;
            }
            found.extend(extensions(tagged(reader, 0)?)?);
            let signed = Signed { message, algorithms, signature, issuer };
            Ok(Self { signed, this_update, next_update, revoked, extensions: found })
        })
    }
}

/// The common name, if every other part of the Name is what AMD writes, for this organisation.
pub(super) fn common_name<'a>(name: &'a [u8], organisation: &str) -> Option<&'a str> {
    let attributes = attributes(name).ok()?;
    let (&(last, common), rest) = attributes.split_last()?;
    let expected = PLACE.iter().copied().chain([(ORGANISATION, organisation)]);
    (last == COMMON_NAME && rest.iter().copied().eq(expected)).then_some(common)
}

/// A Name as text, whatever is in it.
pub(super) fn shown_name(name: &[u8]) -> String {
    match attributes(name) {
        Ok(attributes) => {
            attributes.iter().map(|(_, text)| text.escape_debug().to_string()).collect::<Vec<_>>().join(", ")
        }
        Err(error) => format!("no name: {error}"),
    }
}

/// The attributes of a Name whose parts have one attribute each.
fn attributes(name: &[u8]) -> Result<Vec<(ObjectIdentifier, &str)>, der::Error> {
    AnyRef::from_der(name)?.sequence(|reader| {
        let mut attributes = Vec::new();
        while !reader.is_finished() {
            let part = AnyRef::decode(reader)?;
            part.tag().assert_eq(Tag::Set)?;
            attributes.push(AnyRef::from_der(part.value())?.sequence(|reader| {
                let (oid, value) = (ObjectIdentifier::decode(reader)?, AnyRef::decode(reader)?);
                let text = matches!(value.tag(), Tag::Utf8String | Tag::PrintableString).then_some(value.value());
                let text = text.and_then(|text| str::from_utf8(text).ok());
                Ok::<_, der::Error>((oid, text.ok_or_else(|| value.tag().value_error())?))
            })?);
        }
        Ok(attributes)
    })
}

/// What is signed, the algorithm beside the signature, and the signature.
fn envelope(bytes: &[u8], limit: usize) -> Result<[&[u8]; 3], Malformed> {
    if bytes.len() > limit {
        return Err(Malformed::TooLong { limit, found: bytes.len() });
    }
    AnyRef::from_der(bytes)?.sequence(|reader| {
        let (message, algorithm) = (sequence(reader)?, sequence(reader)?);
        let signature = BitStringRef::decode(reader)?.as_bytes();
        Ok([message, algorithm, signature.ok_or(Malformed::Shape { expected: "a signature of whole bytes" })?])
    })
}

/// The next element, which is a SEQUENCE, with its tag and length.
fn sequence<'a>(reader: &mut SliceReader<'a>) -> Result<&'a [u8], der::Error> {
    Tag::peek(reader)?.assert_eq(Tag::Sequence)?;
    reader.tlv_bytes()
}

/// The value of the next element if it has this context-specific tag and is constructed.
fn tagged<'a>(reader: &mut SliceReader<'a>, number: u32) -> Result<Option<&'a [u8]>, der::Error> {
    let tag = Tag::ContextSpecific { constructed: true, number: TagNumber(number) };
    if next_tag(reader)? != Some(tag) {
        return Ok(None);
    }
    Ok(Some(AnyRef::decode(reader)?.value()))
}

/// The tag of the next element, if there is one.
fn next_tag(reader: &SliceReader<'_>) -> Result<Option<Tag>, der::Error> {
    if reader.is_finished() { Ok(None) } else { Tag::peek(reader).map(Some) }
}

fn serial<'a>(reader: &mut SliceReader<'a>) -> Result<&'a [u8], Malformed> {
    let serial = UintRef::decode(reader)?.as_bytes();
    if serial.len() > MAX_SERIAL {
        return Err(Malformed::Shape { expected: "a serial number of at most 20 octets" });
    }
    Ok(serial)
}

fn time(reader: &mut SliceReader<'_>) -> Result<Time, Malformed> {
    if Tag::peek(reader)? == Tag::UtcTime {
        return Ok(Time(UtcTime::decode(reader)?.to_unix_duration().as_secs()));
    }
    match GeneralizedTime::decode(reader)?.to_unix_duration().as_secs() {
        seconds @ YEAR_2050.. => Ok(Time(seconds)),
        _ => Err(Malformed::Shape { expected: "a time before 2050 as UTCTime" }),
    }
}

/// The serial number and the extensions of an entry of a revocation list.
fn entry<'a>(reader: &mut SliceReader<'a>) -> Result<(&'a [u8], Vec<Extension<'a>>), Malformed> {
    AnyRef::decode(reader)?.sequence(|reader| {
        let serial = serial(reader)?;
        time(reader)?;
        let more = if reader.is_finished() { None } else { Some(sequence(reader)?) };
        Ok((serial, extensions(more)?))
    })
}

/// The extensions in this SEQUENCE; none if it is absent.
fn extensions(bytes: Option<&[u8]>) -> Result<Vec<Extension<'_>>, Malformed> {
    let Some(bytes) = bytes else { return Ok(Vec::new()) };
    AnyRef::from_der(bytes)?.sequence(|reader| {
        let mut extensions = Vec::new();
        while !reader.is_finished() {
            extensions.push(AnyRef::decode(reader)?.sequence(|reader| {
                let oid = ObjectIdentifier::decode(reader)?;
                let spelled_out = Tag::peek(reader)? == Tag::Boolean;
                if spelled_out && !bool::decode(reader)? {
                    return Err(Malformed::Der(ErrorKind::Noncanonical { tag: Tag::Boolean }.into()));
                }
                let value = <&OctetStringRef>::decode(reader)?.as_bytes();
                Ok(Extension { oid, critical: spelled_out, value })
            })?);
        }
        Ok(extensions)
    })
}
