//! `[snp]`: what is demanded of SEV-SNP reports.

use super::read::{PolicyError, Table, Value};
use super::release::MAX_AGE;
use super::{bit, demand, demand_or_release, permit};
use measure::Digest;
use measure::snp::LaunchDigest;
use measure::snp::appraise::{
    AuthorKey, Chips, Demand, IdBlock, Identity, PlatformBits, PolicyBits, ProductTerms, Products, Requirements,
    SigningKeys, Terms,
};
use measure::snp::product::{Product, TcbVersion};
use measure::snp::report::{AbiVersion, ChipId, FirmwareVersion, GuestPolicy};
use std::collections::BTreeMap;

/// Longest name of a measurement or of a cloud provider, in bytes.
const MAX_NAME: usize = 128;

/// What is demanded of SEV-SNP reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpPolicy {
    /// What is asked of the report. What the policy leaves to the release, HOST_DATA where it leaves that to the operator
    /// document, and REPORT_DATA, which is the caller's to know, are [`Demand::Missing`].
    pub requirements: Requirements,
}

pub(super) fn read(value: Value<'_>) -> Result<SnpPolicy, PolicyError> {
    value.table(|snp| {
        let identity = Identity {
            measurements: demand_or_release(snp.take("measurements")?, measurements)?,
            report_data: Demand::Missing("the caller's report data".into()),
            host_data: host_data(snp.take("host-data")?)?,
            vmpl: demand(snp.take("vmpl")?, |value| value.number(0_u32, 3))?,
            id_block: id_block(snp.take("id-block")?)?,
            migration_agent: permit(snp.take("migration-agent")?)?,
        };
        let chips = Chips {
            masked: permit(snp.take("masked-chips")?)?,
            allowed: demand(snp.take("chips")?, |value| value.list(chip))?,
            denied: snp.take("denied-chips")?.list(chip)?,
        };
        let requirements = Requirements {
            missing_crl: permit(snp.take("missing-crl")?)?,
            crl_max_age: demand(snp.take("crl-max-age")?, |value| value.number(0, MAX_AGE))?,
            signing_key: signing_keys(snp.take("vlek-providers")?)?,
            chips,
            provisional_firmware: permit(snp.take("provisional-firmware")?)?,
            identity,
            products: Products {
                milan: terms(snp.take("milan")?, Product::Milan)?,
                genoa: terms(snp.take("genoa")?, Product::Genoa)?,
                turin: terms(snp.take("turin")?, Product::Turin)?,
            },
        };
        Ok(SnpPolicy { requirements })
    })
}

/// HOST_DATA, `any`, or `operator`: whatever operator document comes with the evidence says what it must be.
fn host_data(value: Value<'_>) -> Result<Demand<Digest<32>>, PolicyError> {
    if value.is("operator") {
        Ok(Demand::Missing("the operator document".into()))
    } else {
        demand(value, Value::digest)
    }
}

fn chip(value: Value<'_>) -> Result<ChipId, PolicyError> {
    value.digest().map(ChipId)
}

/// Digests, each with the name that verdicts show.
fn measurements(value: Value<'_>) -> Result<BTreeMap<LaunchDigest, String>, PolicyError> {
    value.map("96 lowercase hexadecimal digits", |name| name.text(MAX_NAME))
}

fn signing_keys(value: Value<'_>) -> Result<SigningKeys, PolicyError> {
    if value.is("refused") {
        return Ok(SigningKeys::VcekOnly);
    }
    let csp_ids = demand(value, |value| value.list(|value| value.text(MAX_NAME)))?;
    Ok(SigningKeys::VcekOrVlek { csp_ids })
}

fn id_block(value: Value<'_>) -> Result<IdBlock, PolicyError> {
    if value.is("any") {
        return Ok(IdBlock::Unpinned);
    }
    value.table(|block| {
        Ok(IdBlock::Pinned {
            id_keys: block.take("id-keys")?.list(Value::digest)?,
            author_key: author_key(block.take("author-keys")?)?,
            family_id: demand(block.take("family-id")?, Value::digest)?,
            image_id: demand(block.take("image-id")?, Value::digest)?,
            guest_svn_floor: block.take("guest-svn-floor")?.number(0, u32::MAX)?,
        })
    })
}

fn author_key(value: Value<'_>) -> Result<AuthorKey, PolicyError> {
    if value.is("any") {
        return Ok(AuthorKey::Unpinned);
    }
    value.list(Value::digest).map(AuthorKey::Pinned)
}

fn terms(value: Value<'_>, product: Product) -> Result<Terms, PolicyError> {
    if value.is("refused") {
        return Ok(Terms::Refused);
    }
    value.table(|terms| {
        Ok(Terms::Accepted(Box::new(ProductTerms {
            launch_policy: demand_or_release(terms.take("launch-policy")?, |value| mask(value).map(GuestPolicy))?,
            abi_floor: abi(terms.take("abi-floor")?)?,
            policy: terms.take("policy")?.table(policy_bits)?,
            platform: terms.take("platform")?.table(platform_bits)?,
            reported_tcb_floor: tcb(terms.take("reported-tcb-floor")?, product)?,
            launch_tcb_floor: tcb(terms.take("launch-tcb-floor")?, product)?,
            firmware_floor: firmware(terms.take("firmware-floor")?)?,
            launch_mitigations: demand(terms.take("launch-mitigations")?, mask)?,
            current_mitigations: demand(terms.take("current-mitigations")?, mask)?,
        })))
    })
}

fn policy_bits(bits: &mut Table<'_>) -> Result<PolicyBits, PolicyError> {
    Ok(PolicyBits {
        smt: bit(bits.take("smt")?)?,
        migrate_ma: bit(bits.take("migrate-ma")?)?,
        debug: bit(bits.take("debug")?)?,
        single_socket: bit(bits.take("single-socket")?)?,
        cxl: bit(bits.take("cxl")?)?,
        aes_256_xts: bit(bits.take("aes-256-xts")?)?,
        rapl_disabled: bit(bits.take("rapl-disabled")?)?,
        ciphertext_hiding: bit(bits.take("ciphertext-hiding")?)?,
        page_swap_disabled: bit(bits.take("page-swap-disabled")?)?,
    })
}

fn platform_bits(bits: &mut Table<'_>) -> Result<PlatformBits, PolicyError> {
    Ok(PlatformBits {
        smt: bit(bits.take("smt")?)?,
        tsme: bit(bits.take("tsme")?)?,
        ecc: bit(bits.take("ecc")?)?,
        rapl_disabled: bit(bits.take("rapl-disabled")?)?,
        ciphertext_hiding: bit(bits.take("ciphertext-hiding")?)?,
        alias_check_complete: bit(bits.take("alias-check-complete")?)?,
        iommu_write_safe: bit(bits.take("iommu-write-safe")?)?,
        tio: bit(bits.take("tio")?)?,
        unknown: permit(bits.take("unknown")?)?,
    })
}

/// A word of bits. TOML's numbers have 63.
fn mask(value: Value<'_>) -> Result<u64, PolicyError> {
    value.number(0, i64::MAX.unsigned_abs())
}

fn tcb(value: Value<'_>, product: Product) -> Result<TcbVersion, PolicyError> {
    let component = |tcb: &mut Table<'_>, name| tcb.take(name)?.number(0_u8, u8::MAX);
    value.table(|tcb| {
        Ok(TcbVersion {
            fmc: if product == Product::Turin { component(tcb, "fmc")? } else { 0 },
            boot_loader: component(tcb, "boot-loader")?,
            tee: component(tcb, "tee")?,
            snp: component(tcb, "snp")?,
            microcode: component(tcb, "microcode")?,
        })
    })
}

fn abi(value: Value<'_>) -> Result<AbiVersion, PolicyError> {
    value.table(|version| {
        let (major, minor) = (version.take("major")?.number(0, u8::MAX)?, version.take("minor")?.number(0, u8::MAX)?);
        Ok(AbiVersion { major, minor })
    })
}

fn firmware(value: Value<'_>) -> Result<FirmwareVersion, PolicyError> {
    value.table(|version| {
        let (major, minor) = (version.take("major")?.number(0, u8::MAX)?, version.take("minor")?.number(0, u8::MAX)?);
        Ok(FirmwareVersion { major, minor, build: version.take("build")?.number(0, u8::MAX)? })
    })
}
