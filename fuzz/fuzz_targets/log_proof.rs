//! See `fuzz::log_proof`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::log_proof);
