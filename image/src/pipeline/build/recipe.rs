//! The source texts of the code that runs each stage: an input like any other, so that a cached output never outlives
//! a change of the code that made it.

use crate::pipeline::stage::Stage;
use measure::Sha256;

/// SHA-256 of the texts' digests, in the order given here.
pub(super) fn of(stage: Stage) -> Sha256 {
    const TREE: &[&str] = &[
        include_str!("../../formats/compression.rs"),
        include_str!("../../formats/deb.rs"),
        include_str!("../../formats/deb/ar.rs"),
        include_str!("../../formats/deb/tree.rs"),
        include_str!("../../formats/listing/path.rs"),
        include_str!("../../formats/tar/read.rs"),
        include_str!("../../tools/tree.rs"),
    ];
    const SANDBOX: &[&str] = &[include_str!("../../tools/sandbox.rs"), include_str!("../../tools/sandbox/inside.rs")];
    const COMPILER: &[&str] = &[
        include_str!("../../tools/compiler.rs"),
        include_str!("../../tools/compiler/vendor.rs"),
        include_str!("../../tools/compiler/workspace.rs"),
    ];
    const LLAMA: &[&str] = &[include_str!("../../tools/compiler/llama.rs")];
    const MKOSI: &[&str] = &[include_str!("../../tools/mkosi.rs")];
    const STAGES: &[&str] = &[include_str!("stages.rs")];
    const FILES: &[&str] =
        &[include_str!("../../formats/filetree.rs"), include_str!("../../formats/listing/directory.rs")];
    const VOLUME: &[&str] = &[
        include_str!("../../formats/disk.rs"),
        include_str!("../../formats/erofs.rs"),
        include_str!("../../formats/tar.rs"),
        include_str!("../../formats/verity.rs"),
        include_str!("../../pipeline/volume.rs"),
        include_str!("../../../../measure/src/guid.rs"),
        include_str!("../../../../measure/src/verity/hasher.rs"),
        include_str!("../../../../measure/src/verity/mod.rs"),
        include_str!("../../../../measure/src/verity/superblock.rs"),
        include_str!("../../../../measure/src/verity/units.rs"),
    ];
    const PROVENANCE: &[&str] = &[include_str!("../../contents/provenance.rs")];
    const ROOTFS: &[&str] = &[
        include_str!("../../contents/manifest.rs"),
        include_str!("../../contents/rootfs.rs"),
        include_str!("../../contents/rootfs/elf.rs"),
        include_str!("../../contents/rootfs/gates.rs"),
        include_str!("../../contents/rootfs/tree.rs"),
    ];
    const LAUNCH: &[&str] = &[
        include_str!("../../pipeline/dist.rs"),
        include_str!("../../pipeline/measured.rs"),
        include_str!("../../pipeline/volume.rs"),
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
        Stage::Guest => &[SANDBOX, COMPILER, &[include_str!("../../tools/compiler/guest.rs")]],
        Stage::Llama => &[SANDBOX, COMPILER, LLAMA],
        Stage::Infer => &[SANDBOX, COMPILER, LLAMA, &[include_str!("../../tools/compiler/infer.rs")]],
        Stage::Client => &[SANDBOX, COMPILER, &[include_str!("../../tools/compiler/client.rs")]],
        Stage::Kernel => &[STAGES, SANDBOX, MKOSI, TREE, &[include_str!("../../contents/kernel.rs")]],
        Stage::Packages => &[STAGES, SANDBOX, MKOSI, TREE],
        Stage::Initrd => &[
            STAGES,
            SANDBOX,
            MKOSI,
            TREE,
            FILES,
            PROVENANCE,
            &[include_str!("../../formats/cpio.rs"), include_str!("../../contents/initrd.rs")],
        ],
        Stage::Rootfs => &[STAGES, SANDBOX, TREE, FILES, PROVENANCE, ROOTFS, VOLUME],
        Stage::Model => &[STAGES, SANDBOX, FILES, VOLUME, &[include_str!("../../formats/wheel.rs")]],
        Stage::Disk => &[STAGES, &[include_str!("../../pipeline/volume.rs"), include_str!("../../formats/disk.rs")]],
        Stage::Measure => &[STAGES, TREE, PROVENANCE, LAUNCH, &[include_str!("../../contents/sbom.rs")]],
    };
    let digests: Vec<u8> =
        texts.iter().flat_map(|texts| texts.iter()).flat_map(|text| *Sha256::of(text.as_bytes()).as_bytes()).collect();
    Sha256::of(&digests)
}

#[cfg(test)]
mod tests {
    use crate::tools::compiler::GUEST;
    use std::fs;
    use std::path::Path;

    /// Code that shapes no output: it only reads and checks, or is the frame around the rest.
    const SHAPES_NOTHING: [&str; 23] = [
        "contents.rs",
        "formats.rs",
        "formats/bytes.rs",
        "formats/disk/read.rs",
        "formats/erofs/read.rs",
        "formats/erofs/superblock.rs",
        "formats/hash.rs",
        "formats/listing.rs",
        "formats/listing/text.rs",
        "pipeline.rs",
        "pipeline/build.rs",
        "pipeline/build/recipe.rs",
        "pipeline/scratch.rs",
        "pipeline/stage.rs",
        "tools.rs",
        "digest.rs",
        "lib.rs",
        "snp/mod.rs",
        "snp/product.rs",
        "snp/report.rs",
        "snp/report/fields.rs",
        "tools/compiler/tests.rs",
        "tools/compiler/workspace/tests.rs",
    ];

    #[test]
    fn every_source_file_that_shapes_the_image_is_in_a_recipe() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let lists = include_str!("recipe.rs")
            .split("#[cfg(test)]")
            .next()
            .unwrap()
            .replace("\"stages.rs\"", "pipeline/build/stages.rs\"");
        let mut todo: Vec<_> =
            ["contents", "formats", "pipeline", "tools"].map(|dir| checkout.join("image/src").join(dir)).into();
        todo.push(checkout.join("measure/src"));
        let mut missing = Vec::new();
        while let Some(dir) = todo.pop() {
            for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
                let name = path.strip_prefix(checkout).unwrap().to_str().unwrap();
                if GUEST.left_out.iter().any(|left_out| name.starts_with(left_out)) {
                    continue;
                }
                let name = name.replace("image/src/", "").replace("measure/src/", "");
                if path.is_dir() {
                    todo.push(path);
                } else if !SHAPES_NOTHING.contains(&name.as_str()) && !lists.contains(&format!("{name}\"")) {
                    missing.push(name);
                }
            }
        }
        assert_eq!(missing, [""; 0], "add them to a recipe, or to the list above");
    }
}
