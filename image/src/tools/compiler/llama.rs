//! llama.cpp, which takes minutes.

use super::Native;

/// What makes tokens with the processor, and no part of it that parses templates or grammars. Its build script takes the kind
/// of processor from the flags of rustc, and runs as many compilers at once as cargo has processors.
pub(super) const LLAMA: Native = Native {
    name: "llama-cpp-sys-2",
    links: "llama",
    bindings: "bindings.rs",
    archives: &["llama", "ggml", "ggml-cpu", "ggml-base"],
    libraries: &["stdc++"],
    search: "/usr/lib/gcc/x86_64-linux-gnu/14",
    env: &[
        // Weights stay as they are in the file, so that every worker shares the same pages of it.
        ("GGML_CPU_REPACK", "OFF"),
        ("LIBCLANG_PATH", "/usr/lib/llvm-19/lib"),
        ("LLAMA_LIB_PROFILE", "Release"),
    ],
};
