//! See `fuzz::erofs`.
#![cfg_attr(fuzzing, no_main)]
fuzz::target!(fuzz::erofs);
