//! See `fuzz::fleet`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::fleet);
