//! What can be wrong with certificates and revocation lists.

use super::report::List;
use super::scene::{Bad, Scene};
use crate::certificate::{Certificate, Extension};
use crate::chain::{self, oid};
use crate::{Leaf, Product, Tcb, der, keys};

/// What every certificate and the list have, so that the same can be wrong with each.
struct Signed {
    /// As in the ids of rules.
    id: &'static str,
    /// As in evidence.
    piece: &'static str,
    /// As in sentences.
    name: &'static str,
}

const ARK: Signed = Signed { id: "ark", piece: "snp-ark", name: "ARK" };
const ASK: Signed = Signed { id: "ask", piece: "snp-ask", name: "ASK" };
const LEAF: Signed = Signed { id: "leaf", piece: "snp-leaf", name: "leaf" };
const CRL: Signed = Signed { id: "crl", piece: "snp-crl", name: "revocation list" };

type Get = fn(&mut Scene) -> &mut Certificate;

const CERTIFICATES: [(Signed, Get); 3] =
    [(ARK, |scene| &mut scene.ark), (ASK, |scene| &mut scene.intermediate), (LEAF, |scene| &mut scene.leaf)];

/// The case that most of these change.
const BASE: &str = "genoa-v3-vcek";

pub(super) fn cases() -> Vec<Bad> {
    let mut list = List(Vec::new());
    for (signed, get) in CERTIFICATES {
        encoding(&mut list, &signed);
        contents(&mut list, &signed, get);
        signatures(&mut list, &signed);
        algorithms(&mut list, &signed, get);
        names_and_dates(&mut list, &signed, get);
    }
    encoding(&mut list, &CRL);
    signatures(&mut list, &CRL);
    certificate_keys(&mut list);
    authorities(&mut list);
    roots(&mut list);
    // What is certified on Milan is so as on Genoa.
    for product in [Product::Genoa, Product::Turin] {
        certified(&mut list, product);
    }
    for product in Product::ALL {
        products(&mut list, product);
    }
    revocation(&mut list);
    list.0
}

fn encoding(list: &mut List, signed: &Signed) {
    let Signed { id, piece, name } = *signed;
    let rule = format!("snp.chain.{id}.der");
    type Change = (&'static str, &'static str, fn(&mut Vec<u8>));
    let changes: [Change; 6] = [
        ("trailing-byte", "a byte follows", |der| der.push(0)),
        ("cut-off", "the last byte is missing", |der| der.truncate(der.len() - 1)),
        ("long-length", "a length has more bytes than it needs", |der| {
            let length = [0x83, 0, der[2], der[3]];
            der.splice(1..4, length);
        }),
        ("indefinite-length", "a length is indefinite", |der| {
            der.splice(1..4, [0x80]);
            der.extend([0, 0]);
        }),
        ("set", "it is a SET", |der| der[0] = 0x31),
        ("garbage", "it is text", |der| *der = b"-----BEGIN CERTIFICATE-----\n".to_vec()),
    ];
    for (what, says, change) in changes {
        let says = format!("{name}: {says}");
        list.fails(BASE, format!("{id}-{what}"), &rule, says, move |scene| scene.finish(piece, change));
    }
}

/// What is wrong inside, where the signature covers it.
fn contents(list: &mut List, signed: &Signed, get: Get) {
    let Signed { id, name, .. } = *signed;
    let rule = format!("snp.chain.{id}.der");
    type Change = (&'static str, &'static str, fn(&mut Certificate));
    let changes: [Change; 6] = [
        ("version-1", "its version is 1", |certificate| certificate.version.clear()),
        ("version-2", "its version is 2", |certificate| certificate.version = der::context(0, &[&der::integer(1)])),
        ("serial-negative", "its serial number is negative", |certificate| certificate.serial = vec![2, 1, 0x80]),
        ("serial-long", "its serial number has 21 octets", |certificate| {
            certificate.serial = der::value(2, &[&[0x7f; 21]]);
        }),
        ("generalized-time", "a date before 2050 is written as GeneralizedTime", |certificate| {
            certificate.not_after = der::value(0x18, &[b"20300101000000Z"]);
        }),
        ("no-such-day", "it is valid from a 30th of February on", |certificate| {
            certificate.not_before = der::utc_time("240230000000Z");
        }),
    ];
    for (what, says, change) in changes {
        let says = format!("{name}: {says}");
        list.fails(BASE, format!("{id}-{what}"), &rule, says, move |scene| change(get(scene)));
    }
}

fn signatures(list: &mut List, signed: &Signed) {
    let Signed { id, piece, name } = *signed;
    let rule = format!("snp.chain.{id}.signature");
    list.fails(
        BASE,
        format!("{id}-signed-by-stranger"),
        &rule,
        format!("{name}: a stranger signed it"),
        move |scene| match id {
            "ark" => scene.ark_signer = keys::stranger(),
            "ask" => scene.intermediate_signer = keys::stranger(),
            "leaf" => scene.leaf_signer = keys::stranger(),
            _ => scene.crl_signer = keys::stranger(),
        },
    );
    list.fails(
        BASE,
        format!("{id}-signature-bit"),
        &rule,
        format!("{name}: a bit of the signature differs"),
        move |s| {
            s.finish(piece, |der| {
                if let Some(last) = der.last_mut() {
                    *last ^= 1;
                }
            });
        },
    );
    // Both certificates begin to be valid in a month 01 or 10 of some year, as lists do: a digit of the day of the
    // first date is changed, to another day on which it is valid.
    list.fails(
        BASE,
        format!("{id}-changed"),
        &rule,
        format!("{name}: a date was changed after signing"),
        move |scene| {
            scene.finish(piece, |der| {
                let tag = der.windows(2).position(|tag| tag == [0x17, 13]).expect("there is a date");
                der[tag + 7] ^= 2;
            });
        },
    );
}

fn algorithms(list: &mut List, signed: &Signed, get: Get) {
    let Signed { id, name, .. } = *signed;
    let rule = format!("snp.chain.{id}.algorithm");
    const SHA_256: &str = "2.16.840.1.101.3.4.2.1";
    let other: [(&str, &str, Vec<u8>); 5] = [
        ("sha-256", "with SHA-256", chain::pss_with(SHA_256, 48, true)),
        ("salt-32", "with 32 bytes of salt", chain::pss_with("2.16.840.1.101.3.4.2.2", 32, true)),
        ("pkcs1", "RSASSA-PKCS1-v1_5", der::sequence(&[&der::oid("1.2.840.113549.1.1.12"), der::NULL])),
        ("ecdsa", "ECDSA", der::sequence(&[&der::oid("1.2.840.10045.4.3.3")])),
        ("no-parameters", "without parameters", der::sequence(&[&der::oid("1.2.840.113549.1.1.10")])),
    ];
    for (what, says, algorithm) in other {
        let says = format!("{name}: the algorithm is said to be {says}");
        list.fails(BASE, format!("{id}-{what}"), &rule, says, move |scene| {
            get(scene).signature = algorithm.clone();
            get(scene).signature_algorithm = algorithm.clone();
        });
    }
    let says = format!("{name}: the algorithm inside what is signed differs from the one outside");
    list.fails(BASE, format!("{id}-two-algorithms"), &rule, says, move |scene| {
        get(scene).signature = chain::pss_with(SHA_256, 48, true);
    });
}

fn names_and_dates(list: &mut List, signed: &Signed, get: Get) {
    let Signed { id, name, .. } = *signed;
    let rule = format!("snp.chain.{id}.names");
    for (what, says, subject) in [
        ("subject", "the subject has another common name", chain::name("SEV-GENOA")),
        ("subject-empty", "the subject is empty", der::sequence(&[])),
    ] {
        list.fails(BASE, format!("{id}-{what}"), &rule, format!("{name}: {says}"), move |scene| {
            get(scene).subject = subject.clone();
        });
    }
    list.fails(BASE, format!("{id}-issuer"), &rule, format!("{name}: the issuer is Milan's"), move |scene| {
        get(scene).issuer = chain::name(if id == "leaf" { "SEV-Milan" } else { "ARK-Milan" });
    });
    list.fails(BASE, format!("{id}-organisation"), &rule, format!("{name}: it claims to be AMD's"), move |scene| {
        let subject = &mut get(scene).subject;
        let theirs = der::sequence(&[&der::oid("2.5.4.10"), &der::utf8("Advanced Micro Devices")]);
        let ours = der::sequence(&[&der::oid("2.5.4.10"), &der::utf8(chain::ORGANISATION)]);
        *subject = replace(subject, &ours, &theirs);
    });

    let rule = format!("snp.chain.{id}.dates");
    list.fails(BASE, format!("{id}-expired"), &rule, format!("{name}: it expired a second ago"), move |scene| {
        get(scene).not_after = der::utc_time("260630235959Z");
    });
    list.fails(BASE, format!("{id}-not-yet"), &rule, format!("{name}: it is valid a second from now"), move |scene| {
        get(scene).not_before = der::utc_time("260701000001Z");
    });
}

/// DER with one value inside its outer SEQUENCE's parts replaced, lengths being put right.
fn replace(name: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = name.windows(old.len()).position(|window| window == old).expect("the value is there");
    // The value is alone in a SET, which is directly in the SEQUENCE; a length of 128 or more takes more bytes.
    let header = if name[1] < 0x80 { 2 } else { 2 + usize::from(name[1] & 0x7f) };
    let (before, after) = (&name[header..at - 2], &name[at + old.len()..]);
    der::sequence(&[before, &der::value(0x31, &[new]), after])
}

fn certificate_keys(list: &mut List) {
    let exponent_3 = |mut key: Vec<u8>| {
        let at = key.len() - 5;
        assert_eq!(key[at..], [2, 3, 1, 0, 1]);
        // Of the same size, so that no length changes: 65539.
        key[at + 4] = 3;
        key
    };
    let p256 = || {
        let algorithm = der::sequence(&[&der::oid("1.2.840.10045.2.1"), &der::oid("1.2.840.10045.3.1.7")]);
        der::sequence(&[&algorithm, &der::bits(&[&[4][..], &[7; 64]].concat())])
    };
    let off_curve = || {
        let mut key = keys::vcek().public();
        if let Some(last) = key.last_mut() {
            *last ^= 1;
        }
        key
    };
    let compressed = || {
        let key = keys::vcek().public();
        let (point, algorithm) = (&key[key.len() - 97..], &key[2..20]);
        der::sequence(&[algorithm, &der::bits(&[&[2 | point[96] & 1], &point[1..49]].concat())])
    };
    for (id, what, says, key) in [
        ("ark", "exponent", "the exponent is 65539", exponent_3(keys::ark(Product::Genoa).public())),
        ("ark", "ec", "it is on P-384", keys::vcek().public()),
        ("ask", "exponent", "the exponent is 65539", exponent_3(keys::ask().public())),
        ("ask", "ec", "it is on P-384", keys::vcek().public()),
        ("leaf", "rsa", "it is RSA", keys::ask().public()),
        ("leaf", "p256", "it is on P-256", p256()),
        ("leaf", "off-curve", "it is not on the curve", off_curve()),
        ("leaf", "compressed", "its point is compressed", compressed()),
    ] {
        let rule = format!("snp.chain.{id}.key");
        let says = format!("the certified key of the {}: {says}", id.to_uppercase());
        list.fails(BASE, format!("{id}-key-{what}"), &rule, says, move |scene| match id {
            "ark" => scene.ark.key = key.clone(),
            "ask" => scene.intermediate.key = key.clone(),
            _ => scene.leaf.key = key.clone(),
        });
    }
}

fn unknown(critical: bool) -> Extension {
    Extension { oid: "1.3.6.1.4.1.55555.1", critical, value: der::NULL.to_vec() }
}

fn authorities(list: &mut List) {
    for (Signed { id, name, .. }, get) in CERTIFICATES {
        let rule = format!("snp.chain.{id}.extensions");
        let says = format!("{name}: an extension that nobody knows is critical");
        list.fails(BASE, format!("{id}-critical-extension"), &rule, says, move |scene| {
            get(scene).extensions.push(unknown(true));
        });
        let says = format!("{name}: an extension is there twice");
        list.fails(BASE, format!("{id}-extension-twice"), &rule, says, move |scene| {
            let first = get(scene).extensions[0].clone();
            get(scene).extensions.push(first);
        });
        if id == "leaf" {
            continue;
        }
        type Change = (&'static str, &'static str, fn(&mut Certificate));
        let changes: [Change; 5] = [
            ("no-constraints", "basicConstraints is missing", |ca| {
                ca.extensions.retain(|extension| extension.oid != oid::BASIC_CONSTRAINTS);
            }),
            ("not-a-ca", "basicConstraints does not say CA", |ca| {
                ca.extension(oid::BASIC_CONSTRAINTS).value = der::sequence(&[]);
            }),
            ("no-usage", "keyUsage is missing", |ca| {
                ca.extensions.retain(|extension| extension.oid != oid::KEY_USAGE);
            }),
            ("usage", "keyUsage does not allow to sign certificates", |ca| {
                ca.extension(oid::KEY_USAGE).value = vec![3, 2, 7, 0x80];
            }),
            ("no-extensions", "there are no extensions", |ca| ca.extensions.clear()),
        ];
        for (what, says, change) in changes {
            list.fails(BASE, format!("{id}-{what}"), &rule, format!("{name}: {says}"), move |scene| {
                change(get(scene));
            });
        }
    }
    let says = "ASK: it may have another authority below it";
    list.fails(BASE, "ask-path-length", "snp.chain.ask.extensions", says, |scene| {
        scene.intermediate.extension(oid::BASIC_CONSTRAINTS).value = vec![0x30, 6, 1, 1, 0xff, 2, 1, 1];
    });
}

fn roots(list: &mut List) {
    for product in ["milan", "genoa", "turin"] {
        let base = format!("{product}-v5-vcek");
        let says = "the whole chain is a stranger's, with all the right names";
        list.fails(&base, "unpinned", "snp.chain.ark.pinned", says, |scene| {
            scene.ark.key = keys::stranger().public();
            scene.ark_signer = keys::stranger();
            scene.intermediate_signer = keys::stranger();
            scene.crl_signer = keys::stranger();
        });
    }
}

/// The extensions of a leaf.
fn certified(list: &mut List, product: Product) {
    let base = format!("{}-v5-vcek", product.name().to_lowercase());
    let base = base.as_str();
    let mut components =
        vec![("bootloader", oid::BOOTLOADER), ("tee", oid::TEE), ("snp", oid::SNP), ("microcode", oid::MICROCODE)];
    if product == Product::Turin {
        components.push(("fmc", oid::FMC));
    }
    let rule = "snp.chain.leaf.tcb";
    for (name, oid) in &components {
        let oid = *oid;
        let says = format!("{name} is certified one higher than reported");
        list.fails(base, format!("leaf-{name}-higher"), rule, says, move |scene| {
            let value = &mut scene.leaf.extension(oid).value;
            let last = value.last().copied().unwrap_or(0);
            *value = der::integer(u64::from(last) + 1);
        });
    }

    for (name, oid) in components {
        list.fails(base, format!("leaf-no-{name}"), rule, format!("{name} is not certified"), move |scene| {
            scene.leaf.extensions.retain(|extension| extension.oid != oid);
        });
        let rule = "snp.chain.leaf.extensions";
        let says = format!("{name} is certified in an encoding with a byte too many");
        list.fails(base, format!("leaf-{name}-long"), rule, says, move |scene| {
            let value = &mut scene.leaf.extension(oid).value;
            let contents = value[2..].to_vec();
            *value = der::value(2, &[&[0], &contents]);
        });
        let says = format!("{name} is certified as a number above 255 whose last byte is right");
        list.fails(base, format!("leaf-{name}-256"), rule, says, move |scene| {
            let value = &mut scene.leaf.extension(oid).value;
            let last = value.last().copied().unwrap_or(0);
            *value = der::integer(0x100 | u64::from(last));
        });
    }
    if product != Product::Genoa {
        return;
    }
    let (extensions, chip) = ("snp.chain.leaf.extensions", "snp.chain.leaf.chip");
    type Change = (&'static str, &'static str, &'static str, fn(&mut Certificate));
    let changes: [Change; 18] = [
        (extensions, "microcode-negative", "microcode 200 is certified as a negative number", |leaf| {
            leaf.extension(oid::MICROCODE).value = vec![2, 1, 200];
        }),
        (extensions, "microcode-octets", "microcode is certified as octets", |leaf| {
            leaf.extension(oid::MICROCODE).value = vec![4, 1, 200];
        }),
        (extensions, "microcode-bare", "microcode is certified without DER around it", |leaf| {
            leaf.extension(oid::MICROCODE).value = vec![200];
        }),
        (extensions, "microcode-trailing", "a byte follows the microcode's integer", |leaf| {
            leaf.extension(oid::MICROCODE).value.push(0);
        }),
        (chip, "no-hwid", "no chip is certified", |leaf| {
            leaf.extensions.retain(|extension| extension.oid != oid::HWID);
        }),
        (chip, "hwid-short", "the chip's id has 63 bytes", |leaf| leaf.extension(oid::HWID).value.truncate(63)),
        (chip, "hwid-8", "the chip's id has 8 bytes, as on Turin", |leaf| leaf.extension(oid::HWID).value.truncate(8)),
        (chip, "hwid-wrapped", "the chip's id is in an OCTET STRING of its own", |leaf| {
            let value = &mut leaf.extension(oid::HWID).value;
            *value = der::octets(value);
        }),
        ("snp.chain.leaf.product", "no-product", "no product is certified", |leaf| {
            leaf.extensions.retain(|extension| extension.oid != oid::PRODUCT_NAME);
        }),
        (extensions, "product-utf8", "the product's name is an UTF8String", |leaf| {
            leaf.extension(oid::PRODUCT_NAME).value = der::utf8("Genoa-B1");
        }),
        (rule, "fmc", "FMC is certified, which only Turin has", |leaf| {
            leaf.extensions.push(Extension { oid: oid::FMC, critical: false, value: der::integer(0) });
        }),
        (extensions, "no-extensions", "there are no extensions", |leaf| leaf.extensions.clear()),
        (extensions, "no-structure-version", "the structure has no version", |leaf| {
            leaf.extensions.retain(|extension| extension.oid != oid::STRUCT_VERSION);
        }),
        (extensions, "structure-version-2", "the structure's version is 2", |leaf| {
            leaf.extension(oid::STRUCT_VERSION).value = der::integer(2);
        }),
        (extensions, "authority", "it says that it is an authority", |leaf| {
            let value = vec![0x30, 3, 1, 1, 0xff];
            leaf.extensions.push(Extension { oid: oid::BASIC_CONSTRAINTS, critical: true, value });
        }),
        (extensions, "product-empty", "the product's name is empty", |leaf| {
            leaf.extension(oid::PRODUCT_NAME).value = der::ia5("");
        }),
        ("snp.chain.leaf.product", "product-other-case", "the product's name is in capitals", |leaf| {
            leaf.extension(oid::PRODUCT_NAME).value = der::ia5("GENOA-B1");
        }),
        (rule, "spare", "a component without a meaning is not zero", |leaf| {
            leaf.extension(oid::SPARE_5).value = der::integer(1);
        }),
    ];
    for (rule, what, says, change) in changes {
        list.fails(base, format!("leaf-{what}"), rule, says, move |scene| change(&mut scene.leaf));
    }
    list.fails("turin-v5-vcek", "leaf-hwid-64", chip, "the chip's id has 64 bytes, as before Turin", |scene| {
        scene.leaf.extension(oid::HWID).value.resize(64, 0);
    });
}

/// What leaf, report and root say of product, chip, kind and provider.
fn products(list: &mut List, product: Product) {
    let base = format!("{}-v5-vcek", product.name().to_lowercase());
    let base = base.as_str();
    let rule = "snp.chain.leaf.chip";
    let last = product.hwid_size() - 1;
    for (name, at) in [("first", 0), ("last", last)] {
        list.fails(base, format!("hwid-{name}"), rule, format!("the {name} byte of the chip's id differs"), move |s| {
            s.leaf.extension(oid::HWID).value[at] ^= 1;
        });
    }

    let rule = "snp.chain.leaf.product";
    let other = match product {
        Product::Milan => Product::Genoa,
        Product::Genoa | Product::Turin => Product::Milan,
    };
    list.fails(base, "other-product-certified", rule, format!("{other} is certified"), move |scene| {
        scene.leaf.extension(oid::PRODUCT_NAME).value = der::ia5(other.certified_name());
    });
    if product != Product::Turin {
        list.fails(base, "other-product-reported", rule, format!("{other} is reported"), move |scene| {
            scene.report.cpuid = other.cpuid();
        });
        let says = format!("the whole chain is {other}'s");
        list.fails(base, "other-product-chain", rule, says, move |scene| {
            let (hwid, tcb) = (scene.processor.hwid().to_vec(), scene.processor.tcb);
            scene.ark = chain::ark(other);
            scene.ark_signer = keys::ark(other);
            scene.intermediate = chain::intermediate(other, Leaf::Vcek);
            scene.intermediate_signer = keys::ark(other);
            scene.leaf = chain::vcek(other, tcb, &hwid);
            scene.crl = chain::crl(other);
            scene.crl_signer = keys::ark(other);
        });
    }

    let named = format!("{base}-vlek-named");
    list.fails(&named, "vlek-said", "snp.chain.leaf.kind", "the report says that a VLEK signed", |scene| {
        scene.report.flags |= 1 << 2;
    });
    let says = "the report says that a VCEK signed, and a VLEK did";
    let shown = format!("{}-v5-vlek-chip-shown", product.name().to_lowercase());
    list.fails(&shown, "vcek-said", "snp.chain.leaf.kind", says, |scene| scene.report.flags &= !(7 << 2));

    let rule = "snp.chain.leaf.csp";
    list.fails(base, "vcek-csp", rule, "a VCEK names a provider", |scene| {
        let value = der::ia5("simulated-cloud");
        scene.leaf.extensions.push(Extension { oid: oid::CSP_ID, critical: false, value });
    });
    let vlek = format!("{}-v5-vlek", product.name().to_lowercase());
    list.fails(&vlek, "vlek-no-csp", rule, "a VLEK names no provider", |scene| {
        scene.leaf.extensions.retain(|extension| extension.oid != oid::CSP_ID);
    });
    list.fails(&vlek, "vlek-hwid", "snp.chain.leaf.chip", "a VLEK names a chip", |scene| {
        let value = scene.processor.hwid().to_vec();
        scene.leaf.extensions.push(Extension { oid: oid::HWID, critical: false, value });
    });
    let tcb = |scene: &Scene| Tcb { snp: scene.processor.tcb.snp + 1, ..scene.processor.tcb };
    list.fails(&vlek, "leaf-snp-higher", "snp.chain.leaf.tcb", "snp is certified one higher than reported", move |s| {
        s.leaf = chain::vlek(product, tcb(s), s.processor.csp);
    });
}

fn revocation(list: &mut List) {
    let serial = |serial: &[u8]| serial.to_vec();
    let says = "the ASK is revoked";
    for product in ["milan", "genoa", "turin"] {
        for kind in ["vcek", "vlek"] {
            list.fails(&format!("{product}-v5-{kind}"), "ask-revoked", "snp.chain.crl.ask", says, move |scene| {
                scene.crl.revoked = vec![der::integer(99), serial(&scene.intermediate.serial)];
            });
        }
    }
    list.fails(BASE, "leaf-revoked", "snp.chain.crl.leaf", "the leaf is revoked", move |scene| {
        scene.leaf.serial = der::integer(77);
        scene.crl.revoked = vec![der::integer(77)];
    });

    let rule = "snp.chain.crl.der";
    list.undecided(BASE, "crl-missing", rule, "revocation list: there is none, and the policy asks for one", |scene| {
        scene.without.push("snp-crl");
    });
    list.fails(BASE, "crl-version-3", rule, "revocation list: its version is 3", |scene| {
        scene.crl.version = der::integer(2);
    });
    let rule = "snp.chain.crl.algorithm";
    list.fails(BASE, "crl-sha-256", rule, "revocation list: SHA-256", |scene| {
        scene.crl.signature = chain::pss_with("2.16.840.1.101.3.4.2.1", 48, true);
        scene.crl.signature_algorithm = scene.crl.signature.clone();
    });
    list.fails(BASE, "crl-two-algorithms", rule, "revocation list: two algorithms", |scene| {
        scene.crl.signature = chain::pss_with("2.16.840.1.101.3.4.2.1", 48, true);
    });
    let rule = "snp.chain.crl.issuer";
    list.fails(BASE, "crl-issuer", rule, "revocation list: the issuer is Milan's ARK", |scene| {
        scene.crl.issuer = chain::name("ARK-Milan");
    });
    let says = "revocation list: it is Milan's, which another key signed";
    list.fails(BASE, "crl-other-product", "snp.chain.crl.signature", says, |scene| {
        scene.crl_signer = keys::ark(Product::Milan);
    });
    let rule = "snp.chain.crl.dates";
    list.fails(BASE, "crl-old", rule, "revocation list: the next one is overdue", |scene| {
        scene.crl.next_update = der::utc_time("260630235959Z");
    });
    list.fails(BASE, "crl-not-yet", rule, "revocation list: it is of tomorrow", |scene| {
        scene.crl.this_update = der::utc_time("260701000001Z");
    });
    list.fails(BASE, "crl-for-ever", rule, "revocation list: it does not say when the next one is due", |scene| {
        scene.crl.next_update = vec![];
    });
    list.fails(BASE, "crl-aged", "snp.chain.crl.age", "revocation list: older than the policy allows", |scene| {
        scene.crl.this_update = der::utc_time("251230000000Z");
    });
    let rule = "snp.chain.crl.extensions";
    list.fails(BASE, "crl-critical-extension", rule, "revocation list: an unknown extension is critical", |scene| {
        scene.crl.extensions.push(unknown(true));
    });
    list.fails(BASE, "crl-delta", rule, "revocation list: it only says what changed", |scene| {
        let value = der::integer(1);
        scene.crl.extensions.push(Extension { oid: "2.5.29.27", critical: true, value });
    });
    list.fails(BASE, "crl-partial", rule, "revocation list: it is about some certificates only", |scene| {
        // IssuingDistributionPoint: onlyContainsUserCerts.
        let value = der::sequence(&[&[0x81, 1, 0xff]]);
        scene.crl.extensions.push(Extension { oid: "2.5.29.28", critical: true, value });
    });
}
