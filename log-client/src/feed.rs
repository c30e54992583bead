//! What a log says of a release, to travel with evidence ("Feed" in `docs/formats.md`): the release and a status, who has
//! rebuilt the release, the chip's row of the roster, and the proofs of all entries.
//!
//! All proofs but [`Feed::earlier_proof`] are under one and the same checkpoint, byte for byte: of two worlds that a log
//! shows to different people, a client is in one as a whole. A feed is what anybody says; verifiers look at all of it.

use crate::bundle::MAX_ENTRY;
use crate::dsse::MAX_ENVELOPE;
use crate::fleet::MAX_ROW;
use crate::parts::{self, Form, Kind, Part, PartsError};
use crate::proof::MAX_BYTES as MAX_PROOF;

/// Largest feed, in bytes.
pub const MAX_FEED: usize = 256 << 10;
/// Most rebuilds of a feed.
pub const MAX_REBUILDS: usize = 16;
/// Largest tail, in bytes: about fifty releases, or one and a half that are as large as the log takes them.
pub const MAX_TAIL: usize = 96 << 10;
const _: () = assert!(MAX_TAIL > MAX_ENTRY);

const ONE: usize = 1;
/// The kinds of parts, in the order of the file.
pub const KINDS: &[Kind] = &[
    Kind { name: "release", limit: MAX_ENVELOPE, most: ONE },
    Kind { name: "release-proof", limit: MAX_PROOF, most: ONE },
    Kind { name: "earlier-proof", limit: MAX_PROOF, most: ONE },
    Kind { name: "status", limit: MAX_ENVELOPE, most: ONE },
    Kind { name: "status-proof", limit: MAX_PROOF, most: ONE },
    Kind { name: "fleet-row", limit: MAX_ROW, most: ONE },
    Kind { name: "rebuild", limit: MAX_ENVELOPE, most: MAX_REBUILDS },
    Kind { name: "rebuild-proof", limit: MAX_PROOF, most: MAX_REBUILDS },
    Kind { name: "consistency", limit: MAX_CONSISTENCY, most: ONE },
    Kind { name: "tail", limit: MAX_TAIL, most: ONE },
];
/// Largest consistency proof, in bytes: a number and 63 hashes in base64.
const MAX_CONSISTENCY: usize = 4096;

const FORM: Form = Form { name: "feed", limit: MAX_FEED, kinds: &[KINDS] };

/// What a log says of a release. Every part is as it was published, and any may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Feed {
    /// The release's envelope.
    pub release: Option<Vec<u8>>,
    /// Its `.tlog-proof`: inclusion, checkpoint and the witnesses' cosignatures on it.
    pub release_proof: Option<Vec<u8>>,
    /// Its `.tlog-proof` under an earlier checkpoint, such as the one of the day it was published: since when it has been
    /// public. Nothing else is believed of that checkpoint.
    pub earlier_proof: Option<Vec<u8>>,
    /// A status's envelope.
    pub status: Option<Vec<u8>>,
    /// Its `.tlog-proof`.
    pub status_proof: Option<Vec<u8>>,
    /// The chip's row of the roster ([`crate::fleet::Row`]).
    pub fleet_row: Option<Vec<u8>>,
    /// Who has rebuilt the release.
    pub rebuilds: Vec<Rebuild>,
    /// That the checkpoint continues one that the client has seen ([`Consistency`](crate::tail::Consistency)).
    pub consistency: Option<Vec<u8>>,
    /// All entries behind the release ([`Tail`](crate::tail::Tail)).
    pub tail: Option<Vec<u8>>,
}

/// What somebody says who has rebuilt the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuild {
    /// The statement's envelope.
    pub envelope: Vec<u8>,
    /// Its `.tlog-proof`.
    pub proof: Vec<u8>,
}

impl Feed {
    /// Reads a feed.
    ///
    /// # Errors
    /// When it is not in its one form, or exceeds a limit.
    pub fn parse(bytes: &[u8]) -> Result<Self, PartsError> {
        let parts = FORM.parse(bytes)?;
        let feed = Self::from_parts(&parts);
        if feed.parts() == parts { Ok(feed) } else { Err(FORM.refuse("as many rebuild-proof as rebuild", &parts)) }
    }

    /// The feed as a file.
    ///
    /// # Errors
    /// When a part or all of them together are too large, or a part is empty.
    pub fn to_bytes(&self) -> Result<Vec<u8>, PartsError> {
        FORM.to_bytes(&self.parts())
    }

    /// The parts there are, in order.
    pub fn parts(&self) -> Vec<Part<'_>> {
        fn one<'a>(name: &'static str, bytes: &'a Option<Vec<u8>>) -> impl Iterator<Item = Part<'a>> {
            bytes.as_deref().map(|bytes| (name, bytes)).into_iter()
        }
        let envelopes = self.rebuilds.iter().map(|rebuild| ("rebuild", rebuild.envelope.as_slice()));
        let proofs = self.rebuilds.iter().map(|rebuild| ("rebuild-proof", rebuild.proof.as_slice()));
        one("release", &self.release)
            .chain(one("release-proof", &self.release_proof))
            .chain(one("earlier-proof", &self.earlier_proof))
            .chain(one("status", &self.status))
            .chain(one("status-proof", &self.status_proof))
            .chain(one("fleet-row", &self.fleet_row))
            .chain(envelopes)
            .chain(proofs)
            .chain(one("consistency", &self.consistency))
            .chain(one("tail", &self.tail))
            .collect()
    }

    /// The feed that is among these parts. A part that finds no place is not in [`Self::parts`].
    pub fn from_parts(parts: &[Part<'_>]) -> Self {
        let one = |name| parts::only(parts, name);
        let rebuilds = parts::all(parts, "rebuild").zip(parts::all(parts, "rebuild-proof"));
        Self {
            release: one("release"),
            release_proof: one("release-proof"),
            earlier_proof: one("earlier-proof"),
            status: one("status"),
            status_proof: one("status-proof"),
            fleet_row: one("fleet-row"),
            rebuilds: rebuilds.map(|(envelope, proof)| Rebuild { envelope, proof }).collect(),
            consistency: one("consistency"),
            tail: one("tail"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed() -> Feed {
        let part = |text: &str| Some(text.as_bytes().to_vec());
        let rebuild = |at: u8| Rebuild { envelope: vec![b'e', b'0' + at], proof: vec![b'p', b'0' + at] };
        Feed {
            release: part("r"),
            release_proof: part("rp"),
            earlier_proof: part("ep"),
            status: part("s"),
            status_proof: part("sp"),
            fleet_row: part("row"),
            rebuilds: vec![rebuild(1), rebuild(2)],
            consistency: part("c"),
            tail: part("\n\n"),
        }
    }

    const TEXT: &str = "vitrine-feed 1\nrelease 1\nrelease-proof 2\nearlier-proof 2\nstatus 1\nstatus-proof 2\nfleet-row 3\n\
                        rebuild 2\nrebuild 2\nrebuild-proof 2\nrebuild-proof 2\nconsistency 1\ntail 2\n\n\
                        rrpepssprowe1e2p1p2c\n\n";

    #[test]
    fn one_text_per_feed() {
        assert_eq!(feed().to_bytes().as_deref(), Ok(TEXT.as_bytes()));
        assert_eq!(Feed::parse(TEXT.as_bytes()), Ok(feed()));
        assert_eq!(Feed::parse(b"vitrine-feed 1\n\n"), Ok(Feed::default()));
    }

    #[test]
    fn every_other_text_is_refused() {
        for (from, to, reason) in [
            ("vitrine-feed 1", "vitrine-bundle 1", "expected the first line"),
            ("status 1\nstatus-proof 2\n", "status-proof 2\nstatus 1\n", "out of order"),
            ("status 1\n", "status 1\nstatus 1\n", "\"status\" is there more often than 1 times"),
            ("rebuild-proof 2\nrebuild-proof 2", "rebuild-proof 4", "as many rebuild-proof as rebuild"),
            ("rebuild 2\nrebuild 2\n", "", "after the directory"),
            ("tail 2", "tail 0", "expected 1 to 98304 bytes, found 0"),
            ("tail 2", "tail 02", "a part's name"),
            ("tail 2", "head 2", "unknown part"),
        ] {
            let error = Feed::parse(TEXT.replacen(from, to, 1).as_bytes()).expect_err(to).to_string();
            assert!(error.contains(reason), "{to}: {error}");
        }
        let many = Rebuild { envelope: vec![b'e'], proof: vec![b'p'] };
        let refused = |feed: Feed| feed.to_bytes().unwrap_err().to_string();
        let most = Feed { rebuilds: vec![many; MAX_REBUILDS], ..Feed::default() };
        assert_eq!(Feed::parse(&most.to_bytes().unwrap()), Ok(most.clone()));
        let over = Feed { rebuilds: [&most.rebuilds[..], &most.rebuilds[..1]].concat(), ..Feed::default() };
        assert!(refused(over).contains("more often than 16 times"));
        let large = |bytes| Some(vec![0; bytes]);
        let all = Feed { release_proof: large(MAX_PROOF), status_proof: large(MAX_PROOF), ..Feed::default() };
        assert!(refused(all).contains("feed: expected at most 262144 bytes"));
        assert!(refused(Feed { status: large(MAX_ENVELOPE + 1), ..Feed::default() }).contains("found 8193"));
        assert!(Feed::parse(&vec![0; MAX_FEED + 1]).unwrap_err().to_string().contains("found 262145"));
    }
}
