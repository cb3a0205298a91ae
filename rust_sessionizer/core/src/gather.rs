//! Columns in a new order.

use rayon::prelude::*;

use crate::raw::zeros;

/// The values of the given rows, in that order.
///
/// # Panics
/// Where a row is out of range.
#[must_use]
pub fn gather<T: Copy + Default + Send + Sync>(values: &[T], rows: &[u32]) -> Vec<T> {
    let mut gathered = zeros(rows.len());
    gathered.par_chunks_mut(STEP).zip(rows.par_chunks(STEP)).for_each(|(gathered, rows)| {
        for (place, &row) in gathered.iter_mut().zip(rows) {
            *place = values[row as usize];
        }
    });
    gathered
}

/// The numbers from 0 on.
#[must_use]
pub fn numbered(count: usize) -> Vec<i64> {
    let mut numbers = zeros(count);
    numbers.par_chunks_mut(STEP).enumerate().for_each(|(part, numbers)| {
        #[allow(clippy::cast_possible_wrap)] // no slice is longer
        for (number, place) in (part * STEP..).zip(numbers) {
            *place = number as i64;
        }
    });
    numbers
}

const STEP: usize = 65_536;
