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
    #[error("the array '{name}' has {found} entries where {expected} are needed")]
    Length {
        /// The array.
        name: String,
        /// Its length.
        found: usize,
        /// The length needed.
        expected: usize,
    },
    /// An item outside the table.
    #[error("'{name}' holds the item {item}; the items are 0 to {last}")]
    Item {
        /// The array that names the item.
        name: &'static str,
        /// The item.
        item: i64,
        /// The last item there is.
        last: usize,
    },
    /// An entry is not finite.
    #[error("the entry {place} of '{name}' is not a finite number")]
    NotFinite {
        /// The array.
        name: String,
        /// Where in it.
        place: usize,
    },
    /// A schedule that contradicts itself.
    #[error("the schedule cannot be followed: {reason}")]
    Schedule {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Threads could not be started.
    #[error("the threads could not be started: {reason}")]
    Threads {
        /// What the system said.
        reason: String,
    },
}
