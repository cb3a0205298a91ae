//! Session-kNN: recommendations from the sessions most like the current one.
//!
//! The crate knows nothing of Python. An [`Index`] keeps, for every item, its most recent sessions, newest first, as VMIS-kNN does
//! (Kersbergen et al., "Serenade", SIGMOD 2022). A query's lists are merged in the order of time, which yields each session that shares an
//! item with all of its similarity at once and ends after as many sessions as are to be compared; the most similar of these vote for
//! the items around the click that they share. One set of [`Settings`] covers VS-kNN (Ludewig & Jannach, UMUAI 2018), STAN (Garg et al.,
//! SIGIR 2019) and V-STAN (Ludewig et al., UMUAI 2021), and what lies between them.
//!
//! # The order of everything
//!
//! Sessions are ordered by their start, those that start together by their place in the table; the later one is the more recent. Of
//! sessions equally similar the more recent one is the neighbour, of items with equal scores the smaller number is listed first.
//! Sums are made in double precision in this order, so that results depend neither on the number of threads nor on what else is asked.
//!
//! # Items that no neighbour votes for
//!
//! They follow behind all others, by their clicks: an item with n clicks scores −1/(1 + n).
#![deny(unsafe_code)]

mod batch;
mod build;
mod decay;
mod error;
mod file;
mod index;
mod mapped;
mod parameters;
mod pool;
mod queries;
mod similar;
mod sums;
mod vote;

pub use batch::{Candidates, EXCLUDED, Listed, Ranked, rank, recommend, score, score_all};
pub use build::{Log, build};
pub use decay::Decay;
pub use error::{Error, Result};
pub use index::Index;
pub use parameters::{Anchor, Parameters, Repeats, Settings};
pub use queries::Clicks;
