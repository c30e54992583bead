//! What breaks the rules `snp.report.*`, each alone.

use super::world::{Change, TCB};
use super::*;

pub(super) const BROKEN: &[(&str, Change)] = &[
    ("snp.report.length", |world| world.report.truncate(REPORT_BYTES - 1)),
    ("snp.report.length", |world| world.report.push(0)),
    ("snp.report.version", |world| world.put(0, &[1])),
    ("snp.report.version", |world| world.put(0, &[6])),
    ("snp.report.version", |world| world.put(0, &[5, 0, 0, 1])),
    ("snp.report.reserved", |world| world.put(0x48, &[0x21])),
    ("snp.report.reserved", |world| world.put(0x4b, &[1])),
    ("snp.report.reserved", |world| world.put(0x4f, &[1])),
    ("snp.report.reserved", |world| world.put(0x18b, &[1])),
    ("snp.report.reserved", |world| world.put(0x19f, &[1])),
    ("snp.report.reserved", |world| world.put(0x1eb, &[1])),
    ("snp.report.reserved", |world| world.put(0x1ef, &[1])),
    ("snp.report.reserved", |world| world.put(0x208, &[1])),
    ("snp.report.reserved", |world| world.put(0x29f, &[1])),
    ("snp.report.reserved", |world| {
        world.version_2();
        world.put(0x188, &[0x1a]);
    }),
    ("snp.report.reserved", |world| {
        world.version_2();
        world.put(0x1f8, &[1]);
    }),
    ("snp.report.signature-algorithm", |world| world.put(0x34, &[0])),
    ("snp.report.signature-algorithm", |world| world.put(0x37, &[1])),
    ("snp.report.product", |world| world.put(0x188, &[0x1a, 0x50])),
    ("snp.report.product", |world| world.put(0x188, &[0x17, 0x31])),
    ("snp.report.product-accepted", |world| world.requirements.products.turin = Terms::Refused),
    ("snp.report.product-accepted", |world| {
        world.put(0x188, &[0x19, 0x01]);
        for at in [0x38, 0x180, 0x1e0, 0x1f0] {
            world.put(at, &TCB.to_report(Product::Milan));
        }
    }),
    ("snp.report.signing-key", |world| world.put(0x48, &[0x1d])),
    ("snp.report.signing-key", |world| world.put(0x48, &[0x09])),
    ("snp.report.signing-key-accepted", |world| world.put(0x48, &[0x05])),
    ("snp.report.chip-key", |world| world.put(0x48, &[0x03])),
];
