//! See `fuzz::snp_crl`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::snp_crl);
