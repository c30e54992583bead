//! Archives as an enemy would serve them. Also makes signed archives for other tests.

use super::*;
use pgp::composed::{
    CleartextSignedMessage, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{Duration, Password, SigningKey, Timestamp};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// 2026-09-12 07:55:41 UTC, the date of every archive here.
pub(crate) const DATE: u64 = 1_789_199_741;

/// How a test's message is signed.
#[derive(Clone, Copy)]
pub(crate) struct Signed {
    hash: HashAlgorithm,
    created: u64,
    life: Option<u32>,
    with_subkey: bool,
}

pub(crate) const WELL: Signed = Signed { hash: HashAlgorithm::Sha256, created: DATE, life: None, with_subkey: false };

const WEAK: u64 = 8;

/// A key pair that depends only on `seed`.
pub(crate) fn key(seed: u64) -> SignedSecretKey {
    let mut rng = StdRng::seed_from_u64(seed);
    let created = Timestamp::from_secs(u32::try_from(DATE).unwrap() - 86_400);
    let mut subkey = SubkeyParamsBuilder::default();
    subkey.key_type(KeyType::Ed25519Legacy).can_sign(true).can_encrypt(EncryptionCaps::None).created_at(created);
    let mut params = SecretKeyParamsBuilder::default();
    params
        // The OpenPGP library itself refuses to make a weak signature with other keys.
        .key_type(if seed == WEAK { KeyType::Rsa(2048) } else { KeyType::Ed25519Legacy })
        .can_certify(true)
        // Odd keys are of the kind that leaves signing to its subkey.
        .can_sign(seed.is_multiple_of(2))
        .created_at(created)
        .primary_user_id("archive".to_owned())
        .subkey(subkey.build().unwrap());
    params.build().unwrap().generate(&mut rng).unwrap()
}

/// The armored public half.
pub(crate) fn armored(key: &SignedSecretKey) -> Vec<u8> {
    key.to_public_key().to_armored_bytes(Default::default()).unwrap()
}

/// `text`, clear-signed.
pub(crate) fn sign(text: &str, key: &SignedSecretKey, how: Signed) -> String {
    match how.with_subkey {
        false => sign_with(text, &key.primary_key, how),
        true => sign_with(text, &key.secret_subkeys[0].key, how),
    }
}

fn sign_with(text: &str, key: &impl SigningKey, how: Signed) -> String {
    let created = Timestamp::from_secs(u32::try_from(how.created).unwrap());
    let mut config = SignatureConfig::v4(SignatureType::Text, key.algorithm(), how.hash);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(created)).unwrap(),
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint())).unwrap(),
    ];
    if let Some(life) = how.life {
        let life = SubpacketData::SignatureExpirationTime(Duration::from_secs(life));
        config.hashed_subpackets.push(Subpacket::regular(life).unwrap());
    }
    let message = CleartextSignedMessage::new(text, config, key, &Password::empty()).unwrap();
    message.to_armored_string(Default::default()).unwrap()
}

/// An InRelease's text that names `packages_xz`.
pub(crate) fn release(packages_xz: &[u8]) -> String {
    let (size, sha256) = (packages_xz.len(), Sha256::of(packages_xz));
    format!(
        "Suite: stable\nCodename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\nSHA256:\n {sha256} {size} \
         main/binary-amd64/Packages.xz\n"
    )
}

#[track_caller]
fn refused(message: &str, keyring: &SignedSecretKey, at: u64, expected: &str) {
    let keyring = Keyring::parse(&armored(keyring)).unwrap();
    let error = Release::verify(message.as_bytes(), &keyring, "trixie", at).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains(expected), "expected {expected:?} in {error:?}");
}

#[test]
fn a_good_signature_by_primary_key_or_subkey() {
    for (seed, with_subkey) in [(2, false), (2, true), (1, true)] {
        let key = key(seed);
        let keyring = Keyring::parse(&armored(&key)).unwrap();
        let message = sign(&release(b"index"), &key, Signed { with_subkey, ..WELL });
        let release = Release::verify(message.as_bytes(), &keyring, "trixie", DATE + 1).unwrap();
        assert_eq!((release.date, release.valid_until), (DATE, None));
        assert_eq!(release.file("main/binary-amd64/Packages.xz").unwrap(), (5, Sha256::of(b"index")));
        assert!(release.file("main/binary-arm64/Packages.xz").is_err());
    }
}

#[test]
fn what_is_not_signed_well_is_refused() {
    let good = key(2);
    let text = release(b"index");
    let message = sign(&text, &good, WELL);
    let tampered = message.replace(&Sha256::of(b"index").to_string(), &Sha256::of(b"other").to_string());
    assert_ne!(tampered, message);
    refused(&tampered, &good, DATE, "no good signature");
    refused(&message, &key(4), DATE, "not a key of the keyring");
    refused(&text, &good, DATE, "clear-signed");
    refused(&format!("Date: before\n{message}"), &good, DATE, "clear-signed");
    refused(&format!("{message}after"), &good, DATE, "clear-signed");

    let weak = key(WEAK);
    refused(&sign(&text, &weak, Signed { hash: HashAlgorithm::Sha1, ..WELL }), &weak, DATE, "SHA-2");
    let expired = sign(&text, &good, Signed { life: Some(3600), ..WELL });
    refused(&expired, &good, DATE + 3601, "expired");
    let early = sign(&text, &good, Signed { created: DATE + 90_000, ..WELL });
    refused(&early, &good, DATE, "future");

    let certify_only = key(1);
    refused(&sign(&text, &certify_only, WELL), &certify_only, DATE, "not a signing key");
    let mut unbound = key(1);
    let message = sign(&text, &unbound, Signed { with_subkey: true, ..WELL });
    unbound.secret_subkeys[0].signatures.clone_from(&key(3).secret_subkeys[0].signatures);
    refused(&message, &unbound, DATE, "not bound");
}

#[test]
fn what_is_signed_must_be_the_suite() {
    let key = key(2);
    for (from, to, expected) in [
        ("Codename: trixie", "Codename: bookworm", "expected Codename trixie, found bookworm"),
        ("Codename: trixie\n", "", "found none"),
        ("Date: Sat, 12 Sep 2026", "Date: Sat, 12 Sep 2027", "future"),
        ("Date: Sat, 12 Sep 2026 07:55:41 UTC\n", "", "expected a Date"),
        (" UTC", " CET", "expected a date"),
        ("SHA256:\n", "SHA256:\n x\n", "HASH SIZE PATH"),
        ("Suite: stable", "Codename: trixie", "twice"),
    ] {
        let text = release(b"index").replace(from, to);
        refused(&sign(&text, &key, WELL), &key, DATE, expected);
    }
}

#[test]
fn committed_keys_live_from_2025_to_2035() {
    for name in ["debian-archive-trixie-automatic.asc", "debian-archive-trixie-security-automatic.asc"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("keyrings").join(name);
        let keyring = Keyring::parse(&std::fs::read(path).unwrap()).unwrap();
        for (at, expected) in [(1_700_000_000, "future"), (1_790_000_000, ""), (2_100_000_000, "expired")] {
            let usable = keyring.usable(at).map_or_else(|error| format!("{error:#}"), |()| String::new());
            assert!(usable.contains(expected) && usable.is_empty() == expected.is_empty(), "{name} {at}: {usable}");
        }
    }
}

#[test]
fn dates_are_seconds() {
    for (text, expected) in [
        ("Thu, 01 Jan 1970 00:00:00 UTC", Some(0)),
        ("Sat, 12 Sep 2026 07:55:41 UTC", Some(DATE)),
        ("Thu, 29 Feb 2024 23:59:59 +0000", Some(1_709_251_199)),
        ("Fri, 01 Mar 2024 00:00:00 UTC", Some(1_709_251_200)),
        ("Wed, 31 Dec 1969 23:59:59 UTC", None),
        ("Sat, 12 Sep 2026 24:00:00 UTC", None),
        ("Sat, 12 sep 2026 07:55:41 UTC", None),
        ("Sat, 12 Sep 99999 07:55:41 UTC", None),
        ("", None),
    ] {
        assert_eq!(parse_date(text).ok(), expected, "{text:?}");
    }
}

const STANZA: &str = "Package: a\nVersion: 1-2\nArchitecture: amd64\nDepends: b (>= 1) | c, d:any\nPre-Depends: e\n\
    Provides: v (= 3), w\nSource: s (9)\nEssential: yes\nFilename: pool/main/a/a_1-2_amd64.deb\nSize: 10\n\
    SHA256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\nDescription: a\n .\n";

#[test]
fn an_index_entry() {
    let index =
        Index::parse_text(&format!("{STANZA}\n{}\n", STANZA.replace("Package: a", "Package: z")), |name| name == "a")
            .unwrap();
    let [package] = &index.packages[..] else { panic!("{index:?}") };
    let depends: Vec<String> = package.depends.iter().map(ToString::to_string).collect();
    assert_eq!(depends, ["e", "b (>= 1) | c", "d"]);
    assert_eq!((package.source.as_str(), package.source_version.as_str()), ("s", "9"));
    assert!(package.essential && package.size == 10);

    for (from, to, expected) in [
        ("pool/main/a", "../main/a", "Filename"),
        ("pool/main/a", "/main/a", "Filename"),
        ("Size: 10", "Size: ten", "Size"),
        ("Size: 10\n", "", "Size"),
        ("amd64\n", "sparc\n", "Architecture"),
        ("SHA256: ba", "SHA256: b", "64"),
        ("Package: a", "Package: a/b", "Package"),
        ("b (>= 1)", "b (~ 1)", "expected one of"),
        ("Version: 1-2", "Version: \"", "Version"),
        ("Source: s (9)", "Source: s (\")", "Source"),
    ] {
        let error = Index::parse_text(&STANZA.replacen(from, to, 1), |_| true).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains(expected), "expected {expected:?} in {error:?}");
    }
}
