//! What can be wrong with a report, or with what a policy makes of it.

use super::Refusal;
use super::good::{PLATFORM_BITS, POLICY_BITS};
use super::scene::{Bad, Scene};
use crate::report::SIGNED;
use crate::{Leaf, Product, Tcb, chain, keys};

pub(super) fn cases() -> Vec<Bad> {
    let mut list = List(Vec::new());
    form(&mut list);
    policy(&mut list);
    platform(&mut list);
    // Milan's layout is Genoa's.
    for product in [Product::Genoa, Product::Turin] {
        tcb(&mut list, product);
    }
    firmware(&mut list);
    identity(&mut list);
    chips(&mut list);
    signature(&mut list);
    list.0
}

/// Cases in the making.
pub(super) struct List(pub(super) Vec<Bad>);

impl List {
    /// A case that is `of` but for `change`, which makes `rule` fail.
    pub(super) fn fails(
        &mut self,
        of: &str,
        name: impl Into<String>,
        rule: &str,
        says: impl Into<String>,
        change: impl Fn(&mut Scene) + 'static,
    ) {
        let rule = Refusal::Fails(rule.to_owned());
        self.0.push(Bad { name: name.into(), of: of.to_owned(), says: says.into(), rule, change: Box::new(change) });
    }

    /// A case in which `rule` cannot be decided, because what it needs was never said.
    pub(super) fn undecided(
        &mut self,
        of: &str,
        name: &str,
        rule: &str,
        says: &str,
        change: impl Fn(&mut Scene) + 'static,
    ) {
        self.fails(of, name, rule, says, change);
        if let Some(last) = self.0.last_mut() {
            last.rule = Refusal::Undecided(rule.to_owned());
        }
    }
}

fn form(list: &mut List) {
    let base = "genoa-v3-vcek";
    list.fails(base, "kind-refused", "evidence.kind", "the policy refuses SEV-SNP reports", |scene| {
        scene.demand("snp", "\"refused\"");
    });
    let rule = "snp.report.length";
    list.fails(base, "short", rule, "the last byte is missing", |scene| {
        scene.finish("snp-report", |report| report.truncate(report.len() - 1));
    });
    list.fails(base, "signed-part-only", rule, "there is no signature", |scene| {
        scene.finish("snp-report", |report| report.truncate(SIGNED));
    });
    list.fails(base, "long", rule, "a byte follows", |scene| scene.finish("snp-report", |report| report.push(0)));
    list.fails(base, "guest-response", rule, "the firmware's response with its header of 32 bytes", |scene| {
        scene.finish("snp-report", |report| drop(report.splice(0..0, [0; 32])));
    });

    for version in [0_u32, 1, 6, 2 << 8, u32::MAX] {
        let says = format!("version {version}");
        list.fails(base, format!("version-{version}"), "snp.report.version", says, move |scene| {
            scene.patches.push((0, version.to_le_bytes().to_vec()));
        });
    }

    for (base, at, bytes) in [
        ("genoa-v3-vcek", 0x048, vec![0x21]),
        ("genoa-v3-vcek", 0x049, vec![1]),
        ("genoa-v3-vcek", 0x04b, vec![0x80]),
        ("genoa-v3-vcek", 0x04c, vec![1]),
        ("genoa-v3-vcek", 0x04f, vec![1]),
        ("genoa-v3-vcek", 0x18b, vec![1]),
        ("genoa-v3-vcek", 0x19f, vec![1]),
        ("genoa-v3-vcek", 0x1eb, vec![1]),
        ("genoa-v3-vcek", 0x1ef, vec![1]),
        ("genoa-v3-vcek", 0x1f8, vec![1]),
        ("genoa-v3-vcek", 0x29f, vec![1]),
        ("genoa-v2-vcek", 0x188, vec![0x19, 0x11, 0x01]),
        ("milan-v4-vcek", 0x200, vec![0x3f]),
        ("turin-v5-vcek", 0x208, vec![1]),
        ("turin-v5-vcek", 0x29f, vec![1]),
    ] {
        let says = format!("reserved bytes at {at:#x} are in use");
        list.fails(base, format!("reserved-{at:03x}"), "snp.report.reserved", says, move |scene| {
            scene.patches.push((at, bytes.clone()));
        });
    }

    for algorithm in [0_u32, 2, 0x101] {
        let says = format!("signature algorithm {algorithm}");
        let rule = "snp.report.signature-algorithm";
        list.fails(base, format!("signature-algorithm-{algorithm}"), rule, says, move |scene| {
            scene.report.signature_algo = algorithm;
        });
    }

    for (family, model, what) in [
        (0x17, 0x31, "Rome"),
        (0x19, 0x20, "a model between Genoa's"),
        (0x19, 0xb0, "a model after Genoa's"),
        (0x1a, 0x12, "a model after Turin's"),
        (0x1a, 0x50, "Venice"),
        (0x00, 0x00, "nothing"),
    ] {
        let name = format!("cpuid-{family:02x}-{model:02x}");
        list.fails(base, name, "snp.report.product", format!("CPUID names {what}"), move |scene| {
            scene.report.cpuid = [family, model, 1];
        });
    }

    for product in ["milan", "genoa", "turin"] {
        for version in [2, 3] {
            let base = format!("{product}-v{version}-vcek");
            let rule = "snp.report.product-accepted";
            list.fails(&base, "product-refused", rule, "the policy refuses the product", |scene| {
                scene.demand(&format!("snp.{}", scene.processor.product.name().to_lowercase()), "\"refused\"");
            });
        }
    }

    for (key, what) in [(7, "none"), (2, "a reserved value"), (6, "a reserved value")] {
        let says = format!("the key that signed is {what}");
        list.fails(base, format!("signing-key-{key}"), "snp.report.signing-key", says, move |scene| {
            scene.report.flags |= key << 2;
        });
    }
    for product in ["milan", "genoa", "turin"] {
        let base = format!("{product}-v3-vlek");
        let rule = "snp.report.signing-key-accepted";
        list.fails(&base, "vlek-refused", rule, "the policy does not name VLEKs", |scene| {
            scene.demand("snp.vlek-providers", "\"refused\"");
        });
        let base = format!("{product}-v3-vcek");
        let says = "a VCEK signed although the host masks the chip's key";
        list.fails(&base, "chip-key-masked", "snp.report.chip-key", says, |scene| scene.report.flags |= 2);
    }
}

fn policy(list: &mut List) {
    for base in ["milan-v5-vcek", "genoa-v5-vcek", "turin-v5-vcek"] {
        let says = "it asks for a newer interface than the expected policy, and differs in nothing else";
        list.fails(base, "launch-policy", "snp.policy.launch", says, |scene| scene.report.policy += 1);
    }
    let base = "turin-v5-vcek-any-policy";
    let rule = "snp.policy.abi";
    list.fails(base, "abi-minor", rule, "the interface's minor version is one too low", |scene| {
        scene.report.policy = scene.report.policy & !0xff | 50;
    });
    list.fails(base, "abi-major", rule, "the major version is too low and the minor one is high", |scene| {
        scene.report.policy = scene.report.policy & !0xffff | 0x00ff;
    });
    let rule = "snp.policy.reserved-one";
    list.fails(base, "policy-bit-17", rule, "bit 17 of the launch policy is 0", |scene| {
        scene.report.policy &= !(1 << 17);
    });
    for bit in [26, 32, 63] {
        let says = format!("bit {bit} of the launch policy is set");
        list.fails(base, format!("policy-bit-{bit}"), "snp.policy.unknown-bits", says, move |scene| {
            scene.report.policy |= 1 << bit;
        });
    }
    for (bit, key, set) in POLICY_BITS {
        let (name, rule) = (format!("policy-{key}"), format!("snp.policy.{key}"));
        let says = |set: bool| format!("bit {bit} of the launch policy is {}", u8::from(!set));
        list.fails(base, &name, &rule, says(set), move |scene| scene.report.policy ^= 1 << bit);
        let opposite = "genoa-v5-vcek-opposite-bits";
        list.fails(opposite, &name, &rule, says(!set), move |scene| scene.report.policy ^= 1 << bit);
    }
}

fn platform(list: &mut List) {
    for (bit, key, set) in PLATFORM_BITS {
        let rule = if bit == 5 { "alias-check" } else { key };
        let (name, rule) = (format!("platform-{key}"), format!("snp.platform.{rule}"));
        let says = |set: bool| format!("bit {bit} of PLATFORM_INFO is {}", u8::from(!set));
        list.fails("milan-v5-vcek", &name, &rule, says(set), move |scene| scene.report.platform_info ^= 1 << bit);
        let opposite = "turin-v5-vcek-opposite-bits";
        list.fails(opposite, &name, &rule, says(!set), move |scene| scene.report.platform_info ^= 1 << bit);
    }
    for bit in [8, 63] {
        let says = format!("bit {bit} of PLATFORM_INFO, which has no meaning, is set");
        list.fails("turin-v5-vcek", format!("platform-bit-{bit}"), "snp.platform.unknown-bits", says, move |scene| {
            scene.report.platform_info |= 1 << bit;
        });
    }
    let says = "the policy asks for the alias check, of which version 2 does not know";
    list.undecided("genoa-v2-vcek", "alias-check-asked", "snp.platform.alias-check", says, |scene| {
        scene.demand_of_product("platform.alias-check-complete", "\"required\"");
    });
}

type Component = (&'static str, fn(&mut Tcb) -> &mut u8);

const COMPONENTS: [Component; 5] = [
    ("bootloader", |tcb| &mut tcb.bootloader),
    ("tee", |tcb| &mut tcb.tee),
    ("snp", |tcb| &mut tcb.snp),
    ("microcode", |tcb| &mut tcb.microcode),
    ("fmc", |tcb| &mut tcb.fmc),
];

fn tcb(list: &mut List, product: Product) {
    let base = format!("{}-v5-vcek", product.name().to_lowercase());
    let base = base.as_str();
    // The first and the last byte that the layout leaves out.
    let unused = if product == Product::Turin { [4, 6] } else { [2, 5] };
    for (name, word) in WORDS {
        for at in unused {
            let says = format!("byte {at} of the {name} TCB has no meaning and is not zero");
            list.fails(base, format!("{name}-tcb-byte-{at}"), "snp.tcb.reserved", says, move |scene| {
                word(scene)[at] = 1;
            });
        }
    }
    for (name, component) in COMPONENTS.into_iter().take(if product == Product::Turin { 5 } else { 4 }) {
        let other = move |scene: &Scene, by: i8| {
            let mut tcb = scene.processor.tcb;
            *component(&mut tcb) = component(&mut tcb).wrapping_add_signed(by);
            tcb
        };
        let says = format!("{name} is committed at a version above the current one");
        list.fails(base, format!("committed-{name}"), "snp.tcb.committed", says, move |scene| {
            scene.report.committed_tcb = product.tcb(other(scene, 1));
        });
        let says = format!("{name} is above what is committed, so that it can be rolled back");
        list.fails(base, format!("provisional-{name}"), "snp.tcb.provisional", says, move |scene| {
            scene.report.current_tcb = product.tcb(other(scene, 1));
        });
        let says = format!("{name} is reported, and certified, at a version above the committed one");
        list.fails(base, format!("reported-{name}"), "snp.tcb.reported", says, move |scene| {
            scene.report.reported_tcb = product.tcb(other(scene, 1));
            scene.leaf = chain::vcek(product, other(scene, 1), scene.processor.hwid());
        });
        let says = format!("{name} is reported, and certified, below the policy's floor");
        list.fails(base, format!("reported-floor-{name}"), "snp.tcb.reported-floor", says, move |scene| {
            scene.report.reported_tcb = product.tcb(other(scene, -1));
            scene.leaf = chain::vcek(product, other(scene, -1), scene.processor.hwid());
        });
        let says = format!("{name} was below the policy's floor at launch");
        list.fails(base, format!("launch-floor-{name}"), "snp.tcb.launch-floor", says, move |scene| {
            scene.report.launch_tcb = product.tcb(other(scene, -1));
        });
    }
    let says = "one component is below the floor, and another far above it";
    list.fails(base, "launch-floor-mixed", "snp.tcb.launch-floor", says, move |scene| {
        scene.report.launch_tcb = product.tcb(Tcb { tee: 0, microcode: 255, ..scene.processor.tcb });
    });
}

type Word = (&'static str, fn(&mut Scene) -> &mut [u8; 8]);

const WORDS: [Word; 4] = [
    ("current", |scene| &mut scene.report.current_tcb),
    ("reported", |scene| &mut scene.report.reported_tcb),
    ("committed", |scene| &mut scene.report.committed_tcb),
    ("launch", |scene| &mut scene.report.launch_tcb),
];

fn firmware(list: &mut List) {
    let base = "genoa-v5-vcek";
    for (version, what) in [([54, 3, 1], "build"), ([99, 2, 1], "minor version"), ([99, 99, 0], "major version")] {
        let says = format!("the firmware's {what} is too low");
        let name = format!("firmware-floor-{}", what.split(' ').next().unwrap_or(what));
        list.fails(base, name, "snp.tcb.firmware-floor", says, move |scene| {
            scene.report.current_version = version;
            scene.report.committed_version = version;
        });
    }
    let rule = "snp.tcb.firmware-committed";
    for version in [[56, 3, 1], [55, 4, 1], [55, 3, 2]] {
        let [build, minor, major] = version;
        let says = format!("firmware {major}.{minor}.{build} is not committed, so that it can be rolled back");
        list.fails(base, format!("firmware-provisional-{major}-{minor}-{build}"), rule, says, move |scene| {
            scene.report.current_version = version;
        });
    }
    list.fails(base, "firmware-committed", rule, "firmware above the current one is committed", |scene| {
        scene.report.committed_version = [56, 3, 1];
    });
    let says = "provisional firmware is accepted, but firmware above the current one is committed";
    list.fails("genoa-v5-vcek-provisional", "firmware-committed", rule, says, |scene| {
        scene.report.committed_version = [57, 3, 1];
    });

    for bit in 0..6 {
        let says = |when: &str| format!("mitigation {bit} is not in place {when}");
        list.fails(
            base,
            format!("launch-mitigation-{bit}"),
            "snp.tcb.launch-mitigations",
            says("at launch"),
            move |s| {
                s.report.launch_mit_vector ^= 1 << bit;
            },
        );
        list.fails(base, format!("current-mitigation-{bit}"), "snp.tcb.current-mitigations", says("now"), move |s| {
            s.report.current_mit_vector ^= 1 << bit;
        });
    }
    let says = "as a number the mitigations are more than asked for, as a set they are not";
    list.fails(base, "launch-mitigations-number", "snp.tcb.launch-mitigations", says, |scene| {
        scene.report.launch_mit_vector = 0x40;
    });
    list.fails(base, "current-mitigations-number", "snp.tcb.current-mitigations", says, |scene| {
        scene.report.current_mit_vector = u64::MAX << 6;
    });
    for (name, rule, key) in [
        ("launch-mitigations-asked", "snp.tcb.launch-mitigations", "launch-mitigations"),
        ("current-mitigations-asked", "snp.tcb.current-mitigations", "current-mitigations"),
    ] {
        let says = "the policy asks for mitigations, of which version 4 does not know";
        list.undecided("genoa-v4-vcek", name, rule, says, move |scene| scene.demand_of_product(key, "0x3f"));
    }
}

fn identity(list: &mut List) {
    let base = "turin-v5-vcek";
    type Field = (&'static str, &'static str, fn(&mut Scene) -> &mut [u8]);
    let fields: [Field; 7] = [
        ("measurement", "snp.identity.measurement", |scene| &mut scene.report.measurement),
        ("report-data", "snp.identity.report-data", |scene| &mut scene.report.report_data),
        ("host-data", "snp.identity.host-data", |scene| &mut scene.report.host_data),
        ("id-key", "snp.identity.id-key", |scene| &mut scene.report.id_key_digest),
        ("author-key", "snp.identity.author-key", |scene| &mut scene.report.author_key_digest),
        ("family-id", "snp.identity.family-id", |scene| &mut scene.report.family_id),
        ("image-id", "snp.identity.image-id", |scene| &mut scene.report.image_id),
    ];
    for (name, rule, field) in fields {
        list.fails(base, format!("{name}-first"), rule, format!("the first byte of {name} differs"), move |scene| {
            field(scene)[0] ^= 1;
        });
        list.fails(base, format!("{name}-last"), rule, format!("the last bit of {name} differs"), move |scene| {
            if let Some(last) = field(scene).last_mut() {
                *last ^= 0x80;
            }
        });
        list.fails(base, format!("{name}-zero"), rule, format!("{name} is zero"), move |scene| field(scene).fill(0));
    }
    for vmpl in [1_u32, 3, 4, 256, u32::MAX] {
        let says = if vmpl == u32::MAX { "the host asked".to_owned() } else { format!("level {vmpl} asked") };
        list.fails(base, format!("vmpl-{vmpl}"), "snp.identity.vmpl", says, move |scene| scene.report.vmpl = vmpl);
    }
    list.fails("turin-v5-vcek-vmpl-2", "vmpl-0", "snp.identity.vmpl", "level 0 asked", |scene| scene.report.vmpl = 0);
    list.fails(base, "no-author-key", "snp.identity.author-key-enabled", "AUTHOR_KEY_EN is 0", |scene| {
        scene.report.flags &= !1;
    });
    for svn in [0, 6] {
        list.fails(base, format!("guest-svn-{svn}"), "snp.identity.guest-svn", format!("it is {svn}"), move |scene| {
            scene.report.guest_svn = svn;
        });
    }
    let rule = "snp.identity.migration-agent";
    list.fails(base, "migration-agent", rule, "the guest has a migration agent", |scene| {
        scene.report.report_id_ma = [0x3c; 32];
    });
    list.fails(base, "migration-agent-last", rule, "REPORT_ID_MA is all ones but for a bit", |scene| {
        scene.report.report_id_ma[31] = 0xfe;
    });
    list.fails(base, "migration-agent-zero", rule, "REPORT_ID_MA is zero", |scene| {
        scene.report.report_id_ma = [0; 32];
    });
}

fn chips(list: &mut List) {
    for product in ["milan", "genoa", "turin"] {
        let base = format!("{product}-v5-vcek");
        list.fails(&base, "chip-not-listed", "snp.identity.chip-allowed", "another chip, with its VCEK", |scene| {
            let hwid = vec![0x77; scene.processor.product.hwid_size()];
            scene.report.chip_id[..hwid.len()].copy_from_slice(&hwid);
            scene.leaf = chain::vcek(scene.processor.product, scene.processor.tcb, &hwid);
        });
        list.fails(&base, "chip-denied", "snp.identity.chip-denied", "the policy denies this chip", |scene| {
            let hwid = measure::digest::Hex(&scene.report.chip_id);
            scene.demand("snp.denied-chips", &format!("[\"{hwid}\"]"));
        });
        list.fails(&base, "chip-masked", "snp.identity.chip-masked", "the host hides which chip it is", |scene| {
            scene.report.chip_id = [0; 64];
        });
        let base = format!("{product}-v5-vlek");
        list.fails(&base, "csp-id", "snp.identity.csp-id", "the VLEK is another provider's", |scene| {
            scene.leaf = chain::vlek(scene.processor.product, scene.processor.tcb, "another-cloud");
        });
    }
    let says = "the policy lists chips, and the host hides which one it is";
    list.undecided("genoa-v5-vcek-masked", "chips-listed", "snp.identity.chip-allowed", says, |scene| {
        scene.demand("snp.chips", &format!("[\"{}\"]", "77".repeat(64)));
    });
    list.undecided("genoa-v5-vcek-masked", "chips-denied", "snp.identity.chip-denied", says, |scene| {
        scene.demand("snp.denied-chips", &format!("[\"{}\"]", "77".repeat(64)));
    });
}

fn signature(list: &mut List) {
    let rule = "snp.signature";
    // REPORT_ID is the one field that no other rule looks at.
    for (product, version) in [("milan", 2), ("genoa", 3), ("genoa", 4), ("turin", 5)] {
        let base = format!("{product}-v{version}-vcek");
        list.fails(&base, "changed", rule, "REPORT_ID was changed after signing", |scene| {
            scene.finish("snp-report", |report| report[0x140] ^= 1);
        });
    }
    list.fails("genoa-v3-vcek", "stepping", rule, "the stepping was changed after signing", |scene| {
        scene.finish("snp-report", |report| report[0x18a] ^= 1);
    });
    for (base, leaf) in [("genoa-v3-vcek", Leaf::Vlek), ("genoa-v3-vlek", Leaf::Vcek)] {
        list.fails(base, "other-leaf-key", rule, "the key of the other kind signed", move |scene| {
            scene.report_key = leaf.key();
        });
    }
    list.fails("genoa-v3-vcek", "stranger", rule, "a key that is nobody's signed", |scene| {
        scene.report_key = keys::ec_stranger();
    });
    let base = "genoa-v3-vcek";
    let (range, padding) = ("snp.signature.range", "snp.signature.padding");
    type Change = (&'static str, &'static str, &'static str, fn(&mut Vec<u8>));
    let changes: [Change; 15] = [
        (range, "r-zero", "r is 0", |report| report[R..R + 48].fill(0)),
        (range, "s-zero", "s is 0", |report| report[S..S + 48].fill(0)),
        (range, "both-zero", "r and s are 0", |report| report[SIGNED..].fill(0)),
        (range, "r-order", "r is the order of the group", |report| report[R..R + 48].copy_from_slice(&ORDER)),
        (range, "s-order", "s is the order of the group", |report| report[S..S + 48].copy_from_slice(&ORDER)),
        (range, "r-above", "r is all ones", |report| report[R..R + 48].fill(0xff)),
        (range, "s-above", "s is all ones", |report| report[S..S + 48].fill(0xff)),
        (range, "r-upper", "a bit above the 384 of r is set", |report| report[R + 48] = 1),
        (range, "r-top", "the last bit of r's field is set", |report| report[R + 71] = 0x80),
        (range, "s-upper", "a bit above the 384 of s is set", |report| report[S + 48] = 1),
        (range, "s-top", "the last bit of s's field is set", |report| report[S + 71] = 0x80),
        (padding, "after-first", "the first byte after r and s is not zero", |report| report[S + 72] = 1),
        (padding, "after-last", "the last byte after r and s is not zero", |report| report[0x49f] = 1),
        (rule, "big-endian", "r and s are big-endian", |report| {
            report[R..R + 48].reverse();
            report[S..S + 48].reverse();
        }),
        (rule, "swapped", "r and s are swapped", |report| {
            let (r, s) = report[R..S + 72].split_at_mut(72);
            r.swap_with_slice(s);
        }),
    ];
    for (rule, name, says, change) in changes {
        list.fails(base, name, rule, says, move |scene| scene.finish("snp-report", change));
    }
}

/// Offsets of r and s.
const R: usize = SIGNED;
const S: usize = SIGNED + 72;

/// The order of P-384's group (SEC 2, 2.5.1), little-endian.
const ORDER: [u8; 48] = [
    0x73, 0x29, 0xc5, 0xcc, 0x6a, 0x19, 0xec, 0xec, 0x7a, 0xa7, 0xb0, 0x48, 0xb2, 0x0d, 0x1a, 0x58, 0xdf, 0x2d, 0x37,
    0xf4, 0x81, 0x4d, 0x63, 0xc7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
];
