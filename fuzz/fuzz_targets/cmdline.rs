//! See `fuzz::cmdline`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::cmdline);
