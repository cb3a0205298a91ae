//! Threads.

use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::error::{Error, Result};

/// Gives every part to one of so many threads, the calling one included; what they return, in the order of the parts.
pub(crate) fn each<P: Send, R: Send>(
    threads: usize,
    parts: impl IntoIterator<Item = P>,
    work: impl Fn(P) -> R + Sync,
) -> Result<Vec<R>> {
    let mut parts: Vec<_> = parts.into_iter().enumerate().collect();
    let helpers = threads.min(parts.len()).saturating_sub(1);
    if helpers == 0 {
        return Ok(parts.into_iter().map(|(_, part)| work(part)).collect());
    }
    parts.reverse();
    let (parts, done) = (Mutex::new(parts), Mutex::new(Vec::new()));
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let run = || {
        while let Some((number, part)) = next() {
            let result = work(part);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
        }
    };
    thread::scope(|scope| {
        for _ in 0..helpers {
            thread::Builder::new()
                .spawn_scoped(scope, run)
                .map_err(|error| Error::Threads { reason: error.to_string() })?;
        }
        run();
        Ok(())
    })?;
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|&(number, _)| number);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

pub(crate) fn check(threads: usize) -> Result<()> {
    if threads > 0 {
        return Ok(());
    }
    Err(Error::Setting { name: "threads", value: threads.to_string(), expected: "1 or more".to_owned() })
}
