//! See `fuzz::log_checkpoint`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::log_checkpoint);
