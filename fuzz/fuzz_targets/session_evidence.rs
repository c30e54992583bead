//! See `fuzz::session_evidence`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::session_evidence);
