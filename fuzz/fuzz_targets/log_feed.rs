//! See `fuzz::log_feed`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::log_feed);
