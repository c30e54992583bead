//! See `fuzz::disk`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::disk);
