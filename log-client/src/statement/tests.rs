use super::*;
use crate::keys::{KeyId, PublicKey, SigningKey};
use measure::Digest;
use measure::appraise::Time;
use measure::cmdline::Tee;
use measure::snp::product::{Product, TcbVersion};
use measure::snp::report::GuestPolicy;
use measure::snp::{BeforeVmsas, LaunchDigest, ShapeTable, VmmProfile};
use measure::verity::VerityRoot;

fn public(seed: u8) -> PublicKey {
    SigningKey::from_seed(&[seed; 32]).public()
}

pub(crate) fn release() -> Statement {
    let before_vmsas =
        BeforeVmsas { launch_digest: LaunchDigest(Digest::new([7; 48])), ap_reset: 0x80_b004, vmm: &VmmProfile::QEMU };
    let (root, model) = (VerityRoot(Sha256::of(b"root")), VerityRoot(Sha256::of(b"model")));
    let predicate = Release {
        version: "1.2.3".parse().unwrap(),
        counter: 4,
        not_after: Time(1_800_000_000),
        commit: Digest::new([0xc0; 20]),
        lock_sha256: Sha256::of(b"lock"),
        toolchain: "1.95.0".parse().unwrap(),
        tee: Tee::Snp,
        host_resistant: false,
        token_access: TokenAccess::Indexed,
        command_line: format!("quiet vitrine.tee=snp vitrine.root.digest={root} vitrine.model.digest={model}"),
        root_sha256: root,
        model_sha256: model,
        snp: ShapeTable::new(&before_vmsas).source().clone(),
        launch_policies: vec![
            LaunchPolicy { product: Product::Genoa, policy: GuestPolicy(0x3_0000) },
            LaunchPolicy { product: Product::Turin, policy: GuestPolicy(0x3_0000) },
        ],
    };
    let subjects = vec![Subject::new("vmlinuz", Sha256::of(b"kernel")), Subject::new("initrd", Sha256::of(b"initrd"))];
    Statement::new(subjects, Predicate::Release(Box::new(predicate))).unwrap()
}

pub(crate) fn status() -> Statement {
    let tcb = TcbVersion { fmc: 0, boot_loader: 9, tee: 0, snp: 21, microcode: 72 };
    let minimum = TcbMinimum { product: Product::Genoa, tcb };
    let predicate = Status {
        sequence: 1,
        issued_at: Time(1_790_000_000),
        not_after: Time(1_790_000_000 + MAX_VALIDITY),
        minimum_counter: 4,
        fleet_root_sha256: Sha256::of(b"tree"),
        fleet_chips: 2,
        tcb_minimums: vec![minimum],
        keys: vec![
            InForce { public_key: public(1), added_at: 0, revoked_from: Some(9) },
            InForce { public_key: public(2), added_at: 7, revoked_from: None },
        ],
    };
    let subjects =
        vec![Subject::new("release/1.2.3", Sha256::of(b"an envelope")), Subject::new("fleet", Sha256::of(b"a roster"))];
    Statement::new(subjects, Predicate::Status(predicate)).unwrap()
}

pub(crate) fn key_add() -> Statement {
    let key = public(1);
    let predicate = KeyAdd { role: Role::Release, public_key: key.as_bytes().to_vec() };
    Statement::new(vec![Subject::new("builder", key.id())], Predicate::KeyAdd(predicate)).unwrap()
}

pub(crate) fn key_revoke() -> Statement {
    let predicate = KeyRevoke { from_index: 9, reason: "the laptop was stolen".to_owned() };
    Statement::new(vec![Subject::new("builder", public(1).id())], Predicate::KeyRevoke(predicate)).unwrap()
}

pub(crate) fn fleet() -> Statement {
    let predicate = FleetPredicate { root_sha256: Sha256::of(b"tree"), chips: 2 };
    Statement::new(vec![Subject::new("fleet", Sha256::of(b"a roster"))], Predicate::Fleet(predicate)).unwrap()
}

pub(crate) fn rebuild() -> Statement {
    let predicate = Rebuild {
        version: "1.2.3".parse().unwrap(),
        release_sha256: Sha256::of(b"an envelope"),
        commit: Digest::new([0xc0; 20]),
        lock_sha256: Sha256::of(b"a lock"),
        built_at: Time(1_790_000_000),
        seconds: 372,
        host: RebuildHost {
            distribution: "Debian GNU/Linux 13 (trixie)".into(),
            kernel: "6.12.48+deb13-amd64".into(),
            cpu: "AMD EPYC 9454P 48-Core Processor".into(),
        },
        variations: vec!["umask".into(), "processors".into()],
        outcome: Rebuilt::Reproduced,
    };
    Statement::new(vec![Subject::new("vmlinuz", Sha256::of(b"kernel"))], Predicate::Rebuild(predicate)).unwrap()
}

/// The texts, byte for byte: what is signed must not change by accident.
#[test]
fn golden() {
    for (statement, golden) in [
        (release(), include_str!("golden/release.json")),
        (status(), include_str!("golden/status.json")),
        (key_add(), include_str!("golden/key-add.json")),
        (key_revoke(), include_str!("golden/key-revoke.json")),
        (fleet(), include_str!("golden/fleet.json")),
        (rebuild(), include_str!("golden/rebuild.json")),
    ] {
        let text = String::from_utf8(statement.to_bytes()).unwrap();
        assert_eq!(text, golden.trim_end(), "{}", statement.predicate.predicate_type());
        assert_eq!(Statement::parse(text.as_bytes()).unwrap(), statement);
    }
}

#[test]
fn a_release_allows_its_shapes_and_names_them() {
    let statement = release();
    let Predicate::Release(release) = &statement.predicate else { panic!() };
    let shapes = release.shapes().unwrap();
    assert_eq!(shapes.rows().len(), 4 * 2 * 64);
    let row = &shapes.rows()[2 * 64 * 2 + 3];
    assert_eq!(shape_name(row), "4 vCPUs of 0xa10f10 (EPYC-Genoa), SEV_FEATURES 0x1");
    assert_eq!(shapes.find(&row.launch_digest), Some(row));
    let mut other = release.clone();
    other.snp.before_vmsas = LaunchDigest(Digest::new([8; 48]));
    assert!(other.shapes().is_err());
}

#[test]
fn keys_count_between_their_events() {
    let key = |revoked_from| InForce { public_key: public(1), added_at: 3, revoked_from };
    for (index, forever, until_nine) in [(2, false, false), (3, false, false), (4, true, true), (9, true, false)] {
        assert_eq!((key(None).covers(index), key(Some(9)).covers(index)), (forever, until_nine), "{index}");
    }
}

/// One change each, and what the error says of it.
#[test]
fn refused() {
    let hex = |bytes: &[u8]| Sha256::of(bytes).to_string();
    let (root, model) = (hex(b"root"), hex(b"model"));
    let token = format!(" vitrine.root.digest={root}");
    let cases: [(Statement, &str, &str, &str); 42] = [
        (release(), "{\"_type\"", "{ \"_type\"", "one form, which differs from byte 1 on"),
        (release(), "\"counter\":4", "\"counter\":4.0", "predicate of its type"),
        (release(), "\"counter\":4", "\"counter\":0", "counter: expected at least 1"),
        (release(), "\"counter\":4", "\"counter\":-4", "predicate of its type"),
        (release(), "\"counter\":4", "\"counter\":9007199254740992", "predicate of its type"),
        (release(), "\"counter\":4", "\"counter\":4,\"counter\":4", "predicate of its type"),
        (release(), "\"counter\":4", "\"counter\":4,\"more\":4", "predicate of its type"),
        (release(), "\"counter\":4,", "", "predicate of its type"),
        (release(), "1.2.3", "1.2.03", "predicate of its type"),
        (release(), "quiet", "qu\\u0069et", "without a backslash, found byte 0x5c"),
        (release(), "quiet", "qui\u{e9}t", "found byte 0xc3"),
        (release(), "quiet", "qui\tt", "found byte 0x09"),
        (release(), "Statement/v1", "Statement/v0.1", "_type"),
        (release(), "urn:vitrine:release:1", "urn:vitrine:release:2", "predicateType"),
        (release(), "urn:vitrine:release:1", "urn:vitrine:fleet:1", "predicate of its type"),
        (release(), "vitrine.tee=snp", "vitrine.tee=tdx", "command_line: expected vitrine.tee=snp once"),
        (release(), "vitrine.tee=snp", "vitrine.tee=snp vitrine.tee=snp", "command_line"),
        (release(), &token, "", "command_line: expected vitrine.root.digest"),
        (release(), &format!("vitrine.model.digest={model}"), &format!("vitrine.model.digest={root}"), "command_line"),
        (release(), "\"tee\":\"snp\"", "\"tee\":\"sev\"", "predicate of its type"),
        (release(), "indexed", "hidden", "predicate of its type"),
        (release(), "\"Turin\"", "\"Genoa\"", "launch_policies"),
        (release(), "\"name\":\"initrd\"", "\"name\":\"../initrd\"", "names of files"),
        (release(), "\"name\":\"initrd\"", "\"name\":\".initrd\"", "names of files"),
        (release(), "\"name\":\"vmlinuz\"", "\"name\":\"\"", "subject name"),
        (release(), "\"name\":\"vmlinuz\"", "\"name\":\"vm linuz\"", "subject name"),
        (release(), "\"name\":\"vmlinuz\"", "\"name\":\"initrd\"", "ascending order of distinct names"),
        (release(), "\"name\":\"vmlinuz\"", "\"name\":\"a\"", "ascending order of distinct names"),
        (status(), "1790604800", "1790604801", "not_after: expected at most 604800 s"),
        (status(), "1790604800", "1789999999", "not_after"),
        (status(), "\"fleet\"", "\"flees\"", "fleet and release/VERSION"),
        (status(), "release/1.2.3", "release/1.2", "fleet and release/VERSION"),
        (status(), "\"added_at\":7", "\"added_at\":0", "keys"),
        (status(), "\"fmc\":0", "\"fmc\":256", "predicate of its type"),
        (status(), "Genoa", "Rome", "predicate of its type"),
        (key_add(), &key_id(1).to_string(), &key_id(2).to_string(), "subject: expected the key's sha256"),
        (key_add(), "\"release\"", "\"root\"", "predicate of its type"),
        (key_revoke(), "the laptop was stolen", "", "reason: expected 1 to 128 bytes"),
        (fleet(), "\"fleet\"", "\"float\"", "subject: expected fleet"),
        (rebuild(), "AMD EPYC 9454P 48-Core Processor", "", "cpu: expected 1 to 128 bytes"),
        (rebuild(), "\"umask\"", "\"\"", "variations: expected 1 to 128 bytes"),
        (rebuild(), "\"umask\"", &format!("\"umask\"{}", ",\"clock\"".repeat(15)), "variations: expected at most 16"),
    ];
    for (statement, from, to, reason) in cases {
        let text = String::from_utf8(statement.to_bytes()).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{from}");
        let error = Statement::parse(text.replace(from, to).as_bytes()).unwrap_err().to_string();
        assert!(error.contains(reason), "{from} -> {to}: {error}");
    }
}

fn key_id(seed: u8) -> KeyId {
    public(seed).id()
}

#[test]
fn limits() {
    let error = Statement::parse(&[b' '; MAX_ENVELOPE]).unwrap_err();
    assert!(matches!(error, StatementError::Size { .. }), "{error}");
    let subjects = |count: u32| (0..count).map(|at| Subject::new(format!("{at:03}"), Sha256::of(b""))).collect();
    let Predicate::Rebuild(predicate) = rebuild().predicate else { panic!() };
    let with = |count| Statement::new(subjects(count), Predicate::Rebuild(predicate.clone())).map(drop);
    with(32).unwrap();
    for count in [0, 33] {
        assert!(with(count).unwrap_err().to_string().contains("subject: expected 1 to 32"), "{count}");
    }
}
