//! The shape table.

use crate::firmware::Firmware;
use crate::{INITRD, KERNEL, launch};
use measure::snp::{BeforeVmsas, CpuSignature, KernelHashes, SevFeatures, Shape, ShapeTable, ShapeTableSource, Vcpus};

/// Of the same files and command line as the known digests in the parent module.
fn before_vmsas() -> BeforeVmsas {
    let hashes = KernelHashes::of(KERNEL, Some(INITRD), b"console=ttyS0 quiet");
    launch(&Firmware::amd_sev().bytes(), Some(&hashes)).before_vmsas
}

/// The hash was computed from 512 digests of sev-snp-measure, laid out as docs/formats.md says.
#[test]
fn equals_sev_snp_measure_for_every_shape() {
    let before = before_vmsas();
    let table = ShapeTable::new(&before);
    assert_eq!(table.rows().len(), 64 * 4 * 2);
    for row in table.rows() {
        let shape = Shape { vcpus: row.vcpus, cpu: row.cpu, sev_features: row.sev_features };
        assert_eq!(row.launch_digest, before.digest(&shape));
    }
    let expected = "d90851ae29f6047b8f24b5d5072ab021ac58110ff3d98eb35364005ce5715b59";
    assert_eq!(table.source().table_sha256.to_string(), expected);
    let row = table.rows()[300];
    assert_eq!(table.find(&row.launch_digest), Some(&row));
    assert_eq!(table.find(&before.launch_digest), None);
}

#[test]
fn the_compact_form_derives_the_table_or_is_refused() {
    let table = ShapeTable::new(&before_vmsas());
    let source = table.source().clone();
    assert_eq!(ShapeTable::try_from(source.clone()), Ok(table));

    let refused = |edit: &dyn Fn(&mut ShapeTableSource), expected: &str| {
        let mut source = source.clone();
        edit(&mut source);
        let error = ShapeTable::try_from(source).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    };
    let hash = format!("expected a shape table with sha256 {}, found ", source.table_sha256);
    refused(&|s| s.ap_reset += 1, &hash);
    refused(&|s| s.before_vmsas.0 = measure::Sha384::of(b""), &hash);
    refused(&|s| s.max_vcpus = Vcpus::try_from(63).unwrap(), &hash);
    refused(&|s| s.cpus[0] = CpuSignature(1), &hash);
    refused(&|s| s.sev_features.truncate(1), &hash);
    refused(&|s| s.vmm = "QEMU".into(), "unknown VMM profile \"QEMU\"");
    refused(&|s| s.max_vcpus = Vcpus::try_from(65).unwrap(), "expected at most 64 vCPUs in a shape table, found 65");
    refused(&|s| s.cpus.swap(0, 1), "expected 1 to 16 ascending CPU signatures, found [0xa00f11, 0x800f12, ");
    refused(&|s| s.cpus.clear(), "expected 1 to 16 ascending CPU signatures, found []");
    refused(&|s| s.cpus = (0..17).map(CpuSignature).collect(), "expected 1 to 16 ascending CPU signatures");
    let twice = |s: &mut ShapeTableSource| s.sev_features = vec![SevFeatures(1); 2];
    refused(&twice, "expected 1 to 16 ascending SEV_FEATURES, found [0x1, 0x1]");
}

#[cfg(feature = "serde")]
#[test]
fn json_round_trips_and_a_changed_row_is_refused() {
    use serde_json::{from_value, json, to_value};
    let table = ShapeTable::new(&before_vmsas());
    let full = to_value(&table).unwrap();
    assert_eq!(from_value::<ShapeTable>(full.clone()).unwrap(), table);
    let compact = to_value(table.source()).unwrap();
    assert_eq!(from_value::<ShapeTableSource>(compact.clone()).unwrap(), *table.source());
    assert_eq!(compact["cpus"], json!(["0x800f12", "0xa00f11", "0xa10f10", "0xb00f00"]));
    assert!(serde_json::to_vec(&compact).unwrap().len() < 600);

    let refused = |pointer: &str, value| {
        let mut full = full.clone();
        *full.pointer_mut(pointer).unwrap() = value;
        from_value::<ShapeTable>(full).unwrap_err().to_string()
    };
    assert_eq!(refused("/rows/6/vcpus", json!(8)), "row 7 of the shape table does not follow from its source");
    let zeros = "0".repeat(96);
    assert!(refused("/rows/511/launch_digest_sha384", json!(zeros)).starts_with("row 512 of the shape table"));
    assert!(refused("/rows", json!([])).starts_with("row 1 of the shape table"));
    assert!(refused("/rows/0/vcpus", json!(0)).contains("expected 1 to 4096 vCPUs, found 0"));
    assert!(refused("/source/sev_features/0", json!(1)).contains("expected"));
    let mut unknown = full.clone();
    unknown["source"]["note"] = json!("");
    assert!(from_value::<ShapeTable>(unknown).unwrap_err().to_string().contains("unknown field"));
}
