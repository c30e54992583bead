//! See `fuzz::rekor_answer`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::rekor_answer);
