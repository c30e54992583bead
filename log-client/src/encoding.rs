//! The two encodings of every text format here: decimal numbers and standard base64, each with one form per value.

use base64ct::{Base64, Encoding as _};
use measure::Sha256;

/// A number of at most 2^63 - 1, without sign and leading zeros.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    let number = (canonical && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?;
    number.filter(|number| *number <= i64::MAX as u64)
}

/// Bytes from padded base64 (RFC 4648, section 4) whose unused bits are zero.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    Base64::decode_vec(text).ok()
}

/// A SHA-256 digest from base64.
pub(crate) fn digest(text: &str) -> Option<Sha256> {
    Some(Sha256::new(from_base64(text)?.try_into().ok()?))
}

/// Padded base64.
pub(crate) fn base64(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_per_value() {
        assert_eq!(decimal("9223372036854775807"), Some(i64::MAX as u64));
        for refused in ["", "00", "01", "+1", "-1", " 1", "1 ", "9223372036854775808", "18446744073709551616", "¹"] {
            assert_eq!(decimal(refused), None, "{refused:?}");
        }
        assert_eq!(from_base64("YQ=="), Some(b"a".to_vec()));
        for refused in ["YQ", "YQ=", "YR==", "YQ==\n", "Y Q=", "YQ==YQ==", "_w==", "="] {
            assert_eq!(from_base64(refused), None, "{refused:?}");
        }
        assert_eq!(digest("YQ=="), None);
    }
}
