//! The source texts of the code that runs each stage: an input like any other, so that a cached output never outlives
//! a change of the code that made it.

use measure::Sha256;

use crate::pipeline::stage::Stage;

/// SHA-256 of the texts' digests, in the order given here.
pub(super) fn of(stage: Stage) -> Sha256 {
    const TREE: &[&str] = &[
        include_str!("../../formats/compression.rs"),
        include_str!("../../formats/deb.rs"),
        include_str!("../../formats/deb/ar.rs"),
        include_str!("../../formats/deb/tree.rs"),
        include_str!("../../formats/tar/read.rs"),
        include_str!("../../tools/tree.rs"),
    ];
    const SANDBOX: &[&str] = &[include_str!("../../tools/sandbox.rs"), include_str!("../../tools/sandbox/inside.rs")];
    const MKOSI: &[&str] = &[include_str!("../../tools/mkosi.rs")];
    const STAGES: &[&str] = &[include_str!("stages.rs")];
    const FILES: &[&str] =
        &[include_str!("../../formats/filetree.rs"), include_str!("../../formats/listing/directory.rs")];
    const VOLUME: &[&str] = &[
        include_str!("../../formats/erofs.rs"),
        include_str!("../../formats/tar.rs"),
        include_str!("../../formats/verity.rs"),
        include_str!("../../pipeline/volume.rs"),
        include_str!("../../../../measure/src/verity/mod.rs"),
        include_str!("../../../../measure/src/verity/superblock.rs"),
    ];
    const ROOTFS: &[&str] = &[
        include_str!("../../contents/manifest.rs"),
        include_str!("../../contents/provenance.rs"),
        include_str!("../../contents/rootfs.rs"),
        include_str!("../../contents/rootfs/elf.rs"),
        include_str!("../../contents/rootfs/gates.rs"),
        include_str!("../../contents/rootfs/tree.rs"),
    ];
    const LAUNCH: &[&str] = &[
        include_str!("../../pipeline/measured.rs"),
        include_str!("../../../../measure/src/cmdline.rs"),
        include_str!("../../../../measure/src/snp/cpu.rs"),
        include_str!("../../../../measure/src/snp/gctx.rs"),
        include_str!("../../../../measure/src/snp/launch.rs"),
        include_str!("../../../../measure/src/snp/ovmf.rs"),
        include_str!("../../../../measure/src/snp/sev_hashes.rs"),
        include_str!("../../../../measure/src/snp/shapes.rs"),
        include_str!("../../../../measure/src/snp/vmsa.rs"),
    ];
    let texts: &[&[&str]] = match stage {
        Stage::Tools | Stage::Toolchain => &[TREE],
        Stage::Guest => &[
            SANDBOX,
            &[
                include_str!("../../tools/guest.rs"),
                include_str!("../../tools/guest/vendor.rs"),
                include_str!("../../tools/guest/workspace.rs"),
            ],
        ],
        Stage::Kernel | Stage::Packages => &[STAGES, SANDBOX, MKOSI, TREE],
        Stage::Initrd => &[
            STAGES,
            SANDBOX,
            MKOSI,
            TREE,
            FILES,
            &[include_str!("../../formats/cpio.rs"), include_str!("../../contents/initrd.rs")],
        ],
        Stage::Rootfs => &[STAGES, SANDBOX, FILES, ROOTFS, VOLUME],
        Stage::Model => &[
            STAGES,
            SANDBOX,
            FILES,
            VOLUME,
            &[include_str!("../../formats/wheel.rs"), include_str!("../../formats/disk.rs")],
        ],
        Stage::Disk => &[STAGES, &[include_str!("../../pipeline/volume.rs"), include_str!("../../formats/disk.rs")]],
        Stage::Measure => &[STAGES, LAUNCH, &[include_str!("../../contents/sbom.rs")]],
    };
    let digests: Vec<u8> =
        texts.iter().flat_map(|texts| texts.iter()).flat_map(|text| *Sha256::of(text.as_bytes()).as_bytes()).collect();
    Sha256::of(&digests)
}
