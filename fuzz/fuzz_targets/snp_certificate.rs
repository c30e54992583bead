//! See `fuzz::snp_certificate`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::snp_certificate);
