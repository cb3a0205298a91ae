//! Session-kNN: recommendations from the sessions most like the current one.
//!
//! The crate knows nothing of Python. An [`Index`] keeps, for every item, its most recent sessions, newest first, as VMIS-kNN does
//! (Kersbergen et al., "Serenade", SIGMOD 2022). A query's lists are merged in the order of time, which yields each session that shares an
//! item with all of its similarity at once and ends after as many sessions as are to be compared; the most similar of these vote for
//! the items around the click that they share. One set of [`Settings`] spans what VS-kNN (Ludewig & Jannach, UMUAI 2018), STAN (Garg et
//! al., SIGIR 2019) and V-STAN (Ludewig et al., UMUAI 2021) differ in.
//!
//! # Which published formulas can be set
//!
//! All up to a factor that is the same for all items of a query, which changes no order.
//!
//! - **VS-kNN**: the similarity is the sum of the shared items' weights, which fall linearly with the clicks after them
//!   (`query_decay` [`Decay::Length`], `idf_similarity` and `length_norm` 0), and a neighbour votes for all of its items alike (`distance_decay`
//!   [`Decay::None`], `before` and `same` 1), also with the 1 / steps to the shared item of session-rec, its published code (`anchor_decay`
//!   [`Decay::Harmonic`] of 1). Its logarithmic and quadratic weights and its idf, 1 + λ ln(sessions / clicks) in the score, cannot be set.
//! - **STAN**: its three exponentials and the cosine (`query_decay`, `recency`, `distance_decay` [`Decay::Exponential`], `length_norm` 0.5,
//!   `before` and `same` 1), where no session holds an item twice.
//! - **V-STAN**: STAN with `anchor_decay` [`Decay::Exponential`]; not its idf, which is that of VS-kNN. `idf_score` is another: it multiplies by
//!   a power of ln(1 + sessions / sessions with the item).
//!
//! Beside these, session-rec differs in four things. It votes around the item of the query that the neighbour clicked last, not around the
//! shared item that the query clicked last. It divides by a session's different items, not by its clicks. Of an item that a session holds
//! several times it takes the last place, where here the place counts that gives most. And sessions have the time of their last click,
//! where here it is their start; that ages are counted from the most recent session compared instead of from the query is a common factor.
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
