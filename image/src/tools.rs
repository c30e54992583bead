//! Running locked programs on locked inputs, and nothing else.

pub mod compiler;
pub mod mkosi;
pub mod sandbox;
pub mod tree;
