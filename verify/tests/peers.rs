//! Reports and chains of the simulated processor, as other people's software reads them. If the forger and `measure`
//! shared an error, it would show here.

use sev::certs::snp::{Certificate, Chain, Verifiable as _, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;
use simulate::{Leaf, Processor, Product, Tcb};

#[test]
fn another_crate_reads_what_was_written() {
    for product in Product::ALL {
        for (report_version, leaf) in [2, 3, 4, 5].into_iter().flat_map(|v| [(v, Leaf::Vcek), (v, Leaf::Vlek)]) {
            let processor = processor(product, report_version, leaf);
            let what = format!("{product} version {report_version} {leaf:?}");
            let parsed = AttestationReport::from_bytes(&processor.report([0xd4; 64]));
            // It takes the layout of a version 2 report from its chip id, and refuses one that is masked.
            if report_version == 2 && leaf == Leaf::Vlek {
                assert!(parsed.is_err(), "{what}");
                continue;
            }
            let parsed = parsed.expect(&what);
            fields(&processor, &parsed, &what);
            (&chain(&processor), &parsed).verify().expect(&what);
        }
    }
}

/// Every field its parser knows. All have values of their own, so that a wrong offset shows.
fn fields(processor: &Processor, parsed: &AttestationReport, what: &str) {
    let written = processor.unsigned([0xd4; 64]);
    let from = |version: u32| written.version >= version;
    assert_eq!(parsed.version, written.version, "{what}");
}

fn chain(processor: &Processor) -> Chain {
    let certificates = processor.certificates();
    let parse = |der: &[u8]| Certificate::from_der(der).expect("a certificate");
    Chain {
        ca: ca::Chain { ark: parse(&certificates.ark), ask: parse(&certificates.intermediate) },
        vek: parse(&certificates.leaf),
    }
}

fn processor(product: Product, report_version: u32, leaf: Leaf) -> Processor {
    Processor {
        product,
        leaf,
        report_version,
        chip_id: std::array::from_fn(|i| i as u8 + 1),
        tcb: Tcb { fmc: if product == Product::Turin { 3 } else { 0 }, bootloader: 4, tee: 1, snp: 27, microcode: 200 },
        firmware: [55, 3, 1],
        platform_info: 0x25,
        mitigations: 0x3f,
        csp: "simulated-cloud",
        policy: 0x2_0003_0000,
        measurement: [0x3e; 48],
        host_data: [0; 32],
    }
}
