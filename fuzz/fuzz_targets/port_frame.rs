//! See `fuzz::port_frame`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::port_frame);
