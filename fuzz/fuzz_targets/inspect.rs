//! See `fuzz::inspect`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::inspect);
