//! See `fuzz::log_tile`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::log_tile);
