//! Sessions of a stream of events, given out as they end, with a small state that is saved and gone on from.
//!
//! The crate knows nothing of Python or Arrow.

mod error;
mod id;
mod sessionizer;
mod state;

pub use error::{Error, Result, What};
pub use id::{Id, IdRef, Kind};
pub use sessionizer::{Arrival, Counts, Session, Sessionizer, Settings};
