//! See `fuzz::operator_document`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::operator_document);
