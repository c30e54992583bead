//! What a VCEK or VLEK certifies about its key (AMD 57230, section 3.1): extensions under 1.3.6.1.4.1.3704.1.

use super::x509::Extension;
use crate::snp::product::{Product, TcbVersion};
use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode as _, Tag, Tagged as _};
use std::collections::BTreeSet;

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

const STRUCT_VERSION: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.1");
const PRODUCT_NAME: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.2");
const BOOT_LOADER: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.1");
const TEE: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.2");
const SNP: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.3");
const SPARE_4: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.4");
const SPARE_5: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.5");
const SPARE_6: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.6");
const SPARE_7: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.7");
const MICROCODE: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.8");
const FMC: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.9");
const HWID: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.4");
const CSP_ID: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.5");

const KEY_USAGE: ObjectIdentifier = oid("2.5.29.15");
const BASIC_CONSTRAINTS: ObjectIdentifier = oid("2.5.29.19");
/// Extensions of authorities that only help to find things: subject key identifier, authority key identifier, CRL
/// distribution points. Nothing is found here, and every key and name is compared by itself.
const HINTS: [ObjectIdentifier; 3] = [oid("2.5.29.14"), oid("2.5.29.35"), oid("2.5.29.31")];

/// The largest structure version that is understood: 0 before Turin, 1 there.
const STRUCT_VERSIONS: core::ops::RangeInclusive<u8> = 0..=1;
/// Characters in a product's or provider's name at most.
const MAX_NAME: usize = 64;

/// What a leaf certifies. What is missing is `None`: which parts must be there depends on the product and kind of key.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Certified<'a> {
    /// The product's name and, before Turin, its stepping: `Milan-B0`.
    pub(super) product_name: Option<&'a str>,
    boot_loader: Option<u8>,
    tee: Option<u8>,
    snp: Option<u8>,
    microcode: Option<u8>,
    fmc: Option<u8>,
    spare: [Option<u8>; 4],
    /// The chip's id, as it is: there is no DER inside the OCTET STRING.
    pub(super) hwid: Option<&'a [u8]>,
    /// The cloud provider.
    pub(super) csp: Option<&'a str>,
    /// Extensions that nothing is known of.
    pub(super) unknown: Vec<ObjectIdentifier>,
}

impl<'a> Certified<'a> {
    /// Decodes the extensions of a leaf, or says what is wrong with them.
    pub(super) fn read(extensions: &[Extension<'a>]) -> Result<Self, String> {
        unique(extensions)?;
        let (mut certified, mut version) = (Self::default(), None);
        for Extension { oid, critical, value } in extensions {
            let value: &'a [u8] = value;
            let bad = |error: der::Error| format!("extension {oid}: {error}");
            let number = || u8::from_der(value).map(Some).map_err(bad);
            match *oid {
                STRUCT_VERSION => version = number()?,
                PRODUCT_NAME => certified.product_name = Some(text(value).map_err(bad)?),
                BOOT_LOADER => certified.boot_loader = number()?,
                TEE => certified.tee = number()?,
                SNP => certified.snp = number()?,
                MICROCODE => certified.microcode = number()?,
                FMC => certified.fmc = number()?,
                SPARE_4 | SPARE_5 | SPARE_6 | SPARE_7 => {
                    let [four, five, six, seven] = &mut certified.spare;
                    let slot = match *oid {
                        SPARE_4 => four,
                        SPARE_5 => five,
                        SPARE_6 => six,
                        _ => seven,
                    };
                    *slot = number()?;
                }
                HWID => certified.hwid = Some(value),
                CSP_ID => certified.csp = Some(text(value).map_err(bad)?),
                KEY_USAGE | BASIC_CONSTRAINTS => return Err(format!("extension {oid} is for authorities")),
                _ if *critical => return Err(format!("critical extension {oid} is not known")),
                _ => certified.unknown.push(*oid),
            }
        }
        match version {
            Some(version) if STRUCT_VERSIONS.contains(&version) => Ok(certified),
            Some(version) => Err(format!("structure version {version} is not known")),
            None => Err(format!("extension {STRUCT_VERSION}, the structure version, is missing")),
        }
    }

    /// The firmware that the key is derived for. Every component of the product must be there, and nothing that the
    /// product's reports have no place for.
    pub(super) fn tcb(&self, product: Product) -> Result<TcbVersion, String> {
        let Self { boot_loader, tee, snp, microcode, fmc, spare, .. } = self;
        let there = |value: &Option<u8>, oid| value.ok_or_else(|| format!("extension {oid} is missing"));
        if spare.iter().flatten().any(|value| *value != 0) {
            return Err("a spare component is not zero".to_owned());
        }
        let fmc = match (product, fmc) {
            (Product::Turin, fmc) => there(fmc, FMC)?,
            (Product::Milan | Product::Genoa, None) => 0,
            (Product::Milan | Product::Genoa, Some(_)) => return Err(format!("{product} has no FMC")),
        };
        Ok(TcbVersion {
            fmc,
            boot_loader: there(boot_loader, BOOT_LOADER)?,
            tee: there(tee, TEE)?,
            snp: there(snp, SNP)?,
            microcode: there(microcode, MICROCODE)?,
        })
    }

    /// The product that the name is of: the name may end in a stepping, and Genoa has two more names.
    pub(super) fn product(&self) -> Option<Product> {
        let name = self.product_name?;
        let (line, stepping) = name.split_once('-').map_or((name, None), |(line, stepping)| (line, Some(stepping)));
        let is_stepping = |text: &str| {
            matches!(text.as_bytes(), [letter, digits @ ..] if letter.is_ascii_uppercase()
                && !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
        };
        let product = match line {
            "Milan" => Product::Milan,
            "Genoa" | "Bergamo" | "Siena" => Product::Genoa,
            "Turin" => Product::Turin,
            _ => return None,
        };
        stepping.is_none_or(is_stepping).then_some(product)
    }
}

/// Whether these are the extensions of a root: it signs certificates and revocation lists.
pub(super) fn root(extensions: &[Extension<'_>]) -> Result<String, String> {
    authority(extensions, &[0x30, 3, 1, 1, 0xff], &[3, 2, 1, 0b110])
}

/// Whether these are the extensions of an intermediate: it signs certificates that sign none.
pub(super) fn intermediate(extensions: &[Extension<'_>]) -> Result<String, String> {
    // In DER two bits would be unused, not one; AMD writes it so.
    authority(extensions, &[0x30, 6, 1, 1, 0xff, 2, 1, 0], &[3, 2, 1, 0b100])
}

/// Whether these are the extensions of a leaf; names those that nothing is known of.
pub(super) fn leaf(extensions: &[Extension<'_>]) -> Result<String, String> {
    let unknown: Vec<_> = Certified::read(extensions)?.unknown.iter().map(ToString::to_string).collect();
    Ok(if unknown.is_empty() { String::new() } else { format!("not known: {}", unknown.join(", ")) })
}

/// Whether a revocation list has no extension that narrows or changes what it says.
pub(super) fn list(extensions: &[Extension<'_>]) -> Result<(), String> {
    match extensions.iter().find(|extension| extension.critical) {
        Some(extension) => Err(format!("critical extension {} is not known", extension.oid)),
        None => Ok(()),
    }
}

/// Whether basicConstraints and keyUsage are there, critical, and encode exactly this.
fn authority(extensions: &[Extension<'_>], constraints: &[u8], usage: &[u8]) -> Result<String, String> {
    unique(extensions)?;
    for (oid, expected) in [(BASIC_CONSTRAINTS, constraints), (KEY_USAGE, usage)] {
        match extensions.iter().find(|extension| extension.oid == oid) {
            Some(found) if found.critical && found.value == expected => {}
            Some(_) => return Err(format!("extension {oid} says something else")),
            None => return Err(format!("extension {oid} is missing")),
        }
    }
    let known = |oid: &ObjectIdentifier| [BASIC_CONSTRAINTS, KEY_USAGE].contains(oid) || HINTS.contains(oid);
    match extensions.iter().find(|extension| extension.critical && !known(&extension.oid)) {
        Some(extension) => Err(format!("critical extension {} is not known", extension.oid)),
        None => Ok(String::new()),
    }
}

fn unique(extensions: &[Extension<'_>]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match extensions.iter().find(|extension| !seen.insert(extension.oid)) {
        Some(twice) => Err(format!("extension {} is there twice", twice.oid)),
        None => Ok(()),
    }
}

/// A short IA5String that can be shown.
fn text(value: &[u8]) -> Result<&str, der::Error> {
    let value = AnyRef::from_der(value)?;
    value.tag().assert_eq(Tag::Ia5String)?;
    let text = value.value();
    let shown = (1..=MAX_NAME).contains(&text.len()) && text.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let text = str::from_utf8(text).ok().filter(|_| shown);
    text.ok_or_else(|| Tag::Ia5String.value_error().into())
}
