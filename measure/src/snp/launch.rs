//! The order in which QEMU and KVM add pages to a launch.

use super::cpu::Shape;
use super::gctx::{Gctx, LaunchDigest, PAGE, PageType, Step};
use super::ovmf::{Ovmf, Section, SectionType};
use super::sev_hashes::{HashesPageError, KernelHashes};
use super::vmsa::VmmProfile;
use crate::digest::Sha384;

/// Where the first vCPU begins to run.
const BSP_RESET: u32 = 0xffff_fff0;

/// Why a launch cannot be measured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// QEMU refuses a firmware without one of these.
    #[error("expected a firmware for SEV-SNP, found one without {missing}")]
    NotForSnp {
        /// What it lacks.
        missing: &'static str,
    },
    /// Kernel hashes do not go with the firmware.
    #[error(transparent)]
    KernelHashes(#[from] HashesPageError),
}

/// A launch measured up to the VMSA pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Every page so far, in order.
    pub steps: Vec<Step>,
    /// What the rest of the launch depends on.
    pub before_vmsas: BeforeVmsas,
}

/// All that the launch digests of one image have in common: with a [`Shape`] each follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeforeVmsas {
    /// The launch digest before the first VMSA page.
    pub launch_digest: LaunchDigest,
    /// Where vCPUs other than the first begin to run.
    pub ap_reset: u32,
    /// What the VMM puts into VMSA pages.
    pub vmm: &'static VmmProfile,
}

/// A launch measured up to the end of the firmware's own pages, which do not depend on what it will boot.
#[derive(Debug, Clone)]
pub struct FirmwareLaunch<'a> {
    ovmf: &'a Ovmf<'a>,
    sections: &'a [Section],
    ap_reset: u32,
    gctx: Gctx,
    steps: Vec<Step>,
}

impl<'a> FirmwareLaunch<'a> {
    /// Measures the firmware's pages.
    pub fn new(ovmf: &'a Ovmf<'a>) -> Result<Self, LaunchError> {
        let sections = ovmf.sections().ok_or(LaunchError::NotForSnp { missing: "SEV metadata" })?;
        let ap_reset = ovmf.ap_reset().ok_or(LaunchError::NotForSnp { missing: "SEV-ES reset address" })?;
        let mut gctx = Gctx::START;
        let mut steps = Vec::new();
        let mut previous: Option<(&[u8], Sha384)> = None;
        for (page, gpa) in ovmf.image().chunks(PAGE).zip((ovmf.gpa()..).step_by(PAGE)) {
            // Much of a firmware is padding, so a page is often the same as the one before.
            let contents = match previous {
                Some((bytes, digest)) if bytes == page => digest,
                _ => Sha384::of(page),
            };
            previous = Some((page, contents));
            steps.push(gctx.update(PageType::Normal, gpa, contents));
        }
        Ok(Self { ovmf, sections, ap_reset, gctx, steps })
    }

    /// Measures the rest but for the VMSA pages.
    pub fn with(self, kernel: Option<&KernelHashes>, vmm: &'static VmmProfile) -> Result<Launch, LaunchError> {
        let Self { ovmf, sections, ap_reset, mut gctx, mut steps } = self;
        let hashes_page = kernel.map(|kernel| kernel.page(ovmf)).transpose()?;
        for &Section { gpa, size, section_type } in sections {
            let (page_type, contents) = match (section_type, &hashes_page) {
                (SectionType::KernelHashes, Some(page)) => (PageType::Normal, Sha384::of(&page.bytes)),
                (SectionType::SecMem | SectionType::SvsmCaa | SectionType::KernelHashes, _) => {
                    (PageType::Zero, Gctx::NO_CONTENTS)
                }
                (SectionType::Secrets, _) => (PageType::Secrets, Gctx::NO_CONTENTS),
                (SectionType::Cpuid, _) => (PageType::Cpuid, Gctx::NO_CONTENTS),
            };
            let pages = (u64::from(gpa)..).step_by(PAGE).take(size as usize / PAGE);
            steps.extend(pages.map(|gpa| gctx.update(page_type, gpa, contents)));
        }
        Ok(Launch { steps, before_vmsas: BeforeVmsas { launch_digest: gctx.launch_digest, ap_reset, vmm } })
    }
}

impl Launch {
    /// Measures everything but the VMSA pages.
    pub fn new(ovmf: &Ovmf<'_>, kernel: Option<&KernelHashes>, vmm: &'static VmmProfile) -> Result<Self, LaunchError> {
        FirmwareLaunch::new(ovmf)?.with(kernel, vmm)
    }

    /// Every page of the launch in order, VMSA pages included; the last one's digest is the launch digest.
    pub fn trace(&self, shape: &Shape) -> Vec<Step> {
        self.steps.iter().copied().chain(self.before_vmsas.vmsa_steps(shape)).collect()
    }
}

impl BeforeVmsas {
    /// The launch digest of a guest of that shape.
    pub fn digest(&self, shape: &Shape) -> LaunchDigest {
        self.vmsa_steps(shape).last().map_or(self.launch_digest, |step| step.launch_digest)
    }

    /// The VMSA pages of a guest of that shape, the first vCPU's first.
    pub fn vmsa_steps(&self, shape: &Shape) -> impl Iterator<Item = Step> + use<> {
        let page = |eip| Sha384::of(&self.vmm.vmsa_page(eip, shape.cpu, shape.sev_features));
        let (first, other) = (page(BSP_RESET), page(self.ap_reset));
        let mut gctx = Gctx { launch_digest: self.launch_digest };
        let gpa = self.vmm.vmsa_gpa;
        let others = core::iter::repeat(other);
        core::iter::once(first)
            .chain(others)
            .take(shape.vcpus.count() as usize)
            .map(move |contents| gctx.update(PageType::Vmsa, gpa, contents))
    }
}
