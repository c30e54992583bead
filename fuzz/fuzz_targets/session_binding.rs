//! See `fuzz::session_binding`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::session_binding);
