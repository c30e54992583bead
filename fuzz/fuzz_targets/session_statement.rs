//! See `fuzz::session_statement`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::session_statement);
