//! What breaks the rules `snp.tcb.*`, each alone.

use super::world::{Change, TCB, set_tcb};
use super::*;

pub(super) const BROKEN: &[(&str, Change)] = &[
    ("snp.tcb.reserved", |world| world.put(0x38 + 4, &[1])),
    ("snp.tcb.reserved", |world| world.put(0x180 + 6, &[1])),
    ("snp.tcb.reserved", |world| world.put(0x1e0 + 5, &[1])),
    ("snp.tcb.reserved", |world| world.put(0x1f0 + 4, &[1])),
    ("snp.tcb.committed", |world| set_tcb(world, 0x1e0, TcbVersion { tee: 4, ..TCB })),
    ("snp.tcb.provisional", |world| set_tcb(world, 0x38, TcbVersion { tee: 4, ..TCB })),
    ("snp.tcb.reported", |world| set_tcb(world, 0x180, TcbVersion { fmc: 2, ..TCB })),
    ("snp.tcb.reported-floor", |world| set_tcb(world, 0x180, TcbVersion { fmc: 0, ..TCB })),
    ("snp.tcb.reported-floor", |world| {
        // More of one does not make up for less of another.
        for at in [0x38, 0x180, 0x1e0] {
            set_tcb(world, at, TcbVersion { boot_loader: 255, snp: 3, ..TCB });
        }
    }),
    ("snp.tcb.launch-floor", |world| set_tcb(world, 0x1f0, TcbVersion { microcode: 79, ..TCB })),
    ("snp.tcb.firmware-floor", |world| world.terms().firmware_floor.build = 41),
    ("snp.tcb.firmware-floor", |world| {
        // The host can still go back to what is committed.
        world.requirements.provisional_firmware = Permit::Accepted;
        world.put(0x1ec, &[39]);
    }),
    ("snp.tcb.firmware-committed", |world| world.put(0x1e8, &[41])),
    ("snp.tcb.firmware-committed", |world| world.put(0x1ec, &[41])),
    ("snp.tcb.firmware-committed", |world| {
        world.requirements.provisional_firmware = Permit::Accepted;
        world.put(0x1ec, &[41]);
    }),
    ("snp.tcb.launch-mitigations", |world| world.put(0x1f8, &[0b1101])),
    ("snp.tcb.current-mitigations", |world| world.put(0x200, &[0b0111])),
];
