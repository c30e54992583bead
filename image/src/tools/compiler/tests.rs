//! What the compiler is told, and what must not be in what it makes.

use super::*;

#[test]
fn planted_paths_are_found() {
    let bytes = b"\x7fELF /buil /build/src/x.rs\0/home/me/checkout\0/build";
    for (needles, expected) in [
        (&["/build"][..], &["\"/build/src/x.rs\" at byte 11", "\"/build\" at byte 45"][..]),
        (&["/home/me", "/none"], &["\"/home/me/checkout\" at byte 27"]),
        (&["", "/nowhere"], &[]),
    ] {
        assert_eq!(leaks(bytes, needles), expected, "{needles:?}");
    }
}

#[test]
fn cargo_is_told_everything_on_its_command_line() {
    let native = INFER.native.unwrap();
    let plain = [("CC", CC), ("CXX", CXX)];
    for (make, packages, own) in [
        (Make::Programs(&GUEST), "--package attest --package enclave-agent --package init", 0),
        (Make::Programs(&CLIENT), "--package client", 0),
        (Make::Programs(&INFER), "--package infer", native.env.len()),
        (Make::Native(&INFER, native), "--package llama-cpp-sys-2", native.env.len()),
    ] {
        let sandbox = compiler(&make, Path::new("/toolchain"), None, Path::new("/work"), Path::new("/work/build"));
        let fixed = "/usr/bin/cargo build --release --offline --target x86_64-unknown-linux-gnu";
        assert_eq!(sandbox.argv.join(" "), format!("{fixed} {packages}"));
        let prefixes = ["CFLAGS", "CXXFLAGS"].map(|name| (name, "-ffile-prefix-map=/build=."));
        let places = [("CARGO_HOME", "/tmp/cargo"), ("HOME", "/tmp"), ("LANG", "C.UTF-8"), ("PATH", "/usr/bin")];
        for (name, value) in plain.into_iter().chain(prefixes).chain(places) {
            assert_eq!(sandbox.env[name], value);
        }
        assert_eq!((sandbox.env.len(), sandbox.binds.len(), sandbox.network), (8 + own, 1, Network::None));
    }
}

#[test]
fn llama_cpp_is_compiled_as_in_its_own_workspace() {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(checkout.join("enclave-agent/infer/.cargo/config.toml")).unwrap();
    let own: toml::Table = toml::from_str(&text).unwrap();
    let flags: Vec<_> = own["build"]["rustflags"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(flags, INFER.flags);
    for (name, value) in own["env"].as_table().unwrap() {
        assert!(INFER.native.unwrap().env.contains(&(name, value.as_str().unwrap())), "{name}");
    }
}
