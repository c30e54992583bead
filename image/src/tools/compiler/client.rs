//! The client.

use super::{Package, Programs};

/// `vitrine`, for every x86-64 processor. Not optimised across crates, which takes minutes and gains nothing that a user of
/// it waits for.
pub const CLIENT: Programs = Programs {
    packages: &[Package { directory: "client", name: "client", binary: "vitrine" }],
    lock: "Cargo.lock",
    native: None,
    left_out: &[],
    flags: &[],
    profile: r#"
debug = false
incremental = false
lto = "off"
opt-level = 2
overflow-checks = true
strip = "symbols"
"#,
};
