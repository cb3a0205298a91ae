//! Events to sessions.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::gather::gather;
use crate::hashing::Seed;
use crate::listing::{self, Listed};
use crate::raw::zeros;
use crate::timeline::{
    Entries, InOrder, Items, Listing, NARROW, NARROWEST, Nothing, Packing, Rows, Timeline, Visitors, WIDE,
};
use crate::{Error, Result, buckets, numbering, order, window};

/// Whether two rows hold the same item.
pub type SameItem<'a> = &'a (dyn Fn(u32, u32) -> bool + Sync);

/// An event log, a row an event.
pub struct Events<'a, V: ?Sized = [i64]> {
    /// Who the event belongs to: the visitor, or the session where the log is already sessionized.
    pub keys: &'a V,
    /// When, in milliseconds.
    pub times: &'a [i64],
    /// The longest pause inside a session, in milliseconds; `None`: one session a key.
    pub gap: Option<u64>,
    /// Rows that are listed; the others count for the gap only. `None`: all.
    pub keep: Option<&'a [bool]>,
    /// Where given, a listed row with the item of the listed row before it in its session is dropped.
    pub drop_repeats: Option<SameItem<'a>>,
}

impl<V: ?Sized> Clone for Events<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V: ?Sized> Copy for Events<'_, V> {}

/// Sessions as lists of row numbers, ordered by (time of the first listed row, that row).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sessions {
    /// The rows, session after session.
    pub rows: Vec<u32>,
    /// Where each session starts in `rows`, and at the end their number.
    pub offsets: Vec<i64>,
    /// The first row of every session.
    pub heads: Vec<u32>,
}

/// Sessions as lists of items and times, in the order of [`Sessions`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lists {
    /// The items, session after session.
    pub items: Vec<i64>,
    /// Their times.
    pub times: Vec<i64>,
    /// Where each session starts in the two, and at the end their length.
    pub offsets: Vec<i64>,
    /// The key of every session.
    pub keys: Vec<i64>,
    /// The time of its first listed event.
    pub starts: Vec<i64>,
}

/// Cuts a log into sessions.
///
/// # Errors
/// [`Error::ColumnLength`] where the columns differ in length, [`Error::TooManyRows`] from 2^31 rows on.
pub fn sessionize<V: Visitors + ?Sized>(events: &Events<V>) -> Result<Sessions> {
    let span = check(events)?;
    if !span.ordered
        && let Some(keys) = events.keys.as_numbers()
    {
        let Events { times, gap, keep, drop_repeats, .. } = *events;
        return sessionize(&Events { keys: &*keys, times, gap, keep, drop_repeats });
    }
    let rows = Rows { keep: events.keep, drop_repeats: events.drop_repeats };
    match Path::of(events, &span) {
        Path::Visitors => by_visitor(events, &span),
        Path::Time(gap) => Ok(in_time(events, &span, rows, ListRows { gap })),
    }
}

/// Cuts a log into sessions and lists their items and times. That is faster than to gather them by [`Sessions::rows`]. Where
/// repeats are dropped, it is those of the items given here.
///
/// # Errors
/// As [`sessionize`].
pub fn list_sessions(events: &Events, items: &[i64]) -> Result<Lists> {
    check_length("item", items.len(), events.keys.len())?;
    let span = check(events)?;
    let same = |a: u32, b: u32| items[a as usize] == items[b as usize];
    let drop_repeats = events.drop_repeats.is_some();
    match Path::of(events, &span) {
        Path::Time(gap) if events.keep.is_none() => {
            Ok(in_time(events, &span, Items { items, drop_repeats }, ListItems { gap }))
        }
        _ => {
            let own = drop_repeats.then_some(&same as SameItem);
            let Sessions { rows, offsets, heads } = sessionize(&Events { drop_repeats: own, ..*events })?;
            let (items, times) = (gather(items, &rows), gather(events.times, &rows));
            drop(rows);
            let starts = first_of_each(&times, &offsets);
            Ok(Lists { items, times, offsets, keys: gather(events.keys, &heads), starts })
        }
    }
}

/// The number of every row's session, in the order of [`Sessions`] where all rows are listed: `keep` and `drop_repeats` change
/// nothing.
///
/// # Errors
/// As [`sessionize`].
pub fn number_sessions<V: Visitors + ?Sized>(events: &Events<V>) -> Result<Vec<i32>> {
    let events = Events { keep: None, drop_repeats: None, ..*events };
    let span = check(&events)?;
    if !span.ordered
        && let Some(keys) = events.keys.as_numbers()
    {
        let Events { times, gap, .. } = events;
        return number_sessions(&Events { keys: &*keys, times, gap, keep: None, drop_repeats: None });
    }
    match Path::of(&events, &span) {
        Path::Time(gap) => Ok(number_in_time(&events, &span, gap)),
        Path::Visitors => {
            let found = by_visitor(&events, &span)?;
            let sessions = (0_i32..).zip(found.offsets.windows(2));
            let mut numbers: Vec<i32> = zeros(found.rows.len());
            let rows = |ends: &[i64]| &found.rows[index(ends[0])..index(ends[1])];
            sessions.for_each(|(number, ends)| rows(ends).iter().for_each(|&row| numbers[row as usize] = number));
            Ok(numbers)
        }
    }
}

/// How a log is cut.
enum Path {
    /// In passes through time, which remember the visitors of the last gap.
    Time(u64),
    /// Visitor by visitor: where the visitors of the last gap are too many.
    Visitors,
}

/// Events within the gap from which on their visitors are no longer kept in mind cheaply.
const DENSE: usize = 1 << 18;

/// The share of stretches of `DENSE` events that lie within the gap. A few wrong times do not change it.
fn dense_share(times: &[i64], ordered: bool, gap: u64) -> f64 {
    // In a log in any order, a time of the sorted sample stands for so many events.
    let (sample, step) = if ordered { (Cow::Borrowed(times), 1) } else { order::sample(times) };
    let between = (DENSE / step).max(1);
    let most = u128::from(gap) * (between * step) as u128 / DENSE as u128;
    let apart = if ordered { DENSE } else { 1 };
    let lasts = sample.iter().skip(between).step_by(apart);
    let (near, all) = sample.iter().step_by(apart).zip(lasts).fold((0_u32, 0_u32), |(near, all), (first, last)| {
        let range = last.wrapping_sub(*first).cast_unsigned();
        (near + u32::from(u128::from(range) <= most), all + 1)
    });
    f64::from(near) / f64::from(all.max(1))
}

impl Path {
    fn of<V: Visitors + ?Sized>(events: &Events<V>, span: &Span) -> Self {
        let Some(gap) = events.gap else { return Self::Visitors };
        let is_dense = events.times.len() > DENSE && dense_share(events.times, span.ordered, gap) > 0.25;
        if is_dense { Self::Visitors } else { Self::Time(gap) }
    }
}

/// What is done with the events in the order of time.
trait Work<T> {
    type Answer;
    fn run(self, timeline: impl Timeline<Value = T>) -> Self::Answer;
}

/// Does it, and if the events are not in order, first brings them there.
fn in_time<V: Visitors + ?Sized, C: Listing, W: Work<C::Value>>(
    events: &Events<V>,
    span: &Span,
    carry: C,
    work: W,
) -> W::Answer {
    let (visitors, times, seed) = (events.keys, events.times, Seed::draw());
    if span.ordered {
        return work.run(InOrder { visitors, times, carry, seed });
    }
    let log = Entries { visitors, carry, seed, packing: Packing::of(visitors, span) };
    if log.packing.fits(span) {
        work.run(order::scatter::<V, C, NARROW>(log, times, span).sort())
    } else {
        work.run(order::scatter::<V, C, WIDE>(log, times, span).sort())
    }
}

/// A list of rows a session.
struct ListRows {
    gap: u64,
}

impl Work<u32> for ListRows {
    type Answer = Sessions;
    fn run(self, timeline: impl Timeline<Value = u32>) -> Sessions {
        let Listed { values: rows, offsets, .. } = listing::list::<_, false>(timeline, self.gap);
        let heads = first_of_each(&rows, &offsets);
        Sessions { rows, offsets, heads }
    }
}

/// A list of items and one of times a session.
struct ListItems {
    gap: u64,
}

impl Work<i64> for ListItems {
    type Answer = Lists;
    fn run(self, timeline: impl Timeline<Value = i64>) -> Lists {
        let Listed { values: items, times, keys, offsets } = listing::list::<_, true>(timeline, self.gap);
        let starts = first_of_each(&times, &offsets);
        Lists { items, times, offsets, keys, starts }
    }
}

/// The first value of every list; none is empty.
fn first_of_each<T: Copy + Default + Send + Sync>(values: &[T], offsets: &[i64]) -> Vec<T> {
    let begins = &offsets[..offsets.len() - 1];
    let mut firsts = zeros(begins.len());
    let each = |(first, &begin): (&mut T, &i64)| *first = values[index(begin)];
    firsts.par_iter_mut().zip(begins).with_min_len(1 << 14).for_each(each);
    firsts
}

/// The number of every row's session.
fn number_in_time<V: Visitors + ?Sized>(events: &Events<V>, span: &Span, gap: u64) -> Vec<i32> {
    let (visitors, times, seed) = (events.keys, events.times, Seed::draw());
    if span.ordered {
        return numbering::number(&InOrder { visitors, times, carry: Nothing, seed }, times.len(), gap).numbers;
    }
    let packing = Packing::of(visitors, span);
    if packing.fits(span) {
        let log = Entries { visitors, carry: Nothing, seed, packing };
        return window::number_rows(order::scatter::<V, Nothing, NARROWEST>(log, times, span), times, gap);
    }
    let log = Entries { visitors, carry: Rows { keep: None, drop_repeats: None }, seed, packing };
    window::number_rows(order::scatter::<V, Rows, WIDE>(log, times, span), times, gap)
}

fn by_visitor<V: Visitors + ?Sized>(events: &Events<V>, span: &Span) -> Result<Sessions> {
    let keys = events.keys.numbers()?;
    let Events { times, gap, keep, drop_repeats, .. } = *events;
    Ok(buckets::sessionize(&Events { keys: &*keys, times, gap, keep, drop_repeats }, span))
}

/// Places and numbers of sessions are `i32`, where negative ones mean none, and `buckets.rs` marks a row with bit 31.
const MOST_ROWS: usize = (1 << 31) - 1;

fn check<V: Visitors + ?Sized>(events: &Events<V>) -> Result<Span> {
    let rows = events.keys.rows();
    check_length("timestamp", events.times.len(), rows)?;
    check_length("keep", events.keep.map_or(rows, <[bool]>::len), rows)?;
    if rows > MOST_ROWS {
        return Err(Error::TooManyRows { rows, limit: MOST_ROWS });
    }
    Ok(Span::of(events.times))
}

fn check_length(column: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let column = column.to_owned();
    Err(Error::ColumnLength { column, found, expected })
}

/// The first and last time, and whether those between are in order.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) ordered: bool,
}

impl Span {
    fn of(times: &[i64]) -> Self {
        let of_part = |part: &[i64]| {
            let ordered = part.is_sorted();
            let (first, last) = match part {
                [first, .., last] if ordered => (*first, *last),
                _ => ends_of_part(part),
            };
            Self { first, last, ordered }
        };
        let none = || Self { first: i64::MAX, last: i64::MIN, ordered: true };
        times.par_chunks(1 << 14).map(of_part).reduce(none, |a, b| Self {
            first: a.first.min(b.first),
            last: a.last.max(b.last),
            ordered: a.ordered && b.ordered && a.last <= b.first,
        })
    }

    /// Later minus earlier always fits in 64 bits without a sign.
    pub(crate) fn range(&self) -> u64 {
        self.last.wrapping_sub(self.first).cast_unsigned()
    }

    pub(crate) fn bits(&self) -> u32 {
        u64::BITS - self.range().leading_zeros()
    }
}

/// The smallest and the largest number, by all threads.
pub(crate) fn ends(numbers: &[i64]) -> (i64, i64) {
    let none = || (i64::MAX, i64::MIN);
    numbers.par_chunks(1 << 14).map(ends_of_part).reduce(none, |a, b| (a.0.min(b.0), a.1.max(b.1)))
}

fn ends_of_part(numbers: &[i64]) -> (i64, i64) {
    // Several at once, since one waits for the one before.
    let (lines, rest) = numbers.as_chunks::<4>();
    let (mut least, mut most) = ([i64::MAX; 4], [i64::MIN; 4]);
    for line in lines {
        for (place, &number) in line.iter().enumerate() {
            least[place] = least[place].min(number);
            most[place] = most[place].max(number);
        }
    }
    let least = least.iter().chain(rest).copied().min();
    let most = most.iter().chain(rest).copied().max();
    (least.unwrap_or(i64::MAX), most.unwrap_or(i64::MIN))
}

/// Rows were counted before: they fit in 31 bits.
#[allow(clippy::cast_possible_truncation)]
#[inline]
pub(crate) fn row_number(row: usize) -> u32 {
    row as u32
}

/// Offsets are positions in a slice.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn index(offset: i64) -> usize {
    offset as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    /// Whether a log of a million events within a day is cut visitor by visitor, in order and shuffled, with some wrong times before.
    fn by_visitor(gap: u64, wrong: usize) -> [bool; 2] {
        let mut times: Vec<i64> = (0..1_000_000).map(|event| 20_000 * DAY + event * DAY / 1_000_000).collect();
        times[..wrong].fill(0);
        let keys = vec![0; times.len()];
        let is = |times: &[i64]| {
            let events = Events { keys: &*keys, times, gap: Some(gap), keep: None, drop_repeats: None };
            matches!(Path::of(&events, &Span::of(times)), Path::Visitors)
        };
        let shuffled: Vec<i64> = (0..times.len()).map(|row| times[row * 7_919 % times.len()]).collect();
        [is(&times), is(&shuffled)]
    }

    #[test]
    fn a_log_is_dense_whatever_a_few_wrong_times_say() {
        let hour = 3_600_000;
        for wrong in [0, 1, 1_000] {
            assert_eq!(by_visitor(12 * hour, wrong), [true; 2]);
            assert_eq!(by_visitor(hour, wrong), [false; 2]);
        }
    }
}
