//! `vitrine`: what a user of a confidential image types.

fn main() {}
