//! Rows split into buckets by a hash, their order kept.

use rayon::prelude::*;

use crate::raw::zeros;

/// A stretch of the rows, bucket after bucket.
pub(crate) struct Part<T> {
    entries: Vec<T>,
    starts: Vec<usize>,
}

impl<T> Part<T> {
    pub(crate) fn bucket(&self, bucket: usize) -> &[T] {
        &self.entries[self.starts[bucket]..self.starts[bucket + 1]]
    }
}

/// About eight thousand rows a bucket.
pub(crate) fn bucket_bits(rows: usize) -> u32 {
    (rows / 8_192).next_power_of_two().ilog2().min(12)
}

/// One-to-one, so that equal hashes mean equal keys.
pub(crate) fn hash(key: i64) -> u64 {
    let mixed = key.cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// Splits the rows into 2^bits buckets, a part a thread: bucket b is bucket b of each part, one after the other.
pub(crate) fn partition<T: Copy + Default + Send>(
    rows: usize,
    bits: u32,
    hash_of: impl Fn(usize) -> u64 + Sync,
    entry_of: impl Fn(usize, u64) -> T + Sync,
) -> Vec<Part<T>> {
    let step = rows.div_ceil(rayon::current_num_threads()).max(4_096);
    #[allow(clippy::cast_possible_truncation)] // 12 bits at most
    let bucket_of = |hash: u64| if bits == 0 { 0 } else { (hash >> (64 - bits)) as usize };
    (0..rows.div_ceil(step))
        .into_par_iter()
        .map(|part| {
            let stretch = part * step..rows.min(part * step + step);
            let mut starts = vec![0; (1 << bits) + 1];
            for row in stretch.clone() {
                starts[bucket_of(hash_of(row)) + 1] += 1;
            }
            for bucket in 1..starts.len() {
                starts[bucket] += starts[bucket - 1];
            }
            let mut next = starts.clone();
            let mut entries = zeros(stretch.len());
            for row in stretch {
                let hash = hash_of(row);
                let place = &mut next[bucket_of(hash)];
                entries[*place] = entry_of(row, hash);
                *place += 1;
            }
            Part { entries, starts }
        })
        .collect()
}
