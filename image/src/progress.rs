//! How a stage says what it is doing. The library never prints: `xtask` draws bars and lines, tests stay silent.

use std::time::Duration;

/// Told about work as it happens.
pub trait Progress: Send + Sync {
    /// A step has ended: `verb` is one word (`fetch`, `unpack`), `object` what it produced.
    fn done(&self, verb: &str, object: &str, took: Duration);

    /// Work of `total` units begins. The bar ends when it is dropped.
    fn bar(&self, verb: &str, total: u64, unit: Unit) -> Box<dyn Bar>;
}

/// What a bar counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, shown as kB or MB.
    Bytes,
    /// Things, shown as a plain number.
    Items,
}

/// Work under way.
pub trait Bar: Send + Sync {
    /// `amount` more units are done.
    fn add(&self, amount: u64);

    /// What is being worked on now, for instance a package's name or a tool's latest output line.
    fn note(&self, text: &str);
}

/// Says nothing.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn done(&self, _verb: &str, _object: &str, _took: Duration) {}

    fn bar(&self, _verb: &str, _total: u64, _unit: Unit) -> Box<dyn Bar> {
        Box::new(Silent)
    }
}

impl Bar for Silent {
    fn add(&self, _amount: u64) {}

    fn note(&self, _text: &str) {}
}
