//! See `fuzz::processor_message`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::processor_message);
