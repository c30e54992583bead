//! See `fuzz::log_policy`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::log_policy);
