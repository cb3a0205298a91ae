//! Turns event logs into sessions, on plain slices.
//!
//! The crate knows nothing of Python or Arrow. Every function gives the same answer for any number of threads, but `factorize_integers`
//! and `factorize_bytes`, whose codes come in an order of their own. Those that work in parallel use the rayon pool they are called in
//! (see [`with_threads`]).

mod bits;
mod buckets;
mod encode;
mod error;
mod filter;
mod gap;
mod gather;
mod hashing;
mod known;
mod listing;
mod numbering;
mod order;
mod partition;
mod pool;
mod raw;
mod recent;
mod schedule;
mod sessions;
mod timeline;
mod times;
mod window;

pub use encode::{ByteColumn, Encoded, encode_bytes, encode_integers, factorize_bytes, factorize_integers};
pub use error::{Error, Result};
pub use filter::{Filtered, Support, drop_repeats, drop_repeats_by, filter_support, split_sessions};
pub use gap::{gap_from_millis, parse_gap};
pub use gather::{gather, numbered};
pub use hashing::Seed;
pub use pool::with_threads;
pub use schedule::{Schedule, training_schedule};
pub use sessions::{Events, Lists, SameItem, Sessions, list_sessions, number_sessions, sessionize};
pub use timeline::{Named, Visitors};
pub use times::{TimeUnit, to_millis};

// The tests from outside once more, with stretches and blocks of a few events.
#[cfg(test)]
extern crate self as sessionizer_core;
#[cfg(test)]
#[path = "../tests/sessions.rs"]
mod tests;
