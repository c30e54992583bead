//! What is asked of a quote. There are no defaults, and "any" is a value that a reviewer can see.

use super::super::quote::{Fmspc, Ppid, TdAttributes};
use crate::appraise::{Demand, Permit};
use crate::digest::{Digest, Sha384};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Everything that is asked of a quote and of the platform that signed it. Some things are asked of every quote and
/// have no field here: no debugging or profiling, no migration, SEPT_VE_DISABLE, an Intel-signed TDX module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirements {
    /// What Intel says of the platform's security version.
    pub tcb: Tcb,
    /// Which platforms.
    pub platforms: Platforms,
    /// The TDX modules that are accepted, by MRSEAM.
    pub modules: Demand<BTreeSet<Sha384>>,
    /// The attributes that a guest may have beside SEPT_VE_DISABLE.
    pub attributes: TdAttributes,
    /// The service guests bound to this one.
    pub services: Services,
    /// Whether devices may be part of the guest (TDX Connect). Only reports of TDX 1.5 with extensions
    /// can say; where devices are refused, no other is enough.
    pub devices: Permit,
    /// Who the guest is and what it says.
    pub identity: Identity,
}

/// What Intel says of the platform's security version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcb {
    /// The statuses that are accepted. `Revoked` never is.
    pub statuses: BTreeSet<TcbStatus>,
    /// The advisories that may apply.
    pub advisories: Advisories,
    /// The lowest `tcbEvaluationDataNumber` of the TCB info and the QE identity: which of Intel's statements, by age.
    pub evaluation_floor: Demand<u32>,
}

/// Which of Intel's advisories (`INTEL-SA-` and five digits) may apply to the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advisories {
    /// All.
    Any,
    /// All but these.
    AllBut(BTreeSet<String>),
    /// None but these.
    NoneBut(BTreeSet<String>),
}

/// Which platforms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platforms {
    /// The processor families that are accepted.
    pub families: Demand<BTreeSet<Fmspc>>,
    /// The processor families that are refused; none if it is empty.
    pub denied_families: BTreeSet<Fmspc>,
    /// The machines that are accepted.
    pub machines: Demand<BTreeSet<Ppid>>,
    /// The machines that are refused; none if it is empty.
    pub denied_machines: BTreeSet<Ppid>,
    /// Simultaneous multithreading is on.
    pub smt: Permit,
    /// Packages can be added to the platform.
    pub dynamic: Permit,
    /// Intel's registration service keeps the platform's root keys.
    pub cached_keys: Permit,
}

/// The service guests bound to a guest, of which a migration guest is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Services {
    /// None.
    None,
    /// These, by MRSERVICETD (SERVTD_HASH).
    OneOf(BTreeSet<Sha384>),
    /// Whatever they are.
    Any,
}

/// Who the guest is and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// MRTD, the guest as it was built.
    pub mrtd: Demand<BTreeSet<Sha384>>,
    /// RTMR0 to RTMR3, what firmware and guest measured as they ran.
    pub rtmr: [Demand<BTreeSet<Sha384>>; 4],
    /// MRCONFIGID, from the host at launch.
    pub mrconfigid: Demand<BTreeSet<Sha384>>,
    /// MROWNER, from the host at launch.
    pub mrowner: Demand<BTreeSet<Sha384>>,
    /// MROWNERCONFIG, from the host at launch.
    pub mrownerconfig: Demand<BTreeSet<Sha384>>,
    /// What the guest put into the report, all 64 bytes.
    pub report_data: Demand<Digest<64>>,
}

/// What Intel says of a platform's security version, by the names of its API. `Revoked` is missing because nothing
/// accepts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TcbStatus {
    /// Nothing is known to be missing.
    UpToDate,
    /// Software in the guest must defend itself.
    SwHardeningNeeded,
    /// The platform's configuration is weak.
    ConfigurationNeeded,
    /// Both.
    ConfigurationAndSwHardeningNeeded,
    /// Security updates are missing.
    OutOfDate,
    /// Security updates are missing and the configuration is weak.
    OutOfDateConfigurationNeeded,
    /// Security updates were missing when the guest was launched.
    TdRelaunchAdvised,
    /// As before, and the configuration is weak.
    TdRelaunchAdvisedConfigurationNeeded,
}

/// A text that is none of the statuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a TCB status such as UpToDate, found {found:?}")]
pub struct ParseTcbStatusError {
    /// The text.
    pub found: String,
}

impl TcbStatus {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::UpToDate,
        Self::SwHardeningNeeded,
        Self::ConfigurationNeeded,
        Self::ConfigurationAndSwHardeningNeeded,
        Self::OutOfDate,
        Self::OutOfDateConfigurationNeeded,
        Self::TdRelaunchAdvised,
        Self::TdRelaunchAdvisedConfigurationNeeded,
    ];

    /// As Intel writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SwHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSwHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::TdRelaunchAdvised => "TDRelaunchAdvised",
            Self::TdRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
        }
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TcbStatus {
    type Err = ParseTcbStatusError;

    fn from_str(text: &str) -> Result<Self, ParseTcbStatusError> {
        let found = Self::ALL.into_iter().find(|status| status.name() == text);
        found.ok_or_else(|| ParseTcbStatusError { found: text.to_owned() })
    }
}
