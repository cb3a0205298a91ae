//! What can go wrong with a stream or its state, in sentences fit for users.

use std::path::PathBuf;

use thiserror::Error;

/// The result of every function of this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What an event has an id of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Its visitor.
    Visitor,
    /// Its item.
    Item,
}

impl std::fmt::Display for What {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Visitor => "visitor",
            Self::Item => "item",
        })
    }
}

/// Everything that can go wrong.
#[derive(Debug, Error)]
pub enum Error {
    /// Offsets that do not ascend.
    #[error("row {row} has the offset {offset} after {before}; offsets must ascend within a batch")]
    Offset {
        /// The first such row, counted from 0.
        row: usize,
        /// Its offset.
        offset: u64,
        /// The one before.
        before: u64,
    },
    /// Visitors or items of another type than before.
    #[error(
        "the {what} of row {row}, {value}, is of type {now}, those before are of type {before}; a stream has one type of each"
    )]
    Kind {
        /// Which of them.
        what: What,
        /// The first such row, counted from 0.
        row: usize,
        /// The visitor or item.
        value: String,
        /// The type so far.
        before: &'static str,
        /// The type now.
        now: &'static str,
    },
    /// Events after the end.
    #[error("the stream was closed; events that come after its end belong to a new Sessionizer")]
    Closed,
    /// A state that cannot be gone on from.
    #[error("{} cannot be used as a state: {reason}", file.display())]
    State {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The system refused to read or write.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}
