//! Good evidence: every product, every version of the report, both kinds of key, and what policies may leave open.

use super::scene::Scene;
use crate::certificate::Extension;
use crate::{Leaf, Processor, Product, Tcb};

/// The policy of all cases. It asks for something in every key, so that every rule has something to refuse.
pub(super) const POLICY: &str = include_str!("policy.toml");

/// 2026-07-01T00:00:00Z: all certificates are valid and the revocation lists are current.
const NOW: u64 = 1_782_864_000;

/// What the guest was asked for.
const REPORT_DATA: [u8; 64] = [0xd4; 64];

/// SNP firmware's bits that the policy asks for, each of POLICY and PLATFORM_INFO.
const GUEST_POLICY: u64 = 0x3d2_0137;
const PLATFORM: u64 = 0x3c;

pub(super) fn cases() -> Vec<Scene> {
    let mut cases = Vec::new();
    for product in Product::ALL {
        for version in [2, 3, 4, 5] {
            for leaf in [Leaf::Vcek, Leaf::Vlek] {
                cases.push(plain(product, version, leaf));
            }
        }
    }
    let product_cases = Product::ALL.map(|product| (product, plain(product, 5, Leaf::Vcek)));
    for (product, base) in product_cases {
        let variant = |name: &str, says: &str, change: &dyn Fn(&mut Scene)| {
            let mut scene = base.clone();
            scene.name = format!("{}-{name}", base.name);
            scene.says = says.to_owned();
            change(&mut scene);
            scene
        };
        cases.extend([
            variant("any-policy", "the launch policy as a whole is not compared", &|scene| {
                scene.demand_of_product("launch-policy", "\"any\"");
            }),
            variant("opposite-bits", "the policy asks of each bit the opposite", &opposite_bits),
            variant("provisional", "firmware that is not committed is accepted", &|scene| {
                scene.demand("snp.provisional-firmware", "\"accepted\"");
                scene.report.current_tcb = product.tcb(Tcb { microcode: 201, ..scene.processor.tcb });
                scene.report.current_version = [56, 3, 1];
            }),
            variant("masked", "the chip is masked, and masked chips are accepted", &|scene| {
                scene.demand("snp.masked-chips", "\"accepted\"");
                scene.demand("snp.chips", "\"any\"");
                scene.demand("snp.denied-chips", "[]");
                scene.report.chip_id = [0; 64];
            }),
            variant("no-id-block", "there is no ID block, and none is asked for", &|scene| {
                scene.demand("snp.id-block", "\"any\"");
                scene.report.guest_svn = 0;
                scene.report.family_id = [0; 16];
                scene.report.image_id = [0; 16];
                scene.report.id_key_digest = [0; 48];
                scene.report.author_key_digest = [0; 48];
                scene.report.flags = 0;
            }),
            variant("migration-agent", "a migration agent is accepted", &|scene| {
                scene.demand("snp.migration-agent", "\"accepted\"");
                scene.report.report_id_ma = [0x3c; 32];
            }),
            variant("platform-bit-8", "bit 8 of PLATFORM_INFO, which has no meaning, is set and accepted", &|scene| {
                scene.demand_of_product("platform.unknown", "\"accepted\"");
                scene.report.platform_info |= 1 << 8;
            }),
            variant("no-list", "there is no revocation list, and none is asked for", &|scene| {
                scene.demand("snp.missing-crl", "\"accepted\"");
                scene.without.push("snp-crl");
            }),
            variant("vlek-named", "VLEKs are accepted too", &|scene| {
                scene.demand("snp.vlek-providers", "[\"simulated-cloud\"]");
            }),
            variant(
                "unknown-extension",
                "the leaf has an extension that nobody knows and that is not critical",
                &|scene| {
                    let value = vec![5, 0];
                    scene.leaf.extensions.push(Extension { oid: "1.3.6.1.4.1.55555.1", critical: false, value });
                },
            ),
            variant("vmpl-2", "privilege level 2 is asked for", &|scene| {
                scene.demand("snp.vmpl", "2");
                scene.report.vmpl = 2;
            }),
        ]);
        // A provider that does not mask chips; the certificate does not name one all the same.
        let mut shown = plain(product, 5, Leaf::Vlek);
        shown.name += "-chip-shown";
        shown.says = "a VLEK signed, and the chip is shown".to_owned();
        shown.report.flags &= !2;
        shown.report.chip_id = base.report.chip_id;
        cases.push(shown);
    }
    for (name, says, cpuid) in [
        ("genoa-v3-vcek-bergamo", "Bergamo, which is Genoa to the key service", [0x19, 0xa0, 2]),
        ("genoa-v3-vcek-last-model", "the last model of Genoa's", [0x19, 0xaf, 0]),
        ("turin-v5-vcek-dense", "Turin Dense", [0x1a, 0x11, 0]),
    ] {
        let base = cases.iter().find(|scene| name.starts_with(&scene.name)).expect("the case it varies").clone();
        let mut scene = Scene { name: name.to_owned(), says: says.to_owned(), ..base };
        scene.report.cpuid = cpuid;
        cases.push(scene);
    }
    cases
}

/// Evidence that the policy is made for; what a report of its version cannot say is not asked.
fn plain(product: Product, version: u32, leaf: Leaf) -> Scene {
    let kind = match leaf {
        Leaf::Vcek => "vcek",
        Leaf::Vlek => "vlek",
    };
    let name = format!("{}-v{version}-{kind}", product.name().to_lowercase());
    let says = format!("{product}, report version {version}, signed by a {}", kind.to_uppercase());
    let mut scene = Scene::of(name, &says, processor(product, version, leaf), REPORT_DATA, NOW);
    scene.report.guest_svn = 7;
    scene.report.family_id = [0xfa; 16];
    scene.report.image_id = [0x1a; 16];
    scene.report.id_key_digest = [0x1d; 48];
    scene.report.author_key_digest = [0xa0; 48];
    scene.report.flags |= 1;
    if version < 5 {
        scene.demand_of_product("launch-mitigations", "\"any\"");
        scene.demand_of_product("current-mitigations", "\"any\"");
    }
    if version < 3 {
        scene.demand_of_product("platform.alias-check-complete", "\"any\"");
    }
    if leaf == Leaf::Vlek {
        scene.demand("snp.vlek-providers", "[\"simulated-cloud\"]");
        scene.demand("snp.masked-chips", "\"accepted\"");
        scene.demand("snp.chips", "\"any\"");
        scene.demand("snp.denied-chips", "[]");
    }
    scene
}

fn processor(product: Product, report_version: u32, leaf: Leaf) -> Processor {
    // One component is above 127, where the encoding in certificates grows by a byte.
    let fmc = if product == Product::Turin { 3 } else { 0 };
    Processor {
        product,
        leaf,
        report_version,
        chip_id: std::array::from_fn(|at| at as u8 + 1),
        tcb: Tcb { fmc, bootloader: 10, tee: 5, snp: 27, microcode: 200 },
        firmware: [55, 3, 1],
        platform_info: PLATFORM,
        mitigations: 0x3f,
        csp: "simulated-cloud",
        policy: GUEST_POLICY,
        measurement: [0x3e; 48],
        host_data: [0x40; 32],
    }
}

/// The bits of POLICY and PLATFORM_INFO by the key of the policy, and whether `policy.toml` asks for 1.
pub(super) const POLICY_BITS: [(u32, &str, bool); 9] = [
    (16, "smt", false),
    (18, "migrate-ma", false),
    (19, "debug", false),
    (20, "single-socket", true),
    (21, "cxl", false),
    (22, "aes-256-xts", true),
    (23, "rapl-disabled", true),
    (24, "ciphertext-hiding", true),
    (25, "page-swap-disabled", true),
];
pub(super) const PLATFORM_BITS: [(u32, &str, bool); 8] = [
    (0, "smt", false),
    (1, "tsme", false),
    (2, "ecc", true),
    (3, "rapl-disabled", true),
    (4, "ciphertext-hiding", true),
    (5, "alias-check-complete", true),
    (6, "iommu-write-safe", false),
    (7, "tio", false),
];

fn opposite_bits(scene: &mut Scene) {
    scene.demand_of_product("launch-policy", "\"any\"");
    let word = |set: bool| if set { "\"forbidden\"" } else { "\"required\"" };
    for (bit, key, set) in POLICY_BITS {
        scene.demand_of_product(&format!("policy.{key}"), word(set));
        scene.report.policy ^= 1 << bit;
    }
    for (bit, key, set) in PLATFORM_BITS {
        scene.demand_of_product(&format!("platform.{key}"), word(set));
        scene.report.platform_info ^= 1 << bit;
    }
}
