//! Events to sessions.

use rayon::prelude::*;

use crate::gather::gather;
use crate::{Error, Result, buckets, order, stream};

/// Whether two rows hold the same item.
pub type SameItem<'a> = &'a (dyn Fn(u32, u32) -> bool + Sync);

/// An event log, a row an event.
#[derive(Clone, Copy)]
pub struct Events<'a> {
    /// Who the event belongs to: the visitor, or the session where the log is already sessionized.
    pub keys: &'a [i64],
    /// When, in milliseconds.
    pub times: &'a [i64],
    /// The longest pause inside a session, in milliseconds; `None`: one session a key.
    pub gap: Option<u64>,
    /// Rows that are listed; the others count for the gap only. `None`: all.
    pub keep: Option<&'a [bool]>,
    /// Where given, a listed row with the item of the listed row before it in its session is dropped.
    pub drop_repeats: Option<SameItem<'a>>,
}

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

/// Cuts a log into sessions.
///
/// # Errors
/// [`Error::ColumnLength`] where the columns differ in length, [`Error::TooManyRows`] from 2^31 rows on.
pub fn sessionize(events: &Events) -> Result<Sessions> {
    let rows = events.keys.len();
    check_length("timestamp", events.times.len(), rows)?;
    check_length("keep", events.keep.map_or(rows, <[bool]>::len), rows)?;
    if rows > MOST_ROWS {
        return Err(Error::TooManyRows { rows, limit: MOST_ROWS });
    }
    let span = Span::of(events.times);
    if span.ordered {
        return Ok(sessionize_ordered(events, &span));
    }
    let Some(order) = order::by_time(events.times, &span) else {
        return Ok(buckets::sessionize(events, &span));
    };
    let keys = gather(events.keys, &order);
    let times = gather(events.times, &order);
    let keep = events.keep.map(|keep| gather(keep, &order));
    let row_of = |place: u32| order[place as usize];
    let same = events.drop_repeats.map(|same| move |a, b| same(row_of(a), row_of(b)));
    let ordered = Events {
        keys: &keys,
        times: &times,
        gap: events.gap,
        keep: keep.as_deref(),
        drop_repeats: same.as_ref().map(|same| same as SameItem),
    };
    let mut sessions = sessionize_ordered(&ordered, &Span { ordered: true, ..span });
    for places in [&mut sessions.rows, &mut sessions.heads] {
        places.par_iter_mut().with_min_len(16_384).for_each(|place| *place = row_of(*place));
    }
    Ok(sessions)
}

fn sessionize_ordered(events: &Events, span: &Span) -> Sessions {
    match events.gap {
        Some(gap) if stream::is_worth_it(events.times, gap) => stream::sessionize(events, gap),
        _ => buckets::sessionize(events, span),
    }
}

/// One bit of 32 is used as a mark.
const MOST_ROWS: usize = (1 << 31) - 1;

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
        let ends = |part: &[i64]| {
            let ordered = part.is_sorted();
            let (first, last) = if ordered {
                (part.first().copied(), part.last().copied())
            } else {
                (part.iter().copied().min(), part.iter().copied().max())
            };
            Self { first: first.unwrap_or(i64::MAX), last: last.unwrap_or(i64::MIN), ordered }
        };
        let none = || Self { first: i64::MAX, last: i64::MIN, ordered: true };
        times.par_chunks(16_384).map(ends).reduce(none, |a, b| Self {
            first: a.first.min(b.first),
            last: a.last.max(b.last),
            ordered: a.ordered && b.ordered && a.last <= b.first,
        })
    }
}

/// Rows were counted before: they fit in 31 bits.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn row_number(row: usize) -> u32 {
    row as u32
}
