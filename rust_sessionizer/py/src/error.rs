//! One Python exception a kind of error.

// The macro writes public items of its own.
#![allow(missing_docs)]

use pyo3::create_exception;
use std::path::Path;

use pyo3::exceptions::{PyOSError, PyValueError};
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
create_exception!(rust_sessionizer, FileError, SessionizerError);
create_exception!(rust_sessionizer, DiskSpaceError, SessionizerError);
create_exception!(rust_sessionizer, StateError, SessionizerError);

/// Errors that are not about a column have these too, as None.
pub(crate) fn describe_exceptions(py: Python) -> PyResult<()> {
    let base = py.get_type::<SessionizerError>();
    ["column", "row", "value"].iter().try_for_each(|name| base.setattr(*name, py.None()))
}

/// The exception for an error of the core.
pub(crate) fn raised(error: &Error) -> PyErr {
    raised_with(error, error.to_string())
}

fn raised_with(error: &Error, text: String) -> PyErr {
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
    located(raised, column.map(String::as_str), row, value)
}

/// Tells the exception where the error is.
fn located(raised: PyErr, column: Option<&str>, row: Option<usize>, value: Option<String>) -> PyErr {
    let told = Python::attach(|py| {
        let object = raised.value(py);
        object.setattr("column", column)?;
        object.setattr("row", row)?;
        object.setattr("value", value)
    });
    told.err().unwrap_or(raised)
}

/// The exception for an error with files.
pub(crate) fn raised_by_files(error: &sessionizer_files::Error) -> PyErr {
    use sessionizer_files::Error;

    let text = error.to_string();
    match error {
        Error::Input(inner) | Error::Column { error: inner, .. } => raised_with(inner, text),
        Error::Io { path, error } => refused_by_system(path, error),
        Error::Disk { .. } => DiskSpaceError::new_err(text),
        Error::Memory { .. } => SizeError::new_err(text),
        Error::Cancelled => SessionizerError::new_err(text),
        Error::Value { column, row, value, .. } => {
            located(FileError::new_err(text), Some(column), Some(*row), Some(value.clone()))
        }
        Error::Record { row, .. } => located(FileError::new_err(text), None, Some(*row), None),
        Error::Differs { column, found, .. } => {
            located(FileError::new_err(text), Some(column), None, Some(found.to_string()))
        }
        Error::Unreadable { .. } | Error::OverInput { .. } | Error::Shard { .. } | Error::NoInput => {
            FileError::new_err(text)
        }
    }
}

/// The exception for an error with a stream; `column` is where the error is, if it is in a table.
pub(crate) fn raised_by_stream(error: &sessionizer_live::Error, column: Option<&str>) -> PyErr {
    use sessionizer_live::Error;

    let text = error.to_string();
    match error {
        Error::Offset { row, offset, .. } => {
            located(ColumnError::new_err(text), column, Some(*row), Some(offset.to_string()))
        }
        Error::Kind { row, value, before, now, .. } => {
            let text = match column {
                Some(column) => format!(
                    "column '{column}', row {row}: {value} is of type {now}, those before are of type {before}; a stream has one \
                     type of visitors and one of items"
                ),
                None => text,
            };
            located(ColumnError::new_err(text), column, Some(*row), Some(value.clone()))
        }
        Error::Closed | Error::State { .. } => StateError::new_err(text),
        Error::Io { path, error } => refused_by_system(path, error),
    }
}

/// Python's own exception for what the system refused: `FileNotFoundError`, `PermissionError` and so on.
fn refused_by_system(path: &Path, error: &std::io::Error) -> PyErr {
    match error.raw_os_error() {
        Some(number) => {
            let told = error.to_string();
            let told = told.split(" (os error").next().unwrap_or(&told).to_owned();
            PyOSError::new_err((number, told, path.to_owned()))
        }
        None => PyOSError::new_err(format!("{}: {error}", path.display())),
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
