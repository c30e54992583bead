//! docs/demo, which the README shows: its evidence is what the simulated processor makes.

use super::committed;
use measure::appraise::Time;
use simulate::{Leaf, Processor, Product, Tcb};
use verify::Bundle;
use verify::bundle::{Evidence, SnpEvidence};

/// When the demonstration takes place: 2026-11-23T00:00:00Z.
pub(crate) const NOW: Time = Time(1_795_392_000);

/// The machine of the demonstration.
pub(crate) fn processor() -> Processor {
    Processor {
        product: Product::Turin,
        leaf: Leaf::Vcek,
        report_version: 5,
        chip_id: [0xc1; 64],
        tcb: Tcb { fmc: 1, bootloader: 1, tee: 1, snp: 4, microcode: 90 },
        firmware: [0, 58, 1],
        platform_info: 0b11_0100,
        mitigations: 0b01_0110,
        csp: "",
        policy: 0x302_0000,
        measurement: [0x3e; 48],
        host_data: [0; 32],
    }
}

pub(crate) fn evidence() -> SnpEvidence {
    let (processor, report_data) = (processor(), [0x7d; 64]);
    let simulate::Certificates { ark, intermediate, leaf, crl } = processor.certificates();
    let [leaf, ask, ark, crl] = [leaf, intermediate, ark, crl].map(Some);
    SnpEvidence { report: processor.report(report_data), leaf, ask, ark, crl }
}

/// `UPDATE_DEMO=1` writes it anew.
#[test]
fn the_committed_bundle_is_what_the_simulated_processor_makes() {
    let path = committed("docs/demo/evidence.vitrine-bundle");
    let bytes = Bundle::bare(Evidence::Snp(evidence())).to_bytes().unwrap();
    if std::env::var_os("UPDATE_DEMO").is_some() {
        std::fs::write(&path, &bytes).unwrap();
    }
    assert!(std::fs::read(&path).unwrap() == bytes, "{} differs; UPDATE_DEMO=1 writes it anew", path.display());
}
