//! See `fuzz::tdx_quote`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::tdx_quote);
