//! See `fuzz::call`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::call);
