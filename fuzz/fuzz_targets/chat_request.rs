//! See `fuzz::chat_request`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::chat_request);
