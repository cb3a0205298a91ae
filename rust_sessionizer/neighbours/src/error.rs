//! What can be wrong with the input or a file, in sentences fit for users.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// The result of every function of this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can be wrong with the input or a file.
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
        expected: String,
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
    /// An item outside the vocabulary.
    #[error("'{name}' holds the item {item} at {place}, but an item is a number from 0 and less than {items}{}", if *.unknown { ", or -1 for none" } else { "" })]
    Item {
        /// The array that names the item.
        name: &'static str,
        /// Where in the array.
        place: usize,
        /// The item.
        item: i32,
        /// How many items there are.
        items: usize,
        /// Whether -1 is allowed.
        unknown: bool,
    },
    /// Sessions or queries that lie nowhere.
    #[error("{what} {number} holds the clicks {begin} to {end} of an array of {clicks}")]
    Range {
        /// Session, query or list.
        what: &'static str,
        /// Its number.
        number: usize,
        /// Where it begins.
        begin: i64,
        /// Where it ends.
        end: i64,
        /// Clicks in all.
        clicks: usize,
    },
    /// Sessions that are not in the order of time.
    #[error("session {session} starts before the session ahead of it; order the sessions by their start")]
    Order {
        /// The later in the table of the two.
        session: usize,
    },
    /// More of something than the index can number, or than there is memory for.
    #[error("there are {found} {what}; an index holds fewer than {limit}")]
    Size {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A file that is no index, or no longer the one that was written.
    #[error("{} {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what helps.
        reason: String,
    },
    /// A file that cannot be read or written.
    #[error("{} cannot be {doing}: {reason}", .path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        doing: &'static str,
        /// What the system said.
        reason: String,
    },
    /// Threads could not be started.
    #[error("the threads could not be started: {reason}")]
    Threads {
        /// What the system said.
        reason: String,
    },
}

impl Error {
    pub(crate) fn system(path: &Path, doing: &'static str, error: &std::io::Error) -> Self {
        Self::System { path: path.to_owned(), doing, reason: error.to_string() }
    }

    pub(crate) fn file(path: &Path, reason: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), reason: reason.into() }
    }
}
