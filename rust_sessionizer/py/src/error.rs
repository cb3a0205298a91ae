//! One Python exception a kind of error.

// The macro writes public items of its own.
#![allow(missing_docs)]

use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use sessionizer_core::Error;

create_exception!(rust_sessionizer, SessionizerError, PyValueError);
create_exception!(rust_sessionizer, NullValueError, SessionizerError);
create_exception!(rust_sessionizer, TimeRangeError, SessionizerError);
create_exception!(rust_sessionizer, ColumnError, SessionizerError);
create_exception!(rust_sessionizer, GapError, SessionizerError);
create_exception!(rust_sessionizer.neighbours, IndexFileError, SessionizerError);
create_exception!(rust_sessionizer.ranking, ScoreError, SessionizerError);
create_exception!(rust_sessionizer, SettingError, SessionizerError);
create_exception!(rust_sessionizer, SizeError, SessionizerError);

/// The exception for an error of the core.
pub(crate) fn raised(error: &Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::NullValue { .. } => NullValueError::new_err(text),
        Error::TimeRange { .. } => TimeRangeError::new_err(text),
        Error::MissingColumn { .. }
        | Error::DuplicateColumn { .. }
        | Error::ColumnType { .. }
        | Error::ColumnLength { .. }
        | Error::Conversion { .. }
        | Error::ShortSession { .. }
        | Error::Unreadable { .. } => ColumnError::new_err(text),
        Error::TooManyRows { .. } | Error::TooManyDistinct { .. } => SizeError::new_err(text),
        Error::Gap { .. } => GapError::new_err(text),
        Error::Setting { .. } => SettingError::new_err(text),
    }
}

/// Runs `work` in a pool of its own while other Python threads go on.
pub(crate) fn detached<T: Send>(
    py: Python,
    threads: Option<i64>,
    work: impl FnOnce() -> sessionizer_core::Result<T> + Send,
) -> PyResult<T> {
    let threads = threads.map(|threads| usize::try_from(threads).unwrap_or(0));
    let result = py.detach(|| sessionizer_core::with_threads(threads, work));
    result.and_then(|result| result).map_err(|error| raised(&error))
}
