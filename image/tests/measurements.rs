//! `measurements.lock`: its text, and what it says differs.

use image::pipeline::measured::{Measurements, SnpMeasurements, StageDigests};
use image::pipeline::stage::Stage;
use measure::snp::LaunchDigest;
use measure::verity::VerityRoot;
use measure::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;

fn measurements() -> Measurements {
    let launch = |byte| LaunchDigest(Digest::new([byte; 48]));
    let snp = SnpMeasurements {
        before_vmsas_sha384: launch(1),
        table_sha256: Sha256::of(b"table"),
        one_vcpu_sha384: launch(2),
    };
    Measurements {
        schema: 1,
        root_sha256: VerityRoot(Sha256::of(b"root")),
        model_sha256: VerityRoot(Sha256::of(b"model")),
        artifacts: BTreeMap::from([("disk.raw".to_owned(), Sha256::of(b"disk"))]),
        snp: BTreeMap::from([("snp".to_owned(), snp)]),
        stage: vec![StageDigests { name: Stage::Disk, input: Sha256::of(b"in"), output: Sha256::of(b"out") }],
    }
}

#[test]
fn what_is_written_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("measurements.lock");
    measurements().write(&path).unwrap();
    assert_eq!(Measurements::read(&path).unwrap(), measurements());
    let text = fs::read_to_string(&path).unwrap();
    for (from, to, expected) in [
        ("schema = 1", "schema = 2", "expected 1, found 2"),
        ("schema = 1", "schema = 1\nother = 1", "unknown field `other`"),
        ("name = \"disk\"", "name = \"disc\"", "unknown variant `disc`"),
    ] {
        fs::write(&path, text.replace(from, to)).unwrap();
        let error = format!("{:#}", Measurements::read(&path).unwrap_err());
        assert!(error.contains(expected) && error.contains("measurements.lock"), "{error}");
    }
}

#[test]
fn each_digest_that_differs_is_named() {
    type Change = fn(&mut Measurements);
    let other = Sha256::of(b"other");
    let changes: [(Change, &str); 9] = [
        (|it| it.root_sha256 = VerityRoot(Sha256::of(b"other")), "root volume"),
        (|it| it.model_sha256 = VerityRoot(Sha256::of(b"other")), "model volume"),
        (|it| it.artifacts.values_mut().for_each(|digest| *digest = Sha256::of(b"other")), "artifact disk.raw"),
        (
            |it| it.snp.values_mut().for_each(|snp| snp.table_sha256 = Sha256::of(b"other")),
            "snp launch (snp), shape table",
        ),
        (
            |it| it.snp.values_mut().for_each(|snp| snp.before_vmsas_sha384 = snp.one_vcpu_sha384),
            "snp launch (snp), before",
        ),
        (
            |it| it.snp.values_mut().for_each(|snp| snp.one_vcpu_sha384 = snp.before_vmsas_sha384),
            "snp launch (snp), one",
        ),
        (|it| it.stage.iter_mut().for_each(|stage| stage.input = Sha256::of(b"other")), "stage disk input"),
        (|it| it.stage.iter_mut().for_each(|stage| stage.output = Sha256::of(b"other")), "stage disk output"),
        (|it| it.artifacts.clear(), "artifact disk.raw"),
    ];
    assert_eq!(measurements().differences(&measurements()), [""; 0]);
    for (change, name) in changes {
        let mut found = measurements();
        change(&mut found);
        let differences = measurements().differences(&found);
        assert!(differences.len() == 1 && differences[0].starts_with(name), "{name}: {differences:?}");
    }
    let mut more = measurements();
    more.artifacts.insert("new".to_owned(), other);
    assert_eq!(measurements().differences(&more), [format!("artifact new: expected nothing, found {other}")]);
}
