//! OpenPGP signatures of archives (RFC 9580, clear-signed text).

use anyhow::{Context as _, bail, ensure};
use pgp::composed::{CleartextSignedMessage, Deserializable as _, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::VerifyingKey;

/// Most signatures looked at in one file; Debian's have up to three.
const MAX_SIGNATURES: usize = 16;

/// The keys that may sign an archive.
#[derive(Debug)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
}

impl Keyring {
    /// Parses one or more armored public keys.
    pub fn parse(armored: &[u8]) -> anyhow::Result<Self> {
        let (keys, _headers) = SignedPublicKey::from_armor_many(armored).context("reading the keyring")?;
        let keys = keys.collect::<Result<Vec<_>, _>>().context("reading the keyring")?;
        ensure!(!keys.is_empty(), "the keyring holds no key");
        Ok(Self { keys })
    }

    /// The text that `message` signs, once one of its signatures is good at the time `at`, in seconds since 1970.
    /// Nothing outside the signed part is returned.
    pub(super) fn signed_text(&self, message: &[u8], at: u64) -> anyhow::Result<String> {
        let message = std::str::from_utf8(message).context("expected UTF-8 in the InRelease")?;
        let (message, _headers) =
            CleartextSignedMessage::from_string(message).context("expected a clear-signed InRelease")?;
        let text = message.signed_text();
        let mut refused = Vec::new();
        for signature in message.signatures().iter().take(MAX_SIGNATURES) {
            match self.accepts(signature, text.as_bytes(), at) {
                Ok(()) => return Ok(text),
                Err(error) => refused.push(format!("{error:#}")),
            }
        }
        bail!("no good signature on the InRelease: {}", refused.join("; "))
    }

    /// Why a key of this ring cannot be used at the time `at`, if one cannot.
    #[cfg(test)]
    pub(super) fn usable(&self, at: u64) -> anyhow::Result<()> {
        self.keys.iter().try_for_each(|key| {
            primary_may_sign(key, at)?;
            key.public_subkeys.iter().try_for_each(|subkey| subkey_may_sign(key, subkey, at))
        })
    }

    fn accepts(&self, signature: &Signature, text: &[u8], at: u64) -> anyhow::Result<()> {
        let issuer = signature.issuer_fingerprint().first().map_or("an unnamed key".to_owned(), |key| key.to_string());
        let strong =
            matches!(signature.hash_alg(), Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512));
        ensure!(strong, "{issuer}: expected a SHA-2 signature, found {:?}", signature.hash_alg());
        let kind = signature.typ();
        ensure!(matches!(kind, Some(SignatureType::Text | SignatureType::Binary)), "{issuer}: it signs no text");
        let created = signature.created().with_context(|| format!("{issuer}: the signature has no date"))?;
        let created = u64::from(created.as_secs());
        // A day for clocks that disagree.
        ensure!(created <= at.saturating_add(86_400), "{issuer}: the signature is from the future");
        if let Some(life) = signature.signature_expiration_time() {
            ensure!(
                life.as_secs() == 0 || at <= created + u64::from(life.as_secs()),
                "{issuer}: the signature expired"
            );
        }
        for key in &self.keys {
            if signature.verify(&key.primary_key, text).is_ok() {
                return primary_may_sign(key, at).with_context(|| format!("key {issuer}"));
            }
            for subkey in &key.public_subkeys {
                if signature.verify(&subkey.key, text).is_ok() {
                    return primary_is_valid(key, at)
                        .and_then(|()| subkey_may_sign(key, subkey, at))
                        .with_context(|| format!("key {issuer}"));
                }
            }
        }
        bail!("{issuer}: not a key of the keyring, or not its signature")
    }
}

/// Self-signatures of the primary key that say what it is for: on user ids, or directly on the key.
fn self_signatures(key: &SignedPublicKey) -> impl Iterator<Item = &Signature> {
    let users = key.details.users.iter();
    let certified = users.flat_map(|user| {
        user.signatures.iter().filter(|signature| {
            signature.verify_certification(&key.primary_key, pgp::types::Tag::UserId, &user.id).is_ok()
        })
    });
    let direct = key.details.direct_signatures.iter();
    certified.chain(direct.filter(|signature| signature.verify_key(&key.primary_key).is_ok()))
}

fn primary_is_valid(key: &SignedPublicKey, at: u64) -> anyhow::Result<()> {
    ensure!(key.details.revocation_signatures.is_empty(), "it is revoked");
    let newest = self_signatures(key).max_by_key(|signature| signature.created().map(|created| created.as_secs()));
    let newest = newest.context("it has no valid self-signature")?;
    is_alive(&key.primary_key, newest, at)
}

fn primary_may_sign(key: &SignedPublicKey, at: u64) -> anyhow::Result<()> {
    primary_is_valid(key, at)?;
    ensure!(self_signatures(key).any(|signature| signature.key_flags().sign()), "it is not a signing key");
    Ok(())
}

fn subkey_may_sign(key: &SignedPublicKey, subkey: &pgp::composed::SignedPublicSubKey, at: u64) -> anyhow::Result<()> {
    // This also refuses a subkey with a revocation, and one that has not countersigned its binding.
    subkey.verify_bindings(&key.primary_key).context("it is revoked, or not bound to its primary key")?;
    let newest = subkey.signatures.iter().max_by_key(|signature| signature.created().map(|created| created.as_secs()));
    let newest = newest.context("it is not bound to its primary key")?;
    ensure!(newest.key_flags().sign(), "it is not a signing key");
    is_alive(&subkey.key, newest, at)
}

/// Key lifetimes count from the key's own creation.
fn is_alive(key: &impl VerifyingKey, newest: &Signature, at: u64) -> anyhow::Result<()> {
    let created = u64::from(key.created_at().as_secs());
    ensure!(created <= at.saturating_add(86_400), "it is from the future");
    match newest.key_expiration_time() {
        Some(life) if life.as_secs() != 0 && at > created + u64::from(life.as_secs()) => bail!("it has expired"),
        _ => Ok(()),
    }
}
