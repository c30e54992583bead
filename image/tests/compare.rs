//! Comparisons as people see them, whatever the names in them are, and what two commits differ in.

use image::compare::committed::{Committed, FILES, LOCKS};
use image::compare::inputs::{Change, Class};
use image::compare::{Cause, Comparison, Difference, Digests, Kind, Moved, Provenance, Through, Value, render};
use image::pipeline::measured::Measurements;
use image::pipeline::stage::Stage;
use measure::Sha256;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Ends a code span, opens HTML, mentions, colours a terminal and starts a new line.
const HOSTILE: &str = "a`b``<img src=x>@all\u{1b}[31m\n# é";

fn hostile() -> Comparison {
    let text = |text: &str| Some(Value::Text(text.to_owned()));
    let input = |class, name: &str, old, new, source: Option<&str>| Change {
        class,
        name: name.to_owned(),
        old,
        new,
        source: source.map(str::to_owned),
        stages: Vec::new(),
    };
    let changed = Difference {
        stage: Stage::Packages,
        artifact: "rootfs.erofs".to_owned(),
        path: Some("usr/lib/libz.so.1".to_owned()),
        kind: Kind::Bytes,
        offset: Some(4321),
        old: Some(Value::Sha256(Sha256::new([1; 32]))),
        new: Some(Value::Sha256(Sha256::new([2; 32]))),
        provenance: Some(Provenance::Package {
            package: "zlib1g".to_owned(),
            old: Some("1:1.3".to_owned()),
            new: Some("1:1.4".to_owned()),
            source: Some("zlib".to_owned()),
        }),
        cause: Cause::Input { inputs: vec!["package zlib1g".to_owned()] },
    };
    let unexplained = Difference {
        stage: Stage::Initrd,
        artifact: "initrd".to_owned(),
        path: Some(HOSTILE.to_owned()),
        kind: Kind::Mode,
        offset: None,
        old: Some(Value::Mode("0644".to_owned())),
        new: Some(Value::Mode("0755".to_owned())),
        provenance: None,
        cause: Cause::Unexplained,
    };
    let follows = Difference {
        stage: Stage::Disk,
        artifact: "disk.raw".to_owned(),
        path: Some("partition vitrine-root".to_owned()),
        provenance: None,
        cause: Cause::Follows { from: "rootfs.erofs".to_owned() },
        ..changed.clone()
    };
    let launch = Digests::Table { old_sha256: Some(Sha256::new([3; 32])), new_sha256: None };
    let through = |artifact: &str, inputs: &[&str]| Through {
        artifact: artifact.to_owned(),
        inputs: inputs.iter().map(|&input| input.to_owned()).collect(),
    };
    Comparison {
        inputs: vec![
            input(Class::Package, "zlib1g", text("1:1.3"), text("1:1.4"), Some("zlib")),
            input(Class::Package, "g++", None, text("14"), Some("gcc-14+x")),
            input(Class::Package, "evil", text("1"), text(HOSTILE), Some("x>](https://example.com)")),
        ],
        differences: vec![unexplained, changed, follows],
        measurements: vec![Moved {
            name: "snp launch (snp), shape table".to_owned(),
            digests: launch,
            through: vec![through("initrd", &[]), through("cmdline", &["package zlib1g"])],
        }],
        doubts: vec!["NEW: root volume: expected 1, found 2".to_owned()],
    }
}

#[test]
fn text_is_printable_and_complete() {
    let [one, two, three] = [1, 2, 3].map(|byte: u8| Sha256::new([byte; 32]));
    let hostile_text = r"a`b``<img src=x>@all\x1b[31m\n# \xc3\xa9";
    let expected = format!(
        "old  dist
new  release/1
inputs
  package zlib1g 1:1.3 -> 1:1.4 https://tracker.debian.org/pkg/zlib
  package g++ 14 (added) https://tracker.debian.org/pkg/gcc-14%2Bx
  package evil 1 -> {hostile_text}
differences
  initrd: initrd {hostile_text} mode
      0644 -> 0755
      unexplained
  packages: rootfs.erofs usr/lib/libz.so.1 bytes at byte 4321
      sha256:{one} -> sha256:{two}
      package zlib1g 1:1.3 -> 1:1.4 of source zlib
      different input: package zlib1g
what follows from them
  disk: disk.raw partition vitrine-root bytes at byte 4321 follows from rootfs.erofs
measurements
  snp launch (snp), shape table: sha256:{three} -> nothing
      through initrd
      through cmdline by package zlib1g
what manifest.json says and the files do not
  NEW: root volume: expected 1, found 2
1 measurement moves, 2 unexplained differences
"
    );
    assert_eq!(render::text(&hostile(), "dist", "release/1"), expected);
}

#[test]
fn a_comment_quotes_what_is_not_ours() {
    let [one, two, three] = [1, 2, 3].map(|byte: u8| Sha256::new([byte; 32]));
    let quoted = r"``` a`b``<img src=x>@all\x1b[31m\n# \xc3\xa9 ```";
    let expected = format!(
        "### 1 measurement moves, 2 unexplained differences

`dist` → `release/1`

**Measurements**

- `snp launch (snp), shape table`: `sha256:{three} -> nothing`
  - through `initrd`
  - through `cmdline` by `package zlib1g`

**Unexplained**

- `NEW: root volume: expected 1, found 2`
- initrd: `initrd` {quoted} mode; `0644` -> `0755`; unexplained

**Inputs**

- package `zlib1g` `1:1.3` -> `1:1.4` <https://tracker.debian.org/pkg/zlib>
- package `g++` `14` (added) <https://tracker.debian.org/pkg/gcc-14%2Bx>
- package `evil` `1` -> {quoted}

**Differences**

- packages: `rootfs.erofs` `usr/lib/libz.so.1` bytes at byte 4321; `sha256:{one}` -> `sha256:{two}`; package `zlib1g` \
         `1:1.3` -> `1:1.4` of source `zlib`; different input: `package zlib1g`

**What follows from them**

- disk: `disk.raw` `partition vitrine-root` bytes at byte 4321 follows from `rootfs.erofs`
"
    );
    assert_eq!(render::markdown(&hostile(), "dist", "release/1"), expected);
    // A comment has a limit; what is left out is said.
    let mut many = hostile();
    many.differences = vec![many.differences.remove(0); 500];
    let comment = render::markdown(&many, "a", "b");
    assert!(comment.len() < 65_536 && comment.contains("and 441 more"), "{}", comment.len());
}

#[test]
fn json_names_algorithms() {
    let json = serde_json::to_value(hostile()).unwrap();
    assert_eq!(json["differences"][1]["old"]["sha256"], Sha256::new([1; 32]).to_string());
    assert_eq!(json["differences"][1]["stage"], "packages");
    assert_eq!(json["differences"][1]["cause"]["class"], "input");
    assert_eq!(json["measurements"][0]["old_sha256"], Sha256::new([3; 32]).to_string());
    assert_eq!(json["differences"][0]["path"], HOSTILE);
}

#[test]
fn what_is_the_same_is_clean() {
    let nothing = Comparison { inputs: vec![], differences: vec![], measurements: vec![], doubts: vec![] };
    assert_eq!((nothing.is_clean(), nothing.summary().as_str()), (true, "no difference"));
    let explained = Comparison { differences: vec![hostile().differences.remove(1)], ..nothing.clone() };
    assert_eq!((explained.is_clean(), explained.summary().as_str()), (true, "no measurement moves"));
    // Equal measurements do not excuse what nothing explains.
    let unexplained = Comparison { differences: vec![hostile().differences.remove(0)], ..nothing.clone() };
    assert_eq!(unexplained.summary(), "no measurement moves, 1 unexplained difference");
    let doubted = Comparison { doubts: hostile().doubts, ..nothing.clone() };
    let moved = Comparison { measurements: hostile().measurements, ..nothing };
    assert_eq!([unexplained, doubted, moved].map(|it| it.is_clean()), [false; 3]);
}

/// The committed files of this checkout.
fn committed() -> BTreeMap<String, Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = BTreeMap::new();
    let mut todo: Vec<_> = LOCKS.iter().chain(&FILES).map(|&name| name.to_owned()).collect();
    while let Some(name) = todo.pop() {
        let path = root.join(&name);
        if path.is_dir() {
            let children = fs::read_dir(&path).unwrap().map(|child| child.unwrap().file_name().into_string().unwrap());
            todo.extend(children.map(|child| format!("{name}/{child}")));
        } else {
            files.insert(name, fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn two_commits() {
    let old = committed();
    let compare =
        |new: &BTreeMap<String, Vec<u8>>| Committed::parse(&old).unwrap().compare(&Committed::parse(new).unwrap());
    assert_eq!(compare(&old).summary(), "no difference");

    let mut new = old.clone();
    let file = "content/rootfs/etc/hostname";
    new.get_mut(file).unwrap().extend(b"x");
    let lock = String::from_utf8(new["image.lock"].clone()).unwrap();
    let version = lock.split("name = \"zlib1g\"\nversion = \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let line = |version: &str| format!("name = \"zlib1g\"\nversion = \"{version}\"");
    new.insert("image.lock".to_owned(), lock.replace(&line(&version), &line("9:9")).into_bytes());

    // Nobody has measured it.
    let comparison = compare(&new);
    let inputs: Vec<_> = comparison.inputs.iter().map(|it| (it.class, it.name.as_str(), it.stages.clone())).collect();
    let sets = inputs.first().unwrap().2.clone();
    assert!(sets.contains(&Stage::Packages), "{sets:?}");
    assert_eq!(inputs, [(Class::Package, "zlib1g", sets.clone()), (Class::File, file, vec![Stage::Rootfs])]);
    assert_eq!(comparison.inputs[0].new, Some(Value::Text("9:9".to_owned())));
    assert!(comparison.is_clean() && comparison.differences.is_empty());

    // The root moves: through what went in, or through nothing.
    let mut measured: Measurements = toml::from_str(str::from_utf8(&old["measurements.lock"]).unwrap()).unwrap();
    measured.artifacts.insert("rootfs.erofs".to_owned(), Sha256::new([1; 32]));
    measured.root_sha256 = measure::verity::VerityRoot(Sha256::new([2; 32]));
    let put = |files: &mut BTreeMap<String, Vec<u8>>, measured: &Measurements| {
        files.insert("measurements.lock".to_owned(), measured.render().unwrap().into_bytes());
    };
    let mut alone = old.clone();
    put(&mut alone, &measured);
    let unexplained = compare(&alone);
    assert_eq!(unexplained.summary(), "1 measurement moves, 1 unexplained difference");
    assert_eq!(unexplained.differences[0].cause, Cause::Unexplained);

    measured.stage.iter_mut().filter(|it| it.name == Stage::Rootfs).for_each(|it| it.input = Sha256::new([3; 32]));
    put(&mut new, &measured);
    let explained = compare(&new);
    assert_eq!(explained.summary(), "1 measurement moves");
    let through = Through { artifact: "rootfs.erofs".to_owned(), inputs: vec![format!("file {file}")] };
    assert_eq!(explained.measurements[0].through, [through]);
    let path = "measurements.lock";
    new.remove(path);
    let error = format!("{:#}", Committed::parse(&new).unwrap_err());
    assert!(error.contains(path), "{error}");
}
