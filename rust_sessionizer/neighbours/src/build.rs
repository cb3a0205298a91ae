//! From a log's sessions to the index.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::file;
use crate::index::{HEADER, Index, Sizes, Words, fill};
use crate::pool;

/// Sessions of items, the oldest first.
#[derive(Clone, Copy)]
pub struct Log<'a> {
    /// [C]: the items clicked, session by session.
    pub clicks: &'a [i32],
    /// [S + 1]: where each session begins; the last entry is C.
    pub offsets: &'a [i64],
    /// [S]: milliseconds at which each session starts, never falling.
    pub starts: Option<&'a [i64]>,
    /// V: items are 0 to V − 1.
    pub items: usize,
}

/// Builds an index that keeps `most` sessions an item, the most recent ones; 0 keeps all.
///
/// # Errors
///
/// If the arrays do not fit together, sessions are not in order, or threads cannot be started.
pub fn build(log: Log, most: usize, threads: usize) -> Result<Index> {
    pool::check(threads)?;
    let most = if most == 0 { usize::MAX } else { most };
    check(log, threads)?;
    let counts = count(log, threads)?;
    let listed = counts.iter().map(|item| (item.sessions as usize).min(most)).sum();
    let sizes = Sizes {
        items: log.items,
        sessions: log.offsets.len() - 1,
        clicks: log.clicks.len(),
        listed,
        timed: log.starts.is_some(),
    };
    let mut words = vec![0; sizes.words()];
    write(log, &counts, most, threads, sizes, &mut words)?;
    file::write_header(sizes, most, threads, &mut words)?;
    Ok(Index::new(Words::Owned(words), sizes, most))
}

/// Refuses what cannot be indexed.
fn check(log: Log, threads: usize) -> Result<()> {
    let Some((&first, _)) = log.offsets.split_first() else {
        return Err(Error::Length { name: "offsets", found: 0, expected: 1 });
    };
    let sessions = log.offsets.len() - 1;
    size("items", log.items, i32::MAX as u64)?;
    size("sessions", sessions, u64::from(u32::MAX) - 1)?;
    size("clicks", log.clicks.len(), u64::from(u32::MAX))?;
    let clicks = log.clicks.len();
    let range = |number: usize, begin: i64, end: i64| Error::Range { what: "session", number, begin, end, clicks };
    if let Some(session) = log.offsets.windows(2).position(|pair| pair[0] > pair[1]) {
        return Err(range(session, log.offsets[session], log.offsets[session + 1]));
    }
    let last = log.offsets[sessions];
    if first != 0 || usize::try_from(last) != Ok(clicks) {
        return Err(range(if first == 0 { sessions.saturating_sub(1) } else { 0 }, first, last));
    }
    if let Some(starts) = log.starts {
        if starts.len() != sessions {
            return Err(Error::Length { name: "starts", found: starts.len(), expected: sessions });
        }
        if let Some(session) = starts.windows(2).position(|pair| pair[0] > pair[1]) {
            return Err(Error::Order { session: session + 1 });
        }
        if let (Some(&first), Some(&last)) = (starts.first(), starts.last()) {
            // A log spans fewer than 136 years.
            size("seconds between the first session and the last", last.abs_diff(first) / 1_000, u64::from(u32::MAX))?;
        }
    }
    let bad = |range: Range<usize>| {
        let place = log.clicks[range.clone()].iter().position(|&item| item.cast_unsigned() as usize >= log.items);
        place.map(|place| range.start + place)
    };
    let found = pool::each(threads, parts(clicks, threads), bad)?.into_iter().flatten().next();
    match found {
        None => Ok(()),
        Some(place) => {
            let item = log.clicks[place];
            Err(Error::Item { name: "items", place, item, items: log.items, unknown: false })
        }
    }
}

fn size<N: TryInto<u64>>(what: &'static str, found: N, limit: u64) -> Result<()> {
    let found = found.try_into().unwrap_or(u64::MAX);
    if found < limit { Ok(()) } else { Err(Error::Size { what, found, limit }) }
}

/// `count` things in as many parts as there are threads.
fn parts(count: usize, threads: usize) -> Vec<Range<usize>> {
    let size = count.div_ceil(threads).max(1);
    (0..count).step_by(size).map(|begin| begin..(begin + size).min(count)).collect()
}

/// Of one item.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    clicks: u32,
    sessions: u32,
}

/// Clicks of each item, and sessions that hold it.
fn count(log: Log, threads: usize) -> Result<Vec<Count>> {
    // A thread counts the sessions of its part for all items: no more threads than that is worth.
    let threads = threads.min(log.clicks.len() / log.items.max(1) + 1);
    let counted = pool::each(threads, parts(log.offsets.len() - 1, threads), |sessions| {
        let mut counts = vec![Count::default(); log.items];
        let mut last = vec![0_u32; log.items];
        for session in sessions {
            let (mark, clicks) = (number(session) + 1, clicks_of(log, session));
            for &item in clicks {
                let item = item.cast_unsigned() as usize;
                let count = &mut counts[item];
                count.clicks += 1;
                count.sessions += u32::from(last[item] != mark);
                last[item] = mark;
            }
        }
        counts
    })?;
    let mut counted = counted.into_iter();
    let mut counts = counted.next().unwrap_or_else(|| vec![Count::default(); log.items]);
    for more in counted {
        for (count, more) in counts.iter_mut().zip(more) {
            count.clicks += more.clicks;
            count.sessions += more.sessions;
        }
    }
    Ok(counts)
}

/// Sessions and clicks are fewer than 2^32, as `check` has made sure.
#[inline]
#[allow(clippy::cast_possible_truncation)]
fn number(count: usize) -> u32 {
    count as u32
}

#[inline]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `check` has seen that offsets lie within the clicks
fn clicks_of(log: Log<'_>, session: usize) -> &[i32] {
    &log.clicks[log.offsets[session] as usize..log.offsets[session + 1] as usize]
}

/// A part of the work that fills the arrays.
enum Part<'a> {
    /// Clicks or offsets, from a place on.
    Copy(usize, &'a mut [u32]),
    /// Offsets of sessions, from a session on.
    Offsets(usize, &'a mut [u32]),
    /// Times of sessions, from a session on.
    Times(usize, &'a mut [u32]),
    /// The items' support, holders, and the items by support.
    Items(&'a mut [u32], &'a mut [u32], &'a mut [u32]),
    /// The lists of some items.
    Lists(Range<usize>, &'a mut [u32]),
}

fn write(log: Log, counts: &[Count], most: usize, threads: usize, sizes: Sizes, words: &mut [u32]) -> Result<()> {
    let mut rest = words.split_at_mut(HEADER).1;
    let [clicks, offsets, times, list_offsets, listed, holders, support, popular] = sizes.lengths().map(|length| {
        let column;
        (column, rest) = std::mem::take(&mut rest).split_at_mut(length);
        column
    });
    let mut end = 0;
    for (offset, count) in list_offsets[1..].iter_mut().zip(counts) {
        end += number((count.sessions as usize).min(most));
        *offset = end;
    }
    let list_offsets = &*list_offsets;
    // The longest parts first, so that threads end together.
    let mut work = Vec::new();
    let mut lists_left = listed;
    for items in by_weight(counts, threads) {
        let entries = (list_offsets[items.end] - list_offsets[items.start]) as usize;
        let lists;
        (lists, lists_left) = lists_left.split_at_mut(entries);
        work.push(Part::Lists(items, lists));
    }
    work.push(Part::Items(holders, support, popular));
    let step = clicks.len().div_ceil(4 * threads).max(1);
    work.extend(clicks.chunks_mut(step).enumerate().map(|(chunk, column)| Part::Copy(chunk * step, column)));
    let step = offsets.len().div_ceil(4 * threads).max(1);
    work.extend(offsets.chunks_mut(step).enumerate().map(|(chunk, column)| Part::Offsets(chunk * step, column)));
    work.extend(times.chunks_mut(step).enumerate().map(|(chunk, column)| Part::Times(chunk * step, column)));
    pool::each(threads, work, |part| match part {
        Part::Copy(from, column) => {
            let clicks = &log.clicks[from..from + column.len()];
            column.iter_mut().zip(clicks).for_each(|(word, &item)| *word = item.cast_unsigned());
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // as `check` has made sure
        Part::Offsets(from, column) => {
            let offsets = &log.offsets[from..from + column.len()];
            column.iter_mut().zip(offsets).for_each(|(word, &offset)| *word = offset as u32);
        }
        #[allow(clippy::cast_possible_truncation)] // as `check` has made sure
        Part::Times(from, column) => {
            let starts = log.starts.unwrap_or_default();
            for (word, start) in column.iter_mut().zip(&starts[from..]) {
                *word = (start.abs_diff(starts[0]) / 1_000) as u32;
            }
        }
        Part::Items(holders, support, popular) => {
            for (item, count) in counts.iter().enumerate() {
                holders[item] = count.sessions;
                support[item] = count.clicks;
                popular[item] = number(item);
            }
            // Stable: the smaller number first among equals.
            popular.sort_by(|&one, &other| fill(support[other as usize]).total_cmp(&fill(support[one as usize])));
        }
        Part::Lists(items, lists) => list(log, items, list_offsets, lists),
    })?;
    Ok(())
}

/// The items in as many ranges as there are threads, of about as many sessions each.
fn by_weight(counts: &[Count], threads: usize) -> Vec<Range<usize>> {
    let total: u64 = counts.iter().map(|count| u64::from(count.sessions)).sum();
    let each = total.div_ceil(threads as u64).max(1);
    let (mut ranges, mut begin, mut weight) = (Vec::new(), 0, 0);
    for (item, count) in counts.iter().enumerate() {
        weight += u64::from(count.sessions);
        if weight >= each {
            ranges.push(begin..item + 1);
            (begin, weight) = (item + 1, 0);
        }
    }
    ranges.push(begin..counts.len());
    ranges
}

/// Writes the lists of a range of items, which lie one behind the other: the sessions from the newest to the oldest.
fn list(log: Log, items: Range<usize>, offsets: &[u32], lists: &mut [u32]) {
    let first = offsets[items.start];
    // Where an item's next session goes, where its list ends, and the last session that went there.
    let mut open: Vec<(u32, u32, u32)> =
        items.clone().map(|item| (offsets[item] - first, offsets[item + 1] - first, u32::MAX)).collect();
    for session in (0..log.offsets.len() - 1).rev() {
        let mark = number(session);
        for &item in clicks_of(log, session) {
            let item = (item.cast_unsigned() as usize).wrapping_sub(items.start);
            let Some((next, end, last)) = open.get_mut(item) else { continue };
            if next < end && *last != mark {
                lists[*next as usize] = mark;
                *next += 1;
                *last = mark;
            }
        }
    }
}
