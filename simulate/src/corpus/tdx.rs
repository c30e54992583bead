//! TDX: good quotes of every layout, and what can be wrong with quote, platform and collateral.

use super::{Case, Refusal, demand};
use crate::certificate::Extension;
use crate::keys;
use crate::tdx::{Layout, Platform, json_text};
use crate::{chain, der};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// 2026-07-01T00:00:00Z: everything is valid.
const NOW: u64 = 1_782_864_000;
const REPORT_DATA: [u8; 64] = [0xd4; 64];

const V4: &str = "tdx-v4";
const TD15: &str = "tdx-v5-td15";
const EXTENDED: &str = "tdx-v5-td15-extended";

/// Everything about one case, before it is signed.
#[derive(Clone)]
struct Scene {
    name: String,
    says: String,
    platform: Platform,
    /// What is done to the finished quote, and to the finished collateral.
    quote: Option<fn(&mut Vec<u8>)>,
    collateral: Option<fn(&mut Value)>,
    without_collateral: bool,
    now: u64,
    policy: toml::Table,
}

impl Scene {
    fn new(name: &str, says: &str, layout: Layout) -> Self {
        let mut scene = Self {
            name: name.to_owned(),
            says: says.to_owned(),
            platform: Platform::new(layout, REPORT_DATA),
            quote: None,
            collateral: None,
            without_collateral: false,
            now: NOW,
            policy: toml::Table::new(),
        };
        if layout == Layout::V5Td15Extended {
            scene.demand("devices", "\"refused\"");
        }
        scene
    }

    /// Gives a key below `tdx` another value, written as TOML.
    fn demand(&mut self, key: &str, value: &str) {
        let document: toml::Table = format!("value = {value}").parse().expect("the value is TOML");
        demand(&mut self.policy, &format!("tdx.{key}"), document["value"].clone());
    }

    fn case(&self) -> Case {
        let mut quote = self.platform.quote();
        if let Some(change) = self.quote {
            change(&mut quote);
        }
        let mut collateral: Value = serde_json::from_slice(&self.platform.collateral()).expect("it is JSON");
        if let Some(change) = self.collateral {
            change(&mut collateral);
        }
        let mut evidence = BTreeMap::from([
            ("tdx-quote".to_owned(), quote),
            ("tdx-collateral".to_owned(), json_text(&collateral).into_bytes()),
        ]);
        if self.without_collateral {
            evidence.remove("tdx-collateral");
        }
        Case {
            name: self.name.clone(),
            says: self.says.clone(),
            of: None,
            rule: None,
            now: self.now,
            report_data: REPORT_DATA,
            evidence,
            policy: self.policy.clone(),
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let good = good();
    let mut list = List { cases: good.iter().map(Scene::case).collect(), good };
    form(&mut list);
    signatures(&mut list);
    chains(&mut list);
    statements(&mut list);
    platforms(&mut list);
    guests(&mut list);
    list.cases
}

fn good() -> Vec<Scene> {
    let names = [V4, "tdx-v5-td10", TD15, EXTENDED];
    let mut good: Vec<Scene> = Layout::ALL
        .into_iter()
        .zip(names)
        .map(|(layout, name)| Scene::new(name, &format!("TDX, {layout:?}"), layout))
        .collect();

    let mut padded = Scene::new("tdx-v4-padded", "zeros follow the quote", Layout::V4);
    padded.quote = Some(|quote| quote.extend([0; 64]));

    let mut old = Scene::new("tdx-v4-out-of-date", "an older platform, which is accepted", Layout::V4);
    old.platform.pck.tcb_components = [1; 16];
    old.platform.body.tee_tcb_svn[0] = 4;
    old.demand("statuses", "[\"UpToDate\", \"OutOfDate\"]");
    old.demand("advisories", "[\"INTEL-SA-00837\"]");

    let mut services = Scene::new("tdx-v5-td15-service", "a service guest, which is accepted", Layout::V5Td15);
    services.platform.body.mrservicetd = [0x5d; 48];
    services.demand("service-guests", &format!("[\"{}\"]", "5d".repeat(48)));

    let mut keys = Scene::new("tdx-v4-pks", "protection keys, which are accepted", Layout::V4);
    keys.platform.body.td_attributes |= 1 << 30;
    keys.demand("attributes", "[\"PKS\"]");

    let mut places = Scene::new("tdx-v4-anywhere", "any machine of any family will do", Layout::V4);
    for key in ["families", "machines", "modules", "evaluation-floor"] {
        places.demand(key, "\"any\"");
    }
    good.extend([padded, old, services, keys, places]);
    good
}

struct List {
    good: Vec<Scene>,
    cases: Vec<Case>,
}

impl List {
    fn add(&mut self, of: &str, name: &str, rule: Refusal, says: &str, change: impl Fn(&mut Scene)) {
        let good = self.good.iter().find(|scene| scene.name == of).unwrap_or_else(|| panic!("no case {of}"));
        let mut scene = good.clone();
        change(&mut scene);
        let (name, says) = (format!("{of}/{name}"), says.to_owned());
        self.cases.push(Case { name, says, of: Some(of.to_owned()), rule: Some(rule), ..scene.case() });
    }

    /// A case that is `of` but for `change`, which makes `rule` fail.
    fn fails(&mut self, of: &str, name: &str, rule: &str, says: &str, change: impl Fn(&mut Scene)) {
        self.add(of, name, Refusal::Fails(rule.to_owned()), says, change);
    }
}

fn form(list: &mut List) {
    for (name, says, rule, at, byte) in [
        ("version-3", "version 3, which is SGX's", "tdx.quote.version", 0, 3),
        ("version-6", "version 6", "tdx.quote.version", 0, 6),
        ("key-type", "signed with ECDSA on P-384", "tdx.quote.key-type", 2, 3),
        ("tee-type", "about an SGX enclave", "tdx.quote.tee-type", 4, 0),
        ("vendor", "another vendor's quoting enclave", "tdx.quote.vendor", 12, 0),
    ] {
        list.fails(V4, name, rule, says, move |scene| scene.platform.header[at] = byte);
    }
    let rule = "tdx.quote.body";
    list.fails(TD15, "body-type", rule, "a body of type 5", |scene| scene.quote = Some(|quote| quote[48] = 5));
    list.fails(TD15, "body-size", rule, "a body of TDX 1.5 with the size of TDX 1.0", |scene| {
        scene.quote = Some(|quote| quote[50..52].copy_from_slice(&584_u16.to_le_bytes()));
    });
    let rule = "tdx.quote.size";
    list.fails(V4, "short", rule, "the last byte is missing", |scene| {
        scene.quote = Some(|quote| quote.truncate(quote.len() - 1));
    });
    list.fails(V4, "header-only", rule, "there is only a header", |scene| {
        scene.quote = Some(|quote| quote.truncate(48));
    });
    list.fails(V4, "trailing", rule, "a byte that is not zero follows", |scene| {
        scene.quote = Some(|quote| quote.push(1));
    });
    let rule = "tdx.collateral.size";
    list.fails(V4, "collateral-long", rule, "the signature of the TCB info has 65 bytes", |scene| {
        scene.collateral = Some(|collateral| collateral["tcb_info_signature"] = "00".repeat(65).into());
    });
    let undecided = Refusal::Undecided(rule.to_owned());
    list.add(V4, "no-collateral", undecided, "there is no collateral", |scene| scene.without_collateral = true);
}

/// Changes the last hexadecimal digit of a member.
fn last_digit(collateral: &mut Value, member: &str) {
    let mut text = collateral[member].as_str().expect("it is text").to_owned();
    let digit = text.pop();
    text.push(if digit == Some('0') { '1' } else { '0' });
    collateral[member] = text.into();
}

/// Offset of the signature in a quote of version 4.
const SIGNATURE: usize = 48 + 584 + 4;

fn signatures(list: &mut List) {
    let rule = "tdx.signature.qe-report";
    list.fails(V4, "qe-report-by-stranger", rule, "a stranger signed the quoting enclave's report", |scene| {
        scene.platform.pck_signer = keys::p256_stranger();
    });
    list.fails(V4, "qe-report-bit", rule, "a bit of the signature on the quoting enclave's report differs", |scene| {
        scene.quote = Some(|quote| quote[SIGNATURE + 64 + 64 + 6 + 384] ^= 1);
    });
    let rule = "tdx.signature.key";
    list.fails(V4, "authentication", rule, "what the quoting enclave hashed with its key was changed", |scene| {
        scene.quote = Some(|quote| quote[SIGNATURE + 64 + 64 + 6 + 384 + 64 + 2] ^= 1);
    });
    let rule = "tdx.signature.quote";
    for (name, says, layout) in [("v4", "version 4", V4), ("td15", "TDX 1.5", TD15), ("extended", "extended", EXTENDED)]
    {
        let says = format!("bytes of the header were changed after signing ({says})");
        list.fails(layout, &format!("header-changed-{name}"), rule, &says, |scene| {
            scene.quote = Some(|quote| quote[28] ^= 1);
        });
    }
    list.fails(V4, "signature-bit", rule, "a bit of the signature differs", |scene| {
        scene.quote = Some(|quote| quote[SIGNATURE] ^= 1);
    });
    list.fails(V4, "signature-zero", rule, "r and s are zero", |scene| {
        scene.quote = Some(|quote| quote[SIGNATURE..SIGNATURE + 64].fill(0));
    });
    list.fails(V4, "tcb-info-bit", "tdx.collateral.tcb-info", "a bit of the TCB info's signature differs", |scene| {
        scene.collateral = Some(|collateral| last_digit(collateral, "tcb_info_signature"));
    });
    list.fails(V4, "tcb-info-space", "tdx.collateral.tcb-info", "a space was added to the TCB info", |scene| {
        scene.collateral = Some(|collateral| {
            collateral["tcb_info"] = format!("{} ", collateral["tcb_info"].as_str().unwrap_or_default()).into();
        });
    });
    list.fails(
        V4,
        "qe-identity-bit",
        "tdx.collateral.qe-identity",
        "a bit of the QE identity's signature differs",
        |s| {
            s.collateral = Some(|collateral| last_digit(collateral, "qe_identity_signature"));
        },
    );
}

fn chains(list: &mut List) {
    let rule = "tdx.chain";
    type Change = (&'static str, &'static str, fn(&mut Platform));
    let changes: [Change; 10] = [
        ("pck-by-stranger", "a stranger signed the PCK certificate", |platform| {
            platform.pck_issuer = keys::p256_stranger();
        }),
        ("ca-by-stranger", "a stranger signed the PCK CA's certificate", |platform| {
            platform.pck_ca_issuer = keys::p256_stranger();
        }),
        ("tcb-signing-by-stranger", "a stranger signed the TCB signing certificate", |platform| {
            platform.tcb_signing_issuer = keys::p256_stranger();
        }),
        ("pck-revoked", "the PCK certificate is revoked", |platform| {
            platform.pck_crl.revoked = vec![platform.pck_certificate.serial.clone()];
        }),
        ("ca-revoked", "the PCK CA is revoked", |platform| {
            platform.root_crl.revoked = vec![platform.pck_ca.serial.clone()];
        }),
        ("tcb-signing-revoked", "the TCB signing certificate is revoked", |platform| {
            platform.root_crl.revoked = vec![platform.tcb_signing.serial.clone()];
        }),
        ("root-revoked", "the root has revoked itself", |platform| {
            platform.root_crl.revoked = vec![platform.root.serial.clone()];
        }),
        ("crl-by-stranger", "a stranger signed the PCK CA's revocation list", |platform| {
            platform.pck_crl_issuer = keys::p256_stranger();
        }),
        ("not-a-ca", "the PCK CA is no authority", |platform| {
            platform.pck_ca.extension(chain::oid::BASIC_CONSTRAINTS).value = der::sequence(&[]);
        }),
        ("critical-extension", "the PCK certificate has a critical extension that nobody knows", |platform| {
            let value = der::NULL.to_vec();
            let unknown = Extension { oid: "1.3.6.1.4.1.55555.1", critical: true, value };
            platform.pck_certificate.extensions.push(unknown);
        }),
    ];
    for (name, says, change) in changes {
        list.fails(V4, name, rule, says, move |scene| change(&mut scene.platform));
    }
    let rule = "tdx.qe";
    let changes: [Change; 5] = [
        ("qe-signer", "another signer's enclave", |platform| platform.enclave.mrsigner[31] ^= 1),
        ("qe-product", "another enclave of the signer", |platform| platform.enclave.isv_prod_id = 1),
        ("qe-version", "an enclave older than any level", |platform| platform.enclave.isv_svn = 3),
        ("qe-debug", "an enclave under debug", |platform| platform.enclave.attributes[0] |= 2),
        ("qe-misc", "an enclave with MISCSELECT", |platform| platform.enclave.misc_select = 1),
    ];
    for (name, says, change) in changes {
        list.fails(V4, name, rule, says, move |scene| change(&mut scene.platform));
    }
}

fn statements(list: &mut List) {
    let rule = "tdx.tcb.level";
    type Change = (&'static str, &'static str, fn(&mut Platform));
    let changes: [Change; 6] = [
        ("fmspc", "the TCB info is about another family", |platform| {
            platform.tcb_info["fmspc"] = json!("00906ED50000")
        }),
        ("cpu-svn", "the processor is older than any level", |platform| platform.pck.tcb_components[15] = 0),
        ("pce-svn", "the PCE is older than any level", |platform| platform.pck.pce_svn = 12),
        ("tee-tcb-svn", "the TDX module is older than any level", |platform| platform.body.tee_tcb_svn[0] = 3),
        ("sgx-info", "the TCB info is SGX's", |platform| platform.tcb_info["id"] = json!("SGX")),
        ("module-version", "no level knows the major version of the module", |platform| {
            platform.tcb_info["tdxModuleIdentities"][0]["tcbLevels"] = json!([]);
        }),
    ];
    for (name, says, change) in changes {
        list.fails(V4, name, rule, says, move |scene| change(&mut scene.platform));
    }
    let says = "the TDX module is now older than any level";
    list.fails(TD15, "tee-tcb-svn2", rule, says, |scene| scene.platform.body.tee_tcb_svn2[0] = 3);

    let rule = "tdx.collateral.dates";
    for (name, says, now) in [
        ("late", "TCB info and QE identity are due since a second ago", 1_784_505_601),
        ("early", "TCB info and QE identity are valid a second from now", 1_781_913_599),
    ] {
        list.fails(V4, name, rule, says, move |scene| scene.now = now);
    }
    let changes: [Change; 7] = [
        ("pck-expired", "the PCK certificate expired", |platform| {
            platform.pck_certificate.not_after = der::utc_time("260630235959Z");
        }),
        ("pck-not-yet", "the PCK certificate is not valid yet", |platform| {
            platform.pck_certificate.not_before = der::utc_time("260701000001Z");
        }),
        ("crl-old", "the next revocation list of the PCK CA is overdue", |platform| {
            platform.pck_crl.next_update = der::utc_time("260630235959Z");
        }),
        ("crl-not-yet", "the revocation list of the PCK CA is of a second from now", |platform| {
            platform.pck_crl.this_update = der::utc_time("260701000001Z");
        }),
        ("root-crl-old", "the root's next revocation list is overdue", |platform| {
            platform.root_crl.next_update = der::utc_time("260630235959Z");
        }),
        ("tcb-info-old", "the next TCB info is overdue", |platform| {
            platform.tcb_info["nextUpdate"] = json!("2026-06-30T23:59:59Z");
        }),
        ("qe-identity-old", "the next QE identity is overdue", |platform| {
            platform.qe_identity["nextUpdate"] = json!("2026-06-30T23:59:59Z");
        }),
    ];
    for (name, says, change) in changes {
        list.fails(V4, name, rule, says, move |scene| change(&mut scene.platform));
    }

    let rule = "tdx.tcb.status";
    list.fails("tdx-v4-out-of-date", "status", rule, "the policy does not accept OutOfDate", |scene| {
        scene.demand("statuses", "[\"UpToDate\"]");
    });
    for status in ["SWHardeningNeeded", "ConfigurationNeeded", "Revoked"] {
        let says = format!("the platform's status is {status}");
        list.fails(V4, &format!("status-{}", status.to_lowercase()), rule, &says, |scene| {
            scene.platform.tcb_info["tcbLevels"][0]["tcbStatus"] = json!(status);
        });
    }
    let rule = "tdx.tcb.advisories";
    list.fails(V4, "advisory", rule, "an advisory applies", |scene| {
        scene.platform.tcb_info["tcbLevels"][0]["advisoryIDs"] = json!(["INTEL-SA-01036"]);
    });
    list.fails(
        "tdx-v4-out-of-date",
        "advisory-denied",
        rule,
        "the policy refuses the advisory that applies",
        |scene| {
            scene.demand("advisories", "\"any\"");
            scene.demand("denied-advisories", "[\"INTEL-SA-00837\"]");
        },
    );
    let rule = "tdx.tcb.evaluation";
    for (name, says, of_info, of_identity) in [
        ("evaluation", "TCB info and QE identity are of an older evaluation", 16, 16),
        ("evaluation-identity", "the QE identity is of an older evaluation", 17, 16),
        ("evaluation-info", "the TCB info is of an older evaluation", 16, 17),
    ] {
        list.fails(V4, name, rule, says, move |scene| {
            scene.platform.tcb_info["tcbEvaluationDataNumber"] = json!(of_info);
            scene.platform.qe_identity["tcbEvaluationDataNumber"] = json!(of_identity);
        });
    }
}

fn platforms(list: &mut List) {
    list.fails(V4, "other-family", "tdx.platform.fmspc-allowed", "a platform of another family", |scene| {
        scene.platform.pck.fmspc[0] = 0xb1;
        scene.platform.tcb_info["fmspc"] = json!("B1C06F000000");
    });
    list.fails(V4, "family-denied", "tdx.platform.fmspc-denied", "the policy refuses the family", |scene| {
        scene.demand("denied-families", "[\"b0c06f000000\"]");
    });
    list.fails(V4, "other-machine", "tdx.platform.ppid-allowed", "another machine", |scene| {
        scene.platform.pck.ppid[15] ^= 1;
    });
    list.fails(V4, "machine-denied", "tdx.platform.ppid-denied", "the policy refuses the machine", |scene| {
        scene.demand("denied-machines", &format!("[\"{}\"]", "99".repeat(16)));
    });
    list.fails(V4, "smt", "tdx.platform.smt", "simultaneous multithreading is on", |scene| {
        scene.platform.pck.smt_enabled = true;
    });
    list.fails(V4, "dynamic", "tdx.platform.dynamic", "packages can be added", |scene| {
        scene.platform.pck.dynamic_platform = true;
    });
    list.fails(V4, "cached-keys", "tdx.platform.cached-keys", "Intel keeps the root keys", |scene| {
        scene.platform.pck.cached_keys = true;
    });
    list.fails(V4, "mrseam", "tdx.module.mrseam", "another TDX module", |scene| scene.platform.body.mrseam[0] ^= 1);
    list.fails(V4, "module-signer", "tdx.module.signer", "TDX module and TCB info name a signer", |scene| {
        scene.platform.body.mrsignerseam = [0x11; 48];
        scene.platform.tcb_info["tdxModuleIdentities"][0]["mrsigner"] = json!("11".repeat(48));
    });
    let says = "TDX module and TCB info name an attribute";
    list.fails(V4, "module-attributes", "tdx.module.attributes", says, |scene| {
        scene.platform.body.seam_attributes = 1;
        scene.platform.tcb_info["tdxModuleIdentities"][0]["attributes"] = json!("0100000000000000");
    });
}

fn guests(list: &mut List) {
    for (bit, rule) in [
        (0, "tdx.attributes.debug"),
        (1, "tdx.attributes.debug"),
        (7, "tdx.attributes.debug"),
        (8, "tdx.attributes.reserved"),
        (40, "tdx.attributes.reserved"),
        (61, "tdx.attributes.reserved"),
        (28, "tdx.attributes.sept-ve-disable"),
        (29, "tdx.attributes.migratable"),
        (27, "tdx.attributes.others"),
        (30, "tdx.attributes.others"),
        (31, "tdx.attributes.others"),
        (63, "tdx.attributes.others"),
    ] {
        let says = format!("bit {bit} of TDATTRIBUTES is {}", u8::from(bit != 28));
        list.fails(V4, &format!("attribute-{bit}"), rule, &says, |scene| scene.platform.body.td_attributes ^= 1 << bit);
    }
    for (name, says, xfam) in
        [("xfam-sse", "no SSE", 0x2e5), ("xfam-unknown", "a feature that nobody knows", 0x2e7 | 1 << 40)]
    {
        list.fails(V4, name, "tdx.xfam", says, move |scene| scene.platform.body.xfam = xfam);
    }
    let rule = "tdx.services";
    list.fails(TD15, "service", rule, "a service guest is bound", |scene| scene.platform.body.mrservicetd[47] = 1);
    list.fails("tdx-v5-td15-service", "other-service", rule, "another service guest is bound", |scene| {
        scene.platform.body.mrservicetd[47] ^= 1;
    });
    list.fails(EXTENDED, "device", "tdx.devices", "a device is part of the guest", |scene| {
        scene.platform.body.dev_info[0] = 1;
    });
    list.fails(EXTENDED, "vm", "tdx.vm", "it is about a guest inside the guest", |scene| scene.platform.body.vmid = 1);

    list.fails(EXTENDED, "report-data", "tdx.report-data", "the first bit of report-data differs", |scene| {
        scene.platform.body.report_data[0] ^= 1;
    });
    type Field = (&'static str, fn(&mut Platform) -> &mut [u8]);
    let fields: [Field; 9] = [
        ("mrtd", |platform| &mut platform.body.mrtd),
        ("rtmr0", |platform| &mut platform.body.rtmr[0]),
        ("rtmr1", |platform| &mut platform.body.rtmr[1]),
        ("rtmr2", |platform| &mut platform.body.rtmr[2]),
        ("rtmr3", |platform| &mut platform.body.rtmr[3]),
        ("mrconfigid", |platform| &mut platform.body.mrconfigid),
        ("mrowner", |platform| &mut platform.body.mrowner),
        ("mrownerconfig", |platform| &mut platform.body.mrownerconfig),
        ("report-data", |platform| &mut platform.body.report_data),
    ];
    for (name, field) in fields {
        list.fails(V4, name, &format!("tdx.{name}"), &format!("the last bit of {name} differs"), move |scene| {
            if let Some(last) = field(&mut scene.platform).last_mut() {
                *last ^= 0x80;
            }
        });
    }
}
