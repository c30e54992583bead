//! What can be tested without anybody's private RSA key: encodings, what leaves certify, and that nothing panics. One
//! forged chain or more for every rule is in the corpus of forged evidence, whose keys are elsewhere.

use super::certified::Certified;
use super::keys::{EcKey, ReportSignature, RsaKey};
use super::x509::{Certificate, Crl, Extension, Signed};
use super::*;
use crate::appraise::Rule;
use crate::snp::report::{REPORT_BYTES, SIGNED_BYTES};
use p384::ecdsa::signature::hazmat::PrehashSigner as _;
use p384::ecdsa::{Signature, SigningKey};
use std::collections::BTreeSet;

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let [_, high, middle, low] = u32::try_from(contents.len()).unwrap().to_be_bytes();
    let length = match contents.len() {
        0..0x80 => vec![low],
        0x80..0x100 => vec![0x81, low],
        0x100..0x1_0000 => vec![0x82, middle, low],
        _ => vec![0x83, high, middle, low],
    };
    [vec![tag], length, contents].concat()
}

fn seq(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts)
}

const VERSION_3: &[u8] = &[0xa0, 3, 2, 1, 2];
const VERSION_2: &[u8] = &[2, 1, 1];
const SERIAL: &[u8] = &[2, 2, 0x12, 0x34];
const SINCE: &[u8] = b"\x17\x0d200101000000Z";
const UNTIL: &[u8] = b"\x17\x0d491231235959Z";
/// keyUsage, critical.
const EXTENSION: &[u8] = &[0x30, 14, 6, 3, 0x55, 0x1d, 15, 1, 1, 0xff, 4, 4, 3, 2, 1, 6];

/// What is signed, and the rest.
fn signed(parts: &[&[u8]]) -> Vec<u8> {
    seq(&[&seq(parts), &seq(&[]), &tlv(3, &[&[0], &[7; 8]])])
}

/// The parts of a certificate, of which a test can change one.
fn certificate() -> Vec<Vec<u8>> {
    let spki = seq(&[&seq(&[]), &tlv(3, &[&[0]])]);
    let extensions = tlv(0xa3, &[&seq(&[EXTENSION])]);
    let name = seq(&[]);
    [VERSION_3, SERIAL, &seq(&[]), &name, &seq(&[SINCE, UNTIL]), &name, &spki, &extensions].map(<[u8]>::to_vec).into()
}

/// The parts of a revocation list with one entry.
fn crl() -> Vec<Vec<u8>> {
    let entries = seq(&[&seq(&[SERIAL, SINCE, &seq(&[EXTENSION])])]);
    let extensions = tlv(0xa0, &[&seq(&[])]);
    [VERSION_2, &seq(&[]), &seq(&[]), SINCE, UNTIL, &entries, &extensions].map(<[u8]>::to_vec).into()
}

fn whole(parts: &[Vec<u8>]) -> Vec<u8> {
    signed(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// `parts` with the one at `at` replaced.
fn with(mut parts: Vec<Vec<u8>>, at: usize, part: &[u8]) -> Vec<u8> {
    parts[at] = part.to_vec();
    whole(&parts)
}

#[test]
fn a_certificate_is_read_as_it_is() {
    let bytes = whole(&certificate());
    let read = Certificate::parse(&bytes).unwrap();
    assert_eq!(read.signed.message, seq(&certificate().iter().map(Vec::as_slice).collect::<Vec<_>>()));
    assert_eq!((read.serial, read.not_before, read.signed.signature), (&SERIAL[2..], Time(1_577_836_800), &[7; 8][..]));
    assert!(matches!(read.extensions.as_slice(), [Extension { critical: true, value: [3, 2, 1, 6], .. }]));
    let cases: [(&str, Vec<u8>); 19] = [
        ("version 1", with(certificate(), 0, &[])),
        ("version 2", with(certificate(), 0, &[0xa0, 3, 2, 1, 1])),
        ("negative serial number", with(certificate(), 1, &[2, 1, 0x80])),
        ("serial number with a zero before it", with(certificate(), 1, &[2, 2, 0, 1])),
        ("long serial number", with(certificate(), 1, &tlv(2, &[&[1; 21]]))),
        ("time without seconds", with(certificate(), 4, &seq(&[SINCE, b"\x17\x0b4912312359Z"]))),
        ("13th month", with(certificate(), 4, &seq(&[SINCE, b"\x17\x0d491331235959Z"]))),
        ("GeneralizedTime before 2050", with(certificate(), 4, &seq(&[SINCE, b"\x18\x0f20491231235959Z"]))),
        ("three times", with(certificate(), 4, &seq(&[SINCE, UNTIL, UNTIL]))),
        ("issuer that is no SEQUENCE", with(certificate(), 3, UNTIL)),
        ("unique identifier", with(certificate(), 6, &[0x81, 1, 0])),
        (
            "FALSE spelled out",
            with(certificate(), 7, &tlv(0xa3, &[&seq(&[&seq(&[&[6, 1, 0x55], &[1, 1, 0], &[4, 0]])])])),
        ),
        ("another TRUE", with(certificate(), 7, &tlv(0xa3, &[&seq(&[&seq(&[&[6, 1, 0x55], &[1, 1, 1], &[4, 0]])])]))),
        ("byte after the extensions", with(certificate(), 7, &tlv(0xa3, &[&seq(&[]), &[0]]))),
        ("signature of bits", seq(&[&seq(&[]), &seq(&[]), &[3, 2, 1, 0]])),
        ("byte after the certificate", [bytes.as_slice(), &[0]].concat()),
        ("length in two bytes", [&[0x30, 0x81], &bytes[1..]].concat()),
        ("indefinite length", [&[0x30, 0x80], &bytes[2..], &[0, 0]].concat()),
        ("too long", with(certificate(), 6, &tlv(0x30, &[&[0; MAX_CERTIFICATE]]))),
    ];
    assert!(bytes[1] < 0x80, "the case about two bytes needs one");
    for (what, bytes) in cases {
        assert!(Certificate::parse(&bytes).is_err(), "{what}");
    }
    let later = with(certificate(), 4, &seq(&[SINCE, b"\x18\x0f20500101000000Z"]));
    assert_eq!(Certificate::parse(&later).unwrap().not_after, Time(2_524_608_000));
}

#[test]
fn a_revocation_list_is_read_as_it_is() {
    let bytes = whole(&crl());
    let read = Crl::parse(&bytes).unwrap();
    assert_eq!((read.this_update, read.revoked.as_slice()), (Time(1_577_836_800), &[&SERIAL[2..]][..]));
    assert_eq!((read.next_update, read.extensions.len()), (Some(Time(2_524_607_999)), 1));
    for (what, at, accepted) in
        [("version 1", 0, true), ("no end", 4, true), ("no entries", 5, true), ("no algorithm", 1, false)]
    {
        assert_eq!(Crl::parse(&with(crl(), at, &[])).is_ok(), accepted, "{what}");
    }
    let cases = [
        ("version 3", with(crl(), 0, &[2, 1, 2])),
        ("entry without a date", with(crl(), 5, &seq(&[&seq(&[SERIAL])]))),
        ("entry with more", with(crl(), 5, &seq(&[&seq(&[SERIAL, SINCE, &seq(&[]), &seq(&[])])]))),
        ("too long", with(crl(), 5, &tlv(0x30, &vec![seq(&[SERIAL, SINCE]).as_slice(); 3200]))),
    ];
    for (what, bytes) in cases {
        assert!(Crl::parse(&bytes).is_err(), "{what}");
    }
}

/// Extensions under AMD's arc: the last arcs, and the value.
fn certify(list: &[(&str, &'static [u8])]) -> Vec<Extension<'static>> {
    let oid = |arcs: &str| format!("1.3.6.1.4.1.3704.1.{arcs}").parse().unwrap();
    list.iter().map(|(arcs, value)| Extension { oid: oid(arcs), critical: false, value }).collect()
}

const TURIN: [(&str, &[u8]); 12] = [
    ("1", &[2, 1, 1]),
    ("2", b"\x16\x05Turin"),
    ("3.9", &[2, 1, 1]),
    ("3.1", &[2, 1, 2]),
    ("3.2", &[2, 1, 3]),
    ("3.3", &[2, 2, 0, 200]),
    ("3.5", &[2, 1, 0]),
    ("3.6", &[2, 1, 0]),
    ("3.7", &[2, 1, 0]),
    ("3.8", &[2, 1, 127]),
    ("4", &[8; 8]),
    ("99", &[5, 0]),
];

#[test]
fn what_a_leaf_certifies() {
    let extensions = certify(&TURIN);
    let certified = Certified::read(&extensions).unwrap();
    let tcb = TcbVersion { fmc: 1, boot_loader: 2, tee: 3, snp: 200, microcode: 127 };
    assert_eq!((certified.product(), certified.tcb(Product::Turin)), (Some(Product::Turin), Ok(tcb)));
    assert_eq!((certified.hwid, certified.csp, certified.unknown.len()), (Some(&[8; 8][..]), None, 1));
    assert!(certified.tcb(Product::Genoa).is_err(), "Genoa has no FMC");

    // What cannot be decoded is refused; what can be, but is missing or not zero, is no TCB.
    let changes: [(&str, &'static [u8], bool); 11] = [
        ("1", &[2, 1, 2], false),
        ("2", b"\x0c\x05Turin", false),
        ("2", b"\x16\x05Tur\x1bn", false),
        ("2", b"\x16\x00", false),
        ("3.1", &[2, 2, 0, 2], false),
        ("3.1", &[2, 1, 0x80], false),
        ("3.1", &[2, 2, 1, 0], false),
        ("3.1", &[2, 1, 2, 0], false),
        ("3.1", &[2], false),
        ("3.5", &[2, 1, 1], true),
        ("3.7", &[2, 1, 255], false),
    ];
    for (arcs, value, decodes) in changes {
        let changed = TURIN.map(|(oid, old)| (oid, if oid == arcs { value } else { old }));
        let extensions = certify(&changed);
        let read = Certified::read(&extensions);
        assert_eq!(read.is_ok(), decodes, "{arcs} {value:x?}");
        assert!(read.is_err() || read.unwrap().tcb(Product::Turin).is_err(), "{arcs} {value:x?}");
    }
    for component in ["3.9", "3.1", "3.2", "3.3", "3.8"] {
        let rest: Vec<_> = TURIN.into_iter().filter(|(arcs, _)| *arcs != component).collect();
        assert!(Certified::read(&certify(&rest)).unwrap().tcb(Product::Turin).is_err(), "{component}");
    }
    assert!(Certified::read(&certify(&TURIN[1..])).is_err(), "no structure version");
    assert!(Certified::read(&certify(&[&TURIN[..], &TURIN[..1]].concat())).is_err(), "twice");
    let mut critical = certify(&TURIN);
    critical[11].critical = true;
    assert!(Certified::read(&critical).is_err(), "critical and not known");
}

#[test]
fn names_of_products() {
    for (name, product) in [
        ("Milan-B0", Some(Product::Milan)),
        ("Milan", Some(Product::Milan)),
        ("Genoa-B1", Some(Product::Genoa)),
        ("Bergamo-A2", Some(Product::Genoa)),
        ("Siena", Some(Product::Genoa)),
        ("Turin-C10", Some(Product::Turin)),
        ("Milan-", None),
        ("Milan-B", None),
        ("Milan-b0", None),
        ("Milan-B0-B0", None),
        ("milan", None),
        ("MilanX", None),
        ("Venice", None),
    ] {
        let mut certified = Certified::default();
        certified.product_name = Some(name);
        assert_eq!(certified.product(), product, "{name}");
    }
}

#[test]
fn what_authorities_may_do() {
    let usage = |critical, bits| Extension { oid: "2.5.29.15".parse().unwrap(), critical, value: bits };
    let constraints = |critical, value| Extension { oid: "2.5.29.19".parse().unwrap(), critical, value };
    const CA: &[u8] = &[0x30, 3, 1, 1, 0xff];
    const LAST: &[u8] = &[0x30, 6, 1, 1, 0xff, 2, 1, 0];
    for (what, extensions, root, intermediate) in [
        ("root", vec![usage(true, &[3, 2, 1, 6]), constraints(true, CA)], true, false),
        ("intermediate", vec![constraints(true, LAST), usage(true, &[3, 2, 1, 4])], false, true),
        ("any path", vec![constraints(true, CA), usage(true, &[3, 2, 1, 4])], false, false),
        ("constraints not critical", vec![usage(true, &[3, 2, 1, 6]), constraints(false, CA)], false, false),
        ("usage not critical", vec![constraints(true, LAST), usage(false, &[3, 2, 1, 4])], false, false),
    ] {
        let found = [certified::root(&extensions).is_ok(), certified::intermediate(&extensions).is_ok()];
        assert_eq!(found, [root, intermediate], "{what}");
    }
    for extension in [usage(false, &[3, 2, 7, 0x80]), constraints(false, &[0x30, 0])] {
        let mut leaf = certify(&TURIN);
        leaf.push(extension);
        assert!(certified::leaf(&leaf).is_err());
    }
}

/// A Name of the organisation `nobody`.
fn name(common: &str) -> Vec<u8> {
    let part = |oid: &[u8], text: &str| tlv(0x31, &[&seq(&[&tlv(6, &[oid]), &tlv(12, &[text.as_bytes()])])]);
    let parts = [(11, "Engineering"), (6, "US"), (7, "Santa Clara"), (8, "CA"), (10, "nobody"), (3, common)];
    seq(&[&parts.map(|(last, text)| part(&[0x55, 4, last], text)).concat()])
}

#[test]
fn names_part_by_part() {
    let whole = name("SEV-VCEK");
    assert_eq!(x509::common_name(&whole, "nobody"), Some("SEV-VCEK"));
    assert_eq!(x509::common_name(&whole, "somebody"), None);
    for text in ["Engineering", "US", "Santa Clara", "CA"] {
        let at = whole.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
        let mut other = whole.clone();
        other[at] ^= 1;
        assert_eq!(x509::common_name(&other, "nobody"), None, "{text}");
        // Another attribute with the same text: the last arc stands before tag and length of the text.
        let mut other = whole.clone();
        other[at - 3] ^= 1;
        assert_eq!(x509::common_name(&other, "nobody"), None, "{text}");
    }
    assert_eq!(x509::common_name(&seq(&[]), "nobody"), None);
}

#[test]
fn a_leaf_is_compared_with_root_and_report() {
    let oid = |arcs: &str| -> Vec<u8> { arcs.split('.').map(|arc| arc.parse().unwrap()).collect() };
    let arc = [0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1];
    let extension = |(arcs, value): (&str, &[u8])| seq(&[&tlv(6, &[&arc, &oid(arcs)]), &tlv(4, &[value])]);
    let mut leaf = certificate();
    (leaf[3], leaf[5]) = (name("SEV-Turin"), name("SEV-VCEK"));
    leaf[7] = tlv(0xa3, &[&seq(&[&TURIN.map(extension).concat()])]);
    let (ark, leaf) = (whole(&certificate()), whole(&leaf));
    let chain = Chain { ark: Some(&ark), ask: None, leaf: Some(&leaf), crl: None };
    let demands = Demands { missing_crl: Permit::Refused, crl_max_age: Demand::Is(0), masked_chip: Permit::Refused };
    let compared = [rules::KIND, rules::PRODUCT, rules::TCB, rules::CHIP];
    for (what, root, family, version, ninth, failed) in [
        ("as it should be", Product::Turin, 0x1a, 3, 0, vec![]),
        ("no processor in the report", Product::Turin, 0x19, 2, 0, vec![]),
        ("another root", Product::Genoa, 0x1a, 3, 0, vec![rules::PRODUCT]),
        ("another processor", Product::Turin, 0x19, 3, 0, vec![rules::PRODUCT]),
        ("a longer chip id", Product::Turin, 0x1a, 3, 8, vec![rules::CHIP]),
    ] {
        let key = Sha384::of(&certificate()[6]);
        let root = Root { product: root, origin: Origin::Simulated, key, organisation: "nobody" };
        let mut bytes = [0; REPORT_BYTES];
        (bytes[0], bytes[0x188], bytes[0x1a8]) = (version, family, ninth);
        bytes[0x180..0x188].copy_from_slice(&[1, 2, 3, 200, 0, 0, 0, 127]);
        bytes[0x1a0..0x1a8].fill(8);
        let report = Report::parse(&bytes).unwrap();
        let (findings, _) = examine(&chain, &report, &Roots::amd().with([root]), &demands, Time(0));
        let failing = findings.iter().filter(|found| found.outcome == Outcome::Failed).map(|found| found.rule);
        assert_eq!(failing.filter(|rule| compared.contains(rule)).collect::<Vec<_>>(), failed, "{what}");
    }
}

#[test]
fn both_places_name_the_same_algorithm() {
    let other = keys::PSS.map(|byte| byte ^ 1);
    for (inside, beside, holds) in [
        (&keys::PSS[..], &keys::PSS[..], true),
        (&keys::PSS_SPELLED_OUT, &keys::PSS_SPELLED_OUT, true),
        (&keys::PSS, &keys::PSS_SPELLED_OUT, false),
        (&keys::PSS, &other, false),
        (&other, &keys::PSS, false),
        (&other, &other, false),
    ] {
        let signed = Signed { message: &[], algorithms: [inside, beside], signature: &[], issuer: &[] };
        assert_eq!(link::algorithm(ARK.algorithm, &signed).permits(), holds);
    }
}

/// SubjectPublicKeyInfo of RSA, however the numbers are.
fn rsa(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let algorithm = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
    seq(&[&algorithm, &tlv(3, &[&[0], &seq(&[&tlv(2, &[modulus]), &tlv(2, &[exponent])])])])
}

#[test]
fn keys_of_one_size_and_encoding() {
    let modulus = [&[0], &[0xff; 512][..]].concat();
    assert!(RsaKey::read(&rsa(&modulus, &[1, 0, 1])).is_some());
    let even = [&modulus[..512], &[0xfe]].concat();
    for (what, key) in [
        ("even", rsa(&even, &[1, 0, 1])),
        ("4095 bits", rsa(&[&[0, 0x7f], &modulus[2..]].concat(), &[1, 0, 1])),
        ("4088 bits", rsa(&modulus[..512], &[1, 0, 1])),
        ("negative", rsa(&modulus[1..], &[1, 0, 1])),
        ("exponent 3", rsa(&modulus, &[3])),
        ("exponent 65539", rsa(&modulus, &[1, 0, 3])),
        ("nothing", vec![]),
    ] {
        assert!(RsaKey::read(&key).is_none(), "{what}");
    }

    let algorithm = [0x30, 16, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x22];
    let spki = |point: &[u8]| seq(&[&algorithm, &tlv(3, &[&[0], point])]);
    let point = SigningKey::from_slice(&[7; 48]).unwrap().verifying_key().to_sec1_point(false);
    assert!(EcKey::read(&spki(point.as_bytes())).is_some());
    let mut off = point.as_bytes().to_vec();
    off[96] ^= 1;
    let compressed = [&[2 | off[96] & 1], &off[1..49]].concat();
    for bytes in [off.as_slice(), &compressed, &[0], &[], &[4; 97], &[0; 97]] {
        assert!(EcKey::read(&spki(bytes)).is_none(), "{bytes:x?}");
    }
}

/// The order of P-384, little-endian.
const ORDER: [u8; 48] = [
    0x73, 0x29, 0xc5, 0xcc, 0x6a, 0x19, 0xec, 0xec, 0x7a, 0xa7, 0xb0, 0x48, 0xb2, 0x0d, 0x1a, 0x58, 0xdf, 0x2d, 0x37,
    0xf4, 0x81, 0x4d, 0x63, 0xc7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
];

#[test]
fn signatures_of_reports() {
    let key = SigningKey::from_slice(&[7; 48]).unwrap();
    let point = key.verifying_key().to_sec1_point(false);
    let algorithm = [0x30, 16, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x22];
    let public = EcKey::read(&seq(&[&algorithm, &tlv(3, &[&[0], point.as_bytes()])])).unwrap();
    let signature: Signature = key.sign_prehash(Sha384::of(b"message").as_bytes()).unwrap();
    let mut field = [0; REPORT_BYTES - SIGNED_BYTES];
    for (slot, number) in field.chunks_mut(72).zip([signature.split_bytes().0, signature.split_bytes().1]) {
        slot[..48].copy_from_slice(&number);
        slot[..48].reverse();
    }
    let read = ReportSignature::read(&field).unwrap();
    assert!(public.verifies(b"message", &read));
    assert!(!public.verifies(b"massage", &read));

    let one_less = [&[ORDER[0] - 1], &ORDER[1..]].concat();
    for (what, number, accepted) in [
        ("zero", &[0; 48][..], false),
        ("order", &ORDER, false),
        ("order less one", &one_less, true),
        ("49 bytes", &[1; 49], false),
        ("72 bytes", &[[0; 71].as_slice(), &[1]].concat(), false),
    ] {
        for at in [0, 72] {
            let mut field = field;
            field[at..at + 72].fill(0);
            field[at..at + number.len()].copy_from_slice(number);
            assert_eq!(ReportSignature::read(&field).is_some(), accepted, "{what} at {at}");
        }
    }
}

fn report(bytes: &mut [u8; REPORT_BYTES]) -> Report<'_> {
    bytes[0] = 3;
    Report::parse(bytes).unwrap()
}

fn findings(chain: &Chain<'_>, missing_crl: Permit) -> Vec<Finding> {
    let mut bytes = [0; REPORT_BYTES];
    let demands = Demands { missing_crl, crl_max_age: Demand::Is(0), masked_chip: Permit::Refused };
    let (findings, endorsement) = examine(chain, &report(&mut bytes), &Roots::amd(), &demands, Time(0));
    assert_eq!(findings.iter().map(|finding| finding.rule).collect::<Vec<_>>(), RULES);
    assert_eq!(endorsement, None);
    findings
}

#[test]
fn nothing_panics_and_every_rule_has_its_finding() {
    let (certificate, crl) = (whole(&certificate()), whole(&crl()));
    let mutations = |bytes: &[u8]| -> Vec<Vec<u8>> {
        let places = 0..bytes.len();
        let with = |at: usize, byte| [&bytes[..at], &[byte], &bytes[at + 1..]].concat();
        places.flat_map(|at| [bytes[..at].to_vec(), with(at, 0), with(at, 0xff), with(at, bytes[at] ^ 1)]).collect()
    };
    let empty = Chain { ark: None, ask: None, leaf: None, crl: Some(&crl) };
    for bytes in mutations(&certificate) {
        findings(&Chain { ark: Some(&bytes), ask: Some(&certificate), ..empty }, Permit::Refused);
        findings(&Chain { leaf: Some(&bytes), ..empty }, Permit::Refused);
    }
    for bytes in mutations(&crl) {
        findings(&Chain { ark: Some(&certificate), crl: Some(&bytes), ..empty }, Permit::Refused);
    }
}

#[test]
fn what_is_missing_is_undecided() {
    let empty = Chain { ark: None, ask: None, leaf: None, crl: None };
    let failed = |permit| {
        let findings = findings(&empty, permit);
        let ids =
            |outcome| findings.iter().filter(|found| found.outcome == outcome).map(|found| found.rule.id).collect();
        let lists: [Vec<_>; 2] = [ids(Outcome::Failed), ids(Outcome::NotPerformed { needed: false })];
        lists
    };
    // A report of zeros has no R and S either.
    let broken = vec!["snp.signature.range"];
    assert_eq!(failed(Permit::Refused), [broken.clone(), vec![]]);
    let [failed, not_needed] = failed(Permit::Accepted);
    assert_eq!((failed, not_needed.len()), (broken, 9));
    assert!(not_needed.iter().all(|id| id.starts_with("snp.chain.crl.")));
}

#[test]
fn rules_have_names_of_their_own() {
    assert_eq!(RULES.iter().map(|rule| rule.id).collect::<BTreeSet<_>>().len(), RULES.len());
    let all: Vec<Rule> = crate::snp::appraise::rules().collect();
    for rule in [rules::REPORT_PRODUCT, rules::REPORT_SIGNING_KEY, rules::REPORT_CHIP_MASKED] {
        assert!(all.contains(&rule), "{rule:?}");
    }
}
