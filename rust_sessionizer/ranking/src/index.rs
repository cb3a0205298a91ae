//! The items with the largest inner products, exactly, by a table of one byte an entry.
//!
//! A vector x is held a second time as whole numbers x' of one byte and their scale. By Cauchy and Schwarz, the product of two vectors
//! differs from that of their codes by no more than |q'| |x - x'| + |q - q'| |x|; an item whose product is surely below k others' is
//! none of the k best. What is left, a few dozen items of tens of thousands, is scored by the vectors themselves.

use std::sync::Arc;

use crate::codes::{Codes, GROUP};
use crate::error::{Error, Result};
use crate::input::Excluded;
use crate::kernel::{self, ask_for};
use crate::scan::Scan;

/// Lanes that a score is summed up in, on every processor.
const LANES: usize = 16;
/// Items whose vectors are asked for while the one before them is scored.
const AHEAD: usize = 4;
/// Kept items from which on those are dropped that no longer can be among the best.
const MANY: usize = 1 << 14;

/// Items by their vectors and biases, to be searched.
pub struct Index {
    table: Arc<Vec<f32>>,
    bias: Vec<f32>,
    width: usize,
    codes: Codes,
}

/// What was found, `k` places a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// [Q, k]: the best items, best first, the smaller index first among equals; -1 where there are no more.
    pub items: Vec<i32>,
    /// [Q, k]: their scores; -inf where there is no item.
    pub scores: Vec<f32>,
    /// Items of all queries together that had to be scored by their vectors.
    pub scored: usize,
}

impl Index {
    /// Of a table [V, width] and biases [V]; a bias of -inf says that an item may not be found.
    ///
    /// # Errors
    ///
    /// If the arrays do not fit together, there are too many items, or an entry is not finite.
    pub fn new(table: Vec<f32>, bias: Vec<f32>, width: usize) -> Result<Self> {
        if width == 0 {
            return Err(Error::Setting { name: "the width", value: width.to_string(), expected: "1 or more" });
        }
        if bias.len() >= i32::MAX as usize {
            let value = bias.len().to_string();
            return Err(Error::Setting { name: "the number of items", value, expected: "less than 2147483647" });
        }
        if table.len() != bias.len() * width {
            return Err(Error::Length { name: "table", found: table.len(), expected: bias.len() * width });
        }
        finite("table", &table, width)?;
        if let Some(row) = bias.iter().position(|&bias| bias.is_nan() || bias == f32::INFINITY) {
            return Err(Error::NotFinite { name: "bias", row });
        }
        let codes = Codes::of(&table, &bias, width);
        Ok(Self { table: Arc::new(table), bias, width, codes })
    }

    /// V.
    #[must_use]
    pub fn items(&self) -> usize {
        self.bias.len()
    }

    /// The items' vectors, for others who need them too.
    #[must_use]
    pub fn table(&self) -> Arc<Vec<f32>> {
        Arc::clone(&self.table)
    }

    /// Entries of a vector.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The `k` items that score highest for each query [Q, width], those aside that it leaves out. A score is the product of two vectors,
    /// and the item's bias; it does not depend on what else is asked, nor on the processor.
    ///
    /// # Errors
    ///
    /// If the arrays do not fit together, k is 0, an entry is not finite, or a score is not a number.
    pub fn search(&self, queries: &[f32], k: usize, excluded: Option<Excluded>) -> Result<Found> {
        if k == 0 {
            return Err(Error::Setting { name: "k", value: k.to_string(), expected: "1 or more" });
        }
        let count = queries.len() / self.width;
        if count * self.width != queries.len() {
            let expected = queries.len().next_multiple_of(self.width);
            return Err(Error::Length { name: "queries", found: queries.len(), expected });
        }
        finite("queries", queries, self.width)?;
        if let Some(excluded) = excluded {
            excluded.check(count, self.bias.len())?;
        }
        let mut found = Found { items: vec![-1; count * k], scores: vec![f32::NEG_INFINITY; count * k], scored: 0 };
        let lists = queries.chunks_exact(self.width).enumerate().map(|(query, vector)| {
            let left_out = excluded.map_or_else(Vec::new, |excluded| excluded.sorted(query));
            Shortlist::new(self, vector, k.min(self.bias.len()), left_out)
        });
        let scan = Scan { codes: &self.codes, queries, width: self.width, lists: lists.collect() };
        for (query, list) in kernel::run(scan).into_iter().enumerate() {
            found.scored += list.scored.len();
            let places = query * k..(query + 1) * k;
            let into = found.items[places.clone()].iter_mut().zip(&mut found.scores[places]);
            for (best, (item, score)) in list.best(query)?.into_iter().zip(into) {
                (*score, *item) = best;
            }
        }
        Ok(found)
    }
}

/// A query's items that may be among its best.
pub(crate) struct Shortlist<'a> {
    index: &'a Index,
    query: &'a [f32],
    k: usize,
    /// What the query leaves out, ascending.
    left_out: Vec<i32>,
    /// The k highest scores that are sure: a heap, the least first.
    sure: Vec<f32>,
    /// An item that surely scores less is none of the best.
    pub(crate) least: f32,
    /// Items, and what they score at most.
    kept: Vec<(i32, f32)>,
    /// Scores and items.
    scored: Vec<(f32, i32)>,
}

impl<'a> Shortlist<'a> {
    fn new(index: &'a Index, query: &'a [f32], k: usize, left_out: Vec<i32>) -> Self {
        let sure = Vec::with_capacity(k);
        Self { index, query, k, left_out, sure, least: f32::NEG_INFINITY, kept: Vec::new(), scored: Vec::new() }
    }

    /// Of a group that begins at an item.
    #[cold]
    #[inline(never)]
    pub(crate) fn keep(&mut self, first: usize, low: &[f32; GROUP], high: &[f32; GROUP]) {
        for (place, (&low, &high)) in low.iter().zip(high).enumerate() {
            // There may be no item, or none that may be found.
            let Some(&bias) = self.index.bias.get(first + place) else { break };
            if is_less(high, self.least) || bias == f32::NEG_INFINITY {
                continue;
            }
            let item = number(first + place);
            if self.left_out.binary_search(&item).is_ok() {
                continue;
            }
            self.kept.push((item, high));
            self.tell(low);
        }
        if self.kept.len() >= MANY {
            let least = self.least;
            self.kept.retain(|&(_, high)| !is_less(high, least));
        }
    }

    /// An item scores at least that.
    fn tell(&mut self, low: f32) {
        if low.is_nan() {
            return;
        }
        if self.sure.len() < self.k {
            self.sure.push(low);
            if self.sure.len() == self.k {
                self.sure.sort_unstable_by(f32::total_cmp);
                self.least = self.sure[0];
            }
        } else if low > self.least {
            let (mut place, mut below) = (0, 1);
            while below < self.k {
                below += usize::from(below + 1 < self.k && self.sure[below + 1] < self.sure[below]);
                if low <= self.sure[below] {
                    break;
                }
                self.sure[place] = self.sure[below];
                (place, below) = (below, 2 * below + 1);
            }
            self.sure[place] = low;
            self.least = self.sure[0];
        }
    }

    #[inline(always)]
    pub(crate) fn score(&mut self) {
        let least = self.least;
        self.kept.retain(|&(_, high)| !is_less(high, least));
        for place in 0..self.kept.len() {
            if let Some(&(item, _)) = self.kept.get(place + AHEAD) {
                for line in self.vector(item).chunks(LANES) {
                    ask_for(line.as_ptr());
                }
            }
            let (item, _) = self.kept[place];
            let score = product(self.query, self.vector(item)) + self.index.bias[row(item)];
            self.scored.push((score, item));
        }
    }

    #[inline(always)]
    fn vector(&self, item: i32) -> &'a [f32] {
        &self.index.table[row(item) * self.index.width..][..self.index.width]
    }

    fn best(mut self, query: usize) -> Result<Vec<(f32, i32)>> {
        if let Some(&(_, item)) = self.scored.iter().find(|(score, _)| score.is_nan()) {
            return Err(Error::NotANumber { query, item: row(item) });
        }
        self.scored.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        self.scored.truncate(self.k);
        Ok(self.scored)
    }
}

/// Whether the bound is a number below the other; what is not a number is kept, and told when it is scored.
#[inline(always)]
pub(crate) fn is_less(high: f32, least: f32) -> bool {
    high < least
}

#[inline(always)]
fn product(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (mut a_parts, mut b_parts) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (a, b) in a_parts.by_ref().zip(b_parts.by_ref()) {
        for lane in 0..LANES {
            sums[lane] = a[lane].mul_add(b[lane], sums[lane]);
        }
    }
    for (lane, (a, b)) in a_parts.remainder().iter().zip(b_parts.remainder()).enumerate() {
        sums[lane] = a.mul_add(*b, sums[lane]);
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}

fn finite(name: &'static str, rows: &[f32], width: usize) -> Result<()> {
    match rows.iter().position(|entry| !entry.is_finite()) {
        None => Ok(()),
        Some(place) => Err(Error::NotFinite { name, row: place / width }),
    }
}

/// Where a kept item stands.
#[inline(always)]
fn row(item: i32) -> usize {
    item.cast_unsigned() as usize
}

/// There are fewer items than `i32::MAX`, and at most fifteen empty places.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
fn number(item: usize) -> i32 {
    item as i32
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::cast_possible_wrap, clippy::cast_possible_truncation, clippy::cast_precision_loss)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every item scored, and all sorted.
    fn slowly(index: &Index, query: &[f32], k: usize, left_out: &[i32]) -> (Vec<i32>, Vec<f32>) {
        let mut all: Vec<(f32, i32)> = (0..index.items())
            .map(|row| (product(query, &index.table[row * index.width..][..index.width]) + index.bias[row], row as i32))
            .filter(|(score, item)| *score > f32::NEG_INFINITY && !left_out.contains(item))
            .collect();
        all.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap().then(a.1.cmp(&b.1)));
        all.resize(k.max(all.len()), (f32::NEG_INFINITY, -1));
        all[..k].iter().map(|&(score, item)| (item, score)).unzip()
    }

    fn entry() -> impl Strategy<Value = f32> {
        prop_oneof![
            4 => -1.0_f32..1.0,
            2 => (-3_i8..=3).prop_map(f32::from),
            1 => prop_oneof![Just(0.0), Just(1e-40), Just(-1e-20), Just(1e15), Just(-1e15)],
        ]
    }

    /// A table with its biases, queries, and what each leaves out.
    #[derive(Debug, Clone)]
    struct Given {
        width: usize,
        table: Vec<f32>,
        bias: Vec<f32>,
        queries: Vec<f32>,
        left_out: Vec<i32>,
        ends: Vec<i64>,
    }

    fn given() -> impl Strategy<Value = Given> {
        (1_usize..40, 1_usize..90, 0_usize..20).prop_flat_map(|(width, items, queries)| {
            // Beside a large bias, what is added to it is mostly rounded off.
            let bias =
                prop_oneof![3 => -1.0_f32..1.0, 1 => Just(0.0), 1 => 1e7_f32..1.00001e7, 1 => Just(f32::NEG_INFINITY)];
            let own = prop::collection::vec(prop::collection::vec(0..items as i32, 0..9), queries);
            (
                prop::collection::vec(entry(), width * items),
                prop::collection::vec(bias, items),
                prop::collection::vec(entry(), width * queries),
                own,
            )
                .prop_map(move |(table, bias, queries, own)| {
                    let ends = own.iter().scan(0, |end, own| {
                        *end += own.len() as i64;
                        Some(*end)
                    });
                    let ends = ends.collect();
                    Given { width, table, bias, queries, left_out: own.concat(), ends }
                })
        })
    }

    proptest! {
        #[test]
        fn finds_what_scoring_everything_finds(given in given(), k in 1_usize..120, leaves_out in any::<bool>()) {
            let begins: Vec<i64> = [0].into_iter().chain(given.ends.iter().copied()).take(given.ends.len()).collect();
            let excluded = Excluded { begins: &begins, ends: &given.ends, items: &given.left_out };
            let index = Index::new(given.table.clone(), given.bias.clone(), given.width).unwrap();
            let found = index.search(&given.queries, k, leaves_out.then_some(excluded)).unwrap();
            for (number, query) in given.queries.chunks(given.width).enumerate() {
                let left_out = if leaves_out { excluded.sorted(number) } else { Vec::new() };
                let (items, scores) = slowly(&index, query, k, &left_out);
                prop_assert_eq!(&found.items[number * k..][..k], &items);
                prop_assert_eq!(&found.scores[number * k..][..k], &scores);
                let alone = index.search(query, k, None).unwrap();
                if !leaves_out {
                    prop_assert_eq!(&alone.items, &items);
                    prop_assert_eq!(&alone.scores, &scores);
                }
            }
        }
    }

    /// Numbers that look random.
    fn noise(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from((state >> 16) as i16) / 32_768.0
        };
        (0..count).map(|_| next() + next() + next()).collect()
    }

    #[test]
    fn few_items_of_many_are_scored_exactly() {
        let (items, width, k) = (5_000, 96, 20);
        let index = Index::new(noise(items * width, 1), noise(items, 2), width).unwrap();
        let queries = noise(11 * width, 3);
        let found = index.search(&queries, k, None).unwrap();
        for (number, query) in queries.chunks(width).enumerate() {
            let (best, scores) = slowly(&index, query, k, &[]);
            assert_eq!(found.items[number * k..][..k], best);
            assert_eq!(found.scores[number * k..][..k], scores);
        }
        assert!(found.scored < 11 * 4 * k, "{}", found.scored);
    }

    #[test]
    fn what_cannot_be_searched_is_refused() {
        let new = |table: &[f32], bias: &[f32], width| Index::new(table.to_vec(), bias.to_vec(), width).err();
        assert!(matches!(new(&[], &[], 0), Some(Error::Setting { name: "the width", .. })));
        assert!(matches!(new(&[1.0; 3], &[0.0; 2], 2), Some(Error::Length { name: "table", found: 3, expected: 4 })));
        let table = [1.0, 2.0, f32::NAN, 0.0];
        assert!(matches!(new(&table, &[0.0; 2], 2), Some(Error::NotFinite { name: "table", row: 1 })));
        assert!(matches!(new(&[1.0; 2], &[0.0, f32::NAN], 1), Some(Error::NotFinite { name: "bias", row: 1 })));
        let index = Index::new(vec![3e38, 1.0], vec![0.0; 2], 1).unwrap();
        assert!(matches!(index.search(&[1.0], 0, None), Err(Error::Setting { name: "k", .. })));
        assert!(matches!(index.search(&[f32::INFINITY], 1, None), Err(Error::NotFinite { name: "queries", row: 0 })));
        let excluded = Excluded { begins: &[0], ends: &[1], items: &[2] };
        assert!(matches!(index.search(&[1.0], 1, Some(excluded)), Err(Error::Item { item: 2, .. })));
        // More than the largest number is infinite, and stands before the others.
        assert_eq!(index.search(&[10.0], 2, None).unwrap().items, [0, 1]);
        let huge = Index::new(vec![3e38, -3e38, 1.0, 1.0], vec![0.0, f32::NEG_INFINITY], 2).unwrap();
        assert!(matches!(huge.search(&[3e38; 2], 2, None), Err(Error::NotANumber { query: 0, item: 0 })));
        let wide = Index::new(vec![1.0; 4], vec![0.0; 2], 2).unwrap();
        assert!(matches!(wide.search(&[1.0; 3], 1, None), Err(Error::Length { name: "queries", .. })));
    }
}
