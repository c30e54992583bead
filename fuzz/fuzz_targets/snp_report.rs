//! See `fuzz::snp_report`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::snp_report);
