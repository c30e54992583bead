//! See `fuzz::worker_frame`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::worker_frame);
