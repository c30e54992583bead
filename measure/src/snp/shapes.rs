//! The launch digests of one image for every shape it may be given ("SNP shape table" in `docs/formats.md`).

use super::cpu::{CpuSignature, SevFeatures, Shape, Vcpus};
use super::gctx::LaunchDigest;
use super::launch::BeforeVmsas;
use super::vmsa::VmmProfile;
use crate::digest::{Digest, Sha256};

/// Signatures in Vitrine's tables: EPYC-v4, Milan, Genoa, Turin.
pub const SHAPE_CPUS: [CpuSignature; 4] =
    [CpuSignature(0x80_0f12), CpuSignature(0xa0_0f11), CpuSignature(0xa1_0f10), CpuSignature(0xb0_0f00)];
/// SEV_FEATURES in Vitrine's tables: SNP alone, and with DebugSwap, which host Linux 6.6 and 6.7 turned on.
pub const SHAPE_FEATURES: [SevFeatures; 2] = [SevFeatures(0x1), SevFeatures(0x21)];
/// Largest number of vCPUs in a table.
pub const SHAPE_VCPUS: u32 = 64;
/// Most signatures, and most SEV_FEATURES, in a table: bounds the work of deriving one that came from outside.
const MAX_LIST: usize = 16;
/// What the hash of a table begins with.
const LABEL: &[u8] = b"vitrine/snp-shape-table/1\0";

/// The compact form: what the table derives from, and the table's hash.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct ShapeTableSource {
    /// The launch digest before the first VMSA page.
    #[cfg_attr(feature = "serde", serde(rename = "before_vmsas_sha384"))]
    pub before_vmsas: LaunchDigest,
    /// Where vCPUs other than the first begin to run.
    pub ap_reset: u32,
    /// Name of the VMM's profile.
    pub vmm: String,
    /// CPU signatures, ascending.
    pub cpus: Vec<CpuSignature>,
    /// SEV_FEATURES, ascending.
    pub sev_features: Vec<SevFeatures>,
    /// The table is for 1 to this many vCPUs.
    pub max_vcpus: Vcpus,
    /// SHA-256 of the table's canonical bytes.
    pub table_sha256: Sha256,
}

/// The full form.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields, try_from = "Unchecked")
)]
pub struct ShapeTable {
    source: ShapeTableSource,
    rows: Vec<ShapeRow>,
}

/// One shape and its launch digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct ShapeRow {
    /// Signature of the vCPUs.
    pub cpu: CpuSignature,
    /// SEV_FEATURES.
    pub sev_features: SevFeatures,
    /// Number of vCPUs.
    pub vcpus: Vcpus,
    /// The launch digest.
    #[cfg_attr(feature = "serde", serde(rename = "launch_digest_sha384"))]
    pub launch_digest: LaunchDigest,
}

/// Why a table does not follow from its compact form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeTableError {
    /// The VMM has no profile of that name.
    #[error("unknown VMM profile {found:?}")]
    Vmm {
        /// The name.
        found: String,
    },
    /// A list is empty, too long, not ascending or has duplicates.
    #[error("expected 1 to {MAX_LIST} ascending {field}, found {found}")]
    List {
        /// Which list.
        field: &'static str,
        /// What it holds.
        found: String,
    },
    /// The largest vCPU count is out of range.
    #[error("expected at most {SHAPE_VCPUS} vCPUs in a shape table, found {found}")]
    Vcpus {
        /// The count.
        found: u32,
    },
    /// The derived table has another hash.
    #[error("expected a shape table with sha256 {expected}, found {found}")]
    Hash {
        /// The hash in the compact form.
        expected: Sha256,
        /// The hash of what was derived.
        found: Sha256,
    },
    /// A row of the full form is not the one derived.
    #[error("row {row} of the shape table does not follow from its source")]
    Row {
        /// Its number, from 1; one past the shorter table if the lengths differ.
        row: usize,
    },
}

impl ShapeTable {
    /// The table of Vitrine's shapes for one image.
    pub fn new(before_vmsas: &BeforeVmsas) -> Self {
        let max_vcpus = Vcpus::try_from(SHAPE_VCPUS).expect("the constant is in range");
        let rows = derive(before_vmsas, &SHAPE_CPUS, &SHAPE_FEATURES, max_vcpus);
        let source = ShapeTableSource {
            before_vmsas: before_vmsas.launch_digest,
            ap_reset: before_vmsas.ap_reset,
            vmm: before_vmsas.vmm.name.to_owned(),
            cpus: SHAPE_CPUS.to_vec(),
            sev_features: SHAPE_FEATURES.to_vec(),
            max_vcpus,
            table_sha256: table_sha256(&rows),
        };
        Self { source, rows }
    }

    /// The compact form.
    pub fn source(&self) -> &ShapeTableSource {
        &self.source
    }

    /// The rows, sorted by signature, SEV_FEATURES and number of vCPUs.
    pub fn rows(&self) -> &[ShapeRow] {
        &self.rows
    }

    /// The row with that launch digest.
    pub fn find(&self, launch_digest: &LaunchDigest) -> Option<&ShapeRow> {
        self.rows.iter().find(|row| row.launch_digest == *launch_digest)
    }
}

impl TryFrom<ShapeTableSource> for ShapeTable {
    type Error = ShapeTableError;

    /// Derives the full form and checks its hash.
    fn try_from(source: ShapeTableSource) -> Result<Self, ShapeTableError> {
        let vmm = VmmProfile::named(&source.vmm).ok_or_else(|| ShapeTableError::Vmm { found: source.vmm.clone() })?;
        ascending("CPU signatures", &source.cpus)?;
        ascending("SEV_FEATURES", &source.sev_features)?;
        if source.max_vcpus.count() > SHAPE_VCPUS {
            return Err(ShapeTableError::Vcpus { found: source.max_vcpus.count() });
        }
        let before_vmsas = BeforeVmsas { launch_digest: source.before_vmsas, ap_reset: source.ap_reset, vmm };
        let rows = derive(&before_vmsas, &source.cpus, &source.sev_features, source.max_vcpus);
        let (expected, found) = (source.table_sha256, table_sha256(&rows));
        if expected != found {
            return Err(ShapeTableError::Hash { expected, found });
        }
        Ok(Self { source, rows })
    }
}

fn ascending<T: PartialOrd + core::fmt::Debug>(field: &'static str, list: &[T]) -> Result<(), ShapeTableError> {
    if !list.is_empty() && list.len() <= MAX_LIST && list.is_sorted_by(|a, b| a < b) {
        return Ok(());
    }
    Err(ShapeTableError::List { field, found: format!("{list:?}") })
}

/// Every row. The digest for one more vCPU is one step further, so a row costs one page.
fn derive(before: &BeforeVmsas, cpus: &[CpuSignature], features: &[SevFeatures], vcpus: Vcpus) -> Vec<ShapeRow> {
    let mut rows = Vec::new();
    for &cpu in cpus {
        for &sev_features in features {
            let steps = before.vmsa_steps(&Shape { vcpus, cpu, sev_features });
            rows.extend(vcpus.up_to().zip(steps).map(|(vcpus, step)| ShapeRow {
                cpu,
                sev_features,
                vcpus,
                launch_digest: step.launch_digest,
            }));
        }
    }
    rows
}

/// SHA-256 of the canonical bytes: the label, then per row u32 signature, u64 SEV_FEATURES, u32 number of vCPUs (all
/// little-endian) and the launch digest.
fn table_sha256(rows: &[ShapeRow]) -> Sha256 {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new_with_prefix(LABEL);
    for row in rows {
        hash.update(row.cpu.0.to_le_bytes());
        hash.update(row.sev_features.0.to_le_bytes());
        hash.update(row.vcpus.count().to_le_bytes());
        hash.update(row.launch_digest.0.as_bytes());
    }
    Digest::new(hash.finalize().into())
}

/// A full form that may say anything.
#[cfg(feature = "serde")]
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    source: ShapeTableSource,
    rows: Vec<ShapeRow>,
}

#[cfg(feature = "serde")]
impl TryFrom<Unchecked> for ShapeTable {
    type Error = ShapeTableError;

    fn try_from(unchecked: Unchecked) -> Result<Self, ShapeTableError> {
        let table = Self::try_from(unchecked.source)?;
        if table.rows == unchecked.rows {
            return Ok(table);
        }
        let same = table.rows.iter().zip(&unchecked.rows).take_while(|(derived, given)| derived == given).count();
        Err(ShapeTableError::Row { row: same.saturating_add(1) })
    }
}
