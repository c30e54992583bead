//! Systematic mutations of samples that are accepted.

use super::*;
use log_client::Feed;
use measure::cmdline::{Tee, VerityDisk};
use measure::guid::Guid;
use measure::verity::VerityRoot;
use simulate::{Product, Tcb, chain, keys};
use std::num::NonZeroU64;
use verify::bundle::{Evidence as BundledEvidence, SnpEvidence, TdxEvidence};

/// Samples longer than this are mutated in their first and last half of it, and here and there between.
const DENSE: usize = 1024;
/// Distance of the mutations between, times one for every 16 KiB.
const STRIDE: usize = 7;

/// Everything that the property should survive: every truncation, and every byte set to three other values.
fn mutations(sample: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let length = sample.len();
    let sparse = STRIDE * (1 + length / (16 * DENSE));
    let places = (0..length)
        .filter(move |at| length <= DENSE || *at < DENSE / 2 || *at >= length - DENSE / 2 || at.is_multiple_of(sparse));
    places.flat_map(move |at| {
        let with = |byte: u8| {
            let mut mutant = sample.to_vec();
            mutant[at] = byte;
            mutant
        };
        [sample[..at].to_vec(), with(0), with(0xff), with(sample[at] ^ 0x80), with(sample[at] ^ 1)]
    })
}

/// The committed samples of `name`, and those that follow from the code or the checkout.
fn samples(name: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| std::fs::read(path).expect("a sample");
    let all = |name: &str| -> Vec<Vec<u8>> {
        let directory = root.join("samples").join(name);
        let mut paths: Vec<_> =
            std::fs::read_dir(directory).expect("samples").map(|entry| entry.expect("a sample").path()).collect();
        paths.sort();
        paths.iter().map(|path| read(path)).collect()
    };
    match name {
        "call" | "chat_request" | "helper_message" | "port_frame" | "processor_message" | "websocket"
        | "worker_frame" => crate::guest::samples(name),
        "cmdline" => vec![command_line()],
        "cpio" => vec![initrd()],
        "disk" => vec![partitioned()],
        "evidence_bundle" => vec![snp_bundle(), tdx_bundle()],
        "dsse" | "fleet" | "key_file" | "rekor_answer" | "rekor_config" | "sigstore_bundle" | "statement" => {
            crate::releases::samples(name)
        }
        "inspect" => all("ovmf").into_iter().chain([initrd()]).collect(),
        "listing" => vec![b". d 0755 0 0 - -\nx l 0777 0 0 - a\\x20b\nz c 0600 1 2 - 5:1\n".to_vec()],
        log if log.starts_with("log_") => super::log::samples(log),
        "manifest" => vec![read(&root.join("../content/manifest.yaml"))],
        "policy" => vec![policy_text()],
        "request" => vec![read(&root.join("../image/request.toml"))],
        session if session == "operator_document" || session.starts_with("session_") => {
            crate::session::samples(session)
        }
        "snp_certificate" => leaves(),
        "snp_crl" => vec![revocation_list()],
        "snp_report" => [2, 3, 4, 5].map(report).into(),
        "tar" => vec![archive()],
        "tdx_quote" => [(4, 584), (2, 584), (3, 648), (4, 885)].map(|(kind, size)| quote(kind, size)).into(),
        name => all(name),
    }
}

/// A VCEK with every component there is, and a VLEK. Their keys sign no certificates, which keeps mutants cheap.
fn leaves() -> Vec<Vec<u8>> {
    let tcb = Tcb { fmc: 1, bootloader: 2, tee: 0, snp: 200, microcode: 4 };
    let vcek = chain::vcek(Product::Turin, tcb, &[7; 8]).sign(&keys::ask());
    let vlek = chain::vlek(Product::Genoa, Tcb { fmc: 0, ..tcb }, "cloud").sign(&keys::asvk());
    vec![vcek, vlek]
}

fn revocation_list() -> Vec<u8> {
    let mut crl = chain::crl(Product::Milan);
    crl.revoked = vec![vec![2, 1, 1], vec![2, 2, 1, 0]];
    crl.sign(&keys::ark(Product::Milan))
}

fn tree() -> image::formats::filetree::Tree {
    use image::formats::filetree::{Content, Node};
    let node = |content| Node { content, mode: 0o755, uid: 0, gid: 1 };
    let path = |bytes: &[u8]| image::formats::listing::TreePath::new(bytes).expect("a path");
    [
        (path(b""), node(Content::Directory)),
        (path(b"init"), node(Content::Bytes(b"hello".to_vec()))),
        (path(&b"n".repeat(120)), node(Content::Symlink(b"init".to_vec()))),
    ]
    .into()
}

fn initrd() -> Vec<u8> {
    let mut bytes = Vec::new();
    cpio::write(&tree(), 0, &mut bytes).expect("a small archive");
    bytes
}

fn archive() -> Vec<u8> {
    let mut bytes = Vec::new();
    tar::write(&tree(), 0, &mut bytes).expect("a small archive");
    bytes
}

/// The tables of a disk moved together: 34 sectors, two data sectors, 33 sectors.
fn partitioned() -> Vec<u8> {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let (data, disk) = (scratch.path().join("data"), scratch.path().join("disk"));
    std::fs::write(&data, [1; 4096]).expect("a scratch file");
    let out = std::fs::File::create(&disk).expect("a scratch file");
    let seed = image::formats::disk::guid(Default::default(), "seed").to_bytes();
    image::formats::disk::write(&out, uuid::Uuid::from_bytes(seed), "disk", &[("data", &data)]).expect("a small disk");
    std::fs::read(&disk).expect("a small disk")
}

fn command_line() -> Vec<u8> {
    let disk = |seed: u8| VerityDisk {
        data: Guid::from_bytes([seed; 16]),
        hash: Guid::from_bytes([seed + 1; 16]),
        data_blocks: NonZeroU64::MIN,
        salt: measure::Sha256::of(&[seed]),
        root: VerityRoot(measure::Sha256::of(&[seed + 1])),
    };
    CommandLine { tee: Tee::Snp, root: disk(1), model: disk(3) }.to_string().into_bytes()
}

/// A quote that says next to nothing, of version 4 or, unless the body is one of version 4, 5.
fn quote(kind: u16, size: u32) -> Vec<u8> {
    let version: u16 = if (kind, size) == (4, 584) { 4 } else { 5 };
    let mut bytes = [version.to_le_bytes(), [2, 0], [0x81, 0], [0; 2], [0; 2], [0; 2]].concat();
    bytes.extend(0x939a_7233_f79c_4ca9_940a_0db3_957f_0607_u128.to_be_bytes());
    bytes.extend([0; 20]);
    if version == 5 {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(size.to_le_bytes());
    }
    bytes.resize(bytes.len() + size as usize, 0);
    let pck = [&5_u16.to_le_bytes()[..], &9_u32.to_le_bytes(), b"no chain\0"].concat();
    let qe = [&[0; 384 + 64][..], &32_u16.to_le_bytes(), &[0; 32], &pck].concat();
    let outer = [&6_u16.to_le_bytes()[..], &(qe.len() as u32).to_le_bytes(), &qe].concat();
    bytes.extend((128 + outer.len() as u32).to_le_bytes());
    bytes.extend([1; 128]);
    bytes.extend(outer);
    bytes
}

/// A report of a Turin that says next to nothing.
fn report(version: u8) -> Vec<u8> {
    let mut bytes = vec![0; measure::snp::report::REPORT_BYTES];
    bytes[0] = version;
    if version > 2 {
        bytes[0x188..0x18a].copy_from_slice(&[0x1a, 0x02]);
    }
    bytes
}

fn snp_bundle() -> Vec<u8> {
    let [leaf, ask, ark] = ["leaf", "ask", "ark"].map(|bytes| Some(bytes.into()));
    let evidence = SnpEvidence { report: report(5), leaf, ask, ark, crl: Some(b"crl".to_vec()) };
    let feed = Feed {
        release: Some(b"{}".to_vec()),
        release_proof: Some(b"c2sp.org/tlog-proof@v1\n".to_vec()),
        ..Feed::default()
    };
    let (session, operator) = (Some(vec![0xa3]), Some(b"vitrine-operator 1\n".to_vec()));
    Bundle { evidence: BundledEvidence::Snp(evidence), feed, session, operator }.to_bytes().expect("a small bundle")
}

fn tdx_bundle() -> Vec<u8> {
    let evidence = TdxEvidence { quote: vec![4, 0, 2, 0, 0x81, 0, 0, 0], collateral: Some(b"{}".to_vec()) };
    Bundle::bare(BundledEvidence::Tdx(evidence)).to_bytes().expect("a small bundle")
}

/// The strict policy without its comments, which are most of it.
fn policy_text() -> Vec<u8> {
    let lines = include_str!("../../policies/strict.toml").lines().filter_map(|line| line.split('#').next());
    lines.filter(|line| !line.is_empty()).map(|line| format!("{}\n", line.trim_end())).collect::<String>().into()
}

/// One test per property, so that they run side by side and a failure has a name.
macro_rules! survive {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let mut accepted = 0;
            let samples = samples(stringify!($name));
            for sample in &samples {
                accepted += usize::from(super::$name(sample));
                for mutant in mutations(sample) {
                    super::$name(&mutant);
                }
            }
            assert!(accepted > 0, "no sample is accepted");
        }
    )*

        #[test]
        fn every_property_is_here_and_has_a_target() {
            let names = [$(stringify!($name)),*];
            assert!(PROPERTIES.iter().map(|(name, _)| *name).eq(names));
            for name in names {
                let target = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz_targets/{name}.rs"));
                assert!(std::fs::read_to_string(target).is_ok_and(|text| text.contains(&format!("fuzz::{name}"))));
            }
        }
    };
}

survive!(
    call chat_request cmdline cpio deb disk dsse erofs evidence_bundle fleet helper_message inspect key_file listing lock log_checkpoint
    log_feed log_monitor log_note log_policy log_proof log_request log_rules log_tile manifest operator_document ovmf policy
    port_frame processor_message rekor_answer rekor_config request session_binding session_evidence session_feed session_m1 session_m2
    session_m3 session_message session_receipt session_statement sigstore_bundle snp_certificate snp_crl snp_report
    statement tar tdx_quote websocket worker_frame
);
