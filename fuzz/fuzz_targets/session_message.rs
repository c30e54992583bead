//! See `fuzz::session_message`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::session_message);
