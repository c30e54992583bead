//! The source texts of the code that runs each stage: an input like any other, so that a cached output never outlives
//! a change of the code that made it.

use measure::Sha256;

use crate::stage::Stage;

/// SHA-256 of the texts' digests, in the order given here.
pub(super) fn of(stage: Stage) -> Sha256 {
    const TREE: &[&str] = &[
        include_str!("../compression.rs"),
        include_str!("../deb.rs"),
        include_str!("../deb/ar.rs"),
        include_str!("../deb/tree.rs"),
        include_str!("../tar/read.rs"),
        include_str!("../tree.rs"),
    ];
    const SANDBOX: &[&str] = &[include_str!("../sandbox.rs"), include_str!("../sandbox/inside.rs")];
    const MKOSI: &[&str] = &[include_str!("../mkosi.rs")];
    const STAGES: &[&str] = &[include_str!("stages.rs")];
    const FILES: &[&str] = &[include_str!("../filetree.rs"), include_str!("../listing/directory.rs")];
    const VOLUME: &[&str] = &[
        include_str!("../erofs.rs"),
        include_str!("../tar.rs"),
        include_str!("../verity.rs"),
        include_str!("../volume.rs"),
        include_str!("../../../measure/src/verity/mod.rs"),
        include_str!("../../../measure/src/verity/superblock.rs"),
    ];
    const ROOTFS: &[&str] = &[
        include_str!("../manifest.rs"),
        include_str!("../provenance.rs"),
        include_str!("../rootfs.rs"),
        include_str!("../rootfs/elf.rs"),
        include_str!("../rootfs/gates.rs"),
        include_str!("../rootfs/tree.rs"),
    ];
    const LAUNCH: &[&str] = &[
        include_str!("../measured.rs"),
        include_str!("../../../measure/src/cmdline.rs"),
        include_str!("../../../measure/src/snp/cpu.rs"),
        include_str!("../../../measure/src/snp/gctx.rs"),
        include_str!("../../../measure/src/snp/launch.rs"),
        include_str!("../../../measure/src/snp/ovmf.rs"),
        include_str!("../../../measure/src/snp/sev_hashes.rs"),
        include_str!("../../../measure/src/snp/shapes.rs"),
        include_str!("../../../measure/src/snp/vmsa.rs"),
    ];
    let texts: &[&[&str]] = match stage {
        Stage::Tools | Stage::Toolchain => &[TREE],
        Stage::Guest => &[
            SANDBOX,
            &[include_str!("../guest.rs"), include_str!("../guest/vendor.rs"), include_str!("../guest/workspace.rs")],
        ],
        Stage::Kernel | Stage::Packages => &[STAGES, SANDBOX, MKOSI, TREE],
        Stage::Initrd => {
            &[STAGES, SANDBOX, MKOSI, TREE, FILES, &[include_str!("../cpio.rs"), include_str!("../initrd.rs")]]
        }
        Stage::Rootfs => &[STAGES, SANDBOX, FILES, ROOTFS, VOLUME],
        Stage::Model => &[STAGES, SANDBOX, FILES, VOLUME, &[include_str!("../wheel.rs"), include_str!("../disk.rs")]],
        Stage::Disk => &[STAGES, &[include_str!("../volume.rs"), include_str!("../disk.rs")]],
        Stage::Measure => &[STAGES, LAUNCH, &[include_str!("../sbom.rs")]],
    };
    let digests: Vec<u8> =
        texts.iter().flat_map(|texts| texts.iter()).flat_map(|text| *Sha256::of(text.as_bytes()).as_bytes()).collect();
    Sha256::of(&digests)
}
