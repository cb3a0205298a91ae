//! What can be wrong with the input, in sentences fit for users.

use thiserror::Error;

/// The result of every function of this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can be wrong with the input.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// A setting is out of its range.
    #[error("{name} is {value}; it must be {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// The value as given.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// An array has another number of entries than its use asks for.
    #[error("'{name}' has {found} entries where {expected} are needed")]
    Length {
        /// The array.
        name: &'static str,
        /// Its length.
        found: usize,
        /// The length needed.
        expected: usize,
    },
    /// An item outside the table.
    #[error("'{name}' holds the item {item}, but an item is a number from 0 and less than {items}")]
    Item {
        /// The array that names the item.
        name: &'static str,
        /// The item.
        item: i32,
        /// How many items there are.
        items: usize,
    },
    /// A query's excluded items lie nowhere.
    #[error("query {query} leaves out the entries {begin} to {end} of an array of {entries}")]
    Range {
        /// The query.
        query: usize,
        /// Where its excluded items begin.
        begin: i64,
        /// Where they end.
        end: i64,
        /// How many entries there are.
        entries: usize,
    },
    /// A score is not a number.
    #[error("query {query} scores item {item} as NaN, so that nothing can be ranked")]
    NotANumber {
        /// The query.
        query: usize,
        /// The item.
        item: usize,
    },
    /// An entry is not finite.
    #[error("row {row} of '{name}' holds a number that is not finite")]
    NotFinite {
        /// The array.
        name: &'static str,
        /// The row.
        row: usize,
    },
    /// Threads could not be started.
    #[error("the threads could not be started: {reason}")]
    Threads {
        /// What the system said.
        reason: String,
    },
}
