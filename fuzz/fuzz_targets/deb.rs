//! See `fuzz::deb`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::deb);
