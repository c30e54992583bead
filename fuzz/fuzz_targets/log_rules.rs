//! See `fuzz::log_rules`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::log_rules);
