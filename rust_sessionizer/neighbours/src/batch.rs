//! Many queries at a time, some of them a thread.

use crate::error::{Error, Result};
use crate::index::{Index, View};
use crate::parameters::Parameters;
use crate::pool;
use crate::queries::{Clicks, known};
use crate::vote::{Scratch, keep_best};

/// The rank of a target that may not be recommended.
pub const EXCLUDED: i64 = i32::MAX as i64;
/// The most queries that a thread takes at a time.
const BLOCK: usize = 32;

/// What may be recommended, and what not.
#[derive(Clone, Copy, Default)]
pub struct Candidates<'a> {
    /// The items to choose from; all, where there are none given.
    pub only: Option<&'a [i32]>,
    /// Items that each query leaves out.
    pub exclude: Option<Clicks<'a>>,
}

/// The best items.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// [Q, k]: best first, the smaller number first among equals; −1 where there are no more.
    pub items: Vec<i32>,
    /// [Q, k]: −inf where there is no item.
    pub scores: Vec<f32>,
}

/// Where targets stand, and the best items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranked {
    /// [Q]: items that score at least as high as the target, itself included; [`EXCLUDED`] where it is left out.
    pub ranks: Vec<i64>,
    /// [Q, length]: the best items, best first, the smaller number first among equals; −1 where there are no more.
    pub items: Vec<i32>,
}

/// The `k` best items of each query.
///
/// # Errors
///
/// If the arrays do not fit together, a setting is out of its range, or threads cannot be started.
pub fn recommend(
    index: &Index,
    parameters: &Parameters,
    queries: Clicks,
    k: usize,
    candidates: Candidates,
    threads: usize,
) -> Result<Listed> {
    check(index, parameters, queries, candidates.exclude, threads)?;
    if !(1..=index.items()).contains(&k) {
        let expected = format!("a number from 1 to the {} items of the vocabulary", index.items());
        return Err(Error::Setting { name: "k", value: k.to_string(), expected });
    }
    let view = index.view();
    let only = candidates.only.map(|only| Only::new(&view, only)).transpose()?;
    let mut items = vec![-1; queries.len() * k];
    let mut scores = vec![f32::NEG_INFINITY; queries.len() * k];
    let parts = items.chunks_mut(BLOCK * k).zip(scores.chunks_mut(BLOCK * k)).enumerate();
    run(index, threads, parts, |scratch, (block, (items, scores))| {
        for (row, (items, scores)) in items.chunks_mut(k).zip(scores.chunks_mut(k)).enumerate() {
            let query = block * BLOCK + row;
            scratch.score(&view, parameters, queries.get(query));
            leave_out(scratch, candidates.exclude, query);
            list(scratch, &view, only.as_ref(), items, Some(scores));
        }
    })?;
    Ok(Listed { items, scores })
}

/// Ranks each query's target among all items, and lists its `length` best ones.
///
/// # Errors
///
/// If the arrays do not fit together, a setting is out of its range, or threads cannot be started.
pub fn rank(
    index: &Index,
    parameters: &Parameters,
    queries: Clicks,
    targets: &[i32],
    length: usize,
    exclude: Option<Clicks>,
    threads: usize,
) -> Result<Ranked> {
    check(index, parameters, queries, exclude, threads)?;
    if targets.len() != queries.len() {
        return Err(Error::Length { name: "targets", found: targets.len(), expected: queries.len() });
    }
    if let Some(place) = targets.iter().position(|&item| item.cast_unsigned() as usize >= index.items()) {
        let item = targets[place];
        return Err(Error::Item { name: "targets", place, item, items: index.items(), unknown: false });
    }
    let view = index.view();
    let popular = popular_ranks(&view);
    let mut ranks = vec![0; targets.len()];
    let mut items = vec![-1; targets.len() * length];
    let mut parts = Vec::new();
    let mut items_left = items.as_mut_slice();
    for (block, ranks) in ranks.chunks_mut(BLOCK).enumerate() {
        let items;
        (items, items_left) = items_left.split_at_mut(ranks.len() * length);
        parts.push((block, ranks, items));
    }
    run(index, threads, parts, |scratch, (block, ranks, items)| {
        for (row, rank) in ranks.iter_mut().enumerate() {
            let query = block * BLOCK + row;
            scratch.score(&view, parameters, queries.get(query));
            leave_out(scratch, exclude, query);
            *rank = stands(scratch, &view, &popular, targets[query].cast_unsigned());
            list(scratch, &view, None, &mut items[row * length..(row + 1) * length], None);
        }
    })?;
    Ok(Ranked { ranks, items })
}

/// Scores of given items, `width` of them a query: [Q, width]; −inf of −1.
///
/// # Errors
///
/// If the arrays do not fit together, a setting is out of its range, or threads cannot be started.
pub fn score(
    index: &Index,
    parameters: &Parameters,
    queries: Clicks,
    items: &[i32],
    width: usize,
    threads: usize,
) -> Result<Vec<f32>> {
    check(index, parameters, queries, None, threads)?;
    if items.len() != queries.len() * width {
        return Err(Error::Length { name: "candidates", found: items.len(), expected: queries.len() * width });
    }
    known("candidates", items, 0, index.items())?;
    let view = index.view();
    let mut scores = vec![f32::NEG_INFINITY; items.len()];
    let rows = (BLOCK * width).max(1);
    let parts = scores.chunks_mut(rows).zip(items.chunks(rows)).enumerate();
    run(index, threads, parts, |scratch, (block, (scores, items))| {
        for (row, (scores, items)) in scores.chunks_mut(width).zip(items.chunks(width)).enumerate() {
            scratch.score(&view, parameters, queries.get(block * BLOCK + row));
            for (score, &item) in scores.iter_mut().zip(items) {
                *score = u32::try_from(item).map_or(f32::NEG_INFINITY, |item| scratch.of(&view, item));
            }
        }
    })?;
    Ok(scores)
}

/// Scores of all items: [Q, items].
///
/// # Errors
///
/// If the arrays do not fit together, a setting is out of its range, or threads cannot be started.
pub fn score_all(index: &Index, parameters: &Parameters, queries: Clicks, threads: usize) -> Result<Vec<f32>> {
    check(index, parameters, queries, None, threads)?;
    let view = index.view();
    let fill: Vec<f32> = (0..).take(index.items()).map(|item| view.fill(item)).collect();
    let mut scores = vec![0.0; queries.len() * fill.len()];
    let parts = scores.chunks_mut(fill.len().max(1)).enumerate();
    run(index, threads, parts, |scratch, (query, scores)| {
        scratch.score(&view, parameters, queries.get(query));
        scores.copy_from_slice(&fill);
        for (item, score) in scratch.scored() {
            scores[item as usize] = score;
        }
    })?;
    Ok(scores)
}

fn run<P: Send>(
    index: &Index,
    threads: usize,
    parts: impl IntoIterator<Item = P>,
    work: impl Fn(&mut Scratch, P) + Sync,
) -> Result<()> {
    pool::each(threads, parts, |part| {
        let mut scratch = index.scratch();
        work(&mut scratch, part);
        index.give_back(scratch);
    })?;
    Ok(())
}

fn check(
    index: &Index,
    parameters: &Parameters,
    queries: Clicks,
    exclude: Option<Clicks>,
    threads: usize,
) -> Result<()> {
    pool::check(threads)?;
    if parameters.settings.recency > 0 && !index.has_times() {
        let expected = "0 for an index that was built without the sessions' starts".to_owned();
        return Err(Error::Setting { name: "recency", value: parameters.settings.recency.to_string(), expected });
    }
    queries.check("query", "items", index.items())?;
    let Some(exclude) = exclude else { return Ok(()) };
    if exclude.len() != queries.len() {
        return Err(Error::Length { name: "exclude", found: exclude.len(), expected: queries.len() });
    }
    exclude.check("exclude's list", "exclude", index.items())
}

/// The items to choose from.
struct Only {
    /// [items].
    chosen: Vec<bool>,
    /// By falling support, the smaller number first among equals.
    popular: Vec<u32>,
}

impl Only {
    fn new(view: &View, only: &[i32]) -> Result<Self> {
        known("candidates", only, 0, view.support.len())?;
        let mut chosen = vec![false; view.support.len()];
        for item in only.iter().filter_map(|&item| usize::try_from(item).ok()) {
            chosen[item] = true;
        }
        let popular = view.popular.iter().copied().filter(|&item| chosen[item as usize]).collect();
        Ok(Self { chosen, popular })
    }
}

/// Sets what a query leaves out: sorted, each once.
fn leave_out(scratch: &mut Scratch, exclude: Option<Clicks>, query: usize) {
    scratch.excluded.clear();
    if let Some(exclude) = exclude {
        scratch.excluded.extend(exclude.get(query).iter().filter_map(|&item| u32::try_from(item).ok()));
        scratch.excluded.sort_unstable();
        scratch.excluded.dedup();
    }
}

fn is_out(excluded: &[u32], item: u32) -> bool {
    !excluded.is_empty() && excluded.binary_search(&item).is_ok()
}

/// Writes the best items: those that are voted for, then the most popular ones.
fn list(scratch: &mut Scratch, view: &View, only: Option<&Only>, items: &mut [i32], mut scores: Option<&mut [f32]>) {
    if items.is_empty() {
        return;
    }
    let mut contenders = std::mem::take(&mut scratch.contenders);
    let allowed = |item: u32| only.is_none_or(|only| only.chosen[item as usize]) && !is_out(&scratch.excluded, item);
    contenders.clear();
    contenders.extend(scratch.scored().filter(|&(item, _)| allowed(item)).map(|(item, score)| (score, item)));
    keep_best(&mut contenders, items.len());
    let popular = only.map_or(view.popular, |only| &only.popular);
    let rest = popular.iter().filter(|&&item| !is_out(&scratch.excluded, item) && scratch.voted(item).is_none());
    let rest = rest.map(|&item| (view.fill(item), item));
    for (place, (score, item)) in contenders.iter().copied().chain(rest).take(items.len()).enumerate() {
        items[place] = item.cast_signed();
        if let Some(scores) = &mut scores {
            scores[place] = score;
        }
    }
    scratch.contenders = contenders;
}

/// [items]: how many items are at least as popular as each, itself included.
fn popular_ranks(view: &View) -> Vec<u32> {
    let mut ranks = vec![0; view.popular.len()];
    let mut rank = 0;
    for equals in view.popular.chunk_by(|&one, &other| view.fill(one).total_cmp(&view.fill(other)).is_eq()) {
        rank += equals.len();
        for &item in equals {
            #[allow(clippy::cast_possible_truncation)] // items are fewer than 2^31
            let rank = rank as u32;
            ranks[item as usize] = rank;
        }
    }
    ranks
}

/// How many items that are not left out score at least as high as the target.
fn stands(scratch: &Scratch, view: &View, popular: &[u32], target: u32) -> i64 {
    let excluded = &scratch.excluded;
    if is_out(excluded, target) {
        return EXCLUDED;
    }
    let voted = scratch.scored().filter(|&(item, _)| !is_out(excluded, item));
    if let Some(score) = scratch.voted(target) {
        return count(voted.filter(|&(_, other)| other >= score));
    }
    // Behind all that are voted for, among those that are not.
    let fill = view.fill(target);
    let as_popular = |item: u32| view.fill(item) >= fill;
    let counted_twice = count(scratch.scored().filter(|&(item, _)| as_popular(item)));
    let left_out = count(excluded.iter().filter(|&&item| as_popular(item) && scratch.voted(item).is_none()));
    count(voted) + i64::from(popular[target as usize]) - counted_twice - left_out
}

fn count(found: impl Iterator) -> i64 {
    i64::try_from(found.count()).unwrap_or(i64::MAX)
}
