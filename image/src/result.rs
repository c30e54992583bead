//! What is done with a finished build: opening it, booting it, making it again elsewhere.

pub mod inspect;
pub mod launch;
pub mod traces;
pub mod vary;
