//! What breaks the rules `snp.identity.*`, each alone.

use super::world::{CHIP, Change, World, chip_id, flip};
use super::*;

pub(super) const BROKEN: &[(&str, Change)] = &[
    ("snp.identity.measurement", |world| flip(world, 0xbf, 1)),
    ("snp.identity.report-data", |world| flip(world, 0x8f, 1)),
    ("snp.identity.host-data", |world| flip(world, 0xdf, 1)),
    ("snp.identity.vmpl", |world| world.put(0x30, &[1])),
    ("snp.identity.vmpl", |world| {
        world.requirements.identity.vmpl = Demand::Any;
        world.put(0x30, &[0xff; 4]);
    }),
    ("snp.identity.vmpl", |world| {
        world.requirements.identity.vmpl = Demand::Any;
        world.put(0x30, &[4]);
    }),
    ("snp.identity.id-key", |world| flip(world, 0x10f, 1)),
    ("snp.identity.author-key-enabled", |world| world.put(0x48, &[0])),
    ("snp.identity.author-key", |world| flip(world, 0x13f, 1)),
    ("snp.identity.family-id", |world| flip(world, 0x1f, 1)),
    ("snp.identity.image-id", |world| flip(world, 0x2f, 1)),
    ("snp.identity.guest-svn", |world| world.put(0x04, &[8])),
    ("snp.identity.migration-agent", |world| flip(world, 0x17f, 1)),
    ("snp.identity.chip-masked", |world| world.put(0x1a0, &[0; 8])),
    ("snp.identity.chip-allowed", |world| world.put(0x1a0, &[1])),
    ("snp.identity.chip-denied", |world| world.requirements.chips.denied = BTreeSet::from([chip_id(CHIP)])),
    ("snp.identity.csp-id", |world| {
        *world = World::vlek();
        let csp_ids = Demand::Is(BTreeSet::from(["Cloud".to_owned()]));
        world.requirements.signing_key = SigningKeys::VcekOrVlek { csp_ids };
    }),
];
