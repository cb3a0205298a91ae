//! Rows in the order of time.

use rayon::prelude::*;

use crate::memory::zeros;
use crate::partition::{bucket_bits, partition};
use crate::sessions::{Span, row_number};

/// The rows by (time, row): split into buckets of like times, and each of them sorted. `None` where the time since the
/// first and the row do not fit in one number.
pub(crate) fn by_time(times: &[i64], span: &Span) -> Option<Vec<u32>> {
    let row_bits = usize::BITS - times.len().leading_zeros();
    let range = span.last.wrapping_sub(span.first).cast_unsigned();
    let spare = range.leading_zeros();
    if row_bits > spare {
        return None;
    }
    let since = |row: usize| times[row].wrapping_sub(span.first).cast_unsigned();
    let bits = bucket_bits(times.len());
    let packed = |row, since| since >> spare << row_bits | u64::from(row_number(row));
    // The upper bits of the time are what a hash is elsewhere.
    let parts = partition(times.len(), bits, |row| since(row) << spare, packed);
    let lengths: Vec<usize> =
        (0..1 << bits).map(|bucket| parts.iter().map(|part| part.bucket(bucket).len()).sum()).collect();
    let mut rows = zeros(times.len());
    let mut left = rows.as_mut_slice();
    let mut jobs = Vec::with_capacity(lengths.len());
    for length in lengths {
        let job;
        (job, left) = left.split_at_mut(length);
        jobs.push(job);
    }
    jobs.into_par_iter().enumerate().for_each_init(Vec::new, |sorted: &mut Vec<u64>, (bucket, rows)| {
        sorted.clear();
        for part in &parts {
            sorted.extend_from_slice(part.bucket(bucket));
        }
        if sorted.len() < 1 << 18 {
            sorted.sort_unstable();
        } else {
            sorted.par_sort_unstable();
        }
        for (row, &packed) in rows.iter_mut().zip(sorted.iter()) {
            #[allow(clippy::cast_possible_truncation)] // cut to its bits
            let number = (packed & ((1 << row_bits) - 1)) as u32;
            *row = number;
        }
    });
    Some(rows)
}
