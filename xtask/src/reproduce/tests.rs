//! What a release says, who is told, and what is not believed, with builds that are only a few files.

use super::attest::Attest;
use super::outcome::{Outcome, Rebuild};
use super::published::{BelieveFlags, Published};
use super::source::{Checked, Fresh, Source, git};
use super::{How, archived, inputs, one};
use crate::flags::Flags;
use crate::release::statement::{Facts, statement};
use clap::Parser as _;
use image::inputs::lock::LOCK;
use image::pipeline::dist::{MANIFEST, STAGES};
use image::pipeline::measured::{Artifact, Boot, Manifest};
use image::pipeline::volume::Volume;
use image::result::archive;
use log_client::dsse::Envelope;
use log_client::edge::cosign::Mirror;
use log_client::edge::log::Log;
use log_client::edge::serve;
use log_client::keys::SigningKey;
use log_client::keys::at_rest::AnyPublicKey;
use log_client::note::{SignatureType, Signer};
use log_client::statement::{Predicate, Rebuilt, Release, Statement, Subject, TokenAccess};
use measure::appraise::Time;
use measure::cmdline::Tee;
use measure::snp::{BeforeVmsas, LaunchDigest, ShapeTable, VmmProfile};
use measure::verity::VerityRoot;
use measure::{Digest, Sha1, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn key() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

fn signer() -> Signer {
    Signer::new("example.com/log", SignatureType::ED25519, &[2; 32]).unwrap()
}

fn volume(name: &str) -> Volume {
    Volume {
        data_partuuid: "00000000-0000-4000-8000-000000000001".parse().unwrap(),
        hash_partuuid: "00000000-0000-4000-8000-000000000002".parse().unwrap(),
        data_blocks: 1.try_into().unwrap(),
        salt: Sha256::of(b"salt"),
        root_sha256: VerityRoot(Sha256::of(name.as_bytes())),
    }
}

/// A source, and a build of it in `dist`.
struct Scene {
    directory: tempfile::TempDir,
    manifest: Manifest,
    commit: Sha1,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for dir in ["source", "dist", "stages", "cache", "git"] {
            fs::create_dir(path(dir)).unwrap();
        }
        fs::write(path("source").join(LOCK), "a lock").unwrap();
        fs::write(path("source/rust-toolchain.toml"), "[toolchain]\nchannel = \"1.95.0\"\n").unwrap();
        let repository = path("git");
        git(&repository, &["init", "--quiet", "--bare"]).unwrap();
        let tree = format!("--work-tree={}", path("source").display());
        git(&repository, &[&tree, "add", "--all"]).unwrap();
        let me = ["-c", "user.name=me", "-c", "user.email=me@example.com", "-c", "commit.gpgsign=false"];
        git(&repository, &[&me[..], &[&tree, "commit", "--quiet", "--message", "all"]].concat()).unwrap();
        let commit = git(&repository, &["rev-parse", "HEAD"]).unwrap().trim().parse().unwrap();

        let (root, model) = (volume("root"), volume("model"));
        let boot = |tee: Tee| {
            let launch_digest = LaunchDigest(Digest::new([7; 48]));
            let before = BeforeVmsas { launch_digest, ap_reset: 0x80_b004, vmm: &VmmProfile::QEMU };
            let (root, model) = (root.root_sha256, model.root_sha256);
            Boot {
                tee: tee.to_string(),
                command_line: format!("vitrine.tee={tee} vitrine.root.digest={root} vitrine.model.digest={model}"),
                snp: ShapeTable::new(&before),
            }
        };
        let boots = vec![boot(Tee::Snp), boot(Tee::Simulated)];
        let dist = path("dist");
        fs::write(dist.join("initrd"), "an initrd").unwrap();
        let artifacts = BTreeMap::from([("initrd".to_owned(), Artifact::of(&dist.join("initrd")).unwrap())]);
        let (schema, source_date_epoch, host_resistant) = (1, 1, false);
        let manifest = Manifest { schema, source_date_epoch, host_resistant, artifacts, root, model, boots };
        fs::write(dist.join(MANIFEST), serde_json::to_vec(&manifest).unwrap()).unwrap();
        fs::write(dist.join(STAGES), "[]").unwrap();
        Self { directory, manifest, commit }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What an honest publisher says of it.
    fn honest(&self) -> Statement {
        let (root, dist) = (self.path("source"), self.path("dist"));
        let (version, not_after) = ("1.2.3".parse().unwrap(), Time(1_800_000_000));
        let facts = Facts { version, tee: Tee::Snp, commit: self.commit, not_after, root: &root, dist: &dist };
        statement(&facts, &self.manifest, 4, not_after).unwrap()
    }

    /// The honest statement but for a change, with the files of the build.
    fn published(&self, change: impl FnOnce(&mut Statement, &mut Release)) -> Published {
        let mut statement = self.honest();
        let Predicate::Release(release) = &statement.predicate else { panic!() };
        let mut release = Release::clone(release);
        change(&mut statement, &mut release);
        // It is one that clients read.
        let predicate = Predicate::Release(Box::new(release.clone()));
        let statement = Statement::new(statement.subjects, predicate).unwrap();
        let entry = Envelope::sign(statement.to_bytes(), &[&key()]).unwrap().to_bytes();
        let (proof, log, dir) = (String::new(), "example.com/log".to_owned(), Some(self.path("dist")));
        Published { entry, proof, statement, release, index: 0, log, dir }
    }

    fn outcome(&self, published: &Published, checked: Checked) -> Outcome {
        let source = Fresh { root: self.path("source"), repository: None, checked };
        let rebuild = Rebuild { dist: self.path("dist"), ..Rebuild::default() };
        Outcome::of(published, &source, rebuild, &self.path("cache"), &self.path("")).unwrap()
    }

    /// Who attests into a log of its own.
    fn attest(&self) -> Attest {
        let log = self.path("log");
        if !log.exists() {
            Log::init(&log, &signer()).unwrap();
        }
        Attest { key: key(), log: Some(log), file: Some(self.path("said.json")) }
    }

    /// Reproduces it from that source, and attests.
    fn one(&self, published: &Published, source: &Path) -> anyhow::Result<crate::report::Answer> {
        one(published, &how(source), None, Some(&self.attest()), &self.path("cache"))
    }

    /// What was attested, and logged.
    fn said(&self) -> (Statement, u64) {
        let entry = fs::read(self.path("said.json")).unwrap();
        let statement = Statement::parse(Envelope::parse(&entry).unwrap().unverified_payload()).unwrap();
        (statement, Log::open(&self.path("log")).unwrap().tree().size)
    }
}

fn how(source: &Path) -> How {
    #[derive(clap::Parser)]
    struct Only {
        #[command(flatten)]
        how: How,
    }
    Only::try_parse_from(["", "--source", source.to_str().unwrap()]).unwrap().how
}

fn commit() -> Checked {
    Checked::Commit("the commit".to_owned())
}

#[test]
fn what_is_said_of_the_files_is_reproduced_too() {
    let scene = Scene::new();
    let answer = |published: &Published| {
        let outcome = scene.outcome(published, commit());
        let answer = outcome.answer(published, Duration::ZERO, Duration::ZERO).unwrap();
        assert_eq!(answer.yes, outcome.is_reproduced());
        assert_eq!(outcome.found().outcome == Rebuilt::Reproduced, answer.yes);
        answer
    };
    let honest = answer(&scene.published(|_, _| ()));
    assert!(honest.yes && honest.text.starts_with("REPRODUCED  1.2.3"), "{}", honest.text);
    // For the other command line of the same image, and with what no build decides.
    let simulated = scene.manifest.boot(Tee::Simulated).unwrap().command_line.clone();
    let other = scene.published(|_, release| {
        (release.tee, release.command_line, release.counter) = (Tee::Simulated, simulated, 9);
    });
    assert!(answer(&other).yes);

    type Change = fn(&mut Statement, &mut Release);
    let lies: [(&str, Change); 13] = [
        ("predicate.snp.vmm", |_, release| release.snp.vmm.push('x')),
        ("predicate.snp.before_vmsas_sha384", |_, release| {
            release.snp.before_vmsas = LaunchDigest(Digest::new([8; 48]));
        }),
        ("predicate.snp.table_sha256", |_, release| release.snp.table_sha256 = Sha256::of(b"another")),
        ("predicate.command_line", |_, release| release.command_line.push_str(" init=/bin/sh")),
        ("predicate.root_sha256", |_, release| {
            let root = VerityRoot(Sha256::of(b"another"));
            release.command_line = release.command_line.replace(&release.root_sha256.to_string(), &root.to_string());
            release.root_sha256 = root;
        }),
        ("predicate.model_sha256", |_, release| {
            let model = VerityRoot(Sha256::of(b"another"));
            release.command_line = release.command_line.replace(&release.model_sha256.to_string(), &model.to_string());
            release.model_sha256 = model;
        }),
        ("predicate.tee", |_, release| {
            release.tee = Tee::Tdx;
            release.command_line = release.command_line.replace("=snp", "=tdx");
        }),
        ("predicate.host_resistant", |_, release| release.host_resistant = true),
        ("predicate.token_access", |_, release| release.token_access = TokenAccess::Oblivious),
        ("predicate.toolchain", |_, release| release.toolchain = "1.96.0".parse().unwrap()),
        ("predicate.launch_policies", |_, release| release.launch_policies[0].policy.0 |= 1 << 19),
        ("subject initrd", |statement, _| statement.subjects.retain(|subject| subject.name != "initrd")),
        ("subject more", |statement, _| {
            statement.subjects.push(Subject::new("more", Sha256::of(b"")));
        }),
    ];
    for (field, lie) in lies {
        let said = answer(&scene.published(lie));
        assert!(!said.yes && said.text.starts_with("DIFFERS") && said.text.contains(field), "{field}: {}", said.text);
        let fields = said.payload["said_otherwise"].as_array().unwrap();
        let one = fields.iter().find(|one| one["field"] == field).unwrap_or_else(|| panic!("{field}: {fields:?}"));
        assert_ne!(one["released"], one["rebuilt"]);
    }
}

#[test]
fn an_unchecked_source_is_said_and_never_attested() {
    let scene = Scene::new();
    let published = scene.published(|_, _| ());
    let unchecked = Checked::Unchecked("an archive".to_owned());
    let answer = scene.outcome(&published, unchecked).answer(&published, Duration::ZERO, Duration::ZERO).unwrap();
    assert!(!answer.text.starts_with("REPRODUCED  "), "{}", answer.text);
    assert!(answer.text.contains("not checked against commit") && answer.reason.contains("not checked against commit"));
    assert_eq!(answer.payload["source_checked"], false);

    let tar = scene.path("source.tar");
    git(&scene.path("git"), &["archive", "--output", tar.to_str().unwrap(), "HEAD"]).unwrap();
    let empty = scene.path("empty");
    fs::create_dir(&empty).unwrap();
    let fresh = Source::Tar(tar.clone()).take(&scene.commit, &empty, false).unwrap().unwrap();
    assert!(!fresh.checked.is_the_commit());
    let refused = scene.one(&published, &tar).err().unwrap().to_string();
    assert!(refused.starts_with("--attest: expected the source of commit"), "{refused}");
    assert!(!scene.path("said.json").exists());
}

#[test]
fn whatever_is_found_is_attested() {
    let scene = Scene::new();
    // The source has another lock than was signed.
    let published = scene.published(|_, release| release.lock_sha256 = Sha256::of(b"another lock"));
    let answer = scene.one(&published, &scene.path("git")).unwrap();
    assert!(!answer.yes && answer.reason.contains("the release has sha256"), "{}", answer.reason);
    let said = |name: &str, bytes: &[u8], size| {
        let (statement, entries) = scene.said();
        let Predicate::Rebuild(rebuild) = &statement.predicate else { panic!() };
        assert_eq!((rebuild.outcome, entries), (Rebuilt::Differs, size));
        assert_eq!(statement.subject(name), Some(Sha256::of(bytes)));
    };
    said(LOCK, b"a lock", 1);
    // A file of the release is not what was signed.
    let published = scene.published(|statement, _| {
        statement.subjects[0] = Subject::new("initrd", Sha256::of(b"another"));
    });
    let log = Log::open(&scene.path("log")).unwrap();
    drop(log.sign(&signer()).unwrap().publish(&[]).unwrap());
    let answer = scene.one(&published, &scene.path("git")).unwrap();
    assert!(!answer.yes && answer.payload["attested"]["index"] == 1, "{}", answer.reason);
    said("initrd", b"an initrd", 2);
    // What cannot be decided is not attested: this source is no checkout to build from.
    fs::remove_file(scene.path("said.json")).unwrap();
    let published = scene.published(|_, _| ());
    assert!(inputs(&published, &scene.path("source")).is_err());
    assert!(scene.one(&published, &scene.path("git")).is_err() && !scene.path("said.json").exists());
}

#[test]
fn a_watched_log_is_built_in_full() {
    let parse = |more: &[&str]| {
        let words = "xtask reproduce --watch state --log log --key key.pub --vkey KEY";
        let vkey = signer().key().to_string();
        let words = words.split(' ').map(|word| if word == "KEY" { vkey.as_str() } else { word });
        Flags::try_parse_from(words.chain(more.iter().copied())).err().map(|error| error.to_string())
    };
    assert_eq!(parse(&[]), None);
    let refused = parse(&["--from", "measure"]).unwrap();
    assert!(refused.contains("--from") && refused.contains("cannot be used with"), "{refused}");
}

#[test]
fn a_release_is_found_in_a_log_at_an_address() {
    let scene = Scene::new();
    let published = scene.published(|_, _| ());
    let log = Log::init(&scene.path("log"), &signer()).unwrap();
    let (log, _) = log.append(std::slice::from_ref(&published.entry)).unwrap();
    drop(log.sign(&signer()).unwrap().publish(&[]).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = scene.path("log");
    std::thread::spawn(move || serve::log(&served, &listener));

    let public = scene.path("key.pub");
    fs::write(&public, AnyPublicKey::Ed25519(key().public()).to_pem()).unwrap();
    #[derive(clap::Parser)]
    struct Only {
        #[command(flatten)]
        believe: BelieveFlags,
    }
    let vkey = signer().key().to_string();
    let words = ["", "--key", public.to_str().unwrap(), "--vkey", &vkey, "--log", &url];
    let believe = Only::try_parse_from(words).unwrap().believe;
    assert!(matches!(believe.log, Some(Mirror::Url(_))));
    let believed = believe.read().unwrap();
    for what in ["0", "1.2.3"] {
        let found = Published::find(what, believe.log.as_ref(), &believed).unwrap().unwrap();
        assert_eq!((found.entry, found.index, found.dir), (published.entry.clone(), 0, None));
    }
    for what in ["1", "1.2.4"] {
        assert!(Published::find(what, believe.log.as_ref(), &believed).unwrap().is_err());
    }
}

#[test]
fn an_archives_source_is_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join(archive::SOURCE);
    assert_eq!(archived(dir.path()).unwrap(), None);
    fs::create_dir(&bundle).unwrap();
    assert!(archived(dir.path()).unwrap_err().to_string().contains("expected a regular file"));
    fs::remove_dir(&bundle).unwrap();
    fs::write(&bundle, "").unwrap();
    assert_eq!(archived(dir.path()).unwrap(), Some(dir.path()));
}
