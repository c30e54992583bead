//! The worker with llama.cpp.

use super::llama::LLAMA;
use super::{Package, Programs};

/// `infer`, in a workspace and with a lock of its own: what changes elsewhere does not have llama.cpp compiled again.
pub const INFER: Programs = Programs {
    packages: &[Package { directory: "enclave-agent/infer", name: "infer", binary: "infer" }],
    lock: "enclave-agent/infer/Cargo.lock",
    native: Some(&LLAMA),
    left_out: &[],
    flags: &["-Ctarget-cpu=x86-64-v3"],
    profile: r#"
codegen-units = 1
debug = false
incremental = false
lto = "off"
opt-level = 3
overflow-checks = true
panic = "abort"
strip = "symbols"
"#,
};
