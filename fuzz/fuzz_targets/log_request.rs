//! See `fuzz::log_request`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::log_request);
