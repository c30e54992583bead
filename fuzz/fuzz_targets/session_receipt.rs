//! See `fuzz::session_receipt`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::session_receipt);
