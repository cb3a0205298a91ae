//! What can go wrong with files, in sentences fit for users.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::settings::CsvType;

/// The result of every function of this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong with files. Rows are counted from 0, a CSV header left out.
#[derive(Debug, Error)]
pub enum Error {
    /// A setting or the columns of all files cannot be used.
    #[error(transparent)]
    Input(#[from] sessionizer_core::Error),
    /// A column of one file cannot be used.
    #[error("{}: {error}", file.display())]
    Column {
        /// The file.
        file: PathBuf,
        /// What is wrong with the column.
        error: sessionizer_core::Error,
    },
    /// A file is not what its name says, or is damaged.
    #[error("{} cannot be read: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// A value of a CSV file is not of its column's type.
    #[error("{}: column '{column}', row {row}: {value:?} is not {expected}", file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// The column.
        column: String,
        /// The first such row.
        row: usize,
        /// The value as written, its beginning where it is long.
        value: String,
        /// What is needed.
        expected: Cow<'static, str>,
    },
    /// A record of a CSV file does not have the header's fields.
    #[error("{}: row {row} {reason}", file.display())]
    Record {
        /// The file.
        file: PathBuf,
        /// The first such row.
        row: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A column has different types in two files.
    #[error("column '{column}' is of type {found} in {}, and of type {expected} in {}; one log needs one type{}", file.display(), first.display(), advice(column, *common))]
    Differs {
        /// The column.
        column: String,
        /// The later file.
        file: PathBuf,
        /// Its type there.
        found: Box<str>,
        /// The first file.
        first: PathBuf,
        /// Its type there.
        expected: Box<str>,
        /// What CSV files' texts may be taken for, so that both files have one type.
        common: Option<CsvType>,
    },
    /// The system refused to read or write.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Too little room on a disk.
    #[error(
        "{} has {} free, and {} are needed for {what}; make room there, or choose another folder with scratch",
        folder.display(), size(*free), size(*needed)
    )]
    Disk {
        /// A folder on that disk.
        folder: PathBuf,
        /// Free bytes.
        free: u64,
        /// Bytes that are needed.
        needed: u64,
        /// What for.
        what: &'static str,
    },
    /// The limit of memory is too small for this log.
    #[error("memory_limit is {}, and {} are needed for {what}; raise it to {} or more{}", size(*limit), size(*needed), size(*raise), also)]
    Memory {
        /// The limit in bytes.
        limit: u64,
        /// Bytes that are needed at once.
        needed: u64,
        /// What for.
        what: String,
        /// A limit that is enough.
        raise: u64,
        /// Another way out.
        also: &'static str,
    },
    /// A file that was to be written is one of those that are read.
    #[error("{} is both input and output; name another output", file.display())]
    OverInput {
        /// The file.
        file: PathBuf,
    },
    /// Shards that cannot be joined.
    #[error("{} cannot be joined: {reason}", file.display())]
    Shard {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// No file to read.
    #[error("there is no input file; name at least one")]
    NoInput,
    /// The caller asked to stop.
    #[error("stopped before the end; nothing was written")]
    Cancelled,
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |error| Self::Io { path: path.to_owned(), error }
    }

    #[allow(clippy::needless_pass_by_value)] // an error or a text
    pub(crate) fn unreadable(file: &Path, reason: impl ToString) -> Self {
        Self::Unreadable { file: file.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn column(file: &Path) -> impl FnOnce(sessionizer_core::Error) -> Self + '_ {
        move |error| Self::Column { file: file.to_owned(), error }
    }
}

fn advice(column: &str, common: Option<CsvType>) -> String {
    common.map_or_else(String::new, |common| format!(": add csv_types={{'{column}': '{}'}}", common.name()))
}

/// Bytes as a person reads them: `1.5 GiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[allow(clippy::cast_precision_loss)] // two digits are shown
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}
