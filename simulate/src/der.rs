//! DER written by hand (ITU-T X.690), because a forger must be able to write what a library would refuse.

/// One value: tag, length, contents.
pub fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let mut out = vec![tag];
    match contents.len() {
        short @ 0..=0x7f => out.push(short as u8),
        long => {
            let bytes = long.to_be_bytes();
            let bytes = &bytes[long.leading_zeros() as usize / 8..];
            out.push(0x80 | bytes.len() as u8);
            out.extend(bytes);
        }
    }
    out.extend(contents);
    out
}

/// SEQUENCE.
pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    value(0x30, parts)
}

/// A constructed value with context tag `number`.
pub fn context(number: u8, parts: &[&[u8]]) -> Vec<u8> {
    value(0xa0 | number, parts)
}

/// INTEGER, not negative, in the shortest form: 200 is `02 02 00 c8`.
pub fn integer(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let first = bytes.iter().position(|&byte| byte != 0).unwrap_or(bytes.len() - 1);
    let pad: &[u8] = if bytes[first] & 0x80 == 0 { &[] } else { &[0] };
    value(0x02, &[pad, &bytes[first..]])
}

/// OBJECT IDENTIFIER from its text, such as `1.3.6.1.4.1.3704.1.1`.
pub fn oid(text: &str) -> Vec<u8> {
    let arcs: Vec<u32> = text.split('.').map(|arc| arc.parse().expect("an arc is a number")).collect();
    let mut contents = Vec::new();
    for arc in std::iter::once(arcs[0] * 40 + arcs[1]).chain(arcs[2..].iter().copied()) {
        let groups = (32 - arc.leading_zeros()).div_ceil(7).max(1);
        for group in (0..groups).rev() {
            let more = if group == 0 { 0 } else { 0x80 };
            contents.push((arc >> (7 * group)) as u8 & 0x7f | more);
        }
    }
    value(0x06, &[&contents])
}

/// OCTET STRING.
pub fn octets(bytes: &[u8]) -> Vec<u8> {
    value(0x04, &[bytes])
}

/// BIT STRING of whole bytes.
pub fn bits(bytes: &[u8]) -> Vec<u8> {
    value(0x03, &[&[0], bytes])
}

/// BOOLEAN TRUE.
pub const TRUE: &[u8] = &[0x01, 0x01, 0xff];

/// NULL.
pub const NULL: &[u8] = &[0x05, 0x00];

/// UTF8String.
pub fn utf8(text: &str) -> Vec<u8> {
    value(0x0c, &[text.as_bytes()])
}

/// PrintableString.
pub fn printable(text: &str) -> Vec<u8> {
    value(0x13, &[text.as_bytes()])
}

/// IA5String.
pub fn ia5(text: &str) -> Vec<u8> {
    value(0x16, &[text.as_bytes()])
}

/// UTCTime, `YYMMDDhhmmssZ`.
pub fn utc_time(text: &str) -> Vec<u8> {
    value(0x17, &[text.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_of_the_standard() {
        assert_eq!(integer(0), [2, 1, 0]);
        assert_eq!(integer(0x7f), [2, 1, 0x7f]);
        assert_eq!(integer(200), [2, 2, 0, 0xc8]);
        assert_eq!(integer(0x1_0000), [2, 3, 1, 0, 0]);
        assert_eq!(oid("1.2.840.113549"), [6, 6, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]);
        assert_eq!(oid("2.5.4.3"), [6, 3, 0x55, 4, 3]);
        assert_eq!(octets(&[1; 200])[..4], [4, 0x81, 200, 1]);
        assert_eq!(octets(&[1; 300])[..5], [4, 0x82, 1, 44, 1]);
    }
}
