//! What is done with a finished build: opening it, booting it, making it again elsewhere, keeping what it is made of.

pub mod archive;
pub mod inspect;
pub mod launch;
pub mod reproduce;
pub mod traces;
pub mod vary;
pub mod why;
