//! See `fuzz::helper_message`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::helper_message);
