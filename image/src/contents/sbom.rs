//! `sbom.cdx.json`: what the image is made of, as a CycloneDX 1.6 document
//! (<https://cyclonedx.org/docs/1.6/json/>). Equal parts give equal bytes: it has no time and no random number.

use crate::inputs::crates::Crate;
use crate::inputs::lock::{File, Package, Set};
use measure::Sha256;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use uuid::Uuid;

/// Something the image is made of.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// A Debian package that a path of the image comes from ([`crate::contents::provenance::packages`]).
    Package(&'a Package),
    /// A Rust crate that is compiled into a binary of the guest.
    Crate(&'a Crate),
    /// Another fetched file: the model.
    File(&'a File),
}

/// Renders the document for an image of this version. The order of `parts` does not matter.
pub fn render(version: &str, parts: &[Part<'_>]) -> anyhow::Result<String> {
    let components: BTreeMap<_, _> = parts.iter().map(Component::new).map(|it| (it.bom_ref.clone(), it)).collect();
    let mut document = Document {
        bom_format: "CycloneDX",
        spec_version: "1.6",
        serial_number: String::new(),
        version: 1,
        metadata: Metadata { component: Subject { kind: "operating-system", name: "vitrine", version } },
        components: components.into_values().collect(),
    };
    // The format wants a UUID per document; this one is of what the document says.
    let uuid = Uuid::new_v5(&Uuid::NAMESPACE_URL, &serde_json::to_vec(&document)?);
    document.serial_number = uuid.urn().to_string();
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    bom_format: &'a str,
    spec_version: &'a str,
    serial_number: String,
    version: u32,
    metadata: Metadata<'a>,
    components: Vec<Component<'a>>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    component: Subject<'a>,
}

#[derive(Serialize)]
struct Subject<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    name: &'a str,
    version: &'a str,
}

#[derive(Serialize)]
struct Component<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    bom_ref: String,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    hashes: [Hash; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

#[derive(Serialize)]
struct Hash {
    alg: &'static str,
    content: Sha256,
}

#[derive(Serialize)]
struct Property {
    name: &'static str,
    value: String,
}

impl<'a> Component<'a> {
    fn new(part: &Part<'a>) -> Self {
        match *part {
            Part::Package(package) => {
                let Package { name, version, arch, sha256, source, source_version, sets, .. } = package;
                let purl = format!("pkg:deb/debian/{}@{}?arch={arch}", encoded(name), encoded(version));
                let source = Property { name: "vitrine:debian-source", value: format!("{source} {source_version}") };
                Self::known(kind(sets), purl, name, version, *sha256, vec![source])
            }
            Part::Crate(Crate { name, version, sha256 }) => {
                let purl = format!("pkg:cargo/{}@{}", encoded(name), encoded(version));
                Self::known("library", purl, name, version, *sha256, Vec::new())
            }
            Part::File(File { name, url, sha256, member, sets, .. }) => Self {
                kind: kind(sets),
                bom_ref: format!("file:{name}"),
                name,
                version: None,
                hashes: [sha_256(member.as_ref().map_or(*sha256, |member| member.sha256))],
                purl: None,
                properties: vec![Property { name: "vitrine:url", value: url.clone() }],
            },
        }
    }

    /// A component that a package URL names.
    fn known(
        kind: &'static str,
        purl: String,
        name: &'a str,
        version: &'a str,
        sha256: Sha256,
        properties: Vec<Property>,
    ) -> Self {
        let hashes = [sha_256(sha256)];
        Self { kind, bom_ref: purl.clone(), name, version: Some(version), hashes, purl: Some(purl), properties }
    }
}

fn sha_256(content: Sha256) -> Hash {
    Hash { alg: "SHA-256", content }
}

/// The format's word for what a locked input is for.
fn kind(sets: &[Set]) -> &'static str {
    let is_for = |set| sets.contains(&set);
    if is_for(Set::Model) {
        "machine-learning-model"
    } else if is_for(Set::Firmware) {
        "firmware"
    } else if is_for(Set::Kernel) || is_for(Set::Initrd) {
        "operating-system"
    } else {
        "library"
    }
}

/// Percent-encodes what a package URL does not take as it is.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}
