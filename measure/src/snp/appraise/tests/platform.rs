//! What breaks the rules `snp.platform.*`, each alone.

use super::world::{Change, flip};

pub(super) const BROKEN: &[(&str, Change)] = &[
    ("snp.platform.smt", |world| flip(world, 0x40, 1 << 0)),
    ("snp.platform.tsme", |world| flip(world, 0x40, 1 << 1)),
    ("snp.platform.ecc", |world| flip(world, 0x40, 1 << 2)),
    ("snp.platform.rapl-disabled", |world| flip(world, 0x40, 1 << 3)),
    ("snp.platform.ciphertext-hiding", |world| flip(world, 0x40, 1 << 4)),
    ("snp.platform.alias-check", |world| flip(world, 0x40, 1 << 5)),
    ("snp.platform.iommu-write-safe", |world| flip(world, 0x40, 1 << 6)),
    ("snp.platform.tio", |world| flip(world, 0x40, 1 << 7)),
    ("snp.platform.unknown-bits", |world| flip(world, 0x41, 1 << 0)),
    ("snp.platform.unknown-bits", |world| flip(world, 0x47, 1 << 7)),
];
