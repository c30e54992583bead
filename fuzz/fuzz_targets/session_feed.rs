//! See `fuzz::session_feed`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::session_feed);
