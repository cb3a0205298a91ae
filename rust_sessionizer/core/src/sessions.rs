//! Events to sessions.
//!
//! 1. *Partition.* Every thread splits its stretch of the log, in order, into buckets by a hash of the visitor, so that
//!    a visitor's events lie in one bucket, small enough for the cache.
//! 2. *Cut.* Every bucket is ordered by (visitor, time, row) and cut where the pause is longer than the gap.
//! 3. *Order.* Sessions are put in the order of (start, first row). In a log that is ordered by time that is the order
//!    of their first rows, which needs no sort.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use crate::partition::{Part, bucket_bits, hash, partition};
use crate::{Error, Result};

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
}

impl Sessions {
    /// The number of sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there is no session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first row of every session.
    #[must_use]
    pub fn first_rows(&self) -> Vec<u32> {
        let starts = &self.offsets[..self.len()];
        starts.par_iter().with_min_len(16_384).map(|&start| self.rows[index(start)]).collect()
    }
}

/// Cuts a log into sessions.
///
/// # Errors
/// [`Error::ColumnLength`] where the columns differ in length, [`Error::TooManyRows`] from 2^32 - 1 rows on.
pub fn sessionize(events: &Events) -> Result<Sessions> {
    let rows = events.keys.len();
    check_length("timestamp", events.times.len(), rows)?;
    check_length("keep", events.keep.map_or(rows, <[bool]>::len), rows)?;
    let limit = u32::MAX as usize - 1;
    if rows > limit {
        return Err(Error::TooManyRows { rows, limit });
    }
    let ordered = is_ordered(events.times);
    let bits = bucket_bits(rows);
    let entry = |row, hash| Event { hash, time: events.times[row], row: row_number(row) };
    let parts = partition(rows, bits, |row| hash(events.keys[row]), entry);
    let buckets: Vec<Bucket> = (0..1_usize << bits)
        .into_par_iter()
        .map_init(Scratch::default, |scratch, bucket| {
            scratch.load(&parts, bucket, ordered);
            scratch.cut(events)
        })
        .collect();
    drop(parts);
    let spans = if ordered { spans_by_row(&buckets, rows) } else { spans_by_time(&buckets) };
    Ok(list_rows(&buckets, &spans))
}

fn check_length(column: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let column = column.to_owned();
    Err(Error::ColumnLength { column, found, expected })
}

fn is_ordered(times: &[i64]) -> bool {
    let step = 65_536;
    (0..times.len().div_ceil(step))
        .into_par_iter()
        .all(|part| times[part * step..times.len().min(part * step + step + 1)].is_sorted())
}

#[derive(Clone, Copy, Default)]
struct Event {
    hash: u64,
    time: i64,
    row: u32,
}

#[derive(Clone, Copy)]
struct Cut {
    start: i64,
    begin: u32,
    length: u32,
}

/// The sessions of some visitors.
struct Bucket {
    rows: Vec<u32>,
    cuts: Vec<Cut>,
}

#[derive(Default)]
struct Scratch {
    events: Vec<Event>,
    order: Vec<u64>,
    sorted: Vec<Event>,
}

/// From here on a bucket is sorted by all threads.
const LARGE: usize = 1 << 18;

impl Scratch {
    /// Leaves the events of a bucket in `sorted`, by (visitor, time, row).
    fn load(&mut self, parts: &[Part<Event>], bucket: usize, ordered: bool) {
        self.events.clear();
        for part in parts {
            self.events.extend_from_slice(part.bucket(bucket));
        }
        self.sorted.clear();
        if !(ordered && self.sort_ordered()) {
            self.sorted.clear();
            self.sorted.extend_from_slice(&self.events);
            let by = |event: &Event| (event.hash, event.time, event.row);
            if self.sorted.len() < LARGE {
                self.sorted.sort_unstable_by_key(by);
            } else {
                self.sorted.par_sort_unstable_by_key(by);
            }
        }
    }

    /// Groups events that already are in the order of time by sorting the upper part of the hash with the position in
    /// one number. False where two visitors share the upper part.
    fn sort_ordered(&mut self) -> bool {
        let low = self.events.len().next_power_of_two() as u64 - 1;
        self.order.clear();
        self.order.extend((0..).zip(&self.events).map(|(position, event)| (event.hash & !low) | position));
        if self.order.len() < LARGE {
            self.order.sort_unstable();
        } else {
            self.order.par_sort_unstable();
        }
        let mut before = 0;
        for &mixed in &self.order {
            #[allow(clippy::cast_possible_truncation)] // a position in `events`
            let event = self.events[(mixed & low) as usize];
            if mixed & !low == before & !low && self.sorted.last().is_some_and(|last| last.hash != event.hash) {
                return false;
            }
            before = mixed;
            self.sorted.push(event);
        }
        true
    }

    fn cut(&self, log: &Events) -> Bucket {
        let mut rows: Vec<u32> = Vec::with_capacity(self.sorted.len());
        let mut cuts: Vec<Cut> = Vec::with_capacity(self.sorted.len());
        let mut before: Option<&Event> = None;
        let mut open = false;
        for event in &self.sorted {
            // Later minus earlier always fits in 64 bits without a sign.
            let pause = |before: &Event| event.time.wrapping_sub(before.time).cast_unsigned();
            let same = before
                .is_some_and(|before| before.hash == event.hash && log.gap.is_none_or(|gap| pause(before) <= gap));
            open &= same;
            before = Some(event);
            if log.keep.is_some_and(|keep| !keep[event.row as usize]) {
                continue;
            }
            match cuts.last_mut().filter(|_| open) {
                None => {
                    let begin = row_number(rows.len());
                    cuts.push(Cut { start: event.time, begin, length: 1 });
                    open = true;
                }
                Some(cut) => {
                    let repeat = log.drop_repeats.zip(rows.last());
                    if repeat.is_some_and(|(same, &last)| same(last, event.row)) {
                        continue;
                    }
                    cut.length += 1;
                }
            }
            rows.push(event.row);
        }
        Bucket { rows, cuts }
    }
}

/// Where a session's rows lie.
#[derive(Clone, Copy)]
struct Span {
    bucket: u32,
    cut: u32,
}

/// The sessions in the order of their first rows.
fn spans_by_row(buckets: &[Bucket], rows: usize) -> Vec<Span> {
    let heads: Vec<AtomicU64> = (0..rows).into_par_iter().map(|_| AtomicU64::new(u64::MAX)).collect();
    buckets.par_iter().enumerate().for_each(|(number, bucket)| {
        for (cut_number, cut) in bucket.cuts.iter().enumerate() {
            let first = bucket.rows[cut.begin as usize] as usize;
            heads[first].store((number as u64) << 32 | cut_number as u64, Ordering::Relaxed);
        }
    });
    let parts: Vec<Vec<Span>> = heads
        .par_chunks(65_536)
        .map(|heads| {
            let heads = heads.iter().map(|head| head.load(Ordering::Relaxed));
            #[allow(clippy::cast_possible_truncation)] // the two halves
            let span = |head: u64| Span { bucket: (head >> 32) as u32, cut: head as u32 };
            heads.filter(|&head| head != u64::MAX).map(span).collect()
        })
        .collect();
    parts.concat()
}

/// The sessions in the order of (start, first row).
fn spans_by_time(buckets: &[Bucket]) -> Vec<Span> {
    let mut keyed: Vec<(i64, u32, Span)> = buckets
        .par_iter()
        .enumerate()
        .flat_map_iter(|(number, bucket)| {
            bucket.cuts.iter().enumerate().map(move |(cut_number, cut)| {
                let first = bucket.rows[cut.begin as usize];
                (cut.start, first, Span { bucket: row_number(number), cut: row_number(cut_number) })
            })
        })
        .collect();
    keyed.par_sort_unstable_by_key(|&(start, first, _)| (start, first));
    keyed.into_par_iter().map(|(_, _, span)| span).collect()
}

fn list_rows(buckets: &[Bucket], spans: &[Span]) -> Sessions {
    let step = 65_536;
    let rows_of = |span: &Span| {
        let bucket = &buckets[span.bucket as usize];
        let cut = bucket.cuts[span.cut as usize];
        &bucket.rows[cut.begin as usize..][..cut.length as usize]
    };
    let parts: Vec<(Vec<u32>, Vec<u32>)> = spans
        .par_chunks(step)
        .map(|spans| {
            let mut rows = Vec::with_capacity(spans.len() * 2);
            let mut lengths = Vec::with_capacity(spans.len());
            for span in spans {
                let listed = rows_of(span);
                rows.extend_from_slice(listed);
                lengths.push(row_number(listed.len()));
            }
            (rows, lengths)
        })
        .collect();
    let mut offsets = Vec::with_capacity(spans.len() + 1);
    let mut end = 0;
    offsets.push(end);
    for (_, lengths) in &parts {
        offsets.extend(lengths.iter().map(|&length| {
            end += i64::from(length);
            end
        }));
    }
    let rows: Vec<&[u32]> = parts.iter().map(|(rows, _)| rows.as_slice()).collect();
    Sessions { rows: rows.concat(), offsets }
}

/// Rows were counted before: they fit in 32 bits.
#[allow(clippy::cast_possible_truncation)]
fn row_number(row: usize) -> u32 {
    row as u32
}

/// Offsets are positions in a slice.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn index(offset: i64) -> usize {
    offset as usize
}
