//! See `fuzz::cpio`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::cpio);
