//! Values to codes.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, Ordering};

use hashbrown::HashTable;
use rayon::prelude::*;

use crate::partition::{bucket_bits, hash, partition};
use crate::{Error, Result};

/// A column of texts.
pub trait ByteColumn: Sync {
    /// The number of rows.
    fn rows(&self) -> usize;
    /// The text of a row.
    fn value(&self, row: usize) -> &[u8];
}

/// A column as codes of its distinct values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoded {
    /// The code of every row.
    pub codes: Vec<i32>,
    /// For every code, the first row that has it.
    pub first_rows: Vec<u32>,
}

impl Encoded {
    fn sorted(self, compare: impl Fn(u32, u32) -> std::cmp::Ordering + Sync) -> Self {
        let mut order: Vec<u32> = (0..).take(self.first_rows.len()).collect();
        let first_row = |code: &u32| self.first_rows[*code as usize];
        order.par_sort_unstable_by(|a, b| compare(first_row(a), first_row(b)));
        let mut ranks = vec![0; order.len()];
        for (rank, &code) in (0..).zip(&order) {
            ranks[code as usize] = rank;
        }
        let codes = self.codes.par_iter().map(|&code| ranks[code.unsigned_abs() as usize]).collect();
        let first_rows = order.iter().map(first_row).collect();
        Self { codes, first_rows }
    }
}

/// Codes in the order of the sorted distinct values.
///
/// # Errors
/// [`Error::TooManyDistinct`] from 2^31 distinct values on, [`Error::TooManyRows`] from 2^32 - 1 rows on.
pub fn encode_integers(values: &[i64]) -> Result<Encoded> {
    let encoded = factorize_integers(values)?;
    Ok(encoded.sorted(|a, b| values[a as usize].cmp(&values[b as usize])))
}

/// Codes in the order of the sorted distinct texts, compared byte by byte.
///
/// # Errors
/// As [`encode_integers`].
pub fn encode_bytes(values: &impl ByteColumn) -> Result<Encoded> {
    let encoded = factorize_bytes(values)?;
    Ok(encoded.sorted(|a, b| values.value(a as usize).cmp(values.value(b as usize))))
}

/// Codes in no particular order, the same for equal numbers.
///
/// # Errors
/// As [`encode_integers`].
pub fn factorize_integers(values: &[i64]) -> Result<Encoded> {
    let equal = |a: u32, b: u32| values[a as usize] == values[b as usize];
    factorize(values.len(), |row| hash(values[row]), equal, DISTINCT_LIMIT)
}

/// Codes in no particular order, the same for equal texts.
///
/// # Errors
/// As [`encode_integers`].
pub fn factorize_bytes(values: &impl ByteColumn) -> Result<Encoded> {
    let state = RandomState::new();
    let hashes: Vec<u64> = (0..values.rows()).into_par_iter().map(|row| state.hash_one(values.value(row))).collect();
    let equal = |a: u32, b: u32| values.value(a as usize) == values.value(b as usize);
    factorize(values.rows(), |row| hashes[row], equal, DISTINCT_LIMIT)
}

const DISTINCT_LIMIT: usize = i32::MAX as usize;

fn factorize(
    rows: usize,
    hash_of: impl Fn(usize) -> u64 + Sync,
    equal: impl Fn(u32, u32) -> bool + Sync,
    distinct_limit: usize,
) -> Result<Encoded> {
    let limit = u32::MAX as usize - 1;
    if rows > limit {
        return Err(Error::TooManyRows { rows, limit });
    }
    let bits = bucket_bits(rows);
    #[allow(clippy::cast_possible_truncation)] // below the limit
    let parts = partition(rows, bits, &hash_of, |row, hash| (hash, row as u32));
    // Codes within the bucket at first: every row belongs to one bucket and is written once.
    let codes: Vec<AtomicU32> = (0..rows).into_par_iter().map(|_| AtomicU32::new(0)).collect();
    let firsts: Vec<Vec<u32>> = (0..1_usize << bits)
        .into_par_iter()
        .map(|bucket| {
            let mut known: HashTable<(u64, u32, u32)> = HashTable::new();
            let mut firsts = Vec::new();
            for &(hash, row) in parts.iter().flat_map(|part| part.bucket(bucket)) {
                let same = |entry: &(u64, u32, u32)| entry.0 == hash && equal(entry.1, row);
                let entry = known.entry(hash, same, |entry| entry.0).or_insert_with(|| {
                    firsts.push(row);
                    #[allow(clippy::cast_possible_truncation)] // not more than rows
                    let code = firsts.len() as u32 - 1;
                    (hash, row, code)
                });
                codes[row as usize].store(entry.get().2, Ordering::Relaxed);
            }
            firsts
        })
        .collect();
    let distinct = firsts.iter().map(Vec::len).sum();
    if distinct > distinct_limit {
        return Err(Error::TooManyDistinct { distinct, limit: distinct_limit });
    }
    let mut base = 0;
    for (bucket, bucket_firsts) in firsts.iter().enumerate() {
        // Rows of a bucket again, now that it is known how many values the buckets before hold.
        let entries: Vec<_> = parts.iter().map(|part| part.bucket(bucket)).collect();
        entries.par_iter().for_each(|entries| {
            for &(_, row) in *entries {
                codes[row as usize].fetch_add(base, Ordering::Relaxed);
            }
        });
        #[allow(clippy::cast_possible_truncation)] // not more than rows
        let held = bucket_firsts.len() as u32;
        base += held;
    }
    let codes = codes.into_par_iter().map(|code| code.into_inner().cast_signed()).collect();
    Ok(Encoded { codes, first_rows: firsts.concat() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Texts(Vec<String>);

    impl ByteColumn for Texts {
        fn rows(&self) -> usize {
            self.0.len()
        }
        fn value(&self, row: usize) -> &[u8] {
            self.0[row].as_bytes()
        }
    }

    fn slow<T: Ord + Clone>(values: &[T]) -> Encoded {
        let mut distinct = values.to_vec();
        distinct.sort();
        distinct.dedup();
        let code = |value: &T| distinct.iter().position(|known| known == value);
        let first = |value: &T| values.iter().position(|known| known == value);
        Encoded {
            codes: values.iter().filter_map(code).filter_map(|code| i32::try_from(code).ok()).collect(),
            first_rows: distinct.iter().filter_map(first).filter_map(|row| u32::try_from(row).ok()).collect(),
        }
    }

    proptest! {
        #[test]
        fn integers_get_the_rank_of_their_value(values in prop::collection::vec(prop_oneof![-5_i64..5, any::<i64>()], 0..60)) {
            prop_assert_eq!(encode_integers(&values), Ok(slow(&values)));
        }

        #[test]
        fn texts_get_the_rank_of_their_bytes(values in prop::collection::vec("[aAé😀]{0,2}", 0..60)) {
            prop_assert_eq!(encode_bytes(&Texts(values.clone())), Ok(slow(&values)));
        }
    }

    #[test]
    fn many_buckets_agree_with_one() {
        let values: Vec<i64> = (0..40_000).map(|row| (row * 7_919) % 10_007 - 5_000).collect();
        assert_eq!(encode_integers(&values), Ok(slow(&values)));
    }

    #[test]
    fn more_distinct_values_than_codes_are_refused() {
        let found = factorize(5, |_| 7, |a, b| a % 3 == b % 3, 2);
        assert_eq!(found, Err(Error::TooManyDistinct { distinct: 3, limit: 2 }));
    }
}
