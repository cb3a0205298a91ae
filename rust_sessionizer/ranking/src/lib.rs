//! Ranks among all items where a score is a product of two vectors and a bias, without a matrix of scores.
//!
//! The crate knows nothing of Python. [`rank`] works on blocks of queries, one block a thread at a time, and holds a few
//! megabytes for each: the scores of a tile, some items for the queries of a panel, are made in registers, compared there,
//! and forgotten. A score is a chain of fused multiplications and additions, the same wherever it is made, so that equal
//! items score alike to the last bit and a target ties with itself. Results do not depend on the number of threads.
//!
//! An [`Index`] finds the best items of a query where only these are asked for, as a server does: a few times as fast, and as exact.

// Everything a vector loop calls must be inlined into it, to be compiled for the same registers as the loop.
#![allow(clippy::inline_always)]
// Loops over constant numbers of registers read best with an index.
#![allow(clippy::needless_range_loop)]

mod best;
mod block;
mod codes;
mod error;
mod index;
mod input;
mod kernel;
mod rank;
mod scan;
mod tile;

pub use error::{Error, Result};
pub use index::{Found, Index};
pub use input::{Excluded, Items, Queries};
pub use rank::{EXCLUDED, Ranks, rank};
