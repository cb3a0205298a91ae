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
create_exception!(rust_sessionizer.ranking, ScoreError, SessionizerError);
create_exception!(rust_sessionizer, SettingError, SessionizerError);
create_exception!(rust_sessionizer, SizeError, SessionizerError);

/// Errors that are not about a column have these too, as None.
pub(crate) fn describe_exceptions(py: Python) -> PyResult<()> {
    let base = py.get_type::<SessionizerError>();
    ["column", "row", "value"].iter().try_for_each(|name| base.setattr(*name, py.None()))
}

/// The exception for an error of the core.
pub(crate) fn raised(error: &Error) -> PyErr {
    let text = error.to_string();
    let raised = match error {
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
    };
    match located(&raised, error) {
        Ok(()) => raised,
        Err(other) => other,
    }
}

/// Tells the exception where the error is.
fn located(raised: &PyErr, error: &Error) -> PyResult<()> {
    let (column, row, value) = match error {
        Error::NullValue { column, row } => (Some(column), Some(*row), None),
        Error::TimeRange { column, row, value, .. } => (Some(column), Some(*row), Some(value.clone())),
        Error::ShortSession { row, length } => (None, Some(*row), Some(length.to_string())),
        Error::MissingColumn { column, .. }
        | Error::DuplicateColumn { column }
        | Error::ColumnType { column, .. }
        | Error::ColumnLength { column, .. }
        | Error::Conversion { column, .. } => (Some(column), None, None),
        Error::Setting { value, .. } | Error::Gap { gap: value, .. } => (None, None, Some(value.clone())),
        Error::Unreadable { .. } | Error::TooManyRows { .. } | Error::TooManyDistinct { .. } => (None, None, None),
    };
    Python::attach(|py| {
        let object = raised.value(py);
        object.setattr("column", column)?;
        object.setattr("row", row)?;
        object.setattr("value", value)
    })
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
