//! See `fuzz::key_file`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::key_file);
