//! `[tdx]`: what is demanded of TDX quotes.

use super::read::{PolicyError, Value};
use super::{demand, permit};
use measure::Sha384;
use measure::snp::appraise::Demand;
use measure::tdx::appraise::{Advisories, Identity, Platforms, Requirements, Services, Tcb, TcbStatus};
use measure::tdx::quote::{Fmspc, Ppid, TdAttributes};
use std::collections::BTreeSet;

/// Longest name of an advisory, in bytes.
const MAX_NAME: usize = 32;

/// What is demanded of TDX quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxPolicy {
    /// What is asked of the quote. What the policy leaves to the release, and REPORTDATA, which is the caller's to know,
    /// are [`Demand::Missing`].
    pub requirements: Requirements,
}

pub(super) fn read(value: Value<'_>) -> Result<TdxPolicy, PolicyError> {
    value.table(|tdx| {
        let accepted = demand(tdx.take("advisories")?, names)?;
        let tcb = Tcb {
            statuses: tdx.take("statuses")?.list(status)?,
            advisories: advisories(accepted, names(tdx.take("denied-advisories")?)?),
            evaluation_floor: demand(tdx.take("evaluation-floor")?, |value| value.number(0, u32::MAX))?,
        };
        let platforms = Platforms {
            families: demand(tdx.take("families")?, |value| value.list(family))?,
            denied_families: tdx.take("denied-families")?.list(family)?,
            machines: demand(tdx.take("machines")?, |value| value.list(machine))?,
            denied_machines: tdx.take("denied-machines")?.list(machine)?,
            smt: permit(tdx.take("smt")?)?,
            dynamic: permit(tdx.take("dynamic-platforms")?)?,
            cached_keys: permit(tdx.take("cached-keys")?)?,
        };
        let identity = Identity {
            mrtd: register(tdx.take("mrtd")?)?,
            rtmr: [
                register(tdx.take("rtmr0")?)?,
                register(tdx.take("rtmr1")?)?,
                register(tdx.take("rtmr2")?)?,
                register(tdx.take("rtmr3")?)?,
            ],
            mrconfigid: register(tdx.take("mrconfigid")?)?,
            mrowner: register(tdx.take("mrowner")?)?,
            mrownerconfig: register(tdx.take("mrownerconfig")?)?,
            report_data: Demand::Missing("the caller has not said what it must be".into()),
        };
        let requirements = Requirements {
            tcb,
            platforms,
            modules: demand(tdx.take("modules")?, |value| value.list(Value::digest))?,
            attributes: attributes(tdx.take("attributes")?)?,
            services: services(tdx.take("service-guests")?)?,
            devices: permit(tdx.take("devices")?)?,
            identity,
        };
        Ok(TdxPolicy { requirements })
    })
}

fn status(value: Value<'_>) -> Result<TcbStatus, PolicyError> {
    value.word(&TcbStatus::ALL.map(|status| (status.name(), status)))
}

fn names(value: Value<'_>) -> Result<BTreeSet<String>, PolicyError> {
    value.list(|value| value.text(MAX_NAME))
}

fn advisories(accepted: Demand<BTreeSet<String>>, denied: BTreeSet<String>) -> Advisories {
    match accepted {
        Demand::Is(accepted) => Advisories::NoneBut(accepted.difference(&denied).cloned().collect()),
        _ if denied.is_empty() => Advisories::Any,
        _ => Advisories::AllBut(denied),
    }
}

fn family(value: Value<'_>) -> Result<Fmspc, PolicyError> {
    value.digest().map(Fmspc)
}

fn machine(value: Value<'_>) -> Result<Ppid, PolicyError> {
    value.digest().map(Ppid)
}

/// Digests that are accepted, `any`, or `release`.
fn register(value: Value<'_>) -> Result<Demand<BTreeSet<Sha384>>, PolicyError> {
    if value.is("release") {
        return Ok(Demand::Missing("releases do not name TDX registers yet".into()));
    }
    demand(value, |value| value.list(Value::digest))
}

/// Attributes, by their names.
fn attributes(value: Value<'_>) -> Result<TdAttributes, PolicyError> {
    let bits = value.list(|value| value.word(&TdAttributes::NAMED.map(|(bit, name)| (name, bit))))?;
    Ok(bits.into_iter().fold(TdAttributes(0), TdAttributes::or))
}

fn services(value: Value<'_>) -> Result<Services, PolicyError> {
    if value.is("refused") {
        return Ok(Services::None);
    }
    Ok(match demand(value, |value| value.list(Value::digest))? {
        Demand::Is(accepted) => Services::OneOf(accepted),
        _ => Services::Any,
    })
}
