//! See `fuzz::sigstore_bundle`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::sigstore_bundle);
