//! Values to codes.

use std::sync::atomic::{AtomicU32, Ordering};

use hashbrown::HashTable;
use rayon::prelude::*;

use crate::hashing::Seed;
use crate::known::Known;
use crate::partition::{bucket_bits, partition};
use crate::raw::zeros;
use crate::sessions::ends;
use crate::{Error, Result, bits};

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
    /// Codes in the order of what the values' first rows hold.
    fn sorted<K: Ord + Send>(self, value_of: impl Fn(usize) -> K + Sync) -> Self {
        let held = |(code, &row): (usize, &u32)| (value_of(row as usize), narrow(code));
        let mut order: Vec<(K, u32)> = self.first_rows.par_iter().enumerate().map(held).collect();
        order.par_sort_unstable();
        let mut ranks = zeros(order.len());
        for (rank, &(_, code)) in (0..).zip(&order) {
            ranks[code as usize] = rank;
        }
        let mut codes = self.codes;
        codes.par_iter_mut().with_min_len(STEP).for_each(|code| *code = ranks[code.unsigned_abs() as usize]);
        let first_rows = order.iter().map(|&(_, code)| self.first_rows[code as usize]).collect();
        Self { codes, first_rows }
    }
}

/// Codes in the order of the sorted distinct values.
///
/// # Errors
/// [`Error::TooManyDistinct`] from 2^31 distinct values on, [`Error::TooManyRows`] from 2^32 - 1 rows on.
pub fn encode_integers(values: &[i64]) -> Result<Encoded> {
    check_rows(values.len())?;
    if let Some((least, width)) = dense(values) {
        return Ok(factorize_dense(values, least, width));
    }
    Ok(factorize_sparse(values)?.sorted(|row| values[row]))
}

/// Codes in the order of the sorted distinct texts, compared byte by byte.
///
/// # Errors
/// As [`encode_integers`].
pub fn encode_bytes(values: &impl ByteColumn) -> Result<Encoded> {
    match bits::numbers(values) {
        Some(numbers) => encode_integers(&numbers),
        None => Ok(factorize_hashed(values)?.sorted(|row| values.value(row))),
    }
}

/// Codes in no particular order, the same for equal numbers.
///
/// # Errors
/// As [`encode_integers`].
pub fn factorize_integers(values: &[i64]) -> Result<Encoded> {
    check_rows(values.len())?;
    if let Some((least, width)) = dense(values) {
        return Ok(factorize_dense(values, least, width));
    }
    factorize_sparse(values)
}

fn factorize_sparse(values: &[i64]) -> Result<Encoded> {
    let seed = Seed::draw();
    // Equal hashes are equal numbers.
    factorize(values.len(), |row| seed.number(values[row]), |_, _| true, DISTINCT_LIMIT)
}

/// Codes in no particular order, the same for equal texts.
///
/// # Errors
/// As [`encode_integers`].
pub fn factorize_bytes(values: &impl ByteColumn) -> Result<Encoded> {
    match bits::numbers(values) {
        Some(numbers) => factorize_integers(&numbers),
        None => factorize_hashed(values),
    }
}

fn factorize_hashed(values: &impl ByteColumn) -> Result<Encoded> {
    let seed = Seed::draw();
    let equal = |a: u32, b: u32| values.value(a as usize) == values.value(b as usize);
    factorize(values.rows(), |row| seed.bytes(values.value(row)), equal, DISTINCT_LIMIT)
}

const DISTINCT_LIMIT: usize = i32::MAX as usize;

fn check_rows(rows: usize) -> Result<()> {
    let limit = u32::MAX as usize - 1;
    if rows > limit { Err(Error::TooManyRows { rows, limit }) } else { Ok(()) }
}

/// The smallest value and how many there are up to the largest, where a table of all of them is small beside the column.
fn dense(values: &[i64]) -> Option<(i64, usize)> {
    let (least, most) = ends(values);
    let width = usize::try_from(most.wrapping_sub(least).cast_unsigned()).ok()?.checked_add(1)?;
    (!values.is_empty() && width / 2 <= values.len() && width <= DISTINCT_LIMIT).then_some((least, width))
}

/// Rows below which a thread of its own is not worth it; a few in tests, so that short columns have several.
const STEP: usize = if cfg!(test) { 8 } else { 1 << 16 };

/// By a table with a place for every value there might be: codes are in the order of the values, and nothing is sorted.
fn factorize_dense(values: &[i64], least: i64, width: usize) -> Encoded {
    #[allow(clippy::cast_possible_truncation)] // below the width
    let place = |value: i64| value.wrapping_sub(least).cast_unsigned() as usize;
    // The first row of every value, then its code.
    let table: Vec<AtomicU32> = (0..width).into_par_iter().with_min_len(STEP).map(|_| AtomicU32::new(NONE)).collect();
    let step = values.len().div_ceil(rayon::current_num_threads()).max(STEP);
    values.par_chunks(step).enumerate().for_each(|(part, values)| {
        for (row, &value) in (narrow(part * step)..).zip(values) {
            let first = &table[place(value)];
            // Rows ascend, so that most values were seen in an earlier one.
            if first.load(Ordering::Relaxed) > row {
                first.fetch_min(row, Ordering::Relaxed);
            }
        }
    });
    let mut first_rows = Vec::new();
    for cell in &table {
        let first = cell.load(Ordering::Relaxed);
        if first != NONE {
            cell.store(narrow(first_rows.len()), Ordering::Relaxed);
            first_rows.push(first);
        }
    }
    let mut codes = zeros(values.len());
    codes.par_chunks_mut(STEP).zip(values.par_chunks(STEP)).for_each(|(codes, values)| {
        for (code, &value) in codes.iter_mut().zip(values) {
            *code = table[place(value)].load(Ordering::Relaxed).cast_signed();
        }
    });
    Encoded { codes, first_rows }
}

const NONE: u32 = u32::MAX;

/// Rows were counted before: they fit.
#[allow(clippy::cast_possible_truncation)]
fn narrow(row: usize) -> u32 {
    row as u32
}

fn factorize(
    rows: usize,
    hash_of: impl Fn(usize) -> u64 + Sync,
    equal: impl Fn(u32, u32) -> bool + Sync,
    distinct_limit: usize,
) -> Result<Encoded> {
    check_rows(rows)?;
    let encoded = match factorize_few(rows, &hash_of, &equal) {
        Some(encoded) => encoded,
        None => factorize_many(rows, hash_of, equal),
    };
    let distinct = encoded.first_rows.len();
    if distinct > distinct_limit {
        Err(Error::TooManyDistinct { distinct, limit: distinct_limit })
    } else {
        Ok(encoded)
    }
}

/// Values that a thread may know of so many rows: its table then takes a few bytes a row, and at most 64 MiB.
fn few(rows: usize) -> usize {
    let of_each = rows / (8 * (rayon::current_num_threads() + 1));
    if cfg!(test) { 12 } else { of_each.clamp(1 << 16, 1 << 20) }
}

/// Rows whose values are asked for together, so that none waits for memory.
const BLOCK: usize = 64;

/// By a table of the values a thread, which become one; none where a thread finds too many.
fn factorize_few(
    rows: usize,
    hash_of: impl Fn(usize) -> u64 + Sync,
    equal: impl Fn(u32, u32) -> bool + Sync,
) -> Option<Encoded> {
    let mut codes = zeros(rows);
    let (step, most) = (rows.div_ceil(rayon::current_num_threads()).max(STEP), few(rows));
    let number_part = |(part, codes): (usize, &mut [i32])| {
        let mut known = Known::new();
        for (block, codes) in codes.chunks_mut(BLOCK).enumerate() {
            let rows = part * step + block * BLOCK..;
            let mut hashes = [0; BLOCK];
            for (hash, row) in hashes.iter_mut().zip(rows.clone()).take(codes.len()) {
                *hash = hash_of(row);
                known.prefetch(*hash);
            }
            for ((code, hash), row) in codes.iter_mut().zip(hashes).zip(rows) {
                *code = known.code(hash, narrow(row), &equal).cast_signed();
            }
            if known.firsts.len() > most {
                return None;
            }
        }
        Some(known)
    };
    let parts: Vec<Known> = codes.par_chunks_mut(step).enumerate().map(number_part).collect::<Option<_>>()?;
    let Some(joined) = join(parts, &equal) else { return Some(Encoded::default()) };
    codes.par_chunks_mut(step).zip(joined.codes).for_each(|(codes, joined)| {
        if !joined.is_empty() {
            codes
                .par_iter_mut()
                .with_min_len(STEP)
                .for_each(|code| *code = joined[code.unsigned_abs() as usize].cast_signed());
        }
    });
    Some(Encoded { codes, first_rows: joined.known.firsts })
}

/// What several threads know, and what each one's codes have become; nothing where they are what they were.
struct Joined {
    known: Known,
    codes: Vec<Vec<u32>>,
}

fn join(parts: Vec<Known>, equal: &(impl Fn(u32, u32) -> bool + Sync)) -> Option<Joined> {
    let alone = |known| Joined { known, codes: vec![Vec::new()] };
    parts.into_par_iter().map(alone).reduce_with(|mut a, b| {
        let own = a.known.absorb(&b.known, equal);
        for codes in b.codes {
            a.codes.push(if codes.is_empty() {
                own.clone()
            } else {
                codes.iter().map(|&code| own[code as usize]).collect()
            });
        }
        a
    })
}

/// The first rows of a bucket's values, and the code that each of its entries has among them.
type Bucket = (Vec<u32>, Vec<u32>);

/// By tables of the values of like hashes, each small enough for the cache.
fn factorize_many(
    rows: usize,
    hash_of: impl Fn(usize) -> u64 + Sync,
    equal: impl Fn(u32, u32) -> bool + Sync,
) -> Encoded {
    let mut hashes: Vec<u64> = zeros(rows);
    hashes.par_iter_mut().enumerate().with_min_len(STEP).for_each(|(row, hash)| *hash = hash_of(row));
    let bits = bucket_bits(rows);
    let parts = partition(rows, bits, |row| hashes[row], |row, hash| (hash, narrow(row)));
    drop(hashes);
    let bucket_of = |bucket| parts.iter().flat_map(move |part| part.bucket(bucket));
    let buckets: Vec<Bucket> = (0..1_usize << bits)
        .into_par_iter()
        .map(|bucket| {
            let mut known: HashTable<(u64, u32, u32)> = HashTable::new();
            let mut firsts = Vec::new();
            let code_of = |&(hash, row): &(u64, u32)| {
                let same = |entry: &(u64, u32, u32)| entry.0 == hash && equal(entry.1, row);
                let entry = known.entry(hash, same, |entry| entry.0).or_insert_with(|| {
                    firsts.push(row);
                    (hash, row, narrow(firsts.len() - 1))
                });
                entry.get().2
            };
            let codes = bucket_of(bucket).map(code_of).collect();
            (firsts, codes)
        })
        .collect();
    let mut base = 0;
    let mut bases = Vec::with_capacity(buckets.len());
    for (firsts, _) in &buckets {
        bases.push(base);
        base += narrow(firsts.len());
    }
    // Every row belongs to one bucket and is written once.
    let codes: Vec<AtomicU32> = (0..rows).into_par_iter().with_min_len(STEP).map(|_| AtomicU32::new(0)).collect();
    let write = |(bucket, ((firsts, found), base)): (usize, (Bucket, u32))| {
        for (&(_, row), code) in bucket_of(bucket).zip(found) {
            codes[row as usize].store(base + code, Ordering::Relaxed);
        }
        firsts
    };
    let firsts: Vec<Vec<u32>> = buckets.into_par_iter().zip(bases).enumerate().map(write).collect();
    drop(parts);
    let codes = codes.into_iter().map(|code| code.into_inner().cast_signed()).collect();
    Encoded { codes, first_rows: firsts.concat() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::with_threads;
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
        fn integers_get_the_rank_of_their_value(
            values in prop::collection::vec(prop_oneof![8 => -5_i64..5, 1 => any::<i64>()], 0..60),
            threads in 1_usize..5,
        ) {
            let found = with_threads(Some(threads), || encode_integers(&values)).and_then(|found| found);
            prop_assert_eq!(found, Ok(slow(&values)));
        }

        #[test]
        fn texts_get_the_rank_of_their_bytes(
            values in prop::collection::vec(prop_oneof![8 => "[aAé😀]{0,2}", 1 => "[a-z]{30,40}"], 0..60),
            threads in 1_usize..5,
        ) {
            let found = with_threads(Some(threads), || encode_bytes(&Texts(values.clone()))).and_then(|found| found);
            prop_assert_eq!(found, Ok(slow(&values)));
        }
    }

    #[test]
    fn many_buckets_agree_with_one() {
        for factor in [1, 1 << 40] {
            let values: Vec<i64> = (0..40_000).map(|row| ((row * 7_919) % 10_007 - 5_000) * factor).collect();
            assert_eq!(encode_integers(&values), Ok(slow(&values)));
        }
    }

    #[test]
    fn more_distinct_values_than_codes_are_refused() {
        let found = factorize(5, |_| 7, |a, b| a % 3 == b % 3, 2);
        assert_eq!(found, Err(Error::TooManyDistinct { distinct: 3, limit: 2 }));
    }
}
