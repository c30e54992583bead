//! Running locked programs on locked inputs, and nothing else.

pub mod guest;
pub mod mkosi;
pub mod sandbox;
pub mod tree;
