//! See `fuzz::listing`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::listing);
