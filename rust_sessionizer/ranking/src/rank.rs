//! Ranks of all queries, a block of them at a time.

use std::sync::{Mutex, PoisonError};
use std::thread;

use pulp::Arch;

use crate::block::Block;
use crate::error::{Error, Result};
use crate::input::{Items, Queries};

/// The fewest and the most queries of a block. The items are packed anew for each, which many queries are to share.
const FEWEST: usize = 1024;
const MOST: usize = 8192;
/// The rank of a target that may not be recommended.
pub const EXCLUDED: i64 = i32::MAX as i64;

/// Where the targets stand, and what is recommended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranks {
    /// [Q]: items that score at least as high as the target, itself included; [`EXCLUDED`] where it may not be recommended.
    pub ranks: Vec<i64>,
    /// [Q, length]: the best items, best first, the smaller index first among equals; -1 where there are no more.
    pub items: Vec<i32>,
}

/// Ranks each query's target among all items that the query does not leave out, and lists its `length` best items.
///
/// A score of -inf says that an item may not be recommended: it is not listed, and as a target it counts as excluded.
///
/// # Errors
///
/// If the arrays do not fit together, a score is NaN, or threads cannot be started.
pub fn rank(queries: Queries, items: Items, length: usize, threads: usize) -> Result<Ranks> {
    rank_on(Arch::new(), queries, items, length, threads)
}

fn rank_on(arch: Arch, queries: Queries, items: Items, length: usize, threads: usize) -> Result<Ranks> {
    queries.check(items)?;
    if threads == 0 {
        return Err(Error::Setting { name: "threads", value: threads.to_string(), expected: "1 or more" });
    }
    let mut ranks = vec![0; queries.count()];
    let mut listed = vec![0; queries.count() * length];
    let mut blocks = Vec::new();
    let (mut ranks_left, mut listed_left) = (ranks.as_mut_slice(), listed.as_mut_slice());
    while !ranks_left.is_empty() {
        let first = queries.count() - ranks_left.len();
        let (ranks, listed);
        // Ever smaller ones, so that threads end together.
        let size = (ranks_left.len() / 4).clamp(FEWEST, MOST).min(ranks_left.len());
        (ranks, ranks_left) = ranks_left.split_at_mut(size);
        (listed, listed_left) = listed_left.split_at_mut(size * length);
        blocks.push(Block { items, queries, first, ranks, listed, length });
    }
    let helpers = threads.min(blocks.len()).saturating_sub(1);
    blocks.reverse();
    let blocks = Mutex::new(blocks);
    // Blocks are taken in order: where one fails, all before it have been taken, so that the first to fail is always told.
    let failed = Mutex::new(None::<(usize, Error)>);
    let next = || blocks.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let work = || {
        while let Some(block) = next() {
            let first = block.first;
            let Err(error) = arch.dispatch(block) else { continue };
            blocks.lock().unwrap_or_else(PoisonError::into_inner).clear();
            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
            if failed.as_ref().is_none_or(|(before, _)| first < *before) {
                *failed = Some((first, error));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..helpers {
            thread::Builder::new()
                .spawn_scoped(scope, work)
                .map_err(|error| Error::Threads { reason: error.to_string() })?;
        }
        work();
        Ok(())
    })?;
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, error)) => Err(error),
        None => Ok(Ranks { ranks, items: listed }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
// Numbers are small here.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::Excluded;

    /// Everything that `rank` takes, by value.
    #[derive(Debug, Clone)]
    struct Given {
        width: usize,
        outputs: Vec<f32>,
        table: Vec<f32>,
        bias: Vec<f32>,
        targets: Vec<i32>,
        begins: Vec<i64>,
        ends: Vec<i64>,
        excluded: Vec<i32>,
    }

    impl Given {
        fn queries(&self) -> Queries<'_> {
            let excluded = Excluded { begins: &self.begins, ends: &self.ends, items: &self.excluded };
            Queries { outputs: &self.outputs, width: self.width, targets: &self.targets, excluded: Some(excluded) }
        }

        fn items(&self) -> Items<'_> {
            Items { table: &self.table, bias: &self.bias }
        }

        /// Numbers with many digits, whose sums depend on the order; every third item equals the one before.
        fn random(queries: usize, items: usize, width: usize) -> Self {
            let mut state = 1_u32;
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state >> 8
            };
            let numbers = |count: usize, next: &mut dyn FnMut() -> u32| -> Vec<f32> {
                (0..count).map(|_| next() as f32 / 8e6 - 1.0).collect()
            };
            let outputs = numbers(queries * width, &mut next);
            let (mut table, mut bias) = (numbers(items * width, &mut next), numbers(items, &mut next));
            for item in (2..items).step_by(3) {
                table.copy_within((item - 1) * width..item * width, item * width);
                bias[item] = bias[item - 1];
            }
            let excluded: Vec<i32> = (0..3 * queries).map(|_| (next() as usize % items) as i32).collect();
            let targets = (0..queries).map(|_| (next() as usize % items) as i32).collect();
            let begins = (0..queries).map(|query| (query / 4 * 12) as i64).collect();
            let ends = (0..queries).map(|query| (query / 4 * 12 + query % 4) as i64).collect();
            Self { width, outputs, table, bias, targets, begins, ends, excluded }
        }
    }

    /// What `rank` promises, one score after the other.
    fn obvious(given: &Given, length: usize) -> Ranks {
        let (width, mut found) = (given.width, Ranks { ranks: Vec::new(), items: Vec::new() });
        for (query, output) in given.outputs.chunks_exact(width).enumerate() {
            let range = given.begins[query] as usize..given.ends[query] as usize;
            let left_out = &given.excluded[range];
            let scores: Vec<f32> = given
                .table
                .chunks_exact(width)
                .zip(&given.bias)
                .map(|(row, bias)| (0..width).fold(*bias, |sum, k| row[k].mul_add(output[k], sum)))
                .collect();
            let mut kept: Vec<usize> = (0..scores.len()).filter(|&item| !left_out.contains(&(item as i32))).collect();
            kept.retain(|&item| scores[item] > f32::NEG_INFINITY);
            let target = given.targets[query] as usize;
            let reaching = kept.iter().filter(|&&item| scores[item] >= scores[target]);
            found.ranks.push(if kept.contains(&target) { reaching.count() as i64 } else { EXCLUDED });
            kept.sort_by(|&left, &right| scores[right].partial_cmp(&scores[left]).unwrap());
            found.items.extend((0..length).map(|place| kept.get(place).map_or(-1, |&item| item as i32)));
        }
        found
    }

    fn archs() -> Vec<Arch> {
        #[allow(unused_mut)]
        let mut archs = vec![Arch::Scalar, Arch::new()];
        #[cfg(target_arch = "x86_64")]
        archs.extend(pulp::x86::V3::try_new().map(Arch::V3));
        archs
    }

    #[test]
    fn ranks_and_lists_are_those_of_the_slow_loop_with_any_registers_and_threads() {
        for (queries, items, width) in [(1, 1, 1), (33, 15, 3), (40, 700, 224), (600, 300, 16), (257, 29, 5)] {
            let given = Given::random(queries, items, width);
            for length in [0, 1, 20, 40] {
                let expected = obvious(&given, length);
                for arch in archs() {
                    for threads in [1, 2, 5] {
                        let found = rank_on(arch, given.queries(), given.items(), length, threads).unwrap();
                        assert_eq!(found, expected);
                    }
                }
            }
        }
    }

    #[test]
    fn equal_items_tie_to_the_last_bit() {
        let mut given = Given::random(50, 43, 224);
        for item in 1..43 {
            given.table.copy_within(..224, item * 224);
        }
        given.bias.fill(0.25);
        given.ends.clone_from(&given.begins);
        let found = rank(given.queries(), given.items(), 3, 2).unwrap();
        assert_eq!(found.ranks, vec![43; 50]);
        assert_eq!(found.items, [0, 1, 2].repeat(50));
    }

    #[test]
    fn nan_is_refused_with_the_first_query_that_has_one() {
        let mut given = Given::random(900, 40, 3);
        for query in [850, 301, 299] {
            given.outputs[query * 3 + 1] = f32::NAN;
        }
        for arch in archs() {
            for (length, threads) in [(0, 1), (0, 3), (4, 2)] {
                let found = rank_on(arch, given.queries(), given.items(), length, threads);
                assert_eq!(found, Err(Error::NotANumber { query: 299, item: 0 }));
            }
        }
    }

    #[test]
    fn nan_in_one_item_is_found_among_the_last_and_the_low() {
        for item in [0, 13, 14, 38, 39] {
            let mut given = Given::random(5, 40, 3);
            given.bias[item] = f32::NAN;
            for length in [0, 1] {
                let found = rank(given.queries(), given.items(), length, 1);
                assert_eq!(found, Err(Error::NotANumber { query: 0, item }));
            }
        }
    }

    #[test]
    fn minus_infinity_is_as_good_as_left_out() {
        let mut given = Given::random(2, 6, 1);
        given.ends.clone_from(&given.begins);
        given.bias[3..].fill(f32::NEG_INFINITY);
        given.targets = vec![4, 1];
        let found = rank(given.queries(), given.items(), 4, 1).unwrap();
        assert_eq!(found, obvious(&given, 4));
        assert_eq!((found.ranks[0], found.items[3]), (EXCLUDED, -1));
    }

    #[test]
    fn infinite_sums_are_ranked_like_any_others() {
        let mut given = Given::random(40, 50, 3);
        given.outputs.iter_mut().step_by(2).for_each(|entry| *entry *= 1e30);
        given.table.iter_mut().step_by(5).for_each(|entry| *entry *= 1e30);
        for length in [0, 7] {
            let expected = obvious(&given, length);
            assert!(length == 0 || expected.ranks.contains(&EXCLUDED));
            for arch in archs() {
                assert_eq!(rank_on(arch, given.queries(), given.items(), length, 1).as_ref(), Ok(&expected));
            }
        }
    }

    #[test]
    fn infinite_factors_are_no_error_where_no_score_is_nan() {
        let mut given = Given::random(20, 30, 2);
        given.table[34] = f32::INFINITY; // item 17
        assert_eq!(rank(given.queries(), given.items(), 4, 1), Ok(obvious(&given, 4)));
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let given = Given::random(4, 5, 2);
        let refused = |change: &dyn Fn(&mut Given)| {
            let mut wrong = given.clone();
            change(&mut wrong);
            rank(wrong.queries(), wrong.items(), 1, 1).unwrap_err().to_string()
        };
        assert_eq!(refused(&|given| given.width = 0), "the width is 0; it must be 1 or more");
        assert_eq!(refused(&|given| given.width = 3), "'outputs' has 8 entries where 12 are needed");
        assert_eq!(refused(&|given| given.table.truncate(9)), "'table' has 9 entries where 10 are needed");
        let text = "holds the item 5, but an item is a number from 0 and less than 5";
        assert_eq!(refused(&|given| given.targets[2] = 5), format!("'targets' {text}"));
        assert!(refused(&|given| given.targets[2] = -1).contains("the item -1"));
        assert_eq!(refused(&|given| given.excluded[0] = 5), format!("'excluded' {text}"));
        assert_eq!(refused(&|given| given.ends.truncate(1)), "'ends' has 1 entries where 4 are needed");
        let text = "query 1 leaves out the entries 0 to 13 of an array of 12";
        assert_eq!(refused(&|given| given.ends[1] = 13), text);
        assert!(rank(given.queries(), given.items(), 1, 0).is_err());
    }

    #[test]
    fn nothing_to_rank_is_no_error() {
        let given = Given::random(0, 3, 2);
        assert_eq!(rank(given.queries(), given.items(), 5, 2), Ok(Ranks { ranks: Vec::new(), items: Vec::new() }));
    }

    fn any_given() -> impl Strategy<Value = Given> {
        (0..70_usize, 1..60_usize, 1..6_usize).prop_flat_map(|(queries, items, width)| {
            // Few values, so that there are many ties.
            let numbers = |count| prop::collection::vec((-2..=2_i8).prop_map(f32::from), count);
            let named = |count| prop::collection::vec(0..items as i32, count);
            let ranges = prop::collection::vec((0..=30_i64, 0..=30_i64), queries);
            let arrays = (numbers(queries * width), numbers(items * width), numbers(items));
            (arrays, named(queries), named(30), ranges).prop_map(
                move |((outputs, table, bias), targets, excluded, ranges)| {
                    let begins = ranges.iter().map(|&(one, other)| one.min(other)).collect();
                    let ends = ranges.iter().map(|&(one, other)| one.max(other)).collect();
                    Given { width, outputs, table, bias, targets, begins, ends, excluded }
                },
            )
        })
    }

    proptest! {
        #[test]
        fn any_ranks_are_those_of_the_slow_loop(given in any_given(), length in 0..25_usize) {
            let expected = obvious(&given, length);
            for arch in archs() {
                let found = rank_on(arch, given.queries(), given.items(), length, 2);
                prop_assert_eq!(found.as_ref(), Ok(&expected));
            }
        }
    }
}
