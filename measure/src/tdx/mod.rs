//! Intel TDX: quotes and the rules over them.
//!
//! The view of a quote is ours and is of the bytes received. That they lead to Intel's root through certificates,
//! revocation lists and Intel's signed statements about processors ("collateral") is for `dcap-qvl` to find out, over
//! the same bytes. Nothing here fetches collateral: it is part of the evidence.

pub mod appraise;
pub mod collateral;
pub mod quote;
