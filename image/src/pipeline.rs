//! The stages, their order and cache, and what they make. [`build`] is the place to start reading.

pub mod build;
pub mod dist;
pub mod measured;
pub mod scratch;
pub mod stage;
pub mod volume;
