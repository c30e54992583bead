//! From `image.lock` to a measured image that boots.
//!
//! Each stage is a function from one type to the next; none reads the environment or the clock, and only
//! [`inputs::fetch`] and [`inputs::resolve`] touch the network.

pub mod compare;
pub mod contents;
pub mod files;
pub mod formats;
pub mod inputs;
pub mod pipeline;
pub mod progress;
pub mod result;
pub mod tools;
