//! Reports and chains of the simulated processor as somebody else's software reads them, and as `measure` does. If
//! forger and parser shared an error, it would show here.

use measure::snp::product::TcbVersion;
use measure::snp::report as ours;
use sev::certs::snp::{Certificate, Chain, Verifiable as _, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;
use simulate::corpus::{Case, Corpus, Refusal};
use simulate::report::{self, Report};
use simulate::{Leaf, Processor, Product, Tcb};
use std::collections::BTreeMap;
use std::path::Path;

#[test]
fn chains_and_signatures_verify() {
    for processor in processors() {
        let certificates = processor.certificates();
        let parse = |der: &[u8]| Certificate::from_der(der).expect("a certificate");
        let chain = Chain {
            ca: ca::Chain { ark: parse(&certificates.ark), ask: parse(&certificates.intermediate) },
            vek: parse(&certificates.leaf),
        };
        let parsed = AttestationReport::from_bytes(&processor.report([0xd4; 64]));
        // It takes the layout of a version 2 report from its chip id, and refuses one that is masked.
        if processor.report_version == 2 && processor.leaf == Leaf::Vlek {
            assert!(parsed.is_err(), "{processor:?}");
            continue;
        }
        (&chain, &parsed.expect("a report")).verify().unwrap_or_else(|error| panic!("{processor:?}: {error}"));
    }
}

#[test]
fn every_field_is_read_as_it_was_written() {
    for processor in processors() {
        let product = processor.product;
        let written = Report {
            guest_svn: 0x0102_0304,
            family_id: numbered(0x11),
            image_id: numbered(0x21),
            vmpl: 3,
            current_tcb: product.tcb(tcb(product, 40)),
            platform_info: 0xa5,
            flags: 1 | 1 << 2,
            report_data: numbered(0x51),
            measurement: numbered(0x61),
            host_data: numbered(0x71),
            id_key_digest: numbered(0x81),
            author_key_digest: numbered(0x91),
            report_id: numbered(0xa1),
            report_id_ma: numbered(0xb1),
            reported_tcb: product.tcb(tcb(product, 10)),
            committed_tcb: product.tcb(tcb(product, 30)),
            current_version: [9, 8, 7],
            committed_version: [6, 5, 4],
            launch_tcb: product.tcb(tcb(product, 20)),
            launch_mit_vector: 0x0123_4567_89ab_cdef,
            current_mit_vector: 0xfedc_ba98_7654_3210,
            // Its parser decides by the chip id of a version 2 report, which a masked one does not have.
            chip_id: Processor { leaf: Leaf::Vcek, ..processor.clone() }.unsigned([0; 64]).chip_id,
            ..processor.unsigned([0; 64])
        };
        let mut bytes = written.bytes();
        report::sign(&mut bytes, &processor.leaf.key());
        let (r, s) = processor.leaf.key().sign(&bytes[..report::SIGNED]);
        let theirs = AttestationReport::from_bytes(&bytes).expect("a report");
        let ours = ours::Report::parse(&bytes).expect("a report");
        compare(&written, (r, s), &ours, &theirs, product);
    }
}

fn compare(
    written: &Report,
    (r, s): ([u8; 48], [u8; 48]),
    ours: &ours::Report<'_>,
    theirs: &AttestationReport,
    product: Product,
) {
    let layout = match product {
        Product::Milan => measure::snp::product::Product::Milan,
        Product::Genoa => measure::snp::product::Product::Genoa,
        Product::Turin => measure::snp::product::Product::Turin,
    };
    let our_tcb = |bytes: [u8; 8]| {
        let (TcbVersion { fmc, boot_loader, tee, snp, microcode }, reserved_zero) =
            TcbVersion::of_report(bytes, layout);
        assert!(reserved_zero);
        vec![fmc, boot_loader, tee, snp, microcode]
    };
    let their_tcb = |tcb: sev::firmware::host::TcbVersion| {
        assert_eq!(tcb.fmc.is_some(), product == Product::Turin);
        vec![tcb.fmc.unwrap_or(0), tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode]
    };
    let written_tcb = |base| {
        let Tcb { fmc, bootloader, tee, snp, microcode } = tcb(product, base);
        vec![fmc, bootloader, tee, snp, microcode]
    };
    let our_version = |version: ours::FirmwareVersion| vec![version.build, version.minor, version.major];
    let their_version = |version: sev::firmware::guest::Version| vec![version.build, version.minor, version.major];
    let le = |number: u64| number.to_le_bytes().to_vec();
    let since = |version, bytes: Vec<u8>| if written.version >= version { bytes } else { vec![] };
    let our_mitigations = |vector: Option<u64>| vector.map_or(vec![], le);
    let scalar = |half: &[u8; 48]| {
        let mut bytes = half.to_vec();
        bytes.reverse();
        bytes.resize(72, 0);
        bytes
    };

    // Name, as written, as `measure` reads it, as `sev` reads it.
    let fields: Vec<(&str, [Vec<u8>; 3])> = vec![
        ("version", [le(written.version.into()), le(ours.version().number().into()), le(theirs.version.into())]),
        ("guest_svn", [le(written.guest_svn.into()), le(ours.guest_svn().into()), le(theirs.guest_svn.into())]),
        ("policy", [le(written.policy), le(ours.policy().0), le(theirs.policy.into())]),
        ("family_id", [written.family_id.into(), ours.family_id().as_bytes().into(), theirs.family_id.into()]),
        ("image_id", [written.image_id.into(), ours.image_id().as_bytes().into(), theirs.image_id.into()]),
        ("vmpl", [le(written.vmpl.into()), le(ours.vmpl().into()), le(theirs.vmpl.into())]),
        ("sig_algo", [le(1), le(ours.signature_algorithm().into()), le(theirs.sig_algo.into())]),
        ("current_tcb", [written_tcb(40), our_tcb(ours.current_tcb()), their_tcb(theirs.current_tcb)]),
        ("platform", [le(written.platform_info), le(ours.platform_info().0), le(theirs.plat_info.into())]),
        ("flags", [le(written.flags.into()), le(ours.key_info().0.into()), le(u32::from(theirs.key_info).into())]),
        ("report_data", [written.report_data.into(), ours.report_data().as_bytes().into(), theirs.report_data.into()]),
        (
            "measurement",
            [written.measurement.into(), ours.measurement().0.as_bytes().into(), theirs.measurement.into()],
        ),
        ("host_data", [written.host_data.into(), ours.host_data().as_bytes().into(), theirs.host_data.into()]),
        ("id_key", [written.id_key_digest.into(), ours.id_key_digest().as_bytes().into(), theirs.id_key_digest.into()]),
        (
            "author_key",
            [
                written.author_key_digest.into(),
                ours.author_key_digest().as_bytes().into(),
                theirs.author_key_digest.into(),
            ],
        ),
        ("report_id", [written.report_id.into(), ours.report_id().as_bytes().into(), theirs.report_id.into()]),
        (
            "report_id_ma",
            [written.report_id_ma.into(), ours.report_id_ma().as_bytes().into(), theirs.report_id_ma.into()],
        ),
        ("reported_tcb", [written_tcb(10), our_tcb(ours.reported_tcb()), their_tcb(theirs.reported_tcb)]),
        ("chip_id", [written.chip_id.into(), ours.chip_id().0.as_bytes().into(), theirs.chip_id.into()]),
        ("committed_tcb", [written_tcb(30), our_tcb(ours.committed_tcb()), their_tcb(theirs.committed_tcb)]),
        ("current", [vec![9, 8, 7], our_version(ours.current_firmware()), their_version(theirs.current)]),
        ("committed", [vec![6, 5, 4], our_version(ours.committed_firmware()), their_version(theirs.committed)]),
        ("launch_tcb", [written_tcb(20), our_tcb(ours.launch_tcb()), their_tcb(theirs.launch_tcb)]),
        (
            "launch_mit_vector",
            [
                since(5, le(written.launch_mit_vector)),
                our_mitigations(ours.launch_mitigations()),
                our_mitigations(theirs.launch_mit_vector),
            ],
        ),
        (
            "current_mit_vector",
            [
                since(5, le(written.current_mit_vector)),
                our_mitigations(ours.current_mitigations()),
                our_mitigations(theirs.current_mit_vector),
            ],
        ),
        ("r", [scalar(&r), ours.signature()[..72].into(), theirs.signature.r().into()]),
        ("s", [scalar(&s), ours.signature()[72..144].into(), theirs.signature.s().into()]),
    ];
    for (name, [written_as, ours, theirs]) in fields {
        let what = format!("{product} version {}: {name}", written.version);
        assert_eq!(written_as, ours, "{what}, by measure");
        assert_eq!(written_as, theirs, "{what}, by sev");
    }

    let what = format!("{product} version {}", written.version);
    let cpuid = [theirs.cpuid_fam_id, theirs.cpuid_mod_id, theirs.cpuid_step];
    assert_eq!(cpuid, if written.version >= 3 { written.cpuid.map(Some) } else { [None; 3] }, "{what}");
    assert_eq!(ours.product(), (written.version >= 3).then_some(Ok(layout)), "{what}");
    assert_eq!(ours.reserved_in_use(), [0_usize; 0], "{what}");
}

/// How they answer the forged-evidence corpus, as `docs/peers.md` says. Neither claims to look at everything: policy and
/// identity are left to callers; chain, form and signature are their own.
#[test]
fn what_they_make_of_the_corpus_is_as_documented() {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let corpus = Corpus::read(&checkout.join("verify/corpus")).expect("the committed corpus");
    let document = std::fs::read_to_string(checkout.join("docs/peers.md")).expect("docs/peers.md");
    let mut chains = BTreeMap::new();
    let sev = table(&corpus, "snp-report", "`sev` 8.0.0", |case| sev_accepts(case, &mut chains).is_some());
    let dcap = table(&corpus, "tdx-quote", "`dcap-qvl` 0.7.1", |case| dcap_accepts(case).is_some());
    for table in [sev, dcap] {
        assert!(document.contains(&table), "docs/peers.md does not have this table:\n{table}");
    }
}

/// How many of the cases with this piece it accepts, by the group of the rule they break.
fn table(corpus: &Corpus, piece: &str, name: &str, mut accepts: impl FnMut(&Case) -> bool) -> String {
    let mut rows: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    // Cases of a release or a session have good evidence.
    let ours = |case: &Case| ["log", "session"].iter().any(|name| case.name.starts_with(name));
    let theirs = |case: &&Case| case.evidence.contains_key(piece) && !ours(case);
    for case in corpus.cases.iter().filter(theirs) {
        let row = match &case.rule {
            None => "good cases".to_owned(),
            Some(Refusal::Fails(rule) | Refusal::Undecided(rule)) => {
                let depth = if rule.starts_with("snp.chain.") { 3 } else { 2 };
                format!("`{}`", rule.split('.').take(depth).collect::<Vec<_>>().join("."))
            }
        };
        let (all, accepted) = rows.entry(row).or_default();
        *all += 1;
        *accepted += u32::from(accepts(case));
    }
    let mut table = format!("| cases by the rule they break | cases | accepted by {name} |\n|---|---:|---:|\n");
    for (row, (all, accepted)) in rows {
        table += &format!("| {row} | {all} | {accepted} |\n");
    }
    table
}

/// `QuoteVerifier::verify` with the simulated root, as it comes, and a status of `UpToDate`.
fn dcap_accepts(case: &Case) -> Option<()> {
    let collateral: dcap_qvl::QuoteCollateralV3 = serde_json::from_slice(case.evidence.get("tdx-collateral")?).ok()?;
    let verifier = dcap_qvl::verify::QuoteVerifier::new(simulate::tdx::root());
    let report = verifier.verify(&case.evidence["tdx-quote"], &collateral, case.now).ok()?;
    (report.status == "UpToDate").then_some(())
}

/// What its documentation shows: parse, verify the chain, verify the report with the chain's leaf. The answers about
/// chains are kept, since most cases have the same.
fn sev_accepts(case: &Case, chains: &mut BTreeMap<[Vec<u8>; 3], Option<Certificate>>) -> Option<()> {
    let ders = ["snp-ark", "snp-ask", "snp-leaf"].map(|name| case.evidence[name].clone());
    let leaf = chains.entry(ders).or_insert_with_key(|[ark, ask, leaf]| {
        let certificate = |der: &[u8]| Certificate::from_der(der).ok();
        let ca = ca::Chain { ark: certificate(ark)?, ask: certificate(ask)? };
        Chain { ca, vek: certificate(leaf)? }.verify().ok().cloned()
    });
    let report = AttestationReport::from_bytes(&case.evidence["snp-report"]).ok()?;
    (leaf.as_ref()?, &report).verify().ok()
}

#[test]
fn bits_have_the_same_names() {
    use measure::snp::report::{GuestPolicy, KeyInfo, PlatformInfo, SigningKey};
    use sev::firmware::guest::{GuestPolicy as TheirPolicy, PlatformInfo as TheirPlatform};
    for bit in (0..64).filter(|bit| *bit != 17) {
        let (ours, theirs) = (1_u64 << bit, TheirPolicy::from(1_u64 << bit));
        let pairs = [
            (GuestPolicy::SMT, theirs.smt_allowed()),
            (GuestPolicy::MIGRATE_MA, theirs.migrate_ma_allowed()),
            (GuestPolicy::DEBUG, theirs.debug_allowed()),
            (GuestPolicy::SINGLE_SOCKET, theirs.single_socket_required()),
            (GuestPolicy::CXL, theirs.cxl_allowed()),
            (GuestPolicy::AES_256_XTS, theirs.mem_aes_256_xts()),
            (GuestPolicy::RAPL_DISABLED, theirs.rapl_dis()),
            (GuestPolicy::CIPHERTEXT_HIDING, theirs.ciphertext_hiding()),
            (GuestPolicy::PAGE_SWAP_DISABLED, theirs.page_swap_disabled()),
        ];
        assert!(pairs.iter().all(|(mask, set)| (ours == *mask) == *set), "policy bit {bit}");
        let abi = GuestPolicy(ours).abi();
        assert_eq!((abi.minor.into(), abi.major.into()), (theirs.abi_minor(), theirs.abi_major()), "policy bit {bit}");

        let theirs = TheirPlatform::from(ours);
        let pairs = [
            (PlatformInfo::SMT, theirs.smt_enabled()),
            (PlatformInfo::TSME, theirs.tsme_enabled()),
            (PlatformInfo::ECC, theirs.ecc_enabled()),
            (PlatformInfo::RAPL_DISABLED, theirs.rapl_disabled()),
            (PlatformInfo::CIPHERTEXT_HIDING, theirs.ciphertext_hiding_enabled()),
            (PlatformInfo::ALIAS_CHECK_COMPLETE, theirs.alias_check_complete()),
            (PlatformInfo::TIO, theirs.tio_enabled()),
        ];
        assert!(pairs.iter().all(|(mask, set)| (ours == *mask) == *set), "platform bit {bit}");
    }
    let signing_keys = [0, 1, 2, 7].map(|key| KeyInfo(key << 2).signing_key());
    assert_eq!(signing_keys, [SigningKey::Vcek, SigningKey::Vlek, SigningKey::Reserved(2), SigningKey::None]);
    assert!(KeyInfo(1).author_key_enabled() && KeyInfo(2).chip_key_masked() && KeyInfo(0x20).reserved() == 0x20);
}

fn numbered<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|at| first.wrapping_add(at as u8))
}

fn tcb(product: Product, base: u8) -> Tcb {
    let fmc = if product == Product::Turin { base } else { 0 };
    Tcb { fmc, bootloader: base + 1, tee: base + 2, snp: base + 3, microcode: base + 200 }
}

fn processors() -> impl Iterator<Item = Processor> {
    let versions = Product::ALL.into_iter().flat_map(|product| [2, 3, 4, 5].map(|version| (product, version)));
    let all = versions.flat_map(|(product, version)| [Leaf::Vcek, Leaf::Vlek].map(|leaf| (product, version, leaf)));
    all.map(|(product, report_version, leaf)| Processor {
        product,
        leaf,
        report_version,
        chip_id: numbered(1),
        tcb: tcb(product, 10),
        firmware: [55, 3, 1],
        platform_info: 0x25,
        mitigations: 0x3f,
        csp: "simulated-cloud",
        policy: 0x3_0000,
        measurement: [0x3e; 48],
        host_data: [0; 32],
    })
}
