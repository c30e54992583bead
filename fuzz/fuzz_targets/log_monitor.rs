//! See `fuzz::log_monitor`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::log_monitor);
