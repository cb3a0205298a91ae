//! Threads.

use crate::{Error, Result};

/// Runs `work` in a pool of its own with `threads` threads, all cores for `None`.
///
/// A pool for every call costs some microseconds and leaves nothing behind that a forked process could hang on.
///
/// # Errors
/// [`Error::Setting`] where `threads` is 0 or the threads cannot be started.
pub fn with_threads<T: Send>(threads: Option<usize>, work: impl FnOnce() -> T + Send) -> Result<T> {
    let wrong = |expected| Error::Setting {
        name: "threads",
        value: threads.map_or_else(|| "None".to_owned(), |threads| threads.to_string()),
        expected,
    };
    if threads == Some(0) {
        return Err(wrong("1 or more, or None for all cores"));
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.unwrap_or(0))
        .build()
        .map(|pool| pool.install(work))
        .map_err(|_| wrong("a number of threads that this machine can start"))
}
