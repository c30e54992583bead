//! See `fuzz::ovmf`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::ovmf);
