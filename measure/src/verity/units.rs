//! Shares numbered pieces of work among threads.

use core::num::NonZeroUsize;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// Bytes read at a time: stays in the second-level cache; a multiple of a block that divides what a unit covers.
const READ: usize = 64 * 1024;

/// Runs `work` on each unit `0..units`, with a buffer of [`READ`] bytes, and gives the results in order.
/// After an error no thread begins another unit.
pub(super) fn run<T: Send, E: Send>(
    units: u64,
    threads: NonZeroUsize,
    work: impl Fn(u64, &mut [u8]) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let next = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let worker = || -> Result<Vec<(u64, T)>, E> {
        let mut buffer = vec![0; READ];
        let mut results = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let unit = next.fetch_add(1, Ordering::Relaxed);
            if unit >= units {
                break;
            }
            let result = work(unit, &mut buffer).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            results.push((unit, result));
        }
        Ok(results)
    };
    let mut results = thread::scope(|scope| {
        // A thread that the system refuses is work for the others; this one always takes part.
        let spawned: Vec<_> = (1..threads.get().min(usize::try_from(units).unwrap_or(usize::MAX)))
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, worker).ok())
            .collect();
        let own = worker();
        let joined = spawned.into_iter().map(|thread| match thread.join() {
            Ok(results) => results,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        let parts: Result<Vec<_>, E> = core::iter::once(own).chain(joined).collect();
        parts.map(|parts| parts.into_iter().flatten().collect::<Vec<_>>())
    })?;
    results.sort_unstable_by_key(|(unit, _)| *unit);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}
