//! Columns in a new order.

use rayon::prelude::*;

/// The values of the given rows, in that order.
///
/// # Panics
/// Where a row is out of range.
#[must_use]
pub fn gather<T: Copy + Send + Sync>(values: &[T], rows: &[u32]) -> Vec<T> {
    rows.par_iter().with_min_len(16_384).map(|&row| values[row as usize]).collect()
}
