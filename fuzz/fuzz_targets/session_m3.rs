//! See `fuzz::session_m3`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::session_m3);
