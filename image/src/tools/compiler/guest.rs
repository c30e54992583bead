//! The guest's programs.

use super::{Package, Programs};

/// The programs of the guest. A panic ends them: systemd starts the agent again, and the machine ends with its init.
pub const GUEST: Programs = Programs {
    packages: &[
        Package { directory: "enclave-agent/attest", name: "attest", binary: "attest" },
        Package { directory: "enclave-agent", name: "enclave-agent", binary: "enclave-agent" },
        Package { directory: "enclave-agent/init", name: "init", binary: "init" },
    ],
    lock: "Cargo.lock",
    native: None,
    // What the feature `appraise` of `measure` compiles: a changed rule does not compile the guest again.
    left_out: &["measure/src/appraise", "measure/src/snp/appraise", "measure/src/snp/chain", "measure/src/tdx"],
    flags: &["-Ctarget-cpu=x86-64-v2"],
    profile: r#"
codegen-units = 1
debug = false
incremental = false
lto = "fat"
opt-level = 3
overflow-checks = true
panic = "abort"
strip = "symbols"
"#,
};
