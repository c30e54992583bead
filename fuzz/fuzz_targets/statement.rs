//! See `fuzz::statement`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::statement);
