//! What can be wrong with the input, in sentences fit for users.

use thiserror::Error;

/// The result of every function of this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can be wrong with the input.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// A value is missing where one is needed.
    #[error("column '{column}' has a null in row {row}; drop or fill nulls before")]
    NullValue {
        /// The column.
        column: String,
        /// The first row, counted from 0.
        row: usize,
    },
    /// A time does not fit in 64-bit milliseconds.
    #[error("column '{column}', row {row}: {value} {unit} is out of range for 64-bit milliseconds")]
    TimeRange {
        /// The column.
        column: String,
        /// The first such row, counted from 0.
        row: usize,
        /// The value as stored.
        value: String,
        /// The unit it is stored in, plural.
        unit: &'static str,
    },
    /// A column that was asked for is not in the table.
    #[error("there is no column '{column}'; the table has {}", listed(present))]
    MissingColumn {
        /// The column asked for.
        column: String,
        /// The columns of the table.
        present: Vec<String>,
    },
    /// A column name stands for more than one column.
    #[error("the name '{column}' stands for more than one column")]
    DuplicateColumn {
        /// The name.
        column: String,
    },
    /// A column is of a type that cannot be used for its purpose.
    #[error("column '{column}' is of type {found}; {expected} is needed")]
    ColumnType {
        /// The column.
        column: String,
        /// The type it has.
        found: String,
        /// The types it may have.
        expected: &'static str,
    },
    /// Columns of one table differ in length.
    #[error("column '{column}' has {found} rows where {expected} are needed")]
    ColumnLength {
        /// The column.
        column: String,
        /// Its length.
        found: usize,
        /// The length of the others.
        expected: usize,
    },
    /// A table could not be read.
    #[error("the table cannot be read: {reason}")]
    Unreadable {
        /// What its producer said.
        reason: String,
    },
    /// A column could not be brought into another form.
    #[error("column '{column}' cannot be converted: {reason}")]
    Conversion {
        /// The column.
        column: String,
        /// Why not.
        reason: String,
    },
    /// A training session has nothing to predict.
    #[error("session {row} has {length} clicks; a training session needs 2 or more")]
    ShortSession {
        /// The session, counted from 0.
        row: usize,
        /// Its length.
        length: i64,
    },
    /// More rows than row numbers of 32 bits can tell apart.
    #[error("{rows} rows are more than the {limit} that one call can take; split the log by visitor")]
    TooManyRows {
        /// The rows given.
        rows: usize,
        /// The most that one call takes.
        limit: usize,
    },
    /// More distinct values than codes of 32 bits.
    #[error("{distinct} distinct values are more than the {limit} that 32-bit codes can tell apart")]
    TooManyDistinct {
        /// The distinct values.
        distinct: usize,
        /// The most there may be.
        limit: usize,
    },
    /// A gap that is not a length of time.
    #[error("the {name} {gap} {reason}; write it like '30m', '1h30m' or '7d' (units ms, s, m, h, d, w)")]
    Gap {
        /// What the length of time is for: `gap`, or another setting.
        name: &'static str,
        /// The gap as given.
        gap: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A setting that is out of its range.
    #[error("{name} is {value}; it must be {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// The value as given.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
}

impl Error {
    /// The same error, a length of time being told under the name of its setting.
    #[must_use]
    pub fn of_setting(self, name: &'static str) -> Self {
        match self {
            Self::Gap { gap, reason, .. } => Self::Gap { name, gap, reason },
            other => other,
        }
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "no columns".to_owned();
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    quoted.join(", ")
}
