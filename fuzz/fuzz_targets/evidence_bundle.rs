//! See `fuzz::evidence_bundle`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::evidence_bundle);
