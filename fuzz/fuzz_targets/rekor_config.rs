//! See `fuzz::rekor_config`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::rekor_config);
