//! The circumstances of a varied build, told by a script in place of the build.

use image::pipeline::stage::Stage;
use image::result::vary;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

const SCRIPT: &str = r#"#!/bin/sh
test "$1 $2" = "build --out" || exit 3
mkdir "$3" || exit 5
{
    uname -n; id -u; umask; nproc; echo "$TZ"
    stat -c '%a %Y %u' a-file a-tool link
    cat a-file; readlink link; cat "$VITRINE_CACHE/store/download"
    (cd "$VITRINE_CACHE/stages" && echo * llama/* && stat -c '%a %u' llama/1/tree/made && touch llama/new)
    touch "$VITRINE_CACHE/store/new" 2>/dev/null && echo "the store is writable"
    touch "$VITRINE_CACHE/new" "$HOME/new" "$TMPDIR/new" && echo writable
    stat -f -c %T .
    pwd
} > "$3/told"
test -e fail && echo "because of this" >&2 && exit 1
exit 0
"#;

fn told(files: &[(&str, &str)]) -> anyhow::Result<String> {
    let dir = tempfile::tempdir()?;
    let path = |name| dir.path().join(name);
    for name in ["checkout", "store", "scratch", "stages/llama/1/tree", "stages/llama/2.tmp", "stages/guest/3/tree"] {
        fs::create_dir_all(path(name))?;
    }
    fs::write(path("stages/llama/1/tree/made"), "")?;
    fs::set_permissions(path("stages/llama/1/tree/made"), fs::Permissions::from_mode(0o640))?;
    fs::write(path("store/download"), "downloaded\n")?;
    fs::write(path("xtask"), SCRIPT)?;
    fs::set_permissions(path("store"), fs::Permissions::from_mode(0o755))?;
    let checkout = path("checkout");
    for (name, text) in files {
        fs::write(checkout.join(name), text)?;
    }
    fs::set_permissions(checkout.join("a-tool"), fs::Permissions::from_mode(0o755))?;
    std::os::unix::fs::symlink("a-file", checkout.join("link"))?;

    let varied = vary::build(&checkout, &path("xtask"), dir.path(), Some(Stage::Llama), &path("scratch"))?;
    Ok(fs::read_to_string(varied.dist.join("told"))?)
}

#[test]
fn everything_is_different_but_the_content() {
    let told = told(&[("a-file", "content\n"), ("a-tool", "")]).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    let root = nix::unistd::geteuid().is_root();
    let uid = if root { "47831" } else { lines[1] };
    if root {
        assert_eq!(lines[0], vary::HOSTNAME);
    }
    let expected =
        [uid, "0027", "1", "VARIED-13:45", &format!("600 1000000000 {uid}"), &format!("700 1000000000 {uid}")];
    assert_eq!(lines[1..7], expected);
    assert_eq!(lines[8..13], ["content", "a-file", "downloaded", "llama llama/1", &format!("640 {uid}")]);
    assert_eq!(lines[lines.len() - 3], "writable");
    assert_eq!(told.contains("the store is writable"), !root);
    assert!(lines[lines.len() - 1].ends_with("vitrine-varied-by-7b1c93/checkout"), "{told}");
    assert!(lines[lines.len() - 1].contains("späces, commas and Ωμέγα"), "{told}");
}

#[test]
fn a_failure_quotes_the_build() {
    let error = format!("{:#}", told(&[("a-file", ""), ("a-tool", ""), ("fail", "")]).unwrap_err());
    assert!(error.contains("because of this") && error.contains("exit status: 1"), "{error}");
}
