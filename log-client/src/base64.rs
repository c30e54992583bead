//! Standard base64 with padding, in JSON. Decoding is strict: one text per value.

use base64ct::{Base64, Encoding as _};
use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
use std::borrow::Cow;

/// Writes bytes.
pub(crate) fn serialize<S: Serializer>(bytes: &impl AsRef<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&Base64::encode_string(bytes.as_ref()))
}

/// Reads bytes into a vector, or an array of exactly as many.
pub(crate) fn deserialize<'de, T: TryFrom<Vec<u8>>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let text = <Cow<'de, str>>::deserialize(deserializer)?;
    let bytes = Base64::decode_vec(&text).map_err(|_malformed| D::Error::custom("expected base64 with padding"))?;
    let found = bytes.len();
    T::try_from(bytes).map_err(|_length| D::Error::custom(format!("expected another length than {found} bytes")))
}
