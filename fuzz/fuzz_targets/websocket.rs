//! See `fuzz::websocket`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::websocket);
