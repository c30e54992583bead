//! What a release says.

use super::number::{integer, time};
use super::{MAX_TEXT, StatementError, Subject, Version, require};
use measure::Sha1;
use measure::Sha256;
use measure::appraise::Time;
use measure::cmdline::{MAX_LEN, Tee};
use measure::snp::product::Product;
use measure::snp::report::GuestPolicy;
use measure::snp::{CPU_TYPES, ShapeRow, ShapeTable, ShapeTableError, ShapeTableSource};
use measure::verity::VerityRoot;
use serde::{Deserialize, Serialize};

/// Most products in a statement.
pub(super) const MAX_PRODUCTS: usize = 8;

/// An image that may be trusted, and what hardware says of it when it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Its version; a later release has a greater one.
    pub version: Version,
    /// Grows by at least one with each release. A status names the smallest that still counts.
    #[serde(deserialize_with = "integer")]
    pub counter: u64,
    /// The image is not to be trusted after this time, whatever a status says.
    #[serde(with = "time")]
    pub not_after: Time,
    /// The git commit that it was built from.
    pub commit: Sha1,
    /// SHA-256 of `image.lock` in that commit.
    pub lock_sha256: Sha256,
    /// The Rust release that compiles the builder, from `rust-toolchain.toml`. What compiles the guest is in the lock.
    pub toolchain: Version,
    /// What the guest runs on: `vitrine.tee` of the command line.
    #[serde(with = "tee")]
    pub tee: Tee,
    /// Whether the guest withstands tables and code that its host makes.
    pub host_resistant: bool,
    /// What the host sees of the tokens.
    pub token_access: TokenAccess,
    /// The measured kernel command line, without the NUL that is hashed with it.
    pub command_line: String,
    /// Root of the root volume's hash tree, as on the command line.
    pub root_sha256: VerityRoot,
    /// Root of the model volume's hash tree, as on the command line.
    pub model_sha256: VerityRoot,
    /// What every launch digest derives from.
    pub snp: ShapeTableSource,
    /// The launch policy that the guest must have, for each product it may run on, sorted by product.
    pub launch_policies: Vec<LaunchPolicy>,
}

/// What a host sees when it traces pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenAccess {
    /// Tables are read at places that depend on the tokens.
    Indexed,
    /// No place that is read depends on a token.
    Oblivious,
}

/// The launch policy on one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchPolicy {
    /// The product.
    pub product: Product,
    /// POLICY, exactly.
    #[serde(with = "policy")]
    pub policy: GuestPolicy,
}

impl Release {
    /// Every launch digest that this release allows, with the shape it belongs to ([`shape_name`]).
    ///
    /// # Errors
    /// When the digests do not derive from [`Self::snp`], or this program does not know the VMM.
    pub fn shapes(&self) -> Result<ShapeTable, ShapeTableError> {
        ShapeTable::try_from(self.snp.clone())
    }

    pub(super) fn check(&self, subjects: &[Subject]) -> Result<(), StatementError> {
        let plain = |name: &str| !name.contains('/') && !name.starts_with('.');
        require("subject name", subjects.iter().all(|subject| plain(&subject.name)), || {
            let names: Vec<_> = subjects.iter().map(|subject| subject.name.as_str()).collect();
            ("names of files".to_owned(), names.join(" "))
        })?;
        require("counter", self.counter > 0, || ("at least 1".to_owned(), "0".to_owned()))?;
        require("command_line", self.command_line.len() <= MAX_LEN, || {
            (format!("at most {MAX_LEN} bytes"), self.command_line.len().to_string())
        })?;
        // Not parsed by today's grammar, which older and newer releases need not follow.
        for (key, value) in [
            ("vitrine.tee", self.tee.to_string()),
            ("vitrine.root.digest", self.root_sha256.to_string()),
            ("vitrine.model.digest", self.model_sha256.to_string()),
        ] {
            let tokens = self.command_line.split(' ').filter_map(|token| token.split_once('='));
            let values: Vec<_> = tokens.filter(|(name, _)| *name == key).map(|(_, value)| value).collect();
            require("command_line", values == [value.as_str()], || {
                (format!("{key}={value} once"), format!("{values:?}"))
            })?;
        }
        let vmm = &self.snp.vmm;
        require("snp.vmm", vmm.len() <= MAX_TEXT, || (format!("at most {MAX_TEXT} bytes"), vmm.len().to_string()))?;
        let policies = &self.launch_policies;
        let ascending = policies.is_sorted_by(|left, right| left.product < right.product);
        require("launch_policies", ascending && (1..=MAX_PRODUCTS).contains(&policies.len()), || {
            ("at least one, in ascending order of distinct products".to_owned(), format!("{policies:?}"))
        })
    }
}

/// A shape in words, such as `4 vCPUs of 0xa10f10 (EPYC-Genoa), SEV_FEATURES 0x1`.
pub fn shape_name(row: &ShapeRow) -> String {
    let name = CPU_TYPES.iter().find(|(_, signature)| *signature == row.cpu).map_or("unnamed", |(name, _)| name);
    format!("{} vCPUs of {} ({name}), SEV_FEATURES {}", row.vcpus.count(), row.cpu, row.sev_features)
}

mod policy {
    use crate::statement::number::integer;
    use measure::snp::report::GuestPolicy;
    use serde::{Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(policy: &GuestPolicy, serializer: S) -> Result<S::Ok, S::Error> {
        policy.0.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<GuestPolicy, D::Error> {
        integer(deserializer).map(GuestPolicy)
    }
}

mod tee {
    use measure::cmdline::Tee;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(tee: &Tee, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(tee)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tee, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let known = [Tee::Snp, Tee::Tdx, Tee::Simulated].into_iter().find(|tee| tee.to_string() == text);
        known.ok_or_else(|| D::Error::custom(format!("expected snp, tdx or simulated, found {text:?}")))
    }
}
