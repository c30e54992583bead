//! Which bytes go in: what is asked for, what it was resolved to, and how it gets here.

pub mod archive;
pub mod crates;
pub mod fetch;
pub mod lock;
pub mod request;
pub mod resolve;
pub mod store;
