//! One property per parser of bytes from outside: whatever the bytes, it returns, with bounded work, and what it
//! accepts keeps its promises. `cargo +nightly fuzz run NAME` looks for counterexamples without end; `cargo test`
//! tries systematic mutations of good samples on stable.
//!
//! A property panics where a promise is broken, and says whether the parser accepted the bytes.

mod guest;
mod log;

pub use guest::{call, chat_request, helper_message, port_frame, processor_message, websocket, worker_frame};
pub use log::{
    log_checkpoint, log_feed, log_monitor, log_note, log_policy, log_proof, log_request, log_rules, log_tile,
};

use image::contents::manifest::Manifest;
use image::formats::bytes::ReadAt;
use image::formats::deb::Deb;
use image::formats::listing::{Entry, Kind, Listing};
use image::formats::{cpio, erofs, tar};
use image::inputs::lock::Lock;
use image::inputs::request::Request;
use measure::appraise::{Finding, Time};
use measure::cmdline::CommandLine;
use measure::snp::Ovmf;
use measure::snp::appraise::{Demand, Evidence, Permit, appraise, rules};
use measure::snp::chain::{Chain, Demands, RULES, Roots, examine};
use measure::snp::report::{REPORT_BYTES, Report};
use measure::tdx;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::sync::LazyLock;
use verify::Bundle;
use verify::policy::{Policy, Section};
use verify::verdict::Outcome;

/// The main function of a fuzz target; an empty one where there is no fuzzer.
#[macro_export]
macro_rules! target {
    ($property:path) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
            let _accepted = $property(bytes);
        });
        #[cfg(not(fuzzing))]
        fn main() {}
    };
}

mod releases;
mod session;

pub use releases::{dsse, fleet, key_file, rekor_answer, rekor_config, sigstore_bundle, statement};
pub use session::{
    operator_document, session_binding, session_evidence, session_feed, session_m1, session_m2, session_m3,
    session_message, session_receipt, session_statement,
};

/// A parser's property.
pub type Property = fn(&[u8]) -> bool;

/// Every property, by the name of its fuzz target.
pub const PROPERTIES: &[(&str, Property)] = &[
    ("call", call),
    ("chat_request", chat_request),
    ("cmdline", cmdline),
    ("cpio", cpio),
    ("deb", deb),
    ("disk", disk),
    ("dsse", dsse),
    ("erofs", erofs),
    ("evidence_bundle", evidence_bundle),
    ("fleet", fleet),
    ("helper_message", helper_message),
    ("inspect", inspect),
    ("key_file", key_file),
    ("listing", listing),
    ("lock", lock),
    ("log_checkpoint", log_checkpoint),
    ("log_feed", log_feed),
    ("log_monitor", log_monitor),
    ("log_note", log_note),
    ("log_policy", log_policy),
    ("log_proof", log_proof),
    ("log_request", log_request),
    ("log_rules", log_rules),
    ("log_tile", log_tile),
    ("manifest", manifest),
    ("operator_document", operator_document),
    ("ovmf", ovmf),
    ("policy", policy),
    ("port_frame", port_frame),
    ("processor_message", processor_message),
    ("rekor_answer", rekor_answer),
    ("rekor_config", rekor_config),
    ("request", request),
    ("session_binding", session_binding),
    ("session_evidence", session_evidence),
    ("session_feed", session_feed),
    ("session_m1", session_m1),
    ("session_m2", session_m2),
    ("session_m3", session_m3),
    ("session_message", session_message),
    ("session_receipt", session_receipt),
    ("session_statement", session_statement),
    ("sigstore_bundle", sigstore_bundle),
    ("snp_certificate", snp_certificate),
    ("snp_crl", snp_crl),
    ("snp_report", snp_report),
    ("statement", statement),
    ("tar", tar),
    ("tdx_quote", tdx_quote),
    ("websocket", websocket),
    ("worker_frame", worker_frame),
];

/// A kernel command line that is accepted is written as it was read, apart from what firmware adds.
pub fn cmdline(bytes: &[u8]) -> bool {
    let Some(parsed) = text(bytes).and_then(|text| text.parse::<CommandLine>().ok()) else { return false };
    let rendered = parsed.to_string();
    assert!(String::from_utf8_lossy(bytes).contains(&rendered));
    true
}

/// An archive's entries make a listing.
pub fn cpio(bytes: &[u8]) -> bool {
    cpio::read(&mut &*bytes).is_ok_and(|entries| promises(entries, bytes.len()))
}

/// A package is unpacked into its tree and nowhere else, to what it declares.
pub fn deb(bytes: &[u8]) -> bool {
    with_file(bytes, |file, scratch| {
        let Ok(deb) = Deb::open(file) else { return false };
        let control = deb.control().is_ok();
        let tree = scratch.join("tree");
        std::fs::create_dir(&tree).expect("a scratch directory");
        let (listed, unpacked) = (deb.entries(), deb.unpack(&tree));
        let names = std::fs::read_dir(scratch).expect("a scratch directory").count();
        assert_eq!(names, 2, "something was written beside the tree");
        let Ok(unpacked) = unpacked else { return false };
        assert_eq!(listed.expect("what can be unpacked can be listed"), unpacked);
        Listing::of_directory(&tree, None).expect("an unpacked tree can be read");
        Listing::new(unpacked).expect("paths are unique");
        control
    })
}

/// Partitions lie inside the disk and apart from each other.
pub fn disk(bytes: &[u8]) -> bool {
    let Ok(disk) = image::formats::disk::read(&reader(bytes), bytes.len() as u64) else { return false };
    let mut ranges: Vec<_> = disk.partitions.iter().map(|part| (part.offset, part.offset + part.length)).collect();
    ranges.sort_unstable();
    assert!(ranges.is_sorted_by(|left, right| left.1 <= right.0));
    assert!(ranges.last().is_none_or(|last| last.1 <= bytes.len() as u64));
    true
}

/// An image's files are no larger than the image, holes and hard links apart.
pub fn erofs(bytes: &[u8]) -> bool {
    let (read, length) = (reader(bytes), bytes.len() as u64);
    let listing = erofs::Superblock::read(&read, length).and_then(|superblock| erofs::list(&read, &superblock));
    listing.is_ok_and(|listing| promises(listing.entries().to_vec(), bytes.len()))
}

/// Any file can be inspected or is refused; what is found can be shown.
pub fn inspect(bytes: &[u8]) -> bool {
    let inspect =
        |file: &Path, _: &Path| image::result::inspect::inspect(file).is_ok_and(|found| !found.to_string().is_empty());
    with_file(bytes, inspect)
}

/// A listing that is accepted is written as it was read.
pub fn listing(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else { return false };
    text.parse::<Listing>().is_ok_and(|listing| {
        assert_eq!(listing.to_string(), text);
        true
    })
}

/// A lock that is accepted is written as it was read.
pub fn lock(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else { return false };
    Lock::parse(text).is_ok_and(|lock| {
        assert_eq!(lock.render(), text);
        true
    })
}

/// A manifest is accepted or refused.
pub fn manifest(bytes: &[u8]) -> bool {
    text(bytes).is_some_and(|text| Manifest::parse(text).is_ok())
}

/// What is accepted costs a bounded number of pages to measure.
pub fn ovmf(bytes: &[u8]) -> bool {
    let Ok(ovmf) = Ovmf::parse(bytes) else { return false };
    let sections = ovmf.sections().unwrap_or_default();
    assert!(sections.iter().map(|section| u64::from(section.size)).sum::<u64>() <= 64 << 20);
    assert!(ovmf.entries().iter().map(|entry| entry.data.len()).sum::<usize>() <= bytes.len());
    true
}

/// A request is accepted or refused.
pub fn request(bytes: &[u8]) -> bool {
    text(bytes).is_some_and(|text| Request::parse(text).is_ok())
}

/// A bundle is written as it was read, and gets a verdict, which without a release is not that it is accepted.
pub fn evidence_bundle(bytes: &[u8]) -> bool {
    let Ok(bundle) = Bundle::parse(bytes) else { return false };
    assert_eq!(bundle.to_bytes().expect("what was read can be written"), bytes);
    let request =
        verify::Request { bundle: &bundle, release: None, memories: &[], report_data: &Demand::Any, now: Time(0) };
    let verdict = verify::appraise(&request, &STRICT, &Roots::amd());
    assert_eq!(verdict.outcome(), Outcome::Rejected);
    true
}

/// A policy is the same after a comment.
pub fn policy(bytes: &[u8]) -> bool {
    let parse = |bytes: &[u8]| Policy::parse("a policy", bytes);
    let Ok(policy) = parse(bytes) else { return false };
    let with = parse(&[b"# A comment.\n", bytes].concat()).expect("what was read can be read after a comment");
    assert_eq!(Policy { sha256: policy.sha256, ..with }, policy);
    true
}

/// A certificate at every place of a chain is answered by every rule, in order, and endorses nothing.
pub fn snp_certificate(bytes: &[u8]) -> bool {
    let found = chain_findings(&Chain { ark: Some(bytes), ask: Some(bytes), leaf: Some(bytes), crl: None });
    let read = found.iter().filter(|finding| finding.permits() && finding.rule.id.ends_with(".der")).count();
    assert!(matches!(read, 0 | 3), "what is a certificate is one everywhere");
    read == 3
}

/// A revocation list is answered by every rule, in order, and endorses nothing.
pub fn snp_crl(bytes: &[u8]) -> bool {
    let found = chain_findings(&Chain { ark: None, ask: None, leaf: None, crl: Some(bytes) });
    found.iter().any(|finding| finding.rule.id == "snp.chain.crl.der" && finding.permits())
}

/// What the rules say of a chain below an empty report.
fn chain_findings(chain: &Chain<'_>) -> Vec<Finding> {
    let mut report = [0; REPORT_BYTES];
    report[0] = 3;
    let report = Report::parse(&report).expect("a report of version 3");
    let demands = Demands { missing_crl: Permit::Refused, crl_max_age: Demand::Is(0), masked_chip: Permit::Refused };
    let (found, endorsement) = examine(chain, &report, &Roots::amd(), &demands, Time(0));
    assert!(found.iter().map(|finding| finding.rule).eq(RULES));
    assert_eq!(endorsement, None);
    found
}

/// A report without certificates is answered by every rule, in order, and never accepted.
pub fn snp_report(bytes: &[u8]) -> bool {
    let Section::Accepted(policy) = &STRICT.snp else { unreachable!("the strict policy is about reports") };
    let evidence = Evidence { report: bytes, chain: Chain { ark: None, ask: None, leaf: None, crl: None } };
    let found = appraise(&evidence, &Roots::amd(), &policy.requirements, Time(0));
    assert!(found.findings.iter().map(|finding| finding.rule).eq(rules()));
    assert!(!found.findings.iter().all(Finding::permits));
    let report = Report::parse(bytes).ok();
    assert!(report.is_none_or(|report| [report.signed().as_slice(), report.signature()].concat() == bytes));
    assert_eq!(found.facts.report, report);
    report.is_some()
}

static STRICT: LazyLock<Policy> = LazyLock::new(|| {
    let text = include_bytes!("../../policies/strict.toml");
    Policy::parse("policies/strict.toml", text).expect("the strict policy")
});

/// Members' names stay inside the tree and their data inside the archive.
pub fn tar(bytes: &[u8]) -> bool {
    let mut reader = tar::Reader::new(bytes);
    let mut length = 0;
    loop {
        match reader.next_member() {
            Ok(Some(member)) => {
                assert!(member.path.to_string().parse() == Ok(member.path));
                let Ok((size, _)) = image::formats::hash::copy(&mut reader, &mut io::sink()) else { return false };
                length += size;
                assert!(length <= bytes.len() as u64);
            }
            Ok(None) => return reader.finish().is_ok(),
            Err(_) => return false,
        }
    }
}

/// Whatever the bytes are, every rule has one finding, in order, and without collateral they are not accepted. What is a
/// quote is one to dcap-qvl, too, and it says the same of it.
pub fn tdx_quote(bytes: &[u8]) -> bool {
    let Section::Accepted(policy) = &STRICT.tdx else { unreachable!("the strict policy is about quotes") };
    let evidence = tdx::appraise::Evidence { quote: bytes, collateral: None };
    let findings = tdx::appraise::appraise(&evidence, tdx::collateral::Root::Intel, &policy.requirements, Time(0));
    assert!(findings.iter().map(|finding| finding.rule).eq(tdx::appraise::RULES.iter().copied()));
    assert!(!findings.iter().all(Finding::permits));
    let Ok(quote) = tdx::quote::Quote::parse(bytes) else { return false };
    let theirs = dcap_qvl::quote::Quote::parse(bytes).expect("a quote to us is one to others");
    assert_eq!((quote.version, quote.signed.len()), (theirs.header.version, theirs.signed_length()));
    assert!(bytes.starts_with(quote.signed));
    let body = theirs.report.as_td10().expect("a TDX quote");
    assert_eq!(quote.body.report_data.as_bytes(), &body.report_data);
    assert_eq!(quote.body.mrtd.as_bytes(), &body.mr_td);
    assert_eq!(quote.body.attributes.0.to_le_bytes(), body.td_attributes);
    let td15 = theirs.report.as_td15().map(|body| body.mr_service_td);
    assert_eq!(quote.body.td15.map(|body| *body.mrservicetd.as_bytes()), td15);
    let dcap_qvl::quote::AuthData::V4(signature) = theirs.auth_data else { panic!("expected the layout of version 4") };
    assert_eq!(quote.signature, &signature.ecdsa_signature);
    assert_eq!(quote.key, &signature.ecdsa_attestation_key);
    assert_eq!(quote.qe_report, &signature.qe_report_data.qe_report);
    assert_eq!(quote.pck_chain, signature.qe_report_data.certification_data.body.data);
    true
}

/// What every reader of trees promises: unique paths, a listing that reads back, and no file larger than its archive.
fn promises(entries: Vec<Entry>, length: usize) -> bool {
    for entry in &entries {
        assert!(entry.mode <= 0o7777);
        assert!(!matches!(&entry.kind, Kind::File { size, .. } if *size > length as u64), "{entry}");
    }
    let listing = Listing::new(entries).expect("paths are unique");
    assert_eq!(listing.to_string().parse(), Ok(listing));
    true
}

fn text(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok()
}

fn reader(bytes: &[u8]) -> Box<ReadAt<'_>> {
    Box::new(|at, buffer| {
        let from = usize::try_from(at).ok().and_then(|at| bytes.get(at..)?.get(..buffer.len()));
        buffer.copy_from_slice(from.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    })
}

/// Runs `property` on a file with these bytes, which stands alone in the directory given with it.
fn with_file(bytes: &[u8], property: impl Fn(&Path, &Path) -> bool) -> bool {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let path = scratch.path().join("file");
    let written = std::fs::File::create(&path).and_then(|mut file| file.write_all(bytes));
    written.expect("a scratch file");
    property(&path, scratch.path())
}

#[cfg(test)]
mod tests;
