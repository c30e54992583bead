//! See `fuzz::dsse`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::dsse);
