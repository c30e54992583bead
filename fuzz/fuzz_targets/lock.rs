//! See `fuzz::lock`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::lock);
