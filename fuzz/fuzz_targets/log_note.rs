//! See `fuzz::log_note`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::log_note);
