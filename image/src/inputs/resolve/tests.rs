//! A small signed archive, its lock, and what is noticed when either is changed.

use super::*;
use crate::inputs::archive::tests::{DATE, WELL, armored, key, release, sign};
use crate::inputs::fetch::Patience;
use crate::inputs::fetch::server::{Reply, Server};
use crate::progress::Silent;
use std::io::Write as _;
use std::time::Duration;

/// A checkout, a store and a lock of the packages `stanzas`, each given by the control fields that matter.
struct World {
    dir: tempfile::TempDir,
    store: Store,
    request: Request,
    lock: Lock,
    packages_xz: Vec<u8>,
}

fn deb(control: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(control.len() as u64);
    tar.append_data(&mut header, "control", control.as_bytes()).unwrap();
    let control = tar.into_inner().unwrap();
    let mut deb = b"!<arch>\n".to_vec();
    for (member, content) in
        [("debian-binary", b"2.0\n".as_slice()), ("control.tar", &control), ("data.tar", &[0; 1024])]
    {
        deb.extend(format!("{member:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100644, content.len()).into_bytes());
        deb.extend(content);
    }
    deb
}

impl World {
    fn new(packages: &[(&str, &str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache")).unwrap();
        std::fs::create_dir_all(dir.path().join(KEYRINGS)).unwrap();
        std::fs::write(dir.path().join(KEYRINGS).join("keys.asc"), armored(&key(2))).unwrap();
        let request = Request::parse(
            "schema = 1\nseed = \"00000000-0000-4000-8000-000000000000\"\nsnapshot = \"http://snapshot.invalid\"\n\
             file = {}\n[archive.debian]\nsuite = \"trixie\"\ncomponent = \"main\"\nmirrors = [\"http://debian.invalid\"]\n\
             snapshot = \"debian\"\nkeyring = \"keys.asc\"\n[set.tools]\na = \"a test\"\n",
        )
        .unwrap();
        let (mut index, mut locked) = (String::new(), Vec::new());
        for (name, version, fields) in packages {
            let control = format!("Package: {name}\nVersion: {version}\nArchitecture: all\n{fields}");
            let deb = deb(&control);
            let (pool, size, sha256) = (format!("pool/{name}.deb"), deb.len() as u64, store.put(&deb).unwrap());
            index.push_str(&format!("{control}Filename: {pool}\nSize: {size}\nSHA256: {sha256}\n\n"));
            locked.push(Package {
                sets: vec![Set::Tools],
                name: (*name).to_owned(),
                version: (*version).to_owned(),
                arch: "all".to_owned(),
                archive: "debian".to_owned(),
                pool,
                size,
                sha256,
                sha1: Sha1::new([0; 20]),
                source: (*name).to_owned(),
                source_version: (*version).to_owned(),
            });
        }
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
        xz.write_all(index.as_bytes()).unwrap();
        let packages_xz = xz.finish().unwrap();
        let inrelease = sign(&release(&packages_xz), &key(2), WELL);
        let lock = Lock {
            source_date_epoch: DATE,
            request_sha256: request.digest(),
            archives: vec![lock::Archive {
                name: "debian".to_owned(),
                suite: "trixie".to_owned(),
                component: "main".to_owned(),
                snapshot: "20260912T075541Z".to_owned(),
                inrelease_sha256: store.put(inrelease.as_bytes()).unwrap(),
                packages_sha256: store.put(&packages_xz).unwrap(),
            }],
            packages: locked,
            files: Vec::new(),
        };
        Self { dir, store, request, lock, packages_xz }
    }

    fn check(&self) -> Checked {
        check(&self.lock, &self.request, self.dir.path(), &self.store).unwrap()
    }

    #[track_caller]
    fn has_problem(&self, expected: &str) {
        let problems = self.check().problems;
        assert!(problems.iter().any(|problem| problem.contains(expected)), "expected {expected:?} in {problems:?}");
    }
}

const CLOSED: [(&str, &str, &str); 4] = [
    ("a", "1", "Depends: b (>= 1) | missing, virtual (>= 2)\nPre-Depends: c:any\n"),
    ("b", "1:1", ""),
    ("c", "3", ""),
    ("d", "1", "Provides: virtual (= 2)\n"),
];

fn model() -> lock::File {
    let (sets, name, url) = (vec![Set::Model], "model".to_owned(), "http://model.invalid".to_owned());
    lock::File { sets, name, url, size: 1, sha256: Sha256::new([0; 32]), member: None }
}

#[test]
fn a_good_lock_has_nothing_wrong() {
    assert_eq!(World::new(&CLOSED).check(), Checked::default());
}

#[test]
fn what_is_wrong_with_a_lock_is_said() {
    for (at, field, expected) in [
        (0, "Depends: e\n", "tools: a 1 needs e"),
        (0, "Depends: b (<< 1)\n", "needs b (<< 1), the lock has b 1:1 for tools"),
        (0, "Pre-Depends: virtual (= 3)\n", "needs virtual (= 3)"),
    ] {
        let mut packages = CLOSED;
        packages[at].2 = field;
        World::new(&packages).has_problem(expected);
    }
    // A dependency that is locked, but for another set.
    let mut world = World::new(&CLOSED);
    world.lock.packages[2].sets = vec![Set::Kernel];
    world.has_problem("tools: a 1 needs c, the lock has c 3 for kernel");

    type Edit = fn(&mut World);
    let edits: [(Edit, &str); 13] = [
        (|world| drop(world.lock.packages.remove(0)), "tools: the requested package a is not locked"),
        (|world| world.lock.packages[1].sets = vec![Set::Firmware], "firmware: expected , found b"),
        (|world| world.request.files.push(model()), "files are not the requested"),
        (|world| world.lock.request_sha256 = Sha256::new([0; 32]), "the request has changed"),
        (|world| world.lock.source_date_epoch += 1, "source-date-epoch: expected 1789199741"),
        (|world| world.lock.packages[1].version = "2".to_owned(), "locked as b 2 all calls itself b 1:1 all"),
        (|world| world.lock.packages[1].version = "2".to_owned(), "does not vouch for b 2"),
        (|world| world.lock.packages[1].pool = "pool/x.deb".to_owned(), "does not vouch for b"),
        (|world| world.lock.packages[1].source_version = "7".to_owned(), "does not vouch for b"),
        (|world| world.lock.archives[0].name = "other".to_owned(), "the request has no such archive"),
        (|world| world.lock.archives[0].suite = "forky".to_owned(), "expected Codename forky"),
        (
            |world| world.lock.archives[0].packages_sha256 = world.store.put(&world.packages_xz[1..]).unwrap(),
            "its InRelease names another index",
        ),
        (
            |world| {
                let forged = sign(&release(&world.packages_xz), &key(4), WELL);
                world.lock.archives[0].inrelease_sha256 = world.store.put(forged.as_bytes()).unwrap();
            },
            "not a key of the keyring",
        ),
    ];
    for (edit, expected) in edits {
        let mut world = World::new(&CLOSED);
        edit(&mut world);
        world.has_problem(expected);
    }
    let mut world = World::new(&CLOSED);
    let evil = deb("Package: b\nVersion: 1:1\nArchitecture: all\n").into_iter().chain([0; 2]).collect::<Vec<_>>();
    world.lock.packages[1].sha256 = Sha256::of(&evil);
    world.has_problem("does not vouch for b");
}

#[test]
fn what_is_not_there_is_not_believed() {
    let world = World::new(&CLOSED);
    std::fs::remove_file(world.store.path(&world.lock.packages[3].sha256)).unwrap();
    std::fs::remove_file(world.store.path(&world.lock.archives[0].packages_sha256)).unwrap();
    let checked = world.check();
    assert_eq!(checked.problems, Vec::<String>::new());
    assert_eq!((checked.unfetched, checked.unchained), (vec!["d 1".to_owned()], vec!["debian".to_owned()]));
    // What is there still counts.
    let mut world = World::new(&[("a", "1", "Depends: b (>= 2)\n"), ("b", "1", "")]);
    std::fs::remove_file(world.store.path(&world.lock.packages[1].sha256)).unwrap();
    world.lock.archives.clear();
    world.has_problem("tools: a 1 needs b (>= 2), the lock has b 1");
}

#[test]
fn an_archive_state_is_verified_before_it_is_used() {
    let world = World::new(&CLOSED);
    let good = world.packages_xz.clone();
    let mut wrong = good.clone();
    wrong[20] ^= 1;
    let inrelease = |signer| Reply::File(sign(&release(&world.packages_xz), &key(signer), WELL).into_bytes());
    let by_hash: &'static str = format!("/dists/trixie/main/binary-amd64/by-hash/SHA256/{}", Sha256::of(&good)).leak();
    let plain = "/dists/trixie/main/binary-amd64/Packages.xz";
    let newer = release(&good).replace("07:55:41", "07:55:42");
    for (signer, path, packages, locked, expected) in [
        (2, by_hash, good.clone(), None, None),
        (2, plain, good.clone(), None, None),
        (2, by_hash, good.clone(), Some(release(&good)), None),
        (4, by_hash, good.clone(), None, Some("not a key of the keyring")),
        (2, by_hash, wrong, None, Some("expected SHA-256")),
        (2, plain, [good.clone(), vec![0]].concat(), None, Some("bytes, the server announces")),
        (2, by_hash, good, Some(newer), Some("older than the locked state's 1789199742: a mirror that lags")),
    ] {
        let server = Server::new([("/dists/trixie/InRelease", inrelease(signer)), (path, Reply::File(packages))]);
        let mut mirrors = Mirrors::new(&world.request);
        mirrors.add(&format!("debian={}", server.url)).unwrap();
        let second = Duration::from_secs(1);
        mirrors.patience = Patience { connect: second, stall: second, attempts: 1, pause: second };
        let store = Store::open(&tempfile::tempdir_in(world.dir.path()).unwrap().keep()).unwrap();
        let resolver = Resolver {
            root: world.dir.path(),
            store: &store,
            mirrors: &mirrors,
            scratch: world.dir.path(),
            now: DATE,
            progress: &Silent,
        };
        let locked = locked.map(|text| {
            let inrelease_sha256 = store.put(sign(&text, &key(2), WELL).as_bytes()).unwrap();
            lock::Archive { inrelease_sha256, ..world.lock.archives[0].clone() }
        });
        match (resolver.state("debian", &world.request.archives["debian"], locked.as_ref()), expected) {
            (Ok(state), None) => {
                assert_eq!(state.index.packages.len(), 4);
                assert_eq!(state.lock, world.lock.archives[0]);
            }
            (Err(error), Some(expected)) => {
                let error = format!("{error:#}");
                assert!(error.contains(expected), "expected {expected:?} in {error}");
            }
            (outcome, expected) => panic!("expected {expected:?}, found {:?}", outcome.map(|state| state.lock)),
        }
    }
}

#[test]
fn lost_indexes_are_found_again() {
    let world = World::new(&CLOSED);
    let archive = &world.lock.archives[0];
    let inrelease = std::fs::read(world.store.path(&archive.inrelease_sha256)).unwrap();
    for sha256 in [archive.inrelease_sha256, archive.packages_sha256] {
        std::fs::remove_file(world.store.path(&sha256)).unwrap();
    }
    let newer = sign("Codename: trixie\n", &key(2), WELL).into_bytes();
    let server = Server::new([
        ("/dists/trixie/InRelease", Reply::File(newer)),
        ("/archive/debian/20260912T075541Z/dists/trixie/InRelease", Reply::File(inrelease)),
        (
            "/archive/debian/20260912T075541Z/dists/trixie/main/binary-amd64/Packages.xz",
            Reply::File(world.packages_xz.clone()),
        ),
    ]);
    let mut mirrors = Mirrors { snapshot: server.url.clone(), ..Mirrors::new(&world.request) };
    mirrors.add(&format!("debian={}", server.url)).unwrap();
    fetch_indexes(&world.lock, &world.store, &mirrors, &Silent).unwrap();
    assert_eq!(world.check(), Checked::default());
}

#[test]
fn one_package_is_updated_with_its_source() {
    let old =
        World::new(&[("a", "1", ""), ("b", "1", ""), ("c", "1", "Source: b\n"), ("gone", "1", "Source: b\n")]).lock;
    let mut new = World::new(&[("a", "2", ""), ("b", "2", ""), ("c", "2", "Source: b\n"), ("e", "2", "")]).lock;
    let mut old = Lock { packages: old.packages, ..old };
    for lock in [&mut old, &mut new] {
        for package in lock.packages.iter_mut().filter(|package| matches!(package.name.as_str(), "c" | "gone")) {
            package.source = "b".to_owned();
        }
    }
    new.archives[0].snapshot = "20270101T000000Z".to_owned();
    let merged = merge(&old, new.clone(), "c").unwrap();
    let is = |lock: &Lock| {
        let packages = lock.packages.iter().map(|each| format!("{} {} {}", each.name, each.version, each.archive));
        packages.collect::<Vec<_>>()
    };
    assert_eq!(is(&merged), ["a 1 debian.20260912T075541Z", "b 2 debian", "c 2 debian"]);
    let archives: Vec<&str> = merged.archives.iter().map(|archive| archive.name.as_str()).collect();
    assert_eq!(archives, ["debian", "debian.20260912T075541Z"]);
    assert_eq!(Lock::parse(&merged.render()).unwrap(), merged);
    assert_eq!(merged.archives[1].request(), "debian");
    // Again, with what is now the old state.
    let again = merge(&merged, new.clone(), "a").unwrap();
    assert_eq!(is(&again), ["a 2 debian", "b 2 debian", "c 2 debian"]);
    assert_eq!(again.archives.len(), 1, "a state that nothing is from is dropped");

    assert_eq!(
        diff(Some(&old), &merged),
        "  a (tools) from debian -> debian.20260912T075541Z\n  b 1 -> 2 (tools)\n  c 1 -> 2 (tools)\n- gone 1 (tools)\n"
    );
    assert_eq!(diff(Some(&merged), &merged), "");
    assert!(diff(None, &old).starts_with("+ a 1 (tools)\n"));

    assert!(merge(&old, new.clone(), "nothing").unwrap_err().to_string().contains("nothing"));
    new.request_sha256 = Sha256::new([0; 32]);
    assert!(merge(&old, new, "c").unwrap_err().to_string().contains("request has changed"));
}

#[test]
fn stamps_are_dates() {
    for (seconds, expected) in [
        (0, "19700101T000000Z"),
        (DATE, "20260912T075541Z"),
        (1_709_251_199, "20240229T235959Z"),
        (1_709_251_200, "20240301T000000Z"),
        (951_782_400, "20000229T000000Z"),
        (4_107_542_400, "21000301T000000Z"),
    ] {
        assert_eq!(stamp(seconds), expected);
    }
}

#[test]
fn a_pointer_points_to_one_package() {
    let index = |stanzas: &[(&str, &str, &str)]| {
        let world = World::new(stanzas);
        let index = Index::parse(&world.packages_xz, |_| true).unwrap();
        let inrelease = sign(&release(&world.packages_xz), &key(2), WELL);
        let keyring = Keyring::parse(&armored(&key(2))).unwrap();
        let release = Release::verify(inrelease.as_bytes(), &keyring, "trixie", DATE).unwrap();
        [State { lock: world.lock.archives[0].clone(), release, index }]
    };
    let states = index(&[
        ("linux", "2", "Depends: linux-6.12 (= 6.12-2)\n"),
        ("linux-6.12", "6.12-2", "Depends: kmod\n"),
        ("two", "1", "Depends: linux, linux-6.12\n"),
        ("either", "1", "Depends: linux | linux-6.12\n"),
        ("future", "1", "Depends: linux (>= 3)\n"),
        ("essential", "1", "Essential: yes\nDepends: virtual\n"),
        ("provider", "1", "Provides: virtual\nDepends: linux | nothing\n"),
    ]);
    let candidates = Candidates::new(&states);
    assert_eq!(candidates.pointed_to("linux").unwrap().1.name, "linux-6.12");
    for (name, expected) in [
        ("two", "on one package, found 2"),
        ("either", "on one package, found linux | linux-6.12"),
        ("future", "no archive of the request has linux (>= 3)"),
        ("absent", "no archive of the request has a package absent"),
    ] {
        assert!(candidates.pointed_to(name).unwrap_err().to_string().contains(expected), "{name}");
    }
    let names = |name| -> anyhow::Result<Vec<&str>> {
        Ok(candidates.naive_closure(name)?.iter().map(|(_, indexed)| indexed.name.as_str()).collect())
    };
    let error = names("future").unwrap_err().to_string();
    assert!(error.contains("kmod"), "{error}");
    let error = candidates.by_digest(&Sha256::new([0; 32])).unwrap_err().to_string();
    assert!(error.contains("no verified index"), "{error}");
}
