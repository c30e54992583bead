//! The committed lock, and what becomes of it when somebody edits it.

use super::*;

fn committed() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../image.lock")).unwrap()
}

/// A small lock with every kind of entry.
pub(crate) fn sample() -> String {
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    format!(
        "{HEADER}schema = 1\nsource-date-epoch = 12\nrequest-sha256 = \"{hash}\"\n\n[[archive]]\nname = \"debian\"\n\
         suite = \"trixie\"\ncomponent = \"main\"\nsnapshot = \"20260912T075541Z\"\ninrelease-sha256 = \"{hash}\"\n\
         packages-sha256 = \"{hash}\"\n\n[[package]]\nset = [\"rootfs\", \"tools\"]\nname = \"a\"\n\
         version = \"1:1.0~rc1+b-2\"\narch = \"amd64\"\narchive = \"debian\"\npool = \"pool/main/a/a_1.deb\"\n\
         size = 10\nsha256 = \"{hash}\"\nsha1 = \"a9993e364706816aba3e25717850c26c9cd0d89d\"\nsource = \"s 1.0\"\n\n\
         [[package]]\nset = [\"tools\"]\nname = \"b\"\nversion = \"1\"\narch = \"all\"\narchive = \"debian\"\n\
         pool = \"pool/main/b/b_1.deb\"\nsize = 10\nsha256 = \"{hash}\"\n\
         sha1 = \"a9993e364706816aba3e25717850c26c9cd0d89d\"\nsource = \"b 1\"\n\n[[file]]\nset = [\"model\"]\n\
         name = \"m\"\nurl = \"https://x/m.whl\"\nsize = 10\nsha256 = \"{hash}\"\nmember = \"m/m.gguf\"\n\
         member-size = 20\nmember-sha256 = \"{hash}\"\n"
    )
}

#[test]
fn the_canonical_form_is_the_only_one() {
    for text in [sample(), committed()] {
        assert_eq!(Lock::parse(&text).unwrap().render(), text);
    }
}

#[test]
fn bad_locks_are_refused_with_the_line() {
    let package = |text: &str, name: &str| {
        let start = text.find(&format!("[[package]]\nset = [\"{name}")).unwrap();
        let end = start + text[start..].find("\n\n").unwrap() + 2;
        text[start..end].to_owned()
    };
    let (a, b) = (package(&sample(), "rootfs"), package(&sample(), "tools"));
    for (from, to, line, expected) in [
        ("schema = 1", "schema = 2", 2, "newer"),
        ("schema = 1\n", "", 2, "expected the field \"schema\""),
        ("# Generated", "# Made", 1, "expected \"# Generated"),
        ("epoch = 12", "epoch = 012", 3, "number"),
        ("epoch = 12", "epoch = +12", 3, "number"),
        ("epoch = 12", "epoch = -1", 3, "number"),
        ("epoch = 12", "epoch = 999999999999", 3, "number"),
        ("epoch = 12", "epoch =  12", 3, "number"),
        ("sha256 = \"ba", "sha256 = \"b", 4, "expected 64 hexadecimal digits, found 63 bytes"),
        ("sha256 = \"ba", "sha256 = \"BA", 4, "lowercase"),
        ("sha256 = \"ba", "sha256 = ba", 4, "quoted"),
        ("20260912T075541Z", "20260912", 10, "snapshot"),
        ("name = \"a\"\n", "name = \"a\"\ncolour = \"red\"\n", 17, "expected the field \"version\", found \"colour"),
        ("name = \"a\"\n", "name = \"../a\"\n", 16, "not a valid name"),
        ("name = \"a\"\n", "name = \"b\"\n", 36, "\"b\" is there twice"),
        ("name = \"a\"\n", "name = \"c\"\n", 36, "\"b\" is not sorted: it follows \"c\""),
        (&a, "", 24, ""),
        (&a, &format!("{b}{a}"), 36, "\"a\" is not sorted: it follows \"b\""),
        ("[\"rootfs\", \"tools\"]", "[\"tools\", \"rootfs\"]", 15, "sorted list"),
        ("[\"rootfs\", \"tools\"]", "[\"tools\", \"tools\"]", 15, "sorted list"),
        ("[\"rootfs\", \"tools\"]", "[\"roots\"]", 15, "firmware initrd kernel"),
        ("[\"rootfs\", \"tools\"]", "[]", 15, "sorted list"),
        ("1:1.0~rc1", "1:1.0 rc1", 17, "version"),
        ("arch = \"amd64\"", "arch = \"arm64\"", 18, "arch"),
        ("archive = \"debian\"", "archive = \"ubuntu\"", 19, "archive"),
        ("pool/main/a/a_1.deb", "/pool/main/a/a_1.deb", 20, "pool"),
        ("pool/main/a/a_1.deb", "pool/../../a_1.deb", 20, "pool"),
        ("pool/main/a/a_1.deb", "pool//a_1.deb", 20, "pool"),
        ("pool/main/a/a_1.deb", "pool\\\\a_1.deb", 20, "pool"),
        ("size = 10", "size = 99999999999999", 21, "number up to"),
        ("size = 10\n", "", 21, "expected the field \"size\""),
        ("sha1 = \"a9", "sha1 = \"", 23, "40"),
        ("source = \"s 1.0\"", "source = \"s\"", 24, "source"),
        ("https://x/m.whl", "file:///m.whl", 41, "url"),
        ("member = \"m/m.gguf\"", "member = \"/m.gguf\"", 44, "member"),
        ("member-size = 20\n", "", 45, "expected the field \"member-size\""),
        ("[[file]]", "[[fil]]", 38, "known table"),
        ("[[archive]]", "[archive]", 6, "known table"),
        ("\n\n[[file]]", "\n\n\n[[file]]", 38, "known table"),
        ("\n\n[[file]]", "\n[[file]]", 37, "unknown field"),
    ] {
        let text = sample();
        assert!(text.contains(from), "{from:?}");
        match Lock::parse(&text.replacen(from, to, 1)) {
            // Without its first package the lock is another, but a good one.
            Ok(lock) => assert_eq!((to, lock.packages.len()), ("", 1)),
            Err(error) => {
                assert!(error.reason.contains(expected), "{from:?} -> {to:?}: expected {expected:?} in {error}");
                assert_eq!(error.line, line, "{from:?} -> {to:?}: {error}");
                assert!(error.to_string().contains("lock --update"), "{error}");
            }
        }
    }
    for edit in [
        sample().replace('\n', "\r\n"),
        sample().trim_end().to_owned(),
        sample() + "\n",
        sample() + "# note\n",
        sample() + "\n[[archive]]\n",
        String::new(),
    ] {
        assert!(Lock::parse(&edit).is_err(), "{edit:?}");
    }
}

/// What is accepted at all is accepted as it is: no edit of one byte can hide.
#[test]
fn any_one_byte_edit_is_refused_or_seen() {
    let text = sample();
    let original = Lock::parse(&text).unwrap();
    for at in 0..text.len() {
        for byte in [b'0', b'a', b'"', b'\n', b' ', b'.', b'#'] {
            let mut edited = text.clone().into_bytes();
            edited[at] = byte;
            let edited = String::from_utf8(edited).unwrap();
            if let Ok(lock) = Lock::parse(&edited) {
                assert_eq!(lock.render(), edited);
                assert_eq!(lock == original, edited == text);
            }
        }
        let _cut_never_panics = Lock::parse(&text[..at]);
    }
}

#[test]
fn a_set_is_what_it_holds() {
    let lock = Lock::parse(&sample()).unwrap();
    let names = |set| lock.packages(set).map(|package| package.name.as_str()).collect::<Vec<_>>();
    assert_eq!((names(Set::Tools), names(Set::Rootfs)), (vec!["a", "b"], vec!["a"]));
    assert_eq!(lock.package("b").map(|package| package.version.as_str()), Some("1"));
    assert!(lock.package("c").is_none() && lock.file("m").is_some());

    let digest = |from: &str, to: &str, set| {
        let edited = sample().replacen(from, to, 1);
        assert!(edited != sample() || from == to);
        Lock::parse(&edited).unwrap().set_digest(set)
    };
    let (tools, rootfs) = (digest("", "", Set::Tools), digest("", "", Set::Rootfs));
    assert_ne!(tools, rootfs);
    // Content and version count; where a file is fetched from does not, nor do other sets.
    assert_ne!(digest("name = \"b\"", "name = \"c\"", Set::Tools), tools);
    assert_eq!(digest("name = \"b\"", "name = \"c\"", Set::Rootfs), rootfs);
    assert_eq!(digest("pool/main/a", "pool/updates/a", Set::Tools), tools);
    assert_ne!(digest("[\"rootfs\", \"tools\"]", "[\"rootfs\"]", Set::Tools), tools);
    assert_eq!(digest("[\"rootfs\", \"tools\"]", "[\"rootfs\"]", Set::Rootfs), rootfs);
    assert_ne!(digest("m/m.gguf", "m/n.gguf", Set::Model), digest("", "", Set::Model));
}
