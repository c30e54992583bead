//! The rules over a report.

mod requirements;

pub use requirements::{
    AuthorKey, BitDemand, Chips, Demand, IdBlock, Identity, Permit, PlatformBits, PolicyBits, ProductTerms, Products,
    Requirements, RevocationList, SigningKeys, Terms,
};
