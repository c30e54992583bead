//! What can be wrong with what ties evidence to a session, and with the operator document. Key statements are laid out
//! here, in the CBOR that they have in `docs/formats.md`, and not by the code that reads them.

use super::scene;
use super::{Case, Refusal};
use sha2::{Digest as _, Sha256, Sha512};

/// An operator document; the policy of its cases asks for all that it says.
const DOCUMENT: &str = "vitrine-operator 1\nname Example Hosting\ncountry IS\ncontact https://example.org/contact\n\
                        sessions 200\nworkers 4\n";
const ASKED: &str = "{ names = [\"Example Hosting\"], countries = [\"IS\"], contacts = [\"https://example.org/contact\"], \
                     most-sessions = 200, most-workers = 4 }";

/// A session, what its guest says of itself, and what its host set.
#[derive(Clone)]
struct Scene {
    handshake: [u8; 32],
    epoch: u8,
    models: Vec<[u8; 32]>,
    document: Option<Vec<u8>>,
    /// What the key statement says of the document, if it is not the document's hash.
    named: Option<Option<[u8; 32]>>,
    /// What the host set, if it is not the document's hash.
    host_data: Option<[u8; 32]>,
    /// What the report is over, if it is not this session.
    report_data: Option<[u8; 64]>,
    batched: bool,
    /// What is done to the finished part.
    after: fn(&mut Vec<u8>),
    policy: toml::Table,
}

type Change = fn(&mut Scene);

/// Good and bad cases: `of` is the hardware, and `log` a good case with a release for it.
pub(super) fn cases(of: &scene::Scene, log: &Case) -> Vec<Case> {
    let mut plain = Scene {
        handshake: [0x4a; 32],
        epoch: 3,
        models: vec![Sha256::digest(b"model").into()],
        document: None,
        named: None,
        host_data: None,
        report_data: None,
        batched: false,
        after: |_| {},
        policy: log.policy.clone(),
    };
    plain.demand("snp.host-data", "\"operator\"");
    plain.demand("operator", "\"refused\"");
    let good: [(&str, &str, Change); 5] = [
        ("session", "a session, on a machine without an operator document", |_| {}),
        ("session-batched", "the report serves other sessions as well", |scene| scene.batched = true),
        ("session-operator", "a session, on a machine with an operator document", |scene| {
            scene.document = Some(DOCUMENT.into());
            scene.demand("operator", ASKED);
        }),
        ("session-operator-any", "any operator, as long as the hardware vouches for the document", |scene| {
            scene.document = Some(DOCUMENT.into());
            scene.demand("snp.host-data", "\"any\"");
            let any = ["names", "countries", "contacts", "most-sessions", "most-workers"]
                .map(|key| format!("{key} = \"any\""));
            scene.demand("operator", &format!("{{ {} }}", any.join(", ")));
        }),
        ("session-unasked", "neither a release nor an operator is asked for", |scene| {
            (scene.models, scene.document, scene.host_data) = (vec![], Some(b"a note".into()), Some([0x40; 32]));
            scene.demand("snp.host-data", &format!("{:?}", "40".repeat(32)));
            scene.demand("operator", "\"any\"");
            scene.demand("release", "\"any\"");
        }),
    ];
    let scenes = good.map(|(name, says, change)| (name, says, plain.with(change)));
    let mut cases: Vec<_> = scenes.iter().map(|(name, says, scene)| scene.case(of, log, name, says)).collect();
    for (base, rule, name, says, change) in sessions().into_iter().chain(operators()) {
        let (_, _, good) = scenes.iter().find(|(name, ..)| *name == base).expect("the good case");
        let case = good.with(change).case(of, log, &format!("{base}/{name}"), says);
        cases.push(Case { of: Some(base.to_owned()), rule: Some(Refusal::Fails(rule.to_owned())), ..case });
    }
    cases
}

/// The good case, the rule, the case's name, what is wrong, and the change.
type Bad = (&'static str, &'static str, &'static str, &'static str, Change);

fn sessions() -> Vec<Bad> {
    let (plain, batched, operator) = ("session", "session-batched", "session-operator");
    vec![
        (plain, "snp.identity.report-data", "replayed", "the report of another session", |s| {
            s.report_data = Some([0xd5; 64]);
        }),
        (batched, "snp.identity.report-data", "replayed", "the report of other sessions", |s| {
            s.report_data = Some([0xd5; 64]);
        }),
        (plain, "session.statement", "handshake", "a bit of the handshake hash", |s| s.after = |part| part[4] ^= 1),
        (plain, "session.statement", "key", "a bit of the static key", |s| s.after = |part| part[46] ^= 1),
        (plain, "session.statement", "path", "the path of a batch that the report is not of", |s| {
            s.after = |part| {
                part.pop();
                part.extend(path());
            };
        }),
        (batched, "session.statement", "no-path", "no path to the report's value", |s| {
            s.after = |part| {
                part.truncate(part.len() - path().len());
                part.push(0x80);
            };
        }),
        (batched, "session.statement", "sibling", "a bit of a hash of the path", |s| {
            s.after = |part| *part.last_mut().expect("a path") ^= 1;
        }),
        (plain, "session.statement", "short", "the path is missing", |s| {
            s.after = |part| part.truncate(part.len() - 1)
        }),
        (plain, "session.statement", "long", "a byte follows", |s| s.after = |part| part.push(0)),
        (plain, "session.statement", "version", "a key statement of version 2", |s| s.after = |part| part[41] = 2),
        (plain, "session.models", "model-other", "another model is served", |s| s.models = vec![[0x55; 32]]),
        (plain, "session.models", "model-more", "a second model is served", |s| s.models.push([0xff; 32])),
        (plain, "session.models", "model-none", "no model is served", |s| s.models.clear()),
        (operator, "session.operator", "document-unnamed", "the key statement names no document", |s| {
            s.named = Some(None);
        }),
        (operator, "session.operator", "document-other", "the key statement names another document", |s| {
            s.named = Some(Some([0x0d; 32]));
        }),
        (plain, "session.operator", "document-missing", "the document that the key statement names is missing", |s| {
            s.named = Some(Some([0x0d; 32]));
        }),
    ]
}

fn operators() -> Vec<Bad> {
    let (plain, operator, any) = ("session", "session-operator", "session-operator-any");
    vec![
        (plain, "snp.identity.host-data", "configured", "the host set something, and there is no document", |s| {
            s.host_data = Some([0x40; 32]);
        }),
        (operator, "snp.identity.host-data", "configured", "the host set the hash of another document", |s| {
            s.host_data = Some([0x40; 32]);
        }),
        (operator, "snp.identity.host-data", "unconfigured", "the host set nothing", |s| s.host_data = Some([0; 32])),
        (any, "operator.host-data", "configured", "the host set the hash of another document", |s| {
            s.host_data = Some([0x40; 32]);
        }),
        (any, "operator.host-data", "unconfigured", "the host set nothing", |s| s.host_data = Some([0; 32])),
        (plain, "operator.document", "refused", "there is a document, and none is accepted", |s| {
            s.document = Some(DOCUMENT.into());
        }),
        (operator, "operator.document", "missing", "there is no document", |s| s.document = None),
        (operator, "operator.document", "space", "a space at the end of a line of the document", |s| {
            s.document = Some(DOCUMENT.replace("IS\n", "IS \n").into());
        }),
        (operator, "operator.document", "field", "a field that nobody knows", |s| {
            s.document = Some(format!("{DOCUMENT}egress any\n").into());
        }),
        (operator, "operator.name", "name", "another operator", |s| {
            s.document = Some(DOCUMENT.replace("Example Hosting", "Example Hosting 2").into());
        }),
        (operator, "operator.country", "country", "another country", |s| {
            s.document = Some(DOCUMENT.replace("IS", "LI").into());
        }),
        (operator, "operator.contact", "contact", "another contact", |s| {
            s.document = Some(DOCUMENT.replace("https", "http").into());
        }),
        (operator, "operator.sessions", "sessions", "a session too many", |s| {
            s.document = Some(DOCUMENT.replace("200", "201").into())
        }),
        (operator, "operator.workers", "workers", "a worker too many", |s| {
            s.document = Some(DOCUMENT.replace(" 4", " 5").into())
        }),
    ]
}

impl Scene {
    fn with(&self, change: Change) -> Self {
        let mut scene = self.clone();
        change(&mut scene);
        scene
    }

    fn demand(&mut self, path: &str, value: &str) {
        let document: toml::Table = format!("value = {value}").parse().expect("the value is TOML");
        super::demand(&mut self.policy, path, document["value"].clone());
    }

    /// The hash of the document, if there is one.
    fn hash(&self) -> Option<[u8; 32]> {
        self.document.as_ref().map(|document| Sha256::digest(document).into())
    }

    /// The key statement: a map of the keys 1 to 8.
    fn statement(&self) -> Vec<u8> {
        let mut out = [&[0xa8, 1, 1, 2, 0x58, 32][..], &[0x25; 32], &[3, 0x59, 0x04, 0xa0], &[0x3e; 1184]].concat();
        out.extend([&[4, 0x58, 32][..], &[0xed; 32], &[5, 0x50], &[0xb0; 16], &[6, self.epoch]].concat());
        out.extend([7, 0x80 + self.models.len() as u8]);
        self.models.iter().for_each(|root| out.extend([&[0x58, 32][..], root].concat()));
        match self.named.unwrap_or(self.hash()) {
            Some(hash) => out.extend([&[8, 0x58, 32][..], &hash].concat()),
            None => out.extend([8, 0xf6]),
        }
        out
    }

    fn case(&self, of: &scene::Scene, log: &Case, name: &str, says: &str) -> Case {
        let statement = self.statement();
        let label = b"vitrine/session/1\0".as_slice();
        let value: [u8; 64] = Sha512::digest([label, &self.handshake, &Sha256::digest(&statement)].concat()).into();
        let length = (statement.len() as u16).to_be_bytes();
        let mut session = [&[0xa3, 1, 0x58, 32][..], &self.handshake, &[2, 0x59], &length, &statement, &[3]].concat();
        session.extend(if self.batched { path() } else { vec![0x80] });
        (self.after)(&mut session);
        let demanded = if self.batched { root(&value) } else { value };

        let mut of = of.clone();
        of.report_data = demanded;
        of.report.report_data = self.report_data.unwrap_or(demanded);
        of.report.host_data = self.host_data.or(self.hash()).unwrap_or([0; 32]);
        let mut case = Case { name: name.to_owned(), says: says.to_owned(), policy: self.policy.clone(), ..of.case() };
        let from_log = log.evidence.iter().filter(|(piece, _)| !piece.starts_with("snp-"));
        case.evidence.extend(from_log.map(|(piece, bytes)| (piece.clone(), bytes.clone())));
        case.evidence.insert("session".to_owned(), session);
        case.evidence.extend(self.document.clone().map(|document| ("operator".to_owned(), document)));
        case
    }
}

/// The eight hashes beside the way from a leaf to the root.
fn siblings() -> [[u8; 64]; 8] {
    std::array::from_fn(|height| [height as u8; 64])
}

/// The path of the leaf 5.
fn path() -> Vec<u8> {
    let hashes = siblings().iter().flat_map(|hash| [&[0x58, 64][..], hash].concat()).collect::<Vec<u8>>();
    [&[0x89, 5][..], &hashes].concat()
}

/// What one report says for all sessions of the tree in which `value` is the leaf 5.
fn root(value: &[u8; 64]) -> [u8; 64] {
    let leaf: [u8; 64] = Sha512::digest([b"vitrine/batch-leaf/1\0".as_slice(), value].concat()).into();
    siblings().iter().enumerate().fold(leaf, |below, (height, beside)| {
        let [left, right] = if 5 >> height & 1 == 0 { [&below, beside] } else { [beside, &below] };
        Sha512::digest([b"vitrine/batch-node/1\0".as_slice(), left, right].concat()).into()
    })
}
